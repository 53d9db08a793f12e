//! Compares cache paths with those of the official client, for thousands of generated names.

use modelcache::{
    cache::{CacheDir, RepoDir, link_target},
    hub::{Commit, Digest, Repo, RepoId, RepoPath, RepoType, Revision},
};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::official::{ask, chance, text};

const NAME: &[&str] = &[
    "a", "b", "c", "org", "name", "B", "9", "/", "-", ".", "_", "-", "--", "_", ".", "..", "/", ".git", "ü",
    " ", "llama", "x1", "\n",
];
const PATH: &[&str] = &[
    "a",
    "b.json",
    "/",
    "/",
    "..",
    ".",
    "-",
    " ",
    "ü",
    "🤗",
    "é",
    "\\",
    "\u{7}",
    "model-00001-of-00002",
    ".safetensors",
    "%2e",
    "~",
    "$HOME",
    "*",
    "'",
    "\"",
];
const REVISION: &[&str] =
    &["main", "v1", ".", "/", "-", "_", "ü", "refs/pr/1", "+", "@", "#", "%", "release", "0"];

fn hex(chance: &mut fastrand::Rng, length: usize) -> String {
    (0..length).map(|_| char::from(*chance.choice(b"0123456789abcdef").unwrap())).collect()
}

/// The folder of any repo.
fn dir() -> RepoDir {
    CacheDir::new("/c").repo(&Repo { kind: RepoType::Model, id: "org/name".parse().unwrap() })
}

fn below(dir: &RepoDir, path: &std::path::Path) -> String {
    path.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn repo_paths_match_the_official_client() {
    let mut chance = chance("repo folders");
    let kinds = [RepoType::Model, RepoType::Dataset, RepoType::Space];
    let mut cases: Vec<_> =
        (0..6000).map(|_| (*chance.choice(&kinds).unwrap(), text(&mut chance, NAME, 7))).collect();
    cases.extend((90..100).map(|length| (RepoType::Model, format!("org/{}", "x".repeat(length)))));
    let questions: Vec<_> =
        cases.iter().map(|(kind, id)| json!({ "type": kind.as_str(), "id": id })).collect();
    let (mut taken, mut stricter) = (0, 0);
    for ((kind, given), theirs) in cases.iter().zip(ask("repo_folder", &questions)) {
        match (given.parse::<RepoId>(), theirs.as_str()) {
            (Ok(id), Some(theirs)) => {
                let dir = CacheDir::new("/c").repo(&Repo { kind: *kind, id });
                assert_eq!(dir.path().to_str().unwrap(), format!("/c/{theirs}"));
                assert_eq!(dir.cache().parse(theirs), Some(dir.clone()), "{theirs} is read back");
                taken += 1;
            }
            (Err(_), None) => {}
            // The Hub counts the namespace and rejects `.GIT`, so such a folder cannot exist.
            (Err(_), Some(_)) => {
                assert!(given.len() > 96 || given.to_ascii_lowercase().ends_with(".git"), "{given:?}");
                stricter += 1;
            }
            (Ok(_), None) => panic!("{given:?} is a repo to us alone"),
        }
    }
    println!("{taken} repos, {stricter} that only the client takes, of {}", cases.len());
    assert!(taken > 300 && stricter > 0);
}

#[test]
fn file_and_link_paths_match_the_official_client() {
    let mut chance = chance("entries");
    let cases: Vec<_> = (0..4000)
        .map(|_| {
            let length = if chance.bool() { 40 } else { 64 };
            (
                text(&mut chance, PATH, 9),
                hex(&mut chance, 40).parse::<Commit>().unwrap(),
                hex(&mut chance, length).parse().unwrap(),
            )
        })
        .collect::<Vec<(String, Commit, Digest)>>();
    let safe: Vec<_> = cases
        .iter()
        .filter_map(|(path, commit, digest)| Some((path.parse::<RepoPath>().ok()?, commit, digest)))
        .collect();
    let question = |path: &str, commit: &Commit, digest: &Digest| json!({ "path": path, "commit": commit, "etag": digest });
    let questions: Vec<_> =
        safe.iter().map(|(path, commit, digest)| question(path.as_str(), commit, digest)).collect();
    let dir = dir();
    for ((path, commit, digest), theirs) in safe.iter().zip(ask("entry", &questions)) {
        let ours =
            json!({ "path": below(&dir, &dir.entry(commit, path)), "link": link_target(path, digest) });
        assert_eq!(ours, theirs);
    }
    // Paths that the client finds to leave the snapshot are invalid for us.
    let unsafe_paths: Vec<_> = cases.iter().filter(|(path, ..)| path.parse::<RepoPath>().is_err()).collect();
    println!("{} safe paths, {} refused", safe.len(), unsafe_paths.len());
    assert!(safe.len() > 500 && unsafe_paths.len() > 500);
    for (path, ..) in unsafe_paths {
        let bad_part = path.split('/').any(|part| matches!(part, "" | "." | ".."));
        assert!(bad_part || path.contains('\\') || path.contains(char::is_control), "{path:?}");
    }
    let commit = &cases[0].1;
    let out = ["/etc/passwd", "../../x", "a/../../../x", "../../blobs/x"];
    let questions: Vec<_> = out.iter().map(|path| question(path, commit, &cases[0].2)).collect();
    assert_eq!(ask("entry", &questions), vec![Value::Null; out.len()]);
    // The client rejects only paths that leave all snapshots; we also reject those into another snapshot.
    assert!(out.iter().chain(&["../x", "a/../../x"]).all(|path| path.parse::<RepoPath>().is_err()));
}

#[test]
fn ref_and_listing_paths_match_the_official_client() {
    let mut chance = chance("refs");
    let mut cases = Vec::new();
    while cases.len() < 1500 {
        if let Ok(revision) = text(&mut chance, REVISION, 5).parse::<Revision>() {
            cases.push((revision, hex(&mut chance, 40).parse::<Commit>().unwrap()));
        }
    }
    let dir = dir();
    let questions: Vec<_> = cases
        .iter()
        .map(|(revision, commit)| json!({ "revision": revision, "commit": commit, "storage": dir.path() }))
        .collect();
    for ((revision, commit), theirs) in cases.iter().zip(ask("reference", &questions)) {
        assert_eq!(json!([[below(&dir, &dir.reference(revision)), commit]]), theirs);
    }
    for ((_, commit), theirs) in cases.iter().zip(ask("tree", &questions)) {
        assert_eq!(json!(dir.tree(commit)), theirs);
    }
    let commit = &cases[0].1;
    let itself = json!({ "revision": commit, "commit": commit });
    assert_eq!(ask("reference", &[itself]), [json!([])], "a commit has no ref");
}
