//! Parses addresses of the Hub into repo and call.

use percent_encoding::percent_decode_str;

use crate::name::{Kind, RepoName};

/// What a path refers to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Home,
    Whoami,
    Repo(Target<'a>),
    Unknown,
}

/// A repo and a call on it, with the raw text around its ID, so that a redirect can replace the ID.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) name: RepoName,
    pub(crate) call: Call,
    before: &'a str,
    after: &'a str,
}

impl Target<'_> {
    /// The same path with another ID.
    pub(crate) fn path_for(&self, id: &str) -> String {
        format!("{}{id}{}", self.before, self.after)
    }
}

/// A call on a repo.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Info { revision: Option<String> },
    Tree { revision: String, path: String },
    PathsInfo { revision: String },
    Refs,
    AuthCheck,
    XetReadToken { revision: String },
    Resolve { revision: String, path: String },
    ResolveCache { commit: String, path: String },
}

impl Call {
    pub(crate) const fn is_resolve(&self) -> bool {
        matches!(self, Self::Resolve { .. } | Self::ResolveCache { .. })
    }
}

impl<'a> Route<'a> {
    pub(crate) fn parse(path: &'a str) -> Self {
        match path {
            "/" => Self::Home,
            "/api/whoami-v2" => Self::Whoami,
            _ => Self::parse_repo(path).map_or(Self::Unknown, Self::Repo),
        }
    }

    fn parse_repo(path: &'a str) -> Option<Target<'a>> {
        if let Some(rest) = path.strip_prefix("/api/resolve-cache/") {
            let (kind, rest) = kind_of(rest)?;
            return target(path, kind, rest, starts_with_commit, resolve_cache_call);
        }
        if let Some(rest) = path.strip_prefix("/api/") {
            let (kind, rest) = kind_of(rest)?;
            let is_call = |words: &[&str]| {
                words.first().is_none_or(|word| {
                    ["revision", "tree", "paths-info", "refs", "auth-check", "xet-read-token"].contains(word)
                })
            };
            return target(path, kind, rest, is_call, api_call);
        }
        let rest = path.strip_prefix('/')?;
        let (kind, rest) = kind_of(rest).unwrap_or((Kind::Model, rest));
        target(path, kind, rest, |words| words.first() == Some(&"resolve"), resolve_call)
    }
}

fn kind_of(rest: &str) -> Option<(Kind, &str)> {
    let (word, rest) = rest.split_once('/')?;
    Some((Kind::from_plural(word)?, rest))
}

/// IDs have one or two parts: the shorter is tried first, and a call must follow.
fn target<'a>(
    path: &'a str,
    kind: Kind,
    rest: &'a str,
    is_call: impl Fn(&[&str]) -> bool,
    read: impl Fn(&[&str]) -> Option<Call>,
) -> Option<Target<'a>> {
    let words: Vec<&str> = rest.split('/').collect();
    let parts = (1..=2).find(|parts| words.get(*parts..).is_some_and(&is_call))?;
    let id = words.get(..parts)?.join("/");
    let before = path.get(..path.len() - rest.len())?;
    let after = rest.get(id.len()..)?;
    Some(Target { name: RepoName::new(kind, decoded(&id)), call: read(words.get(parts..)?)?, before, after })
}

fn api_call(words: &[&str]) -> Option<Call> {
    Some(match words {
        [] => Call::Info { revision: None },
        // One segment: a revision with unencoded slashes is not found.
        ["revision", revision] => Call::Info { revision: Some(decoded(revision)) },
        ["tree", rest @ ..] => {
            let (revision, path) = revision_and_path(rest)?;
            Call::Tree { revision, path }
        }
        ["paths-info", revision] => Call::PathsInfo { revision: decoded(revision) },
        ["refs"] => Call::Refs,
        ["auth-check"] => Call::AuthCheck,
        ["xet-read-token", revision] => Call::XetReadToken { revision: decoded(revision) },
        _ => return None,
    })
}

fn resolve_call(words: &[&str]) -> Option<Call> {
    let (revision, path) = revision_and_path(words.get(1..)?)?;
    (!path.is_empty()).then_some(Call::Resolve { revision, path })
}

fn starts_with_commit(words: &[&str]) -> bool {
    words.first().is_some_and(|word| word.len() == 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn resolve_cache_call(words: &[&str]) -> Option<Call> {
    let [commit, path @ ..] = words else { return None };
    Some(Call::ResolveCache { commit: decoded(commit), path: decoded(&path.join("/")) })
}

/// A revision is one segment with percent-encoded slashes; `refs/pr/1` is also accepted unencoded.
fn revision_and_path(words: &[&str]) -> Option<(String, String)> {
    let parts = match words {
        ["refs", "pr" | "convert", _, ..] => 3,
        [_, ..] => 1,
        [] => return None,
    };
    let revision = decoded(&words.get(..parts)?.join("/"));
    Some((revision, decoded(&words.get(parts..)?.join("/"))))
}

pub(crate) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The first value of a query's key.
pub(crate) fn query_value(query: &str, key: &str) -> Option<String> {
    form_values(query, key).next()
}

/// All values of a key, in a query or a form.
pub(crate) fn form_values<'a>(form: &'a str, key: &'a str) -> impl Iterator<Item = String> + 'a {
    form.split('&').filter_map(move |pair| {
        let (name, value) = pair.split_once('=')?;
        (decoded(name) == key).then(|| decoded(&value.replace('+', " ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo(path: &str) -> Option<(String, Call)> {
        match Route::parse(path) {
            Route::Repo(target) => Some((target.name.to_string(), target.call)),
            _ => None,
        }
    }

    #[test]
    fn ids_of_one_and_two_parts_are_parsed_for_each_call() {
        let info = |revision: Option<&str>| Call::Info { revision: revision.map(str::to_owned) };
        assert_eq!(repo("/api/models/gpt2"), Some(("gpt2".into(), info(None))));
        assert_eq!(repo("/api/models/gpt2/revision/main"), Some(("gpt2".into(), info(Some("main")))));
        assert_eq!(repo("/api/datasets/a/b"), Some(("datasets/a/b".into(), info(None))));
        assert_eq!(
            repo("/api/models/a/b/revision/refs%2Fpr%2F1"),
            Some(("a/b".into(), info(Some("refs/pr/1"))))
        );
        assert_eq!(repo("/api/models/a/b/auth-check"), Some(("a/b".into(), Call::AuthCheck)));
        assert_eq!(repo("/api/models/a/b/revision/refs/pr/1"), None);
        assert_eq!(repo("/api/models/a/b/nonsense"), None);
        assert_eq!(Route::parse("/favicon.ico"), Route::Unknown);
    }

    #[test]
    fn paths_are_decoded_after_splitting() {
        let resolve = |revision: &str, path: &str| Call::Resolve {
            revision: revision.to_owned(),
            path: path.to_owned(),
        };
        assert_eq!(
            repo("/a/b/resolve/main/x%20y/z.json"),
            Some(("a/b".into(), resolve("main", "x y/z.json")))
        );
        assert_eq!(repo("/gpt2/resolve/v1/x"), Some(("gpt2".into(), resolve("v1", "x"))));
        assert_eq!(
            repo("/spaces/a/b/resolve/refs/pr/1/x"),
            Some(("spaces/a/b".into(), resolve("refs/pr/1", "x")))
        );
    }

    #[test]
    fn a_redirect_replaces_only_the_id() {
        let Route::Repo(target) = Route::parse("/datasets/a/b/resolve/main/x%20y") else {
            panic!("no repo was found")
        };
        assert_eq!(target.path_for("c/d"), "/datasets/c/d/resolve/main/x%20y");
    }
}
