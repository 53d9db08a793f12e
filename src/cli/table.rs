//! Tables in the style of `kubectl`: columns separated by spaces. Cells are sanitized and truncated.

use crate::text;

/// The lines of a table with a header. Each column is as wide as its widest cell.
pub(super) fn lines<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let head = head.map(str::to_owned);
    let rows: Vec<_> =
        rows.iter().map(|row| row.each_ref().map(|cell| text::line(cell, text::CELL))).collect();
    let all = || std::iter::once(&head).chain(&rows);
    let widths: [usize; N] =
        std::array::from_fn(|column| all().map(|row| text::width(&row[column])).max().unwrap_or_default());
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| {
            // Not `{:width$}`, which counts characters and panics above 65,535.
            let space = " ".repeat(width - text::width(cell));
            format!("{cell}{space}")
        });
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    all().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::testing::{assert_safe, nasty};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a/b".to_owned(), "größe".to_owned()], ["long/name".to_owned(), String::new()]];
        assert_eq!(lines(["REPO", "X"], &rows), ["REPO        X", "a/b         größe", "long/name"]);
        let rows = [["模型", "x"], ["e\u{301}", "y"]].map(|row| row.map(str::to_owned));
        assert_eq!(lines(["A", "B"], &rows), ["A      B", "模型   x", "e\u{301}      y"]);
    }

    #[test]
    fn overlong_cells_are_truncated_and_padded() {
        for length in [text::CELL, 65_535, 65_536, 1 << 20] {
            let rows = [["x".repeat(length), "end".to_owned()], ["y".to_owned(), "end".to_owned()]];
            for line in &lines(["A", "B"], &rows)[1..] {
                assert!(line.ends_with("   end"), "{length}: {line}");
                assert_eq!(text::width(line), text::CELL + 6, "{length}");
            }
        }
    }

    #[test]
    fn hostile_text_stays_in_its_cell() {
        for (case, cell) in nasty(200) {
            let lines = lines(["A", "B"], &[[cell, "end".to_owned()]]);
            assert_eq!(lines.len(), 2);
            assert_safe(&lines[1], text::CELL + 6, case);
            assert!(lines[1].ends_with("   end"), "case {case}: {}", lines[1]);
        }
    }
}
