//! A file of a commit: in git itself, or in LFS with a pointer in git.

use std::{collections::BTreeMap, fs, io, path::Path};

use crate::content::Content;

/// Files with these extensions are in LFS at any size, as in the `.gitattributes` that the Hub creates.
const LFS_ENDINGS: [&str; 11] = [
    ".safetensors",
    ".bin",
    ".gguf",
    ".pt",
    ".pth",
    ".onnx",
    ".h5",
    ".msgpack",
    ".parquet",
    ".npz",
    ".model",
];

/// A file of a commit.
#[derive(Clone, Debug)]
pub struct File {
    /// Its content.
    pub content: Content,
    /// The git object: of the content itself, or of the pointer to it.
    pub git_oid: String,
    /// The LFS object, if it is in LFS.
    pub lfs: Option<Lfs>,
    /// The hash in the Xet store, if it is there.
    pub xet_hash: Option<String>,
}

/// The LFS object of a file.
#[derive(Clone, Debug)]
pub struct Lfs {
    /// SHA-256 of the content.
    pub sha256: String,
    /// Size of the pointer file in git.
    pub pointer_size: usize,
}

impl File {
    pub(crate) fn new(content: Content, lfs: bool) -> io::Result<Self> {
        if !lfs {
            let git_oid = content.git_sha1()?.to_owned();
            return Ok(Self { content, git_oid, lfs: None, xet_hash: None });
        }
        let sha256 = content.sha256()?.to_owned();
        let pointer = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {}\n",
            content.size()
        );
        let lfs = Some(Lfs { sha256, pointer_size: pointer.len() });
        let git_oid = Content::from(pointer).git_sha1()?.to_owned();
        Ok(Self { content, git_oid, lfs, xet_hash: None })
    }

    /// The name of its blob in a cache.
    #[must_use]
    pub fn etag(&self) -> &str {
        self.lfs.as_ref().map_or(&self.git_oid, |lfs| &lfs.sha256)
    }
}

/// The files of a commit by path.
pub type Tree = BTreeMap<String, File>;

/// Whether a file of this name is in LFS at any size.
pub(crate) fn ends_as_lfs(path: &str) -> bool {
    LFS_ENDINGS.iter().any(|ending| path.ends_with(ending))
}

/// All files of a folder on disk, with their paths in it.
pub(crate) fn files_below(folder: &Path) -> io::Result<Vec<(String, Content)>> {
    let mut found = Vec::new();
    let mut waiting = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = waiting.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                waiting.push((entry.path(), format!("{path}/")));
            } else {
                found.push((path, Content::disk(entry.path())?));
            }
        }
    }
    Ok(found)
}
