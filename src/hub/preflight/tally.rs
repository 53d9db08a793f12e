//! What a listing comes to while it passes by: how much is wanted, an example of what there is, and a file that proves access.
//! Pure.

use crate::{hub::RepoFile, text::printable};

/// The Hub gives these without access (recorded 2026-10; letter case counts).
const OPEN_FILES: [&str; 4] = ["README.md", "LICENSE", "LICENSE.md", "LICENSE.txt"];

/// The names of a listing, one after the other.
#[derive(Default)]
pub(super) struct Names {
    /// How many there are.
    pub listed: usize,
    /// The first in their order, made printable: what is not wanted may have any name.
    pub examples: Vec<String>,
}

impl Names {
    /// So many examples help a person to correct a pattern.
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

/// The wanted files, one after the other.
#[derive(Default)]
pub(super) struct Wanted {
    pub count: usize,
    pub bytes: u64,
    /// The file to ask for.
    pub proof: Option<Proof>,
}

/// A file that proves access by being served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    file: RepoFile,
    rank: Rank,
}

/// The lowest is the best proof: a file that nobody gets without access, that comes from the storage as the large ones do, and
/// small.
type Rank = (bool, bool, u64);

impl Proof {
    pub(super) const fn file(&self) -> &RepoFile {
        &self.file
    }

    /// Whether everybody gets it, so that it proves nothing about who asks.
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
