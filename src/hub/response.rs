//! Parses the Hub's JSON responses without trusting them. Pure.

use std::fmt;

use modelcache_wire::{EntryKind, Gated, RepoInfo, TreeEntry, WhoAmI};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor},
};

use super::{Commit, Digest, NameError, Refusal, RepoFile, RepoId, RepoPath, error::HubError};

const HTML: &str = "it is an HTML page; something in between, such as a proxy, answered instead of the Hub";

/// Who a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account's name.
    pub name: String,
    /// For a fine-grained token: whether it may read gated repos at all. Other tokens have the rights of their account.
    pub can_read_gated: Option<bool>,
}

/// What a revision resolves to. Public even on gated repos: it proves nothing about access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionInfo {
    /// The repo's canonical ID, if the response has it. Differs from the requested one in case, or if the repo was renamed.
    pub repo: Option<RepoId>,
    /// The commit.
    pub commit: Commit,
    /// Whether only some accounts see the repo.
    pub private: bool,
    /// Whether its authors require terms to be accepted.
    pub gated: bool,
    /// Whether the Hub has disabled it.
    pub disabled: bool,
    /// The number of files of the commit, if the response has it.
    pub files: Option<usize>,
}

impl RevisionInfo {
    /// The number of files of this commit, if known.
    #[must_use]
    pub fn files_of(&self, commit: &Commit) -> Option<usize> {
        self.files.filter(|_| self.commit == *commit)
    }
}

/// Why a response is unusable.
#[derive(Debug)]
pub(super) enum InvalidResponse {
    /// It violates the protocol.
    Wrong(String),
    /// It contains a name that must not be used.
    Name(NameError),
    /// Its hashes are masked: the caller has no access.
    Masked,
}

impl From<NameError> for InvalidResponse {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

impl InvalidResponse {
    /// Converts it into the error of a call to `host`.
    pub(super) fn at(self, host: String, token_sent: bool) -> HubError {
        match self {
            Self::Wrong(what) => HubError::BadAnswer { host, what },
            Self::Name(error) => HubError::Name(error),
            Self::Masked => HubError::Refused(Refusal::masked(token_sent)),
        }
    }
}

/// Validates the response of the access check. Only its status counts, except that a proxy's login page has the same one.
pub(super) fn access(body: &[u8]) -> Result<(), InvalidResponse> {
    if is_html(body) { Err(InvalidResponse::Wrong(HTML.to_owned())) } else { Ok(()) }
}

pub(super) fn identity(body: &[u8]) -> Result<Identity, InvalidResponse> {
    let WhoAmI { name, auth } = json(body)?;
    let name = name.ok_or_else(|| InvalidResponse::Wrong("whoami-v2 names no account".to_owned()))?;
    let permissions = auth.and_then(|auth| auth.access_token?.fine_grained);
    Ok(Identity { name, can_read_gated: permissions.and_then(|may| may.can_read_gated_repos) })
}

pub(super) fn revision(body: &[u8]) -> Result<RevisionInfo, InvalidResponse> {
    let info: RepoInfo<Count> = json(body)?;
    Ok(RevisionInfo {
        repo: info.id.and_then(|id| id.parse().ok()),
        commit: info.sha.parse().map_err(|error: NameError| InvalidResponse::Wrong(error.to_string()))?,
        private: info.private,
        gated: info.gated != Gated::No,
        disabled: info.disabled.unwrap_or_default(),
        // An empty list from a mirror does not mean that there are no files.
        files: info.siblings.map(|Count(files)| files).filter(|files| *files > 0),
    })
}

/// The length of a list. It is only counted, as it may be very long.
struct Count(usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(list: D) -> Result<Self, D::Error> {
        struct Counter;
        impl<'de> Visitor<'de> for Counter {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Count, A::Error> {
                let mut length = 0;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    length += 1;
                }
                Ok(Count(length))
            }
        }
        list.deserialize_seq(Counter)
    }
}

/// The file of a listing entry, if its path is valid on a volume.
pub(super) fn file(entry: TreeEntry) -> Result<RepoFile, InvalidResponse> {
    let TreeEntry { path, size, oid, lfs, xet_hash, .. } = entry;
    let path: RepoPath = path.parse()?;
    let unusable = |hash: &str| {
        InvalidResponse::Wrong(format!("the hash of {path} is not one: {}", crate::text::printable(hash)))
    };
    let git: Digest = oid.parse().map_err(|_| unusable(&oid))?;
    let Some(lfs) = lfs else {
        if !matches!(git, Digest::GitSha1(_)) {
            return Err(unusable(&oid));
        }
        return Ok(RepoFile { path, size, digest: git, pointer: None, xet_hash });
    };
    // Some servers prefix it with `sha256:`, as LFS pointers do.
    let digest = lfs.oid.strip_prefix("sha256:").unwrap_or(&lfs.oid);
    let digest: Digest = digest.parse().map_err(|_| unusable(&lfs.oid))?;
    if !matches!(digest, Digest::Sha256(_)) {
        return Err(unusable(&lfs.oid));
    }
    Ok(RepoFile { path, size: lfs.size, digest, pointer: Some(oid), xet_hash })
}

fn is_masked(entry: &TreeEntry) -> bool {
    let masked = |hash: &str| hash.contains('*');
    entry.lfs.as_ref().is_some_and(|lfs| masked(&lfs.oid)) || entry.xet_hash.as_deref().is_some_and(masked)
}

/// The counts of a listing page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PageSize {
    pub(super) entries: usize,
    /// Entries other than folders.
    pub(super) files: usize,
    /// Files inside a folder.
    pub(super) in_folders: usize,
}

impl PageSize {
    /// The sum of both.
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            files: self.files + other.files,
            in_folders: self.in_folders + other.in_folders,
        }
    }
}

/// Calls `see` with each file of a listing page as it is parsed, skipping folders.
pub(super) fn tree_page(
    body: &[u8],
    see: &mut (dyn FnMut(TreeEntry) -> Result<(), InvalidResponse> + Send),
) -> Result<PageSize, InvalidResponse> {
    let mut page = Page { see, size: PageSize::default(), refused: None };
    let mut parser = serde_json::Deserializer::from_slice(body);
    let parsed = parser.deserialize_seq(&mut page).and_then(|()| parser.end());
    match (page.refused, parsed) {
        (Some(refused), _) => Err(refused),
        (None, Err(error)) => Err(not_json(body, &error)),
        (None, Ok(())) => Ok(page.size),
    }
}

struct Page<'a> {
    see: &'a mut (dyn FnMut(TreeEntry) -> Result<(), InvalidResponse> + Send),
    size: PageSize,
    refused: Option<InvalidResponse>,
}

impl<'de> Visitor<'de> for &mut Page<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of files")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element::<TreeEntry>()? {
            self.size.entries += 1;
            let is_file = entry.kind != EntryKind::Directory;
            self.size.files += usize::from(is_file);
            self.size.in_folders += usize::from(is_file && entry.path.contains('/'));
            if entry.kind != EntryKind::File {
                continue;
            }
            let seen = if is_masked(&entry) { Err(InvalidResponse::Masked) } else { (self.see)(entry) };
            if let Err(refused) = seen {
                self.refused = Some(refused);
                return Err(serde::de::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

/// Parses a JSON response. Errors never repeat its content.
pub(super) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, InvalidResponse> {
    serde_json::from_slice(body).map_err(|error| not_json(body, &error))
}

fn not_json(body: &[u8], error: &serde_json::Error) -> InvalidResponse {
    InvalidResponse::Wrong(if is_html(body) {
        HTML.to_owned()
    } else {
        // Position and kind, but never the content.
        format!(
            "it is not the expected JSON ({:?} at line {}, column {})",
            error.classify(),
            error.line(),
            error.column()
        )
    })
}

/// Usually the login page of a proxy or a portal.
fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA1: &str = "0123456789abcdef0123456789abcdef01234567";

    fn wrong(result: Result<impl std::fmt::Debug, InvalidResponse>) -> String {
        match result.unwrap_err() {
            InvalidResponse::Wrong(what) => what,
            other => panic!("{other:?}"),
        }
    }

    fn tree_page(body: &[u8]) -> Result<Vec<RepoFile>, InvalidResponse> {
        let mut files = Vec::new();
        super::tree_page(body, &mut |entry| {
            files.push(file(entry)?);
            Ok(())
        })?;
        Ok(files)
    }

    #[test]
    fn every_form_of_gated_is_parsed() {
        for (gated, expected) in
            [("false", false), ("null", false), ("\"auto\"", true), ("\"manual\"", true), ("true", true)]
        {
            let body = format!(r#"{{"sha":"{SHA1}","gated":{gated},"private":false,"other":1}}"#);
            assert_eq!(revision(body.as_bytes()).unwrap().gated, expected, "{gated}");
        }
        let bare = revision(format!(r#"{{"sha":"{SHA1}"}}"#).as_bytes()).unwrap();
        assert!(!bare.gated && !bare.private && !bare.disabled);
        assert!(wrong(revision(br#"{"sha":"main"}"#)).contains("not a commit"));
    }

    #[test]
    fn a_valid_repo_name_is_returned() {
        for (id, expected) in [
            (r#""id":"Acme/tiny""#, Some("Acme/tiny")),
            (r#""id":"models/acme/tiny""#, None),
            (r#""id":"../x""#, None),
            (r#""id":7"#, None),
            (r#""other":1"#, None),
        ] {
            let info = revision(format!(r#"{{"sha":"{SHA1}",{id}}}"#).as_bytes()).unwrap();
            assert_eq!(info.repo.as_ref().map(RepoId::as_str), expected, "{id}");
        }
    }

    #[test]
    fn the_files_of_a_commit_are_counted_if_listed() {
        for (siblings, expected) in [
            (r#""siblings":[{"rfilename":"a"},{"rfilename":"b","size":{"x":[1]}}]"#, Some(2)),
            (r#""siblings":[]"#, None),
            (r#""siblings":null"#, None),
            (r#""other":1"#, None),
        ] {
            let info = revision(format!(r#"{{"sha":"{SHA1}",{siblings}}}"#).as_bytes()).unwrap();
            assert_eq!(info.files_of(&SHA1.parse().unwrap()), expected, "{siblings}");
            assert_eq!(info.files_of(&"f".repeat(40).parse().unwrap()), None);
        }
    }

    #[test]
    fn listings_yield_the_right_hash() {
        let sha256 = "ab".repeat(32);
        let body = format!(
            r#"[{{"type":"directory","path":"d","size":0,"oid":"{SHA1}"}},
                {{"type":"file","path":"a.txt","size":3,"oid":"{SHA1}"}},
                {{"type":"file","path":"d/m.bin","size":9,"oid":"{SHA1}","xetHash":"x",
                  "lfs":{{"oid":"{sha256}","size":9,"pointerSize":130}}}}]"#
        );
        let files = tree_page(body.as_bytes()).unwrap();
        assert_eq!(files.len(), 2);
        assert_eq!(files[0].digest.to_string(), SHA1);
        assert_eq!(files[1].digest.to_string(), sha256);
        assert_eq!(files[1].pointer.as_deref(), Some(SHA1));
        assert_eq!(files[1].xet_hash.as_deref(), Some("x"));
    }

    #[test]
    fn masked_and_unsafe_listings_are_rejected() {
        let entry = |path: &str, more: &str| {
            format!(r#"[{{"type":"file","path":"{path}","size":1,"oid":"{SHA1}"{more}}}]"#)
        };
        let stars = "*".repeat(64);
        let masked = entry("m.bin", &format!(r#","lfs":{{"oid":"{stars}","size":1}}"#));
        assert!(matches!(tree_page(masked.as_bytes()), Err(InvalidResponse::Masked)));
        let masked = entry("m.bin", &format!(r#","xetHash":"{stars}""#));
        assert!(matches!(tree_page(masked.as_bytes()), Err(InvalidResponse::Masked)));
        assert!(matches!(tree_page(entry("../m", "").as_bytes()), Err(InvalidResponse::Name(_))));
        let short = entry("m", r#","lfs":{"oid":"0123456789abcdef0123456789abcdef01234567","size":1}"#);
        assert!(wrong(tree_page(short.as_bytes())).contains("hash of m"));
    }

    #[test]
    fn anything_but_json_is_named() {
        assert!(wrong(revision(b" <!DOCTYPE html>")).contains("HTML"));
        let truncated = wrong(revision(br#"{"sha":"secret"#));
        assert!(truncated.contains("Eof") && !truncated.contains("secret"), "{truncated}");
        assert!(wrong(identity(b"{}")).contains("names no account"));
    }

    #[test]
    fn identities_include_access_to_gated_repos() {
        let body =
            br#"{"type":"user","name":"ann","email":"x","auth":{"accessToken":{"role":"fineGrained","fineGrained":{"canReadGatedRepos":false}}}}"#;
        assert_eq!(identity(body).unwrap(), Identity { name: "ann".into(), can_read_gated: Some(false) });
        assert_eq!(identity(br#"{"name":"bob"}"#).unwrap().can_read_gated, None);
    }
}
