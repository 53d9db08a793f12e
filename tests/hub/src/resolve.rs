//! `/resolve`: small files directly, LFS files with a redirect to the CDN.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use crate::{
    answer,
    cdn::{self, Signer},
    file::File,
    refusal::{Refusal, text},
    repo::Repo,
    state::{Caller, State},
};

/// Readable by everyone who can see the repo: its web page shows them.
const OPEN_FILES: [&str; 4] = ["README.md", "LICENSE", "LICENSE.md", "LICENSE.txt"];

/// What addresses in responses are built from.
pub(crate) struct Signing<'a> {
    pub(crate) signer: &'a Signer,
    pub(crate) hub_url: &'a str,
    pub(crate) cdn_url: &'a str,
    pub(crate) lifetime: Duration,
}

/// Answers for a file of a visible repo.
pub(crate) fn file(
    (state, repo, caller): (&State, &Repo, Caller<'_>),
    (revision, path): (&str, &str),
    signing: &Signing<'_>,
    request: &HeaderMap,
) -> Response {
    match find(state, repo, caller, revision, path) {
        Ok((commit, file)) => {
            let mut response = match &file.lfs {
                Some(lfs) => {
                    let mut response = redirect_to_cdn(repo, file, &lfs.sha256, path, signing);
                    if let Some(hash) = &file.xet_hash {
                        offer_xet(response.headers_mut(), (repo, commit), hash, signing.hub_url);
                    }
                    response
                }
                None if state.resolve_cache => redirect_to_cache(repo, commit, file, path),
                None => answer::content(&file.content, &file.git_oid, request),
            };
            response.headers_mut().insert("x-repo-commit", text(commit));
            response
        }
        Err((commit, refusal)) => {
            let mut response = refusal.as_text();
            if let Some(commit) = commit {
                response.headers_mut().insert("x-repo-commit", text(commit));
            }
            response
        }
    }
}

/// Answers for a small file under the address that [`redirect_to_cache`] gave.
pub(crate) fn cached_file(
    (state, repo, caller): (&State, &Repo, Caller<'_>),
    (commit, path): (&str, &str),
    request: &HeaderMap,
) -> Response {
    match find(state, repo, caller, commit, path) {
        Ok((commit, file)) => {
            let mut response = answer::content(&file.content, &file.git_oid, request);
            response.headers_mut().insert("x-repo-commit", text(commit));
            response
        }
        Err((_, refusal)) => refusal.as_text(),
    }
}

/// The gate is checked before revision and file, so that nothing is revealed without access.
fn find<'a>(
    state: &State,
    repo: &'a Repo,
    caller: Caller<'_>,
    revision: &str,
    path: &str,
) -> Result<(&'a str, &'a File), (Option<&'a str>, Refusal)> {
    if !OPEN_FILES.contains(&path) {
        state.readable(repo, caller).map_err(|refusal| (None, refusal))?;
    }
    let commit = repo.resolve(revision).ok_or_else(|| (None, Refusal::revision_not_found(revision)))?;
    let file = repo.tree(commit).and_then(|tree| tree.get(path));
    file.map(|file| (commit, file)).ok_or_else(|| (Some(commit), Refusal::entry_not_found()))
}

fn redirect_to_cdn(repo: &Repo, file: &File, sha256: &str, path: &str, signing: &Signing<'_>) -> Response {
    let signed = signing.signer.sign(&cdn::path_of(&repo.name, sha256, path), signing.lifetime);
    redirect(StatusCode::FOUND, &format!("{}{signed}", signing.cdn_url), linked(file))
}

/// Adds the headers for clients that support Xet.
fn offer_xet(headers: &mut HeaderMap, (repo, commit): (&Repo, &str), hash: &str, hub_url: &str) {
    let (plural, id) = (repo.name.kind.plural(), &repo.name.id);
    headers.insert("x-xet-hash", text(hash));
    let link = format!(
        "<{hub_url}/api/{plural}/{id}/xet-read-token/{commit}>; rel=\"xet-auth\", \
         <{hub_url}/reconstructions/{hash}>; rel=\"xet-reconstruction-info\""
    );
    headers.insert(header::LINK, text(&link));
}

/// As on the Hub for small files: on the same host, so that the token is sent along.
fn redirect_to_cache(repo: &Repo, commit: &str, file: &File, path: &str) -> Response {
    let encoded = percent_encoding::utf8_percent_encode(path, percent_encoding::NON_ALPHANUMERIC);
    let (plural, id) = (repo.name.kind.plural(), &repo.name.id);
    // With an odd query, as observed: a path as name, and an empty value.
    let location = format!("/api/resolve-cache/{plural}/{id}/{commit}/{encoded}?%2F{id}%2Fresolve=");
    redirect(StatusCode::TEMPORARY_REDIRECT, &location, linked(file))
}

fn linked(file: &File) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let etag = text(&format!("\"{}\"", file.etag()));
    headers.insert("x-linked-etag", etag.clone());
    headers.insert(header::ETAG, etag);
    headers.insert("x-linked-size", file.content.size().into());
    headers.insert(header::ACCEPT_RANGES, text("bytes"));
    headers
}

fn redirect(status: StatusCode, location: &str, mut headers: HeaderMap) -> Response {
    headers.insert(header::LOCATION, text(location));
    headers.insert(header::CONTENT_TYPE, text("text/plain; charset=utf-8"));
    let body = format!("{}. Redirecting to {location}", status.canonical_reason().unwrap_or_default());
    // The length of this body, not of the file: a trap for clients that confuse them.
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    (status, headers, Body::from(body)).into_response()
}

/// The same request at another address of this host.
pub(crate) fn moved(path: &str) -> Response {
    redirect(StatusCode::TEMPORARY_REDIRECT, path, HeaderMap::new())
}
