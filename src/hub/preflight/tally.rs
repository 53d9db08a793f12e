//! Summarizes a listing as it streams by: the wanted files and bytes, example names, and a file that proves access. Pure.

use crate::{hub::RepoFile, text::printable};

/// Files that the Hub serves without access (recorded 2026-10; case-sensitive).
const OPEN_FILES: [&str; 4] = ["README.md", "LICENSE", "LICENSE.md", "LICENSE.txt"];

/// Counts the names of a listing and collects examples.
#[derive(Default)]
pub(super) struct Names {
    /// The number of names.
    pub listed: usize,
    /// The first names in sort order, made printable: unwanted files may have any name.
    pub examples: Vec<String>,
}

impl Names {
    /// Enough examples for a user to correct a pattern.
    const EXAMPLES: usize = 3;

    pub(super) fn add(&mut self, path: &str) {
        self.listed += 1;
        let at = self.examples.partition_point(|example| example.as_str() < path);
        if at < Self::EXAMPLES {
            self.examples.insert(at, printable(path));
            self.examples.truncate(Self::EXAMPLES);
        }
    }
}

/// Sums up the wanted files.
#[derive(Default)]
pub(super) struct Wanted {
    pub count: usize,
    pub bytes: u64,
    /// The best proof of access so far.
    pub proof: Option<Proof>,
}

/// A file that proves access if it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    file: RepoFile,
    rank: Rank,
}

/// The lowest rank is the best proof: a file that requires access, is served by the storage as large ones are, and is small.
type Rank = (bool, bool, u64);

impl Proof {
    pub(super) const fn file(&self) -> &RepoFile {
        &self.file
    }

    /// Whether it is public, so that it proves nothing about the caller.
    pub(super) const fn is_open(&self) -> bool {
        self.rank.0
    }
}

impl Wanted {
    pub(super) fn add(&mut self, file: &RepoFile) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(file.size);
        let rank = (OPEN_FILES.contains(&file.path.as_str()), file.pointer.is_none(), file.size);
        if self.proof.as_ref().is_none_or(|best| rank < best.rank) {
            self.proof = Some(Proof { file: file.clone(), rank });
        }
    }
}
