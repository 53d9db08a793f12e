//! Selects files of a repo by patterns, with the same results as the Hub's Python library. Pure.
//!
//! `huggingface_hub.utils.filter_repo_objects` matches with Python's `fnmatch.fnmatchcase`: `*` and `?` match `/` as
//! well. Before that, `\` is replaced by `/`, and a trailing `/` matches everything below. A file is wanted if any `include`
//! pattern matches, or there is none, and no `exclude` pattern matches.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::reason::Reason;

/// The most patterns in one list.
const MAX_PATTERNS: usize = 64;
/// The longest pattern, in characters.
const MAX_LENGTH: usize = 256;

/// Two lists of patterns in canonical form: sorted, without duplicates, `\` as `/`, and a trailing `/` as `/*`. Two
/// values are equal exactly if their lists are, so the serialised form may be hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Patterns {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

/// An invalid pattern, identified by its list and position. Its text is not repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// It is empty.
    #[error("an empty pattern matches nothing: remove it")]
    Empty,
    /// It is too long.
    #[error("pattern {1} of {0} is longer than 256 characters")]
    TooLong(&'static str, usize),
    /// It has characters that no file name can have.
    #[error("pattern {1} of {0} has control characters")]
    Control(&'static str, usize),
    /// There are too many patterns.
    #[error("{0} patterns are too many: at most 64 in each of include and exclude")]
    TooMany(usize),
}

impl InvalidPattern {
    /// The published reason code.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        Reason::InvalidPattern
    }
}

impl Patterns {
    /// Parses two lists as written by a user.
    pub fn parse<I, E>(include: I, exclude: E) -> Result<Self, InvalidPattern>
    where
        I: IntoIterator<Item: AsRef<str>>,
        E: IntoIterator<Item: AsRef<str>>,
    {
        Ok(Self { include: canonical("include", include)?, exclude: canonical("exclude", exclude)? })
    }

    /// Whether every file is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// The patterns of wanted files; none means all.
    pub fn include(&self) -> impl ExactSizeIterator<Item = &str> {
        self.include.iter().map(Pattern::as_str)
    }

    /// The patterns of unwanted files.
    pub fn exclude(&self) -> impl ExactSizeIterator<Item = &str> {
        self.exclude.iter().map(Pattern::as_str)
    }

    /// Whether a file is wanted. `path` is as the Hub sent it, possibly unsafe on a volume.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let name: Vec<char> = path.chars().collect();
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(&name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

fn canonical(
    list: &'static str,
    given: impl IntoIterator<Item: AsRef<str>>,
) -> Result<Vec<Pattern>, InvalidPattern> {
    let mut texts = BTreeSet::new();
    let mut count = 0;
    for text in given {
        count += 1;
        let text = text.as_ref();
        if text.is_empty() {
            return Err(InvalidPattern::Empty);
        }
        if text.chars().count() > MAX_LENGTH {
            return Err(InvalidPattern::TooLong(list, count));
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidPattern::Control(list, count));
        }
        let text = text.replace('\\', "/");
        let all_below = if text.ends_with('/') { "*" } else { "" };
        texts.insert(format!("{text}{all_below}"));
    }
    if count > MAX_PATTERNS {
        return Err(InvalidPattern::TooMany(count));
    }
    Ok(texts.into_iter().map(Pattern::new).collect())
}

/// One parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    /// `*`: any number of any characters.
    Many,
    /// `?`: any one character.
    One,
    /// A literal character.
    Exactly(char),
    /// `[…]` or `[!…]`: one of, or none of, some ranges.
    Set { negated: bool, ranges: Vec<(char, char)> },
}

impl Part {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Many | Self::One => true,
            Self::Exactly(own) => *own == c,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl Pattern {
    fn new(text: String) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(&c) = chars.get(at) {
            at += 1;
            match c {
                '*' if parts.last() == Some(&Part::Many) => {}
                '*' => parts.push(Part::Many),
                '?' => parts.push(Part::One),
                '[' => match set(&chars[at..]) {
                    Some((part, length)) => {
                        parts.push(part);
                        at += length;
                    }
                    // Never closed: a literal.
                    None => parts.push(Part::Exactly('[')),
                },
                other => parts.push(Part::Exactly(other)),
            }
        }
        Self { text, parts }
    }

    fn as_str(&self) -> &str {
        &self.text
    }

    /// Backtracks only to the last `*`, so the time is bounded by pattern length times name length.
    fn matches(&self, name: &[char]) -> bool {
        let (mut part, mut at) = (0, 0);
        // Where to resume if what follows the last `*` does not match: after it, one character further on.
        let mut last: Option<(usize, usize)> = None;
        while at < name.len() {
            match self.parts.get(part) {
                Some(Part::Many) => {
                    last = Some((part + 1, at));
                    part += 1;
                }
                Some(one) if one.takes(name[at]) => {
                    part += 1;
                    at += 1;
                }
                _ => {
                    let Some((after, from)) = last else { return false };
                    last = Some((after, from + 1));
                    (part, at) = (after, from + 1);
                }
            }
        }
        self.parts[part..].iter().all(|rest| *rest == Part::Many)
    }
}

/// Parses a set after its `[`, as `fnmatch.translate` does: the set, and its length in characters. A leading `]` is a
/// member; a range whose end precedes its start is empty.
fn set(chars: &[char]) -> Option<(Part, usize)> {
    let negated = chars.first() == Some(&'!');
    let start = usize::from(negated);
    let end = start + 1 + chars.get(start + 1..)?.iter().position(|c| *c == ']')?;
    let mut members = &chars[start..end];
    let mut ranges = Vec::new();
    while let [low, rest @ ..] = members {
        if let ['-', high, rest @ ..] = rest {
            ranges.push((*low, *high));
            members = rest;
        } else {
            ranges.push((*low, *low));
            members = rest;
        }
    }
    Some((Part::Set { negated, ranges }, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern.to_owned()).matches(&name.chars().collect::<Vec<_>>())
    }

    #[test]
    fn a_pattern_matches_as_in_python() {
        // Each answer is that of `fnmatch.fnmatchcase` of Python 3.12.
        for (pattern, name, expected) in [
            ("*.json", "config.json", true),
            ("*.json", "a/b/config.json", true),
            ("*.JSON", "config.json", false),
            ("a?c", "a/c", true),
            ("a?c", "ac", false),
            ("original/*", "original/x/y", true),
            ("original/*", "original", false),
            ("**/x", "a/x", true),
            ("**/x", "x", false),
            ("[abc].txt", "b.txt", true),
            ("[!abc].txt", "b.txt", false),
            ("[!abc].txt", "d.txt", true),
            ("[a-c]", "b", true),
            ("[a-c-e]", "d", false),
            ("[a-c-e]", "-", true),
            ("[c-a]", "b", false),
            ("[!c-a]", "b", true),
            ("[a-]", "-", true),
            ("[-a]", "-", true),
            ("[--0]", ".", true),
            ("[]]", "]", true),
            ("[!]]", "]", false),
            ("[!]]", "x", true),
            ("[]", "[]", true),
            ("[!]", "[!]", true),
            ("[", "[", true),
            ("a[b", "a[b", true),
            ("[^a]", "a", true),
            ("[^a]", "b", false),
            ("[\\]", "\\", true),
            ("model-0000[1-3]*", "model-00002-of-00009.safetensors", true),
            ("ü?", "üö", true),
            ("{a,b}", "a", false),
            ("*a*b*c", "xaybzc", true),
            ("*a*b*c", "xaybz", false),
            ("", "", true),
        ] {
            assert_eq!(one(pattern, name), expected, "{pattern:?} on {name:?}");
        }
    }

    #[test]
    fn matching_time_is_bounded() {
        let name = "a".repeat(2000);
        assert!(!one(&format!("{}b", "*a".repeat(120)), &name));
    }

    #[test]
    fn include_and_exclude_work_together() {
        let patterns = Patterns::parse(["*.safetensors", "sub/"], ["original/*"]).unwrap();
        assert!(patterns.matches("model.safetensors"));
        assert!(patterns.matches("sub/anything.txt"));
        assert!(!patterns.matches("original/model.safetensors"));
        assert!(!patterns.matches("config.json"));
        assert!(Patterns::default().matches("config.json"));
        let only_exclude = Patterns::parse([""; 0], ["*.bin"]).unwrap();
        assert!(only_exclude.matches("a") && !only_exclude.matches("a.bin"));
    }

    #[test]
    fn lists_are_canonical() {
        let a = Patterns::parse(["b", "a", "b", "c\\"], ["z"]).unwrap();
        let b = Patterns::parse(["c/*", "a", "b"], ["z", "z"]).unwrap();
        assert_eq!(a, b);
        assert_eq!(serde_json::to_string(&a).unwrap(), r#"{"include":["a","b","c/*"],"exclude":["z"]}"#);
    }

    #[test]
    fn invalid_patterns_are_rejected() {
        let none = [""; 0];
        assert_eq!(Patterns::parse([""], none), Err(InvalidPattern::Empty));
        assert!(matches!(
            Patterns::parse(["x".repeat(257)], none),
            Err(InvalidPattern::TooLong("include", 1))
        ));
        assert!(Patterns::parse(["x".repeat(256)], none).is_ok());
        assert!(matches!(Patterns::parse(none, ["a\nb"]), Err(InvalidPattern::Control("exclude", 1))));
        assert_eq!(Patterns::parse(vec!["x"; 65], none), Err(InvalidPattern::TooMany(65)));
    }
}
