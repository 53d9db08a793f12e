//! Lists the files of a commit page by page, and checks that the listing is complete and its paths do not conflict. Does not
//! know what the files are used for.

use std::{
    collections::{BTreeSet, HashSet, hash_map::RandomState},
    hash::BuildHasher as _,
};

use modelcache_wire::TreeEntry;
use reqwest::header::LINK;

use super::{
    Commit, Endpoint, Hub, Repo, RepoFile, Revision, Token,
    client::MAX_JSON,
    error::HubError,
    link::next_link,
    request::Answer,
    response::{self, InvalidResponse, PageSize},
};

/// The largest page in bytes when several listings are read concurrently, by the operator: 1,000 files with the longest
/// paths take 5 MiB.
const MAX_PAGE: usize = 16 * 1024 * 1024;
/// The most bytes of all pages of a listing.
const MAX_LISTING: usize = 1 << 30;
/// The most pages of a listing, of 1,000 files each at the Hub.
const MAX_PAGES: usize = 1000;
/// The most files of a commit, twice what the Hub recommends: all of them are held in memory.
const MAX_FILES: usize = 200_000;
/// The number of entries on each of the Hub's pages but the last.
const FULL: usize = 1000;

impl Hub {
    /// The wanted files of a commit, sorted by path. `wanted` is called with each path as the Hub sent it; only wanted paths must
    /// be valid on a volume. An inconsistent listing is rejected as a whole. `named` is the number of files that the commit has
    /// according to another response ([`RevisionInfo::files_of`](super::RevisionInfo::files_of)).
    pub async fn list(
        &self,
        repo: &Repo,
        commit: &Commit,
        named: Option<usize>,
        token: Option<&Token>,
        mut wanted: impl FnMut(&str) -> bool + Send,
    ) -> Result<Vec<RepoFile>, HubError> {
        let mut files = Vec::new();
        self.pages(repo, commit, named, token, MAX_JSON, |entry| {
            if wanted(&entry.path) {
                files.push(response::file(entry)?);
            }
            Ok(())
        })
        .await?;
        in_order(files).map_err(|error| error.at(self.endpoint().host().to_owned(), token.is_some()))
    }

    /// Calls `see` with each wanted file of a commit, in listing order. Holds only one page and a hash of each path in memory;
    /// an inconsistent listing ends with an error.
    pub async fn each_file(
        &self,
        repo: &Repo,
        commit: &Commit,
        named: Option<usize>,
        token: Option<&Token>,
        mut wanted: impl FnMut(&str) -> bool + Send,
        mut see: impl FnMut(RepoFile) + Send,
    ) -> Result<(), HubError> {
        let mut paths = Paths::default();
        self.pages(repo, commit, named, token, MAX_PAGE, |entry| {
            if wanted(&entry.path) {
                let file = response::file(entry)?;
                paths.add(file.path.as_str())?;
                see(file);
            }
            Ok(())
        })
        .await
    }

    /// Reads the pages of a listing, each of at most `most` bytes.
    async fn pages(
        &self,
        repo: &Repo,
        commit: &Commit,
        named: Option<usize>,
        token: Option<&Token>,
        most: usize,
        mut see: impl FnMut(TreeEntry) -> Result<(), InvalidResponse> + Send,
    ) -> Result<(), HubError> {
        let mut address = self.endpoint().tree(repo, commit);
        let (mut files, mut bytes, mut listed) = (0, 0, PageSize::default());
        for _ in 0..MAX_PAGES {
            let (body, answer) = self.json_within(most, &address, token).await?;
            let failed = |error: InvalidResponse| error.at(answer.host.clone(), token.is_some());
            let too_many =
                |what: String| failed(InvalidResponse::Wrong(format!("the listing has more than {what}")));
            bytes += body.len();
            if bytes > MAX_LISTING {
                return Err(too_many(format!("{} MiB", MAX_LISTING >> 20)));
            }
            let next = next_page(self.endpoint(), &answer).map_err(failed)?;
            if next.as_ref() == Some(&address) {
                return Err(failed(InvalidResponse::Wrong(format!(
                    "the listing's next page is the same page again, {QUERY}"
                ))));
            }
            let page = response::tree_page(&body, &mut |entry| {
                files += 1;
                if files > MAX_FILES {
                    return Err(InvalidResponse::Wrong(format!(
                        "the listing has more than {MAX_FILES} files"
                    )));
                }
                see(entry)
            })
            .map_err(failed)?;
            listed = listed.and(page);
            if let Some(next) = next {
                address = next;
                continue;
            }
            let named = match named {
                None if page.entries == FULL => self.named(repo, commit, token).await?,
                named => named,
            };
            return check_end(listed, page, named).map_err(failed);
        }
        let what = format!("the listing has more than {MAX_PAGES} pages");
        Err(HubError::BadAnswer { host: self.endpoint().host().to_owned(), what })
    }

    /// The number of files of a commit according to the Hub, if known.
    async fn named(
        &self,
        repo: &Repo,
        commit: &Commit,
        token: Option<&Token>,
    ) -> Result<Option<usize>, HubError> {
        match self.revision(repo, &Revision::from(commit.clone()), token).await {
            Ok(info) => Ok(info.files_of(commit)),
            // Some mirrors support branches only.
            Err(HubError::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The likely cause when another page than requested is returned.
const QUERY: &str = "as behind a mirror that drops the query string; configure it to forward the query";

/// Checks that a listing which ends with the page `last` is complete. Some mirrors drop the header with the next page, so that
/// the first page looks like a whole listing. The Hub returns all files of a commit in another response too; if a mirror does
/// not, a last page that happens to be full is indistinguishable from a truncated listing. Some mirrors also drop the query,
/// which requests the files in folders: git has no empty folders.
fn check_end(listed: PageSize, last: PageSize, named: Option<usize>) -> Result<(), InvalidResponse> {
    const CAUSE: &str = "as behind a mirror that drops the `Link` header to the next page; configure it to forward that header";
    let PageSize { entries, files, in_folders } = listed;
    match named {
        _ if entries > files && in_folders == 0 => {
            Err(InvalidResponse::Wrong(format!("the listing has folders but none of their files, {QUERY}")))
        }
        Some(named) if files < named => Err(InvalidResponse::Wrong(format!(
            "the listing ends after {files} of the {named} files of the commit, {CAUSE}"
        ))),
        named if last.entries == FULL && named != Some(files) => Err(InvalidResponse::Wrong(format!(
            "the listing ends with a full page of {FULL} entries, and nothing shows that these are the last, {CAUSE}, or the \
            `siblings` of the commit"
        ))),
        _ => Ok(()),
    }
}

/// The address of the next page, mapped to the endpoint: the token must be sent only there, and mirrors return the Hub's own
/// address, or their internal one behind a proxy.
fn next_page(endpoint: &Endpoint, answer: &Answer) -> Result<Option<String>, InvalidResponse> {
    let here = answer.response.url();
    let links = answer.response.headers().get_all(LINK).iter();
    let next = links.map(|link| next_link(link.as_bytes())).find_map(Result::transpose);
    let Some(next) = next.transpose()? else { return Ok(None) };
    match here.join(next) {
        Ok(url) if url.origin() == here.origin() => Ok(Some(url.into())),
        Ok(url) if url.has_host() => Ok(Some(endpoint.address_of(&url))),
        _ => Err(InvalidResponse::Wrong("its link to the next page is not an address".to_owned())),
    }
}

/// Detects conflicting paths of a listing with a hash per path instead of the path. The hashes are randomly keyed, so that
/// nobody can construct collisions.
#[derive(Default)]
struct Paths {
    key: RandomState,
    files: HashSet<u64>,
    folders: HashSet<u64>,
}

/// The maximum number of folders to track. The writer of the files checks all of them again.
const MAX_FOLDERS: usize = 400_000;

impl Paths {
    /// Adds a file.
    fn add(&mut self, path: &str) -> Result<(), InvalidResponse> {
        let file = self.key.hash_one(path);
        if !self.files.insert(file) {
            return Err(InvalidResponse::Wrong(format!("it lists {path} twice")));
        }
        let both = |path: &str| {
            Err(InvalidResponse::Wrong(format!("it lists {path} both as a file and as a folder")))
        };
        if self.folders.contains(&file) {
            return both(path);
        }
        for folder in path.match_indices('/').map(|(at, _)| &path[..at]) {
            let number = self.key.hash_one(folder);
            if self.files.contains(&number) {
                return both(folder);
            }
            if self.folders.len() < MAX_FOLDERS {
                self.folders.insert(number);
            }
        }
        Ok(())
    }
}

/// Sorts a whole listing by path. Fails if paths conflict.
fn in_order(mut files: Vec<RepoFile>) -> Result<Vec<RepoFile>, InvalidResponse> {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    if let Some(pair) = files.windows(2).find(|pair| pair[0].path == pair[1].path) {
        return Err(InvalidResponse::Wrong(format!("it lists {} twice", pair[0].path)));
    }
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    for file in &files {
        let path = file.path.as_str();
        let folder = path.match_indices('/').map(|(at, _)| &path[..at]).find(|folder| paths.contains(folder));
        if let Some(folder) = folder {
            return Err(InvalidResponse::Wrong(format!("it lists {folder} both as a file and as a folder")));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn file(path: &str) -> RepoFile {
        let digest = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
        RepoFile { path: path.parse().unwrap(), size: 1, digest, pointer: None, xet_hash: None }
    }

    fn wrong(result: Result<impl std::fmt::Debug, InvalidResponse>) -> String {
        match result.unwrap_err() {
            InvalidResponse::Wrong(what) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_possibly_truncated_listing_is_rejected() {
        let page = |entries, files| PageSize { entries, files, in_folders: 10 };
        for (listed, last, named) in [
            (page(1, 1), page(1, 1), None),
            (page(1, 1), page(1, 1), Some(1)),
            // All on one page, or a mirror that names only some.
            (page(2501, 2501), page(2501, 2501), None),
            (page(2501, 2501), page(501, 501), Some(1000)),
            // Happens to be full, with folders among its entries.
            (page(2000, 1990), page(1000, 990), Some(1990)),
            (page(0, 0), page(0, 0), None),
        ] {
            check_end(listed, last, named).unwrap();
        }
        let short = wrong(check_end(page(1000, 1000), page(1000, 1000), Some(2501)));
        assert!(short.starts_with("the listing ends after 1000 of the 2501 files"), "{short}");
        assert!(wrong(check_end(page(1, 1), page(1, 1), Some(2))).contains("after 1 of the 2 files"));
        for named in [None, Some(999)] {
            let full = wrong(check_end(page(1000, 1000), page(1000, 1000), named));
            assert!(full.contains("full page of 1000 entries") && full.contains("`Link`"), "{full}");
        }
    }

    #[test]
    fn a_listing_without_the_files_in_its_folders_is_rejected() {
        let size = |entries, files, in_folders| PageSize { entries, files, in_folders };
        for (listed, named) in [(size(3, 2, 0), None), (size(1, 0, 0), None), (size(3, 2, 0), Some(2))] {
            let hollow = wrong(check_end(listed, listed, named));
            assert!(
                hollow.contains("folders but none of their files") && hollow.contains("query"),
                "{hollow}"
            );
        }
        for listed in [size(2, 2, 0), size(4, 3, 1), size(2, 2, 2)] {
            check_end(listed, listed, None).unwrap();
        }
    }

    #[test]
    fn a_listing_is_sorted_and_checked_for_conflicts() {
        assert_eq!(in_order(vec![file("b"), file("a")]).unwrap(), [file("a"), file("b")]);
        assert!(wrong(in_order(vec![file("a"), file("a")])).contains("a twice"));
        assert!(wrong(in_order(vec![file("a/b/c"), file("x"), file("a")])).contains("both"));
    }

    #[test]
    fn hashes_and_paths_detect_the_same_conflicts() {
        for paths in [
            &["a", "b", "c/d", "c/e", "ab"][..],
            &["a", "b", "a"],
            &["a/b/c", "x", "a"],
            &["a", "x", "a/b/c"],
            &["a/b", "a/b/c"],
            &["a/b/c/d", "a/bc", "a/b/c"],
        ] {
            let whole = in_order(paths.iter().map(|path| file(path)).collect()).map(|_| ());
            let mut numbers = Paths::default();
            let folded = paths.iter().try_for_each(|path| numbers.add(path));
            assert_eq!(format!("{whole:?}"), format!("{folded:?}"), "{paths:?}");
        }
    }
}
