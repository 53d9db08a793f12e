//! Text of others, made safe to show: file names, words of a Hub or an API server, reports, names in YAML.
//!
//! What steers a terminal, turns the text beside it or cannot be seen is written as its number: `\u{202e}`. A message, an
//! event, a table cell, a line for a person and a field of a log pass here where they are made; JSON is exact, with the
//! escapes of JSON in place of the same characters. Cleaning twice changes nothing. Knows no doors.

use std::{fmt::Write as _, os::unix::ffi::OsStrExt as _, path::Path};

use serde::{Serialize, Serializer};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// The longest name in a sentence, in characters.
const NAME: usize = 120;
/// The longest cell of a table, in characters.
pub const CELL: usize = 200;
/// The longest line for a person and the longest field of a log, in characters: a path of 4,096 bytes and its story fit.
pub const LINE: usize = 8_000;
/// How many marks one letter carries. Languages need up to four; more of them draw over the lines around.
const MARKS: usize = 4;

/// The text on one line of at most `most` characters; the last one is `…` where it was longer.
#[must_use]
pub fn line(text: &str, most: usize) -> String {
    let (mut shown, mut length) = (String::new(), 0);
    // Where the text ends if there is more of it than has room.
    let mut end = 0;
    let mut eye = Eye::default();
    for c in text.chars() {
        let before = shown.len();
        if eye.sees(c) {
            shown.push(c);
            length += 1;
        } else {
            match c {
                '\n' => shown.push_str("\\n"),
                '\r' => shown.push_str("\\r"),
                '\t' => shown.push_str("\\t"),
                _ => shown.extend(c.escape_unicode()),
            }
            // All of an escape is ASCII.
            length += shown.len() - before;
        }
        if length > most {
            shown.truncate(end);
            shown.push('…');
            break;
        }
        if length < most {
            end = shown.len();
        }
    }
    shown
}

/// Whether a character steers, turns, hides or has no form.
#[must_use]
pub fn is_unseen(c: char) -> bool {
    Kind::of(c) == Kind::Unseen
}

/// A name in a sentence.
#[must_use]
pub fn printable(name: &str) -> String {
    line(name, NAME)
}

/// A path as text: bytes that are none stay visible, as `\xff`, so that no two paths look the same. Not cleaned yet.
#[must_use]
pub fn of_path(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// A path in JSON: exact where it is text, else as [`of_path`] has it.
pub fn serialize_path<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&of_path(path))
}

/// A value as one line of JSON that is safe to show, and read back exactly.
#[must_use]
pub fn json(value: &impl Serialize) -> String {
    escaped_json(&serde_json::to_string(value).unwrap_or_default())
}

/// A line of JSON, with the escapes of JSON for what must not be shown. Outside of its texts JSON has nothing but ASCII.
#[must_use]
pub fn escaped_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    let mut eye = Eye::default();
    for c in json.chars() {
        if eye.sees(c) {
            safe.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    safe
}

/// How many columns a text takes on a terminal. Measured after it was cleaned.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// The beginning of a text that takes at most so many columns.
#[must_use]
pub fn beginning(text: &str, columns: usize) -> &str {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let fits = ends.take_while(|end| width(&text[..*end]) <= columns);
    &text[..fits.last().unwrap_or(0)]
}

/// The end of a text that takes at most so many columns.
#[must_use]
pub fn ending(text: &str, columns: usize) -> &str {
    let starts = text.char_indices().rev().map(|(at, _)| at);
    let fits = starts.take_while(|start| width(&text[*start..]) <= columns);
    &text[fits.last().unwrap_or(text.len())..]
}

/// Goes over a text and tells what of it can be shown as it is.
#[derive(Debug, Default)]
struct Eye {
    /// What stands before, if it was shown as it is.
    before: Option<char>,
    marks: usize,
}

impl Eye {
    fn sees(&mut self, c: char) -> bool {
        let kind = Kind::of(c);
        let seen = match (kind, self.before) {
            (Kind::Letter, _) => true,
            (Kind::Mark, Some(_)) => self.marks < MARKS,
            (Kind::Variation, Some(before)) => is_pictogram(before),
            (Kind::Mark | Kind::Variation, None) | (Kind::Unseen, _) => false,
        };
        self.marks = if kind == Kind::Mark { self.marks + 1 } else { 0 };
        self.before = Some(c).filter(|_| seen);
        seen
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Takes room of its own.
    Letter,
    /// Is drawn on the letter before it.
    Mark,
    /// Asks for the other form of the sign before it.
    Variation,
    /// Steers, turns, hides, or has no form.
    Unseen,
}

impl Kind {
    fn of(c: char) -> Self {
        match c {
            ' '..='~' | '\u{3000}' => Self::Letter,
            '\u{fe0e}' | '\u{fe0f}' => Self::Variation,
            // Letters and marks by their class, and nothing for the eye.
            '\u{34f}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0d}'
            | '\u{ffa0}'
            | '\u{fffc}'
            | '\u{16fe4}'
            | '\u{1d159}'
            | '\u{e0000}'..='\u{e0fff}' => Self::Unseen,
            // The standard library knows the classes of Unicode: it writes controls, formats, separators and what is private
            // or not assigned as numbers, and marks where nothing stands before them.
            _ if c.escape_debug().len() == 1 && c.width() != Some(0) => Self::Letter,
            // Also a letter without a width of its own.
            _ if ['x', c].iter().collect::<String>().escape_debug().eq(['x', c]) => Self::Mark,
            _ => Self::Unseen,
        }
    }
}

/// Signs that exist as text and as picture.
const fn is_pictogram(c: char) -> bool {
    matches!(c, '\u{a9}' | '\u{ae}' | '\u{203c}'..='\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

/// Nasty texts for the tests of all doors, seeded, and what no door lets through.
#[cfg(test)]
pub(crate) use test_support::nasty as testing;

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::{testing::*, *};

    #[test]
    fn nothing_dangerous_comes_through_and_cleaning_twice_changes_nothing() {
        for (case, text) in nasty(1_000) {
            for most in [1, 7, 120, LINE] {
                let shown = line(&text, most);
                assert_safe(&shown, most, case);
                assert_eq!(line(&shown, most), shown, "case {case}: {text:?}");
            }
        }
    }

    #[test]
    fn every_code_point_alone_is_shown_or_numbered() {
        for c in '\0'..=char::MAX {
            let shown = line(&c.to_string(), 20);
            assert_safe(&shown, 20, c.into());
            assert!(width(&shown) > 0, "{c:?} is shown as nothing");
        }
    }

    #[test]
    fn harmless_text_stays_as_it_is() {
        for text in [
            "model-00001-of-00002.safetensors: 5.0 GiB, 'x' \"y\" \\z",
            "größe, naïve, e\u{301}te\u{301}, Ελλάδα, Москва, עברית, العربية, हिन्दी, ไทย, தமிழ்",
            "模型 日本語　한국어 ﾊﾟ",
            "🤗 ❤\u{fe0f} 👍🏽 🇩🇪 ✓ ✗ … → ²",
            "",
        ] {
            assert_eq!(line(text, LINE), text);
            assert_eq!(json(&text), serde_json::to_string(text).unwrap());
        }
    }

    #[test]
    fn what_must_not_be_shown_is_written_as_its_number() {
        for (text, shown) in [
            ("a\u{1b}[31m\n\r\t", "a\\u{1b}[31m\\n\\r\\t"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
            ("ma\u{200b}in\u{feff}", "ma\\u{200b}in\\u{feff}"),
            ("a\u{fe0f}\u{e0041}", "a\\u{fe0f}\\u{e0041}"),
            ("\u{301}e", "\\u{301}e"),
            ("a\u{a0}b\u{2028}c\u{85}", "a\\u{a0}b\\u{2028}c\\u{85}"),
            ("e\u{301}\u{301}\u{301}\u{301}\u{301}", "e\u{301}\u{301}\u{301}\u{301}\\u{301}"),
        ] {
            assert_eq!(line(text, LINE), shown);
        }
    }

    #[test]
    fn a_text_is_cut_between_what_it_shows() {
        for (most, shown) in [(1, "…"), (2, "a…"), (9, "a…"), (10, "a\\u{202e}…"), (11, "a\\u{202e}bc")]
        {
            assert_eq!(line("a\u{202e}bc", most), shown, "{most}");
        }
        assert_eq!(printable(&"x".repeat(500)).chars().count(), NAME);
    }

    #[test]
    fn json_is_exact_and_safe() {
        for (case, text) in nasty(1_000) {
            let written = json(&[&text]);
            assert_safe(&written, usize::MAX, case);
            let read: [String; 1] = serde_json::from_str(&written).unwrap();
            assert_eq!(read, [text], "case {case}");
        }
    }

    #[test]
    fn paths_that_are_no_text_stay_apart() {
        let path = |bytes: &[u8]| of_path(Path::new(std::ffi::OsStr::from_bytes(bytes)));
        assert_eq!(path(b"a/\xff\xfe\xc3\xa4"), "a/\\xff\\xfeä");
        assert_ne!(path(b"\xff"), path(b"\xfe"));
    }

    #[test]
    fn columns_are_counted_as_a_terminal_has_them() {
        for (text, columns) in [("abc", 3), ("größe", 5), ("e\u{301}", 1), ("模型", 4), ("🤗", 2), ("ﾊ", 1)]
        {
            assert_eq!(width(text), columns, "{text}");
        }
        assert_eq!((beginning("a模型", 4), ending("模型a", 4)), ("a模", "型a"));
        assert_eq!(
            (beginning("模", 1), ending("模", 1), beginning("ab", 9), ending("ab", 9)),
            ("", "", "ab", "ab")
        );
    }
}
