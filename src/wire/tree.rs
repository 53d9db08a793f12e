//! The entries of `GET /api/{models,datasets,spaces}/ID/tree/COMMIT/FOLDER`: one list a page.

use serde::{Deserialize, Serialize};

/// A file or a folder, as `RepoFile` and `RepoFolder` of `huggingface_hub` read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TreeEntry {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntryKind,
    /// Where it is, from the root of the repo.
    pub path: String,
    /// How long it is; folders have 0.
    #[serde(default)]
    pub size: u64,
    /// The git hash, of a file in LFS that of its pointer.
    pub oid: String,
    /// A file whose content is in LFS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lfs: Option<Lfs>,
    /// The hash of a file that is in Xet too. 64 `*` to who may not read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xet_hash: Option<String>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A file.
    File,
    /// A folder.
    Directory,
    /// What nobody knows yet.
    #[serde(other)]
    Other,
}

/// The content of a file in LFS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lfs {
    /// Its SHA-256; some servers write `sha256:` before it. 64 `*` to who may not read it.
    pub oid: String,
    /// How long it is.
    pub size: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, to_string};

    use super::*;

    #[test]
    fn entries_are_read_as_they_are_written() {
        let file =
            r#"{"type":"file","path":"a/b","size":9,"oid":"0f","lfs":{"oid":"ab","size":9},"xetHash":"cd"}"#;
        let folder = r#"{"type":"directory","path":"a","size":0,"oid":"0f"}"#;
        for json in [file, folder] {
            assert_eq!(to_string(&from_str::<TreeEntry>(json).unwrap()).unwrap(), json);
        }
        let odd = r#"{"type":"submodule","path":"a","oid":"0f","lfs":null,"xetHash":null,"other":{}}"#;
        let read: TreeEntry = from_str(odd).unwrap();
        assert_eq!((read.kind, read.size, read.lfs, read.xet_hash), (EntryKind::Other, 0, None, None));
    }
}
