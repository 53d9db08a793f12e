//! Generated names on a case-insensitive file system: colliding or invalid names are never reported as verified.

use std::{fs, io, path::Path};

use modelcache::fetch::Report;
use standin_hub::{Repo, StandinHub};

use crate::{chance::asked, medium::Medium};

/// The number of repos.
const CASES: u64 = 60;
const FIRST: u64 = 7_000_000;
/// The pieces of names. Some have two letter cases, some three, and some are special to a file system.
const PIECES: &[&str] = &[
    "readme", "config", "ü", "ß", "k", "\u{212a}", "ſ", "i", "ı", "é", "e\u{301}", "x", "1", "-", "б", "σ",
    "ς",
];
const ODD: &[&str] = &[":", "?", "*", "\"", "<", "|", " ", ".", "con", "~1"];

/// A path of one or two parts.
fn path(chance: &mut fastrand::Rng) -> String {
    let part = |chance: &mut fastrand::Rng| {
        let pieces = (0..chance.usize(1..3)).map(|_| *chance.choice(PIECES).unwrap()).collect::<String>();
        let odd = if chance.u8(..40) == 0 { *chance.choice(ODD).unwrap() } else { "" };
        format!("{pieces}{odd}.md")
    };
    let folder = if chance.bool() { format!("{}/", part(chance).replace(".md", "")) } else { String::new() };
    folder + &part(chance)
}

/// The same path in another case.
fn other_case(path: &str, chance: &mut fastrand::Rng) -> String {
    let swap =
        |c: char| if c.is_lowercase() { c.to_uppercase().to_string() } else { c.to_lowercase().to_string() };
    path.chars().map(|c| if chance.bool() { swap(c) } else { c.to_string() }).collect()
}

/// Files that can coexist in git, some with names that differ only in case.
fn files(chance: &mut fastrand::Rng) -> Vec<(String, String)> {
    let mut paths: Vec<_> = (0..chance.usize(1..4)).map(|_| path(chance)).collect();
    if chance.bool() {
        paths.push(other_case(&paths[0].clone(), chance));
    }
    paths.sort_unstable();
    paths.dedup();
    let folders = paths.clone();
    paths.retain(|path| !folders.iter().any(|other| other.starts_with(&format!("{path}/"))));
    // All of the same size, so that sizes reveal nothing.
    paths.into_iter().enumerate().map(|(at, path)| (path, format!("content {at}"))).collect()
}

/// How the file system treats such files.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It holds all of them.
    Holds,
    /// These two collide.
    One(String, String),
    /// It cannot hold this one.
    Refuses(String),
}

fn probe(root: &Path, files: &[(String, String)]) -> Verdict {
    for (path, content) in files {
        let at = root.join(path);
        if fs::create_dir_all(at.parent().unwrap()).is_err() {
            return Verdict::Refuses(path.clone());
        }
        match fs::File::create_new(&at) {
            Ok(_) => fs::write(&at, content).unwrap(),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let there = fs::read_to_string(&at).unwrap_or_default();
                let earlier = files.iter().find(|(_, content)| *content == there);
                return earlier.map_or(Verdict::Refuses(path.clone()), |(earlier, _)| {
                    Verdict::One(earlier.clone(), path.clone())
                });
            }
            Err(_) => return Verdict::Refuses(path.clone()),
        }
    }
    Verdict::Holds
}

/// The violation, if any, after fetching a repo with such files.
fn wrong(hub: &StandinHub, medium: &Medium, number: u64) -> Option<String> {
    let mut chance = fastrand::Rng::with_seed(number);
    let files = files(&mut chance);
    let name = format!("acme/n{number}");
    hub.add(files.iter().fold(Repo::model(&name), |repo, (path, content)| repo.file(path, content.as_str())));
    let verdict = probe(&medium.seen(&medium.path(&format!("probe-{number}"))), &files);
    let cache = medium.path("cache");
    let mut command = medium.modelcache(&["fetch", &name, "-o", "json"]);
    let output = command.env("HF_ENDPOINT", hub.url()).env("HF_HUB_CACHE", &cache).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(report) = out.lines().last().and_then(Report::parse) else {
        return Some(format!("no report: {}", String::from_utf8_lossy(&output.stderr)));
    };
    let snapshot =
        cache.join(format!("models--acme--n{number}/snapshots")).join(hub.commit(name.as_str(), "main"));
    let right = files.iter().all(|(path, content)| {
        fs::read_to_string(medium.seen(&snapshot.join(path))).is_ok_and(|found| found == *content)
    });
    let done = output.status.success();
    let named = match &verdict {
        Verdict::Holds => true,
        Verdict::One(one, other) => report.message.contains(one) && report.message.contains(other),
        Verdict::Refuses(path) => report.message.contains(path),
    };
    let good = if verdict == Verdict::Holds { done && right } else { !done && named };
    (!good).then(|| {
        format!("MODELCACHE_TEST_SEED={number} {verdict:?}, and {}: {}", report.reason, report.message)
    })
}

#[tokio::test]
async fn colliding_names_are_rejected_by_fetch_and_verify() {
    let Some(medium) = Medium::mount() else { return };
    let hub = StandinHub::start().await;
    let numbers = asked().map_or(FIRST..FIRST + CASES, |number| number..number + 1);
    let wrongs: Vec<_> = numbers.filter_map(|number| wrong(&hub, &medium, number)).collect();
    println!("{}", wrongs.join("\n"));
    assert!(wrongs.is_empty(), "{} repos were misjudged", wrongs.len());
}
