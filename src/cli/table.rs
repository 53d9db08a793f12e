//! Tables as `kubectl` prints them: columns apart by spaces, no lines, cut by nobody.

/// A table with a head, one line for each row. The columns are as wide as they need to be.
pub(super) fn lines<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let head = head.map(str::to_owned);
    let all = || std::iter::once(&head).chain(rows);
    let widths: [usize; N] =
        std::array::from_fn(|column| all().map(|row| row[column].chars().count()).max().unwrap_or_default());
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    all().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a/b".to_owned(), "größe".to_owned()], ["long/name".to_owned(), String::new()]];
        assert_eq!(lines(["REPO", "X"], &rows), ["REPO        X", "a/b         größe", "long/name"]);
    }
}
