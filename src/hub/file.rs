//! A file of a repo as the Hub lists it: a path that is safe to write, a size, and a hash.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::NameError;
use crate::text::{is_unseen, printable};

/// A path in a repo that is safe below a snapshot folder: relative, without `..` and control characters, and within the
/// limits of file systems (255 bytes per component, 4,096 in total including the cache's own folders).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RepoPath(String);

impl RepoPath {
    /// The path, with `/` as separator.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number of its parent folders.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.matches('/').count()
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepoPath {
    type Err = NameError;

    fn from_str(path: &str) -> Result<Self, NameError> {
        let refuse = |why| Err(NameError::Path { path: printable(path), why, pattern: pattern_of(path) });
        if path.is_empty() || path.len() > 2048 {
            return refuse("it must have 1 to 2,048 bytes");
        }
        if path.starts_with('/') {
            return refuse("it is absolute");
        }
        if path.chars().any(char::is_control) {
            return refuse("it has control characters");
        }
        if path.contains('\\') {
            return refuse("it has a backslash");
        }
        for part in path.split('/') {
            if matches!(part, "" | "." | "..") {
                return refuse("a part of it is empty, `.` or `..`");
            }
            if part.len() > 255 {
                return refuse("a part of it is longer than 255 bytes");
            }
        }
        Ok(Self(path.to_owned()))
    }
}

/// A pattern that matches this path, so that a user can exclude the file. Characters that cannot be typed, or are special
/// in a pattern, become `?`.
fn pattern_of(path: &str) -> String {
    /// Long enough to be distinctive.
    const LENGTH: usize = 100;
    let plain =
        |c: char| if is_unseen(c) || matches!(c, '\\' | '*' | '?' | '[' | ']' | '`') { '?' } else { c };
    let mut pattern: String = path.chars().take(LENGTH).map(plain).collect();
    // A trailing `/` would match everything below.
    if path.chars().nth(LENGTH).is_some() || path.ends_with('/') || path.is_empty() {
        pattern.push('*');
    }
    pattern
}

impl<'de> Deserialize<'de> for RepoPath {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The hash of a file, which is also the name of its blob in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// SHA-256 of the content: files in LFS or Xet.
    Sha256([u8; 32]),
    /// SHA-1 of git's blob header and the content: all other files.
    GitSha1([u8; 20]),
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = match self {
            Self::Sha256(bytes) => bytes,
            Self::GitSha1(bytes) => bytes,
        };
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = NameError;

    /// From hexadecimal digits: 64 are a SHA-256, 40 a git SHA-1. A masked hash (64 `*`) is neither.
    fn from_str(hex: &str) -> Result<Self, NameError> {
        let refuse = || NameError::Digest { digest: printable(hex) };
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(refuse());
        }
        let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap_or_default();
        match hex.len() {
            64 => Ok(Self::Sha256(std::array::from_fn(byte))),
            40 => Ok(Self::GitSha1(std::array::from_fn(byte))),
            _ => Err(refuse()),
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One file of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoFile {
    /// Its path in the repo.
    pub path: RepoPath,
    /// Its size in bytes.
    pub size: u64,
    /// Its hash.
    pub digest: Digest,
    /// The ID of the LFS pointer's git object, if it differs from `digest`. Needed for listings in the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The Xet hash, for files that the Hub stores in Xet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xet_hash: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hub::Patterns, text::line};

    #[test]
    fn paths_are_safe_below_a_snapshot() {
        for good in ["config.json", "a/b/c.bin", "weird name (1).txt", "ünï/…", ".gitattributes", "a/..b"]
        {
            assert_eq!(good.parse::<RepoPath>().unwrap().as_str(), good);
        }
        for bad in
            ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "a\0b", "a\nb", "a\\..\\b", "\u{85}"]
        {
            assert!(bad.parse::<RepoPath>().is_err(), "{bad:?} was taken");
        }
        assert!("x".repeat(256).parse::<RepoPath>().is_err());
        assert!(vec!["x"; 1100].join("/").parse::<RepoPath>().is_err());
        assert!("é".repeat(128).parse::<RepoPath>().is_err(), "the limit counts bytes");
    }

    #[test]
    fn unsafe_paths_can_be_excluded() {
        for path in ["", "Icon\r", "a\\b", "a/", "/[x]*?`\u{202e}\n", &"ü".repeat(200), &"x/".repeat(2000)] {
            let Err(NameError::Path { pattern, .. }) = path.parse::<RepoPath>() else { panic!("{path:?}") };
            let without = Patterns::parse([""; 0], [&pattern]).unwrap();
            assert!(!without.matches(path), "{pattern} does not match {path:?}");
            assert_eq!(line(&pattern, usize::MAX), pattern);
        }
    }

    #[test]
    fn digests_round_trip_and_masks_are_rejected() {
        for hex in ["ab".repeat(32), "0f".repeat(20)] {
            assert_eq!(hex.parse::<Digest>().unwrap().to_string(), hex);
        }
        for bad in ["*".repeat(64), "AB".repeat(32), "ab".repeat(31), String::new()] {
            assert!(bad.parse::<Digest>().is_err(), "{bad:?} was taken");
        }
    }
}
