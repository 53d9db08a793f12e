//! `/api`: accounts and repo metadata.

use std::collections::BTreeSet;

use axum::{
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use modelcache_wire::{
    AccessToken, Auth, EntryKind, FineGrained, Gated, Lfs, RepoInfo, Sibling, TreeEntry, WhoAmI, XetReadToken,
};
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use crate::{
    account::TokenKind,
    content::{Content, hex},
    file::{File, Tree},
    refusal::{Refusal, text},
    repo::{Gate, Repo},
    route::{form_values, query_value},
    state::{Caller, State},
};

/// Replaces hashes for callers without access to the content.
const MASK: &str = "****************************************************************";
/// The same date everywhere, so that responses are reproducible.
const DATE: &str = "2026-01-01T00:00:00.000Z";

/// The account of the token, and its permissions.
pub(crate) fn whoami(state: &State, caller: Caller<'_>) -> Response {
    let (name, user, token) = match state.account(caller) {
        Ok(account) => account,
        Err(refusal) => return refusal.as_json(),
    };
    let orgs: Vec<Value> = user.orgs.iter().map(|org| json!({"type": "org", "name": org})).collect();
    let fine_grained = match token.kind {
        TokenKind::FineGrained { gated } => Some(FineGrained { can_read_gated_repos: Some(gated) }),
        _ => None,
    };
    let mut more = json!({
        "type": "user",
        "id": id_of(name),
        "fullname": name,
        "email": format!("{name}@example.org"),
        "emailVerified": true,
        "isPro": false,
        "orgs": orgs,
        "auth": {
            "type": "access_token",
            "accessToken": {"displayName": token.name, "role": "read", "createdAt": DATE},
        },
    });
    if fine_grained.is_some() {
        let access_token = &mut more["auth"]["accessToken"];
        access_token["role"] = "fineGrained".into();
        access_token["fineGrained"] = json!({
            "global": [],
            "scoped": [{
                "entity": {"type": "user", "name": name, "_id": id_of(name)},
                "permissions": ["repo.content.read"],
            }],
        });
    }
    let auth = Auth { access_token: Some(AccessToken { fine_grained }) };
    json(&with(json!(WhoAmI { name: Some(name.to_owned()), auth: Some(auth) }), more))
}

/// The metadata of a repo at a revision.
pub(crate) fn info(repo: &Repo, revision: Option<&str>) -> Response {
    let revision = revision.unwrap_or("main");
    let Some((commit, tree)) = at(repo, revision) else {
        return Refusal::revision_not_found(revision).as_json();
    };
    let gated = match repo.gate {
        None => Gated::No,
        Some(Gate::Auto) => Gated::Auto,
        Some(Gate::Manual) => Gated::Manual,
    };
    let id = &repo.name.id;
    let info = RepoInfo {
        sha: commit.to_owned(),
        id: Some(id.clone()),
        private: repo.private,
        gated,
        disabled: Some(repo.disabled),
        siblings: Some(tree.keys().map(|path| Sibling { rfilename: path.clone() }).collect::<Vec<_>>()),
    };
    let more = json!({
        "_id": id_of(id),
        "modelId": id,
        "author": repo.name.namespace(),
        "lastModified": DATE,
        "createdAt": DATE,
        "downloads": 0,
        "likes": 0,
        "tags": [],
    });
    json(&with(json!(info), more))
}

/// Branches, tags and pull requests.
pub(crate) fn refs(repo: &Repo) -> Response {
    let of = |prefix: &str| -> Vec<Value> {
        let named =
            repo.refs.iter().filter_map(|(name, commit)| Some((name.strip_prefix(prefix)?, name, commit)));
        named
            .map(|(short, name, commit)| json!({"name": short, "ref": name, "targetCommit": commit}))
            .collect()
    };
    json(&json!({
        "branches": of("refs/heads/"),
        "tags": of("refs/tags/"),
        "converts": of("refs/convert/"),
        "pullRequests": of("refs/pr/"),
    }))
}

/// Whether the caller may read the content.
pub(crate) fn auth_check(state: &State, repo: &Repo, caller: Caller<'_>) -> Response {
    match state.readable(repo, caller) {
        Ok(()) => "OK".into_response(),
        Err(refusal) => refusal.as_json(),
    }
}

/// A read token for a commit's files in the Xet store, for callers with access.
pub(crate) fn xet_read_token(state: &State, repo: &Repo, caller: Caller<'_>, revision: &str) -> Response {
    if let Err(refusal) = state.readable(repo, caller) {
        return refusal.as_json();
    }
    if repo.resolve(revision).is_none() {
        return Refusal::revision_not_found(revision).as_json();
    }
    let Some(store) = &state.xet_store else { return Refusal::no_such_page().as_json() };
    let (token, ends) = store.grant();
    let body =
        XetReadToken { access_token: token.clone(), exp: ends.cast_signed(), cas_url: store.url.clone() };
    let mut response = json(&json!(body));
    let headers = response.headers_mut();
    headers.insert("x-xet-access-token", text(&token));
    headers.insert("x-xet-token-expiration", ends.into());
    headers.insert("x-xet-cas-url", text(&store.url));
    response
}

/// The parameters of a listing, from which the address of the next page is built.
pub(crate) struct Listing<'a> {
    pub(crate) url: &'a str,
    pub(crate) query: &'a str,
    pub(crate) revision: &'a str,
    pub(crate) folder: &'a str,
}

/// One page of the files of a commit. Open on gated repos too, with masked hashes.
pub(crate) fn tree(state: &State, repo: &Repo, caller: Caller<'_>, listing: &Listing<'_>) -> Response {
    let Some((commit, tree)) = at(repo, listing.revision) else {
        return Refusal::revision_not_found(listing.revision).as_json();
    };
    let on = |key| query_value(listing.query, key).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let shown =
        Shown { masked: state.readable(repo, caller).is_err(), xet: repo.shows_xet, expand: on("expand") };
    let below = Below::of(tree, listing.folder, on("recursive"));
    let count = below.count();
    if count == 0 && !listing.folder.is_empty() {
        return Refusal::entry_not_found().as_json();
    }

    let most = state.page_size.unwrap_or(if shown.expand { 50 } else { 1000 });
    let number = |key| query_value(listing.query, key).and_then(|value| value.parse::<usize>().ok());
    let size = number("limit").map_or(most, |limit| limit.clamp(1, most));
    let start = number("cursor").unwrap_or(0);
    let page = below.entries(start, size).map(|entry| entry.json(tree, commit, &shown)).collect();
    let mut response = json(&Value::Array(page));
    if start + size < count {
        let kept = listing.query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
        let query: Vec<String> =
            kept.map(str::to_owned).chain([format!("cursor={}", start + size)]).collect();
        let link = format!("<{}?{}>; rel=\"next\"", listing.url, query.join("&"));
        response.headers_mut().insert(header::LINK, text(&link));
    }
    response
}

/// Metadata of the named paths; missing ones are omitted.
pub(crate) fn paths_info(
    state: &State,
    repo: &Repo,
    caller: Caller<'_>,
    revision: &str,
    form: &str,
) -> Response {
    let Some((commit, tree)) = at(repo, revision) else {
        return Refusal::revision_not_found(revision).as_json();
    };
    let (paths, expand): (Vec<String>, bool) = match serde_json::from_str::<Value>(form) {
        Ok(asked) => {
            let paths = asked["paths"].as_array().into_iter().flatten();
            (paths.filter_map(|path| path.as_str().map(str::to_owned)).collect(), asked["expand"] == true)
        }
        Err(_) => (
            form_values(form, "paths").collect(),
            query_value(form, "expand").is_some_and(|value| value.eq_ignore_ascii_case("true")),
        ),
    };
    let shown = Shown { masked: state.readable(repo, caller).is_err(), xet: repo.shows_xet, expand };
    let below = Below::of(tree, "", true);
    let all = below.entries(0, usize::MAX);
    let asked = all.filter(|entry| paths.iter().any(|asked| asked == entry.path()));
    json(&asked.map(|entry| entry.json(tree, commit, &shown)).collect())
}

/// Which metadata of files is visible to the caller.
struct Shown {
    masked: bool,
    xet: bool,
    expand: bool,
}

fn at<'a>(repo: &'a Repo, revision: &str) -> Option<(&'a str, &'a Tree)> {
    let commit = repo.resolve(revision)?;
    Some((commit, repo.tree(commit)?))
}

/// Files and folders below a folder, as references: only the requested page of a long listing is serialized.
struct Below<'a> {
    files: Vec<(&'a str, &'a File)>,
    folders: BTreeSet<&'a str>,
}

#[derive(Clone, Copy)]
enum Entry<'a> {
    File(&'a str, &'a File),
    Folder(&'a str),
}

impl<'a> Below<'a> {
    fn of(tree: &'a Tree, folder: &str, recursive: bool) -> Self {
        let prefix =
            if folder.is_empty() { String::new() } else { format!("{}/", folder.trim_end_matches('/')) };
        let (mut files, mut folders) = (Vec::new(), BTreeSet::new());
        for (path, file) in tree {
            let Some(rest) = path.strip_prefix(&prefix) else { continue };
            let depth = if recursive { usize::MAX } else { 1 };
            folders.extend(rest.match_indices('/').take(depth).map(|(at, _)| &path[..prefix.len() + at]));
            if recursive || !rest.contains('/') {
                files.push((path.as_str(), file));
            }
        }
        Self { files, folders }
    }

    fn count(&self) -> usize {
        self.files.len() + self.folders.len()
    }

    /// Up to `most` entries from `start` on, sorted by path.
    fn entries(&self, start: usize, most: usize) -> impl Iterator<Item = Entry<'a>> {
        let files = self.files.iter().map(|(path, file)| Entry::File(path, file));
        let mut all: Vec<_> = files.chain(self.folders.iter().map(|path| Entry::Folder(path))).collect();
        all.sort_by_key(Entry::path);
        all.into_iter().skip(start).take(most)
    }
}

impl<'a> Entry<'a> {
    const fn path(&self) -> &'a str {
        match self {
            Self::File(path, _) | Self::Folder(path) => path,
        }
    }

    fn json(self, tree: &Tree, commit: &str, shown: &Shown) -> Value {
        let entry = match self {
            Self::File(path, file) => file_entry(path, file, shown),
            Self::Folder(path) => json!(TreeEntry {
                kind: EntryKind::Directory,
                path: path.to_owned(),
                size: 0,
                oid: folder_oid(tree, path),
                lfs: None,
                xet_hash: None,
            }),
        };
        expanded(entry, commit, shown)
    }
}

fn file_entry(path: &str, file: &File, shown: &Shown) -> Value {
    let size = file.content.size();
    let hash = |hash: String| if shown.masked { MASK.to_owned() } else { hash };
    let xet_hash = file.lfs.as_ref().and_then(|lfs| {
        let made_up = || shown.xet.then(|| lfs.sha256.chars().rev().collect());
        file.xet_hash.clone().or_else(made_up).map(hash)
    });
    let entry = TreeEntry {
        kind: EntryKind::File,
        path: path.to_owned(),
        size,
        oid: file.git_oid.clone(),
        lfs: file.lfs.as_ref().map(|lfs| Lfs { oid: hash(lfs.sha256.clone()), size }),
        xet_hash,
    };
    let pointer = file.lfs.as_ref().map(|lfs| json!({"lfs": {"pointerSize": lfs.pointer_size}}));
    with(json!(entry), pointer.unwrap_or_default())
}

fn expanded(mut entry: Value, commit: &str, shown: &Shown) -> Value {
    if shown.expand {
        entry["lastCommit"] = json!({"id": commit, "title": "Upload", "date": DATE});
        if entry["type"] == "file" {
            entry["securityFileStatus"] =
                json!({"status": "safe", "avScan": {"status": "safe"}, "pickleImportScan": null});
        }
    }
    entry
}

fn folder_oid(tree: &Tree, folder: &str) -> String {
    let prefix = format!("{folder}/");
    let inside = tree.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
    let listing =
        inside.fold(Sha1::new(), |hash, (path, file)| hash.chain_update(path).chain_update(&file.git_oid));
    hex(&listing.finalize())
}

/// An ID like those of the Hub's database.
fn id_of(name: &str) -> String {
    Content::from(name).git_sha1().map(|hash| hash[..24].to_owned()).unwrap_or_default()
}

/// An answer with what only the official client reads.
fn with(mut answer: Value, more: Value) -> Value {
    match (&mut answer, more) {
        (Value::Object(fields), Value::Object(more)) => {
            for (name, value) in more {
                let field = fields.remove(&name).unwrap_or_default();
                fields.insert(name, with(field, value));
            }
        }
        (_, Value::Null) => {}
        (answer, more) => *answer = more,
    }
    answer
}

fn json(value: &Value) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, text("application/json; charset=utf-8"));
    (headers, value.to_string()).into_response()
}
