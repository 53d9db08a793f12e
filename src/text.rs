//! Sanitizes foreign text for display: file names, messages of a Hub or an API server, reports, names in YAML.
//!
//! Characters that control a terminal, reorder text or are invisible are escaped: `\u{202e}`. Messages, events, table cells,
//! lines of output and log fields are sanitized where they are created; JSON is exact, with JSON escapes for the same
//! characters. Sanitizing is idempotent.

use std::{fmt::Write as _, os::unix::ffi::OsStrExt as _, path::Path};

use serde::{Serialize, Serializer};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// The longest name in a message, in characters.
const NAME: usize = 120;
/// The longest table cell, in characters.
pub const CELL: usize = 200;
/// The longest line of output or log field, in characters: enough for a path of 4,096 bytes and a message.
pub const LINE: usize = 8_000;
/// The most combining marks per letter. Languages need up to four; more would overlap adjacent lines.
const MARKS: usize = 4;

/// Sanitizes a text to one line of at most `most` characters; truncated texts end with `…`.
#[must_use]
pub fn line(text: &str, most: usize) -> String {
    let (mut shown, mut length) = (String::new(), 0);
    // Where to truncate if the text turns out to be too long.
    let mut end = 0;
    let mut filter = Filter::default();
    for c in text.chars() {
        let before = shown.len();
        if filter.accepts(c) {
            shown.push(c);
            length += 1;
        } else {
            match c {
                '\n' => shown.push_str("\\n"),
                '\r' => shown.push_str("\\r"),
                '\t' => shown.push_str("\\t"),
                _ => shown.extend(c.escape_unicode()),
            }
            // Escapes are ASCII.
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

/// Whether a character controls, reorders, hides text or is invisible.
#[must_use]
pub fn is_unseen(c: char) -> bool {
    Kind::of(c) == Kind::Unseen
}

/// Sanitizes a name for a message.
#[must_use]
pub fn printable(name: &str) -> String {
    line(name, NAME)
}

/// A path as text. Invalid UTF-8 is escaped as `\xff`, so that different paths look different. Not sanitized yet.
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

/// Serializes a path: exact if it is UTF-8, otherwise as by [`of_path`].
pub fn serialize_path<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&of_path(path))
}

/// Serializes a value as one line of JSON that is safe to display and round-trips exactly.
#[must_use]
pub fn json(value: &impl Serialize) -> String {
    escaped_json(&serde_json::to_string(value).unwrap_or_default())
}

/// Escapes unsafe characters in a line of JSON. Outside of strings, JSON is ASCII.
#[must_use]
pub fn escaped_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    let mut filter = Filter::default();
    for c in json.chars() {
        if filter.accepts(c) {
            safe.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    safe
}

/// The number of terminal columns of a sanitized text.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// The longest beginning of a text that fits into `columns`.
#[must_use]
pub fn beginning(text: &str, columns: usize) -> &str {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let fits = ends.take_while(|end| width(&text[..*end]) <= columns);
    &text[..fits.last().unwrap_or(0)]
}

/// The longest end of a text that fits into `columns`.
#[must_use]
pub fn ending(text: &str, columns: usize) -> &str {
    let starts = text.char_indices().rev().map(|(at, _)| at);
    let fits = starts.take_while(|start| width(&text[*start..]) <= columns);
    &text[fits.last().unwrap_or(text.len())..]
}

/// Decides character by character what can be shown unescaped.
#[derive(Debug, Default)]
struct Filter {
    /// The previous character, if it was shown unescaped.
    before: Option<char>,
    marks: usize,
}

impl Filter {
    fn accepts(&mut self, c: char) -> bool {
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
    /// Has its own width.
    Letter,
    /// Combines with the preceding letter.
    Mark,
    /// Selects the presentation of the preceding character.
    Variation,
    /// Controls, reorders, hides text or is invisible.
    Unseen,
}

impl Kind {
    fn of(c: char) -> Self {
        match c {
            ' '..='~' | '\u{3000}' => Self::Letter,
            '\u{fe0e}' | '\u{fe0f}' => Self::Variation,
            // Letters and marks by their class, but invisible.
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
            // The standard library knows the Unicode classes: it escapes controls, formats, separators, private and unassigned
            // characters, and marks at the beginning of a text.
            _ if c.escape_debug().len() == 1 && c.width() != Some(0) => Self::Letter,
            // Also a letter of zero width.
            _ if ['x', c].iter().collect::<String>().escape_debug().eq(['x', c]) => Self::Mark,
            _ => Self::Unseen,
        }
    }
}

/// Characters with a text and an emoji presentation.
const fn is_pictogram(c: char) -> bool {
    matches!(c, '\u{a9}' | '\u{ae}' | '\u{203c}'..='\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

/// Hostile texts for tests, and the check for safe output.
#[cfg(test)]
pub(crate) use test_support::nasty as testing;

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::{testing::*, *};

    #[test]
    fn output_is_safe_and_sanitizing_is_idempotent() {
        for (case, text) in nasty(1_000) {
            for most in [1, 7, 120, LINE] {
                let shown = line(&text, most);
                assert_safe(&shown, most, case);
                assert_eq!(line(&shown, most), shown, "case {case}: {text:?}");
            }
        }
    }

    #[test]
    fn every_code_point_alone_is_shown_or_escaped() {
        for c in '\0'..=char::MAX {
            let shown = line(&c.to_string(), 20);
            assert_safe(&shown, 20, c.into());
            assert!(width(&shown) > 0, "{c:?} is invisible");
        }
    }

    #[test]
    fn harmless_text_is_unchanged() {
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
    fn unsafe_characters_are_escaped() {
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
    fn text_is_truncated_between_characters_and_escapes() {
        for (most, shown) in [(1, "…"), (2, "a…"), (9, "a…"), (10, "a\\u{202e}…"), (11, "a\\u{202e}bc")]
        {
            assert_eq!(line("a\u{202e}bc", most), shown, "{most}");
        }
        assert_eq!(printable(&"x".repeat(500)).chars().count(), NAME);
    }

    #[test]
    fn json_is_safe_and_round_trips() {
        for (case, text) in nasty(1_000) {
            let written = json(&[&text]);
            assert_safe(&written, usize::MAX, case);
            let read: [String; 1] = serde_json::from_str(&written).unwrap();
            assert_eq!(read, [text], "case {case}");
        }
    }

    #[test]
    fn paths_with_invalid_utf8_stay_distinct() {
        let path = |bytes: &[u8]| of_path(Path::new(std::ffi::OsStr::from_bytes(bytes)));
        assert_eq!(path(b"a/\xff\xfe\xc3\xa4"), "a/\\xff\\xfeä");
        assert_ne!(path(b"\xff"), path(b"\xfe"));
    }

    #[test]
    fn columns_are_counted_as_by_a_terminal() {
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
