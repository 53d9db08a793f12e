//! Known attacks, each with every relevant command.

use std::{
    fs,
    os::unix::fs::{FileExt as _, symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use pretty_assertions::assert_eq;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use crate::{
    base::{Base, Bases},
    forged,
    judge::{of_end, wrongs},
    kind::{Kind, plant},
    orders::{FETCH, FETCH_OFFLINE, LIST, PRUNE, VERIFY, WITHOUT_LINKS, order},
    place::Place,
    program::{End, Order, run},
    site::{SECRET, Site},
};

/// Runs an order and asserts all invariants.
#[track_caller]
fn harmless(bases: &Bases, site: &Site, order: &Order, what: &str) -> End {
    let (end, wrongs) = wrongs(bases, site, order);
    assert_eq!(wrongs, Vec::<String>::new(), "{what}");
    end
}

/// Runs all combinations, each in a fresh state.
#[track_caller]
fn all_harmless(bases: &Bases, places: &[Place], kinds: &[Kind], states: &[Base], orders: &[Order]) {
    let mut found = Vec::new();
    let mut chance = fastrand::Rng::with_seed(1);
    for (place, kind) in places.iter().flat_map(|place| kinds.iter().map(move |kind| (*place, *kind))) {
        for (base, order) in states.iter().flat_map(|base| orders.iter().map(move |order| (*base, order))) {
            let site = Site::new(bases, base, false);
            let _planted = plant(kind, place, bases, &site, &mut chance);
            let wrongs = wrongs(bases, &site, order).1;
            found.extend(
                wrongs.into_iter().map(|wrong| format!("{kind:?} at {place:?} of {base:?}: {wrong}")),
            );
        }
    }
    println!("{}", found.join("\n"));
    assert!(found.is_empty(), "{} runs harmed somebody", found.len());
}

/// A file outside, and an incomplete download that leads to it and claims one byte of progress.
fn bait(bases: &Bases, site: &Site, lead: impl Fn(&Path, &Path)) {
    let [content, sidecar] = [Place::Incomplete, Place::Sidecar].map(|place| place.path(bases, site));
    for folder in [&content, &sidecar] {
        fs::create_dir_all(folder.parent().unwrap()).unwrap();
    }
    lead(&site.path("outside/secret"), &content);
    fs::write(sidecar, forged::sidecar_of(700_000, 8 << 20, &[1])).unwrap();
}

#[tokio::test]
async fn an_incomplete_blob_that_leads_elsewhere_is_not_resumed() {
    let bases = Bases::make().await;
    for what in ["a link", "another name"] {
        let site = Site::new(&bases, Base::Empty, false);
        bait(&bases, &site, |to, at| match what {
            "a link" => symlink(to, at).unwrap(),
            _ => fs::hard_link(to, at).unwrap(),
        });
        let end = harmless(&bases, &site, &FETCH, what);
        assert_eq!(end.code, Some(0), "{what}: all else of the volume is good");
        assert_eq!(fs::read_to_string(site.path("outside/secret")).unwrap(), SECRET);
        for order in [PRUNE, VERIFY] {
            harmless(&bases, &site, &order, what);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_folder_of_a_cache_may_be_elsewhere() {
    let bases = Bases::make().await;
    let folders: Vec<_> = Place::ALL.into_iter().filter(|place| place.is_folder()).collect();
    all_harmless(
        &bases,
        &folders,
        &[Kind::Moved, Kind::Trap],
        &[Base::TwoCommits],
        &[FETCH, FETCH_OFFLINE, PRUNE, VERIFY, LIST],
    );
    all_harmless(&bases, &folders, &[Kind::Moved, Kind::Trap], &[Base::Empty], &[FETCH]);
}

#[tokio::test]
async fn a_hard_linked_lock_is_not_written_to() {
    let bases = Bases::make().await;
    let locks = [Place::ContentLock, Place::TurnLock, Place::MovingLock];
    all_harmless(
        &bases,
        &locks,
        &[Kind::HardSecret, Kind::Secret, Kind::Dangling, Kind::Pipe],
        &[Base::Empty, Base::Half],
        &[FETCH, WITHOUT_LINKS, PRUNE],
    );
}

#[tokio::test]
async fn special_files_neither_block_nor_are_read() {
    let bases = Bases::make().await;
    all_harmless(
        &bases,
        &[
            Place::Ref,
            Place::OtherRef,
            Place::Record,
            Place::Tree,
            Place::Blob,
            Place::Incomplete,
            Place::Temporary,
        ],
        &[Kind::Pipe, Kind::HeldPipe, Kind::Zero, Kind::Socket, Kind::Huge],
        &[Base::Complete],
        &[FETCH, FETCH_OFFLINE, VERIFY, LIST, PRUNE],
    );
}

#[tokio::test]
async fn a_record_from_the_future_vouches_for_nothing() {
    let bases = Bases::make().await;
    let site = Site::new(&bases, Base::Complete, false);
    let (record, blob) = (Place::Record.path(&bases, &site), Place::Blob.path(&bases, &site));
    let mut forged: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    forged["verifiedAt"] = json!("2199-01-01T00:00:00Z");
    fs::write(&record, forged.to_string()).unwrap();
    let mut bytes = fs::read(&blob).unwrap();
    bytes[5] ^= 1;
    fs::write(&blob, bytes).unwrap();

    let end = harmless(&bases, &site, &order(&["list", "-o", "json"]), "list");
    let listed = String::from_utf8(end.out).unwrap();
    let models = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let tiny = models.into_iter().find(|model| model["repo"] == "acme/tiny").unwrap();
    assert_ne!(tiny["revisions"][0]["state"], "verified", "{tiny}");
    assert_ne!(harmless(&bases, &site, &FETCH_OFFLINE, "offline").code, Some(0));
    assert_eq!(harmless(&bases, &site, &VERIFY, "verify").code, Some(65));
    // Only the corrupt file is fetched again.
    assert_eq!(harmless(&bases, &site, &FETCH, "fetch").code, Some(0));
    let now: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    assert_ne!(now["verifiedAt"], forged["verifiedAt"]);
}

/// A sparse file with a hole of 1 TiB after many short ones.
fn hollow(path: &Path, short: u64) {
    let file = fs::File::create(path).unwrap();
    for number in 0..short {
        file.write_all_at(b"x", number * 8192).unwrap();
    }
    file.set_len(1 << 40).unwrap();
}

#[tokio::test]
async fn a_sparse_file_is_not_read_whatever_its_record() {
    let bases = Bases::make().await;
    let site = Site::new(&bases, Base::Complete, false);
    let (record, blob) = (Place::Record.path(&bases, &site), Place::Blob.path(&bases, &site));
    let mut forged: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    let files = forged["files"].as_array_mut().unwrap();
    let weights = files.iter_mut().find(|file| file["path"] == "model.safetensors").unwrap();
    weights["size"] = json!(1u64 << 40);
    forged["verifiedAt"] = json!("2020-01-01T00:00:00Z");
    fs::write(&record, forged.to_string()).unwrap();
    hollow(&blob, 0);
    assert_ne!(harmless(&bases, &site, &FETCH_OFFLINE, "offline").code, Some(0));
    assert_eq!(harmless(&bases, &site, &VERIFY, "verify").code, Some(65));
    hollow(&Place::UnknownBlob.path(&bases, &site), 100_001);
    assert_eq!(harmless(&bases, &site, &VERIFY, "many holes").code, Some(65));
    assert_eq!(harmless(&bases, &site, &FETCH, "fetch").code, Some(0));
}

#[tokio::test]
async fn documents_with_a_million_entries_are_bounded() {
    const TIMES: usize = 1_200_000;
    let bases = Bases::make().await;
    let site = Site::new(&bases, Base::Complete, false);
    let record = Place::Record.path(&bases, &site);
    let mut forged: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    let one = forged["files"][0].to_string();
    forged["files"] = json!([]);
    let files = format!("\"files\":[{}]", vec![one; TIMES].join(","));
    fs::write(&record, forged.to_string().replace("\"files\":[]", &files)).unwrap();
    let entry = r#""config.json":{"size":0,"blob_id":""}"#;
    let tree = format!(r#"{{"format_version":1,"files":{{{}}}}}"#, vec![entry; TIMES].join(","));
    fs::write(Place::Tree.path(&bases, &site), tree).unwrap();
    for order in [LIST, VERIFY, FETCH_OFFLINE, order(&["fetch", "acme/tiny", "--include", "*.json"]), FETCH] {
        harmless(&bases, &site, &order, "a million times");
    }
}

#[tokio::test]
async fn very_many_commits_are_scanned_once() {
    const MANY: u32 = 30_000;
    const STALE: u32 = 2_000;
    let bases = Bases::make().await;
    let site = Site::new(&bases, Base::Complete, false);
    let (snapshots, refs) = (Place::Snapshots.path(&bases, &site), Place::Refs.path(&bases, &site));
    let own = Place::Own.path(&bases, &site);
    for number in 0..MANY {
        let (kept, lost) = (format!("{number:040x}"), format!("f{number:039x}"));
        fs::create_dir(snapshots.join(&kept)).unwrap();
        fs::write(refs.join(format!("r{number}")), kept).unwrap();
        fs::write(own.join(format!("{lost}-x.json")), "x").unwrap();
    }
    for number in 0..STALE {
        let stale = format!("e{number:039x}");
        fs::create_dir(snapshots.join(&stale)).unwrap();
        fs::write(own.join(format!("{stale}-x.json")), "x").unwrap();
    }
    for order in [LIST, PRUNE] {
        harmless(&bases, &site, &order, "very many");
    }
    assert_eq!(fs::read_dir(own).unwrap().count(), 1, "the record of the one that is good");
    assert_eq!(fs::read_dir(snapshots).unwrap().count(), MANY as usize + 1);
}

/// Swaps a folder for a link and back as fast as possible.
fn flicker(folder: &Path, spare: &Path, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        // The program may have replaced or removed it.
        let _ = renameat_with(CWD, folder, CWD, spare, RenameFlags::EXCHANGE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_swapped_for_a_link_is_not_followed() {
    const ROUNDS: usize = 4;
    let bases = Bases::make().await;
    let folders = [
        Place::Blobs,
        Place::Own,
        Place::Snapshots,
        Place::Snapshot,
        Place::Folder,
        Place::Refs,
        Place::Trees,
        Place::Locks,
        Place::RepoLocks,
        Place::Repo,
    ];
    let mut found = Vec::new();
    for (place, order) in folders.iter().flat_map(|place| [FETCH, PRUNE].map(|order| (*place, order))) {
        for round in 0..ROUNDS {
            let base = [Base::Half, Base::TwoCommits][round % 2];
            let site = Site::new(&bases, base, false);
            let (folder, spare) = (place.path(&bases, &site), site.cache().join("spare"));
            fs::create_dir_all(&folder).unwrap();
            symlink(site.path("outside/trap"), &spare).unwrap();
            let outside = site.outside();
            let stop = AtomicBool::new(false);
            let end = thread::scope(|scope| {
                scope.spawn(|| flicker(&folder, &spare, &stop));
                let end = run(&bases, &site, &order);
                stop.store(true, Relaxed);
                end
            });
            let mut wrongs = outside.differences(&site.outside());
            wrongs.extend(of_end(&end, &order));
            found.extend(wrongs.into_iter().map(|wrong| format!("{place:?} under {order:?}: {wrong}")));
        }
    }
    println!("{}", found.join("\n"));
    assert!(found.is_empty(), "{} times something went wrong", found.len());
}

#[tokio::test]
async fn an_endless_file_of_specs_is_rejected() {
    let bases = Bases::make().await;
    let site = Site::new(&bases, Base::Empty, false);
    fs::File::create(site.path("outside/work/huge.yaml")).unwrap().set_len(64 << 30).unwrap();
    for arguments in
        [&["check", "-f", "/dev/zero"], &["check", "-f", "huge.yaml"], &["fetch", "-f", "/dev/zero"]]
    {
        let order = Order { arguments, variables: &[] };
        let end = run(&bases, &site, &order);
        assert_eq!((end.killed.as_deref(), end.code), (None, Some(2)), "{arguments:?}: {end:?}");
    }
}
