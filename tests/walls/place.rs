//! Every place of a cache that the program reads, writes, lists or removes.

use std::path::PathBuf;

use crate::{base::Bases, site::Site};

/// A place in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Tag,
    Locks,
    RepoLocks,
    ContentLock,
    TurnLock,
    Store,
    StoreFolder,
    StoreFile,
    Repo,
    OtherRepo,
    Blobs,
    Blob,
    SmallBlob,
    UnknownBlob,
    Incomplete,
    Sidecar,
    TemporaryBlob,
    Snapshots,
    Snapshot,
    LostSnapshot,
    Folder,
    Subfolder,
    Entry,
    DeepEntry,
    Refs,
    Ref,
    OtherRef,
    RefFolder,
    NestedRef,
    Trees,
    Tree,
    Own,
    Record,
    OtherRecord,
    MovingLock,
    Temporary,
    Aside,
    Xet,
    Absent,
    AbsentCommit,
}

impl Place {
    pub const ALL: [Self; 40] = [
        Self::Tag,
        Self::Locks,
        Self::RepoLocks,
        Self::ContentLock,
        Self::TurnLock,
        Self::Store,
        Self::StoreFolder,
        Self::StoreFile,
        Self::Repo,
        Self::OtherRepo,
        Self::Blobs,
        Self::Blob,
        Self::SmallBlob,
        Self::UnknownBlob,
        Self::Incomplete,
        Self::Sidecar,
        Self::TemporaryBlob,
        Self::Snapshots,
        Self::Snapshot,
        Self::LostSnapshot,
        Self::Folder,
        Self::Subfolder,
        Self::Entry,
        Self::DeepEntry,
        Self::Refs,
        Self::Ref,
        Self::OtherRef,
        Self::RefFolder,
        Self::NestedRef,
        Self::Trees,
        Self::Tree,
        Self::Own,
        Self::Record,
        Self::OtherRecord,
        Self::MovingLock,
        Self::Temporary,
        Self::Aside,
        Self::Xet,
        Self::Absent,
        Self::AbsentCommit,
    ];

    /// Whether a folder belongs there.
    pub fn is_folder(self) -> bool {
        matches!(
            self,
            Self::Locks
                | Self::RepoLocks
                | Self::Store
                | Self::StoreFolder
                | Self::Repo
                | Self::OtherRepo
                | Self::Blobs
                | Self::Snapshots
                | Self::Snapshot
                | Self::LostSnapshot
                | Self::Folder
                | Self::Subfolder
                | Self::Refs
                | Self::RefFolder
                | Self::Trees
                | Self::Own
                | Self::Aside
                | Self::Xet
                | Self::Absent
                | Self::AbsentCommit
        )
    }

    /// Whether the bytes there are those of a file of a repo.
    pub fn is_content(self) -> bool {
        matches!(self, Self::StoreFile | Self::Blob | Self::SmallBlob | Self::Entry | Self::DeepEntry)
    }

    /// Where it is.
    pub fn path(self, bases: &Bases, site: &Site) -> PathBuf {
        let (cache, model) = (site.cache(), site.model());
        let commit = bases.commit();
        let (first, lost) = (&bases.commits[0], "0".repeat(40));
        let (weights, vocab) = (bases.etag("model.safetensors"), bases.etag("sub/deep/vocab.txt"));
        let locks = cache.join(".locks/models--acme--tiny");
        let (own, blobs) = (model.join(".modelcache"), model.join("blobs"));
        let snapshot = model.join("snapshots").join(commit);
        match self {
            Self::Tag => cache.join("CACHEDIR.TAG"),
            Self::Locks => cache.join(".locks"),
            Self::RepoLocks => locks,
            Self::ContentLock => locks.join(format!("{weights}.lock")),
            Self::TurnLock => locks.join(format!("{commit}-{}.lock", bases.selection)),
            Self::Store => cache.join("blobs"),
            Self::StoreFolder => cache.join("blobs/ab"),
            Self::StoreFile => cache.join("blobs/ab").join("ab".repeat(32)),
            Self::Repo => model,
            Self::OtherRepo => cache.join("datasets--acme--tiny"),
            Self::Blobs => blobs,
            Self::Blob => blobs.join(weights),
            Self::SmallBlob => blobs.join(vocab),
            Self::UnknownBlob => blobs.join("cd".repeat(32)),
            Self::Incomplete => blobs.join(format!("{weights}.0badcafe.incomplete")),
            Self::Sidecar => own.join(format!("{weights}.0badcafe.parts")),
            Self::TemporaryBlob => blobs.join("0badcafe.tmp"),
            Self::Snapshots => model.join("snapshots"),
            Self::Snapshot => snapshot,
            Self::LostSnapshot => model.join("snapshots").join(lost),
            Self::Folder => snapshot.join("sub"),
            Self::Subfolder => snapshot.join("sub/deep"),
            Self::Entry => snapshot.join("model.safetensors"),
            Self::DeepEntry => snapshot.join("sub/deep/vocab.txt"),
            Self::Refs => model.join("refs"),
            Self::Ref => model.join("refs/main"),
            Self::OtherRef => model.join("refs/other"),
            Self::RefFolder => model.join("refs/refs/pr"),
            Self::NestedRef => model.join("refs/refs/pr/1"),
            Self::Trees => model.join("trees"),
            Self::Tree => model.join("trees").join(format!("{commit}.json")),
            Self::Own => own,
            Self::Record => own.join(format!("{commit}-{}.json", bases.selection)),
            Self::OtherRecord => own.join(format!("{first}-{}.json", bases.selection)),
            Self::MovingLock => own.join("moving.lock"),
            Self::Temporary => own.join("0badcafe.tmp"),
            Self::Aside => own.join("0badcafe.snapshot"),
            Self::Xet => own.join("xet"),
            Self::Absent => model.join(".no_exist"),
            Self::AbsentCommit => model.join(".no_exist").join(first),
        }
    }
}
