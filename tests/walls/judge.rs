//! The invariants after each run, whatever was on the volume.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use modelcache::{
    fetch::Report,
    reason::{Reason, exit},
};
use serde_json::Value;
use standin_hub::ServedFile;

use crate::{
    base::{Bases, TOKEN},
    canary::Picture,
    program::{End, Order, run},
    site::{SECRET, Site, UNSEEN},
};

/// The documented exit codes, except for usage errors.
const CODES: &[u8] = &[
    exit::OK,
    exit::FAILURE,
    exit::DATA,
    exit::NOT_FOUND,
    exit::UNREACHABLE,
    exit::VOLUME,
    exit::RATE_LIMITED,
    exit::NO_ACCESS,
];

/// The state of a site before a run.
pub struct Before<'a> {
    bases: &'a Bases,
    site: &'a Site,
    outside: Picture,
    /// The part of the cache that this order must not change.
    inside: Option<Picture>,
    good: BTreeSet<Good>,
    neighbour: Picture,
}

/// An intact file that a ref leads to: its commit and its path.
type Good = (String, String);

/// Runs an order, and returns all violations.
pub fn wrongs(bases: &Bases, site: &Site, order: &Order) -> (End, Vec<String>) {
    let before = Before::of(bases, site, order);
    let end = run(bases, site, order);
    let mut wrongs = before.compare();
    wrongs.extend(of_end(&end, order));
    if order.arguments[0] == "fetch" && end.code == Some(0) {
        wrongs.extend(of_promise(bases, site, order, &end));
    }
    let line = |wrong| format!("{order:?}: {wrong}");
    (end, wrongs.into_iter().map(line).collect())
}

impl<'a> Before<'a> {
    fn of(bases: &'a Bases, site: &'a Site, order: &Order) -> Self {
        let inside = match order.arguments {
            ["list" | "verify", ..] => Some(site.inside(&[])),
            // It checks for held locks.
            [.., "--dry-run"] => Some(site.inside(&[".locks"])),
            _ => None,
        };
        let (outside, good, neighbour) = (site.outside(), good(bases, site), neighbour(site));
        Self { bases, site, outside, inside, good, neighbour }
    }

    fn compare(&self) -> Vec<String> {
        let mut wrongs = self.outside.differences(&self.site.outside());
        for wrong in &mut wrongs {
            wrong.insert_str(0, "outside: ");
        }
        if let Some(inside) = &self.inside {
            let but: &[&str] = if inside.has(&self.site.cache()) { &[] } else { &[".locks"] };
            let found = inside.differences(&self.site.inside(but));
            wrongs.extend(found.into_iter().map(|wrong| format!("read only: {wrong}")));
        }
        let lost = neighbour(self.site);
        wrongs
            .extend(self.neighbour.differences(&lost).into_iter().map(|wrong| format!("another's: {wrong}")));
        let now = good(self.bases, self.site);
        wrongs.extend(self.good.difference(&now).map(|good| format!("lost: {good:?} was good")));
        wrongs
    }
}

/// The files of the other model in the cache.
fn neighbour(site: &Site) -> Picture {
    Picture::of(&site.cache().join("models--acme--other"), &|_| false)
}

/// All intact files that refs lead to.
fn good(bases: &Bases, site: &Site) -> BTreeSet<Good> {
    let mut good = BTreeSet::new();
    let refs = site.model().join("refs");
    for name in ["main", "refs/pr/1"] {
        let Ok(commit) = read_in_place(site, &refs.join(name)) else { continue };
        let known = bases.commits.iter().position(|it| it.as_bytes() == commit);
        let Some((commit, files)) = known.map(|at| (&bases.commits[at], &bases.files[at])) else { continue };
        let right = files.iter().filter(|file| loads(site, commit, file).is_ok());
        good.extend(right.map(|file| (commit.clone(), file.path.clone())));
    }
    good
}

/// Reads a regular file without following links.
fn read_in_place(site: &Site, path: &Path) -> Result<Vec<u8>, String> {
    let cache = site.cache().canonicalize().map_err(|error| error.to_string())?;
    let expected = cache.join(path.strip_prefix(site.cache()).unwrap());
    let found = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
    let stat = fs::symlink_metadata(&found).map_err(|error| error.to_string())?;
    if found != expected || !stat.is_file() || stat.len() > 1 << 20 {
        return Err(format!("{} is {}", path.display(), found.display()));
    }
    fs::read(found).map_err(|error| error.to_string())
}

/// Whether a reader finds a file of a commit inside the cache.
fn loads(site: &Site, commit: &str, file: &ServedFile) -> Result<(), String> {
    let snapshot = site.model().join("snapshots").join(commit);
    let entry = snapshot.join(&file.path);
    let (folder, cache) = (entry.parent().unwrap(), site.cache().canonicalize().unwrap());
    let in_place = |path: &Path| {
        let expected = cache.join(path.strip_prefix(site.cache()).unwrap());
        path.canonicalize().is_ok_and(|found| found == expected)
    };
    if !in_place(folder) {
        return Err(format!("{} is elsewhere or missing", folder.display()));
    }
    let found: PathBuf = entry.canonicalize().map_err(|error| format!("{}: {error}", entry.display()))?;
    let stat = fs::symlink_metadata(&found).map_err(|error| error.to_string())?;
    if !found.starts_with(&cache) || !stat.is_file() {
        return Err(format!("{} is {}, no file of the cache", entry.display(), found.display()));
    }
    if stat.size() != file.size || fs::read(&found).unwrap() != file.content.to_vec().unwrap() {
        return Err(format!("{} has a wrong content", entry.display()));
    }
    Ok(())
}

/// A successful fetch must have left a complete snapshot.
fn of_promise(bases: &Bases, site: &Site, order: &Order, end: &End) -> Vec<String> {
    let offline = order.variables.iter().any(|(name, _)| *name == "HF_HUB_OFFLINE");
    let mut wrongs = Vec::new();
    let Some(report) = end.report.as_deref().and_then(Report::parse) else {
        return vec!["no report".to_owned()];
    };
    let commit = report.commit.unwrap_or_default();
    let Some(at) = bases.commits.iter().position(|known| *known == commit) else {
        return vec![format!("promise: `{commit}` is no commit of the model")];
    };
    if at != 1 && !offline {
        wrongs.push("promise: an old commit".to_owned());
    }
    let json_only = order.arguments.contains(&"*.json");
    let wanted = bases.files[at].iter().filter(|file| !json_only || file.path.ends_with(".json"));
    wrongs.extend(
        wanted.filter_map(|file| loads(site, &commit, file).err()).map(|wrong| format!("promise: {wrong}")),
    );
    if !order.arguments.contains(&"--revision") {
        match read_in_place(site, &site.model().join("refs/main")) {
            Ok(text) if text == commit.as_bytes() => {}
            Ok(text) => wrongs.push(format!("promise: main is {}", String::from_utf8_lossy(&text))),
            Err(error) => wrongs.push(format!("promise: main: {error}")),
        }
    }
    wrongs
}

/// Checks exit code and output.
pub fn of_end(end: &End, order: &Order) -> Vec<String> {
    let mut wrongs: Vec<_> = end.killed.iter().map(|why| format!("end: {why}")).collect();
    let (out, err) = (String::from_utf8_lossy(&end.out), String::from_utf8_lossy(&end.err));
    let report = end.report.clone().unwrap_or_default();
    match end.code {
        Some(code) if CODES.iter().any(|known| i32::from(*known) == code) => {
            let said = reason_of(&err);
            if said.is_none_or(|reason| i32::from(reason.exit_code()) != code)
                && (code != 0 || order.arguments[0] == "fetch")
            {
                wrongs.push(format!("end: exit code {code} with {said:?}: {err}"));
            }
        }
        Some(code) => wrongs.push(format!("end: exit code {code}: {err}")),
        None => {}
    }
    for (name, text) in [("stdout", &*out), ("stderr", &*err), ("report", &*report)] {
        for word in ["panicked at", "RUST_BACKTRACE", TOKEN, SECRET, UNSEEN] {
            if text.contains(word) {
                wrongs.push(format!("said: {name} has `{word}`: {}", around(text, word)));
            }
        }
        let machine = name == "stdout" && order.arguments.contains(&"json");
        if machine {
            let broken = text.lines().find(|line| serde_json::from_str::<Value>(line).is_err());
            wrongs.extend(broken.map(|line| format!("said: no JSON: `{line}`")));
        } else if let Some(bad) = text.chars().find(|c| is_hidden(*c)) {
            wrongs.push(format!("said: {name} has {bad:?}: {}", around(text, &bad.to_string())));
        }
        if text.lines().any(|line| line.starts_with("FORGED")) {
            wrongs.push(format!("said: {name} has a line that a name has made"));
        }
    }
    wrongs
}

/// The reason code at the beginning of the last line.
fn reason_of(err: &str) -> Option<Reason> {
    let word = err.lines().last()?.split(':').next()?;
    Reason::ALL.iter().copied().find(|reason| reason.as_str() == word)
}

/// Whether a character is invisible or misleading on a terminal.
fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn around(text: &str, word: &str) -> String {
    let line = text.lines().find(|line| line.contains(word)).unwrap_or(text);
    line.chars().take(400).flat_map(char::escape_debug).collect()
}
