//! A whole listing: its pages one after the other, and whether they are all of them and can exist beside each other. Does
//! not know what becomes of the files.

use std::{
    collections::{BTreeSet, HashSet, hash_map::RandomState},
    hash::BuildHasher as _,
};

use modelcache_wire::TreeEntry;
use reqwest::header::LINK;

use super::{
    Commit, Endpoint, Hub, Repo, RepoFile, Revision, Token,
    answer::{self, InvalidResponse, PageSize},
    client::MAX_JSON,
    error::HubError,
    link::next_link,
    request::Answer,
};

/// The largest page that is read where several are read at one time, by an operator: one of 1,000 files with the longest paths has
/// 5 MiB.
const MAX_PAGE: usize = 16 * 1024 * 1024;
/// The most bytes of all pages of a listing.
const MAX_LISTING: usize = 1 << 30;
/// The most pages of a listing, of 1,000 files each at the Hub.
const MAX_PAGES: usize = 1000;
/// The most files of a commit, twice what the Hub recommends for one repo: all of them are in memory at once.
const MAX_FILES: usize = 200_000;
/// The entries of each page of the Hub's but the last one.
const FULL: usize = 1000;

impl Hub {
    /// The wanted files of a commit, in order of path. `wanted` sees each path as the Hub has it, and only what it wants must be
    /// fit for a volume. What is wanted and cannot be trusted as a whole is refused as a whole. `named` is how many files the
    /// commit has, where another answer tells ([`RevisionInfo::files_of`](super::RevisionInfo::files_of)).
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
                files.push(answer::file(entry)?);
            }
            Ok(())
        })
        .await?;
        in_order(files).map_err(|error| error.at(self.endpoint().host().to_owned(), token.is_some()))
    }

    /// Hands each wanted file of a commit over, in the order of the pages. No more than a page is held in memory, and a number for
    /// each path: what is wanted and cannot be trusted as a whole ends with an error.
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
                let file = answer::file(entry)?;
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
            let page = answer::tree_page(&body, &mut |entry| {
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

    /// How many files a commit has, where the Hub tells.
    async fn named(
        &self,
        repo: &Repo,
        commit: &Commit,
        token: Option<&Token>,
    ) -> Result<Option<usize>, HubError> {
        match self.revision(repo, &Revision::from(commit.clone()), token).await {
            Ok(info) => Ok(info.files_of(commit)),
            // There are mirrors that know branches only.
            Err(HubError::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What a mirror does that asks the Hub for other pages than it is asked for.
const QUERY: &str = "as behind a mirror that drops the query of an address; have it pass the query on";

/// Whether a listing that ends after so much, with this page, is all of it. Mirrors drop the header that tells the next
/// page, and the first one alone looks like a whole listing. The Hub names all files of a commit in another answer too;
/// where a mirror does not, a last page that is full by chance cannot be told from a first one. Mirrors drop the query too, which
/// asks for the files in folders: git has no empty folders.
fn check_end(listed: PageSize, last: PageSize, named: Option<usize>) -> Result<(), InvalidResponse> {
    const CAUSE: &str =
        "as behind a mirror that drops the `Link` header to the next page; have it pass that header on";
    let PageSize { entries, files, in_folders } = listed;
    match named {
        _ if entries > files && in_folders == 0 => {
            Err(InvalidResponse::Wrong(format!("the listing has folders and none of their files, {QUERY}")))
        }
        Some(named) if files < named => Err(InvalidResponse::Wrong(format!(
            "the listing ends after {files} of the {named} files of the commit, {CAUSE}"
        ))),
        named if last.entries == FULL && named != Some(files) => Err(InvalidResponse::Wrong(format!(
            "the listing ends with a full page of {FULL} entries, and nothing tells that these are the last, {CAUSE}, or the \
             `siblings` of the commit"
        ))),
        _ => Ok(()),
    }
}

/// The address of the next page. One at another place is asked for at the endpoint itself: the token goes there, and mirrors
/// pass on the Hub's own address, or theirs as it is behind a proxy.
fn next_page(endpoint: &Endpoint, answer: &Answer) -> Result<Option<String>, InvalidResponse> {
    let here = answer.response.url();
    let links = answer.response.headers().get_all(LINK).iter();
    let next = links.map(|link| next_link(link.as_bytes())).find_map(Result::transpose);
    let Some(next) = next.transpose()? else { return Ok(None) };
    match here.join(next) {
        Ok(url) if url.origin() == here.origin() => Ok(Some(url.into())),
        Ok(url) if url.has_host() => Ok(Some(endpoint.address_of(&url))),
        _ => Err(InvalidResponse::Wrong("its link to the next page is no address".to_owned())),
    }
}

/// The paths of a listing, to find out whether each can exist beside the others, with a number for each path instead of the path.
/// The numbers are keyed at random: nobody can choose two paths of the same.
#[derive(Default)]
struct Paths {
    key: RandomState,
    files: HashSet<u64>,
    folders: HashSet<u64>,
}

/// How many folders are remembered. The writer of the files checks all of them again.
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

/// A whole listing in order of path, if every path can exist beside the others.
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
    fn a_listing_that_may_have_ended_early_is_not_believed() {
        let page = |entries, files| PageSize { entries, files, in_folders: 10 };
        for (listed, last, named) in [
            (page(1, 1), page(1, 1), None),
            (page(1, 1), page(1, 1), Some(1)),
            // All at once, or a mirror that names only some.
            (page(2501, 2501), page(2501, 2501), None),
            (page(2501, 2501), page(501, 501), Some(1000)),
            // Full by chance, with folders among its entries.
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
    fn a_listing_without_what_is_in_its_folders_is_not_believed() {
        let size = |entries, files, in_folders| PageSize { entries, files, in_folders };
        for (listed, named) in [(size(3, 2, 0), None), (size(1, 0, 0), None), (size(3, 2, 0), Some(2))] {
            let hollow = wrong(check_end(listed, listed, named));
            assert!(
                hollow.contains("folders and none of their files") && hollow.contains("query"),
                "{hollow}"
            );
        }
        for listed in [size(2, 2, 0), size(4, 3, 1), size(2, 2, 2)] {
            check_end(listed, listed, None).unwrap();
        }
    }

    #[test]
    fn a_listing_is_put_in_order() {
        assert_eq!(in_order(vec![file("b"), file("a")]).unwrap(), [file("a"), file("b")]);
        assert!(wrong(in_order(vec![file("a"), file("a")])).contains("a twice"));
        assert!(wrong(in_order(vec![file("a/b/c"), file("x"), file("a")])).contains("both"));
    }

    #[test]
    fn a_listing_is_judged_the_same_by_numbers_as_by_paths() {
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
