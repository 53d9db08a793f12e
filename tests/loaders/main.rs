//! What users load with, on one volume of ours, from strict pods that have what the label `modelcache.internal/mount` gives.
#![allow(clippy::unwrap_used, reason = "tests fail by it")]

mod loader;
mod pod;
mod volume;

use std::{process::Output, thread};
use test_support::{client, models, programs};

use loader::{
    Loader::{self, JavaScript, Python, Rust},
    NEWEST, OLDEST,
};
use pod::{Pod, USER, can_start};
use pretty_assertions::assert_eq;
use volume::volume;

/// A cell that is not asked for.
const NONE: &str = "";
/// What Python says where it finds no folder for temporary files.
const NO_TEMP: &str = "cannot: FileNotFoundError";
/// What transformers says of a model that is not in its cache.
const OS_ERROR: &str = "cannot: OSError";
/// What transformers says that can write nowhere.
const NO_HOME: &str = "cannot: OSError";
/// What those say who ask the Hub for what is on the volume.
const HF_HUB: &str = "cannot: RequestError";
const NODE: &str = "cannot: fetch failed";
const DATASETS: &str = "cannot: ConnectionError";
/// What tokenizers says that could not fill a cache of its own.
const TOKENIZERS: &str = "cannot: Exception";

/// A loader, where it runs, and what it says of each thing on the volume.
type Row = (Loader, Pod, [&'static str; 7]);

/// What each library makes of each thing on the volume: the mark that tells it from all others, or how it refuses.
#[rustfmt::skip]
const MATRIX: &[Row] = &[
    // loader                            pod         branch    tag      alias     hash      part        dataset    legacy
    (Python(OLDEST, "huggingface_hub"),  Pod::Plain, ["branch", "tag",  "commit", "commit", "filtered", "dataset", "legacy"]),
    (Python(NEWEST, "huggingface_hub"),  Pod::Plain, ["branch", "tag",  "commit", "commit", "filtered", "dataset", "legacy"]),
    (Python(OLDEST, "transformers"),     Pod::Plain, ["branch", "tag",  "commit", "commit", "filtered", NONE,      "legacy"]),
    (Python(NEWEST, "transformers"),     Pod::Plain, ["branch", "tag",  "commit", "commit", "filtered", NONE,      "legacy"]),
    (Python(OLDEST, "custom_code"),      Pod::Plain, ["own branch", "own tag", NONE, NONE,     NONE,       NONE,      NONE]),
    (Python(NEWEST, "custom_code"),      Pod::Plain, ["own branch", "own tag", NONE, NONE,     NONE,       NONE,      NONE]),
    (Python(OLDEST, "tokenizers"),       Pod::Plain, [TOKENIZERS, NONE, NONE,     NONE,     NONE,       NONE,      NONE]),
    (Python(NEWEST, "tokenizers"),       Pod::Plain, ["tokens", "tokens", "tokens", "tokens", "tokens", NONE,      "tokens"]),
    (Python(NEWEST, "datasets"),         Pod::Home,  [NONE,     NONE,   NONE,     NONE,     NONE,       DATASETS,  NONE]),
    (Python(NEWEST, "datasets_by_path"), Pod::Home,  [NONE,     NONE,   NONE,     NONE,     NONE,       "dataset", NONE]),
    (Python(NEWEST, "datasets_by_path"), Pod::Plain, [NONE,     NONE,   NONE,     NONE,     NONE,       NO_TEMP,   NONE]),
    (Rust("hf-hub-old", &[]),            Pod::Plain, ["branch", "tag",  "commit", HF_HUB,   "filtered", "dataset", "legacy"]),
    (Rust("hf-hub-new", &[]),            Pod::Plain, ["branch", "tag",  "commit", "commit", "filtered", "dataset", "legacy"]),
    (Rust("hf-hub-new", &["--online"]),  Pod::Plain, ["branch", NONE,   NONE,     NONE,     NONE,       NONE,      NONE]),
    (JavaScript(&[]),                    Pod::Plain, [NODE,     NODE,   NODE,     "commit", NODE,       NODE,      NODE]),
    (JavaScript(&["--scan"]),            Pod::Plain, ["branch", "tag",  "commit", "commit", "filtered", "dataset", "legacy"]),
];

/// What is found with a part of the block's variables.
#[rustfmt::skip]
const WITHOUT: &[Row] = &[
    (Python(NEWEST, "transformers"), Pod::HubCacheOnly, ["branch", "tag",   "commit", "commit", "filtered", NONE,   "legacy"]),
    (Python(OLDEST, "transformers"), Pod::HubCacheOnly, [OS_ERROR, OS_ERROR, OS_ERROR, OS_ERROR, OS_ERROR, NONE,   OS_ERROR]),
    (Python(NEWEST, "custom_code"),  Pod::HubCacheOnly, [NO_HOME,  NO_HOME, NONE,    NONE,     NONE,       NONE,   NONE]),
    (Rust("hf-hub-old", &[]),        Pod::HubCacheOnly, [HF_HUB,   HF_HUB,  HF_HUB,   HF_HUB,   HF_HUB,     HF_HUB, HF_HUB]),
];

/// Runs a loader for the cells that are asked for.
fn load(loader: Loader, pod: Pod, cells: [&'static str; 7]) -> Output {
    let mut words = loader.words();
    for (case, _) in volume().cases.iter().zip(cells).filter(|(_, cell)| *cell != NONE) {
        words.extend([case.kind, case.repo, &case.revision].map(Into::into));
    }
    pod.run(volume(), &words)
}

/// Each row of a matrix is as it is written there.
fn assert_matrix(rows: &[Row]) {
    if !can_start() {
        return;
    }
    // As many at the same time as there are cores, at most.
    let cores = thread::available_parallelism().unwrap().get();
    for rows in rows.chunks(cores) {
        thread::scope(|scope| {
            let runs: Vec<_> = rows
                .iter()
                .map(|&(loader, pod, cells)| scope.spawn(move || load(loader, pod, cells)))
                .collect();
            for (run, (loader, pod, cells)) in runs.into_iter().zip(rows) {
                let output = run.join().unwrap();
                let said: Vec<_> = str::from_utf8(&output.stdout).unwrap().lines().collect();
                let wanted: Vec<_> = cells.iter().copied().filter(|cell| *cell != NONE).collect();
                let errors = String::from_utf8_lossy(&output.stderr);
                assert_eq!(said, wanted, "{loader:?} {pod:?}: {errors}");
            }
        });
    }
}

#[test]
fn each_library_loads_what_it_can() {
    assert_matrix(MATRIX);
}

#[test]
fn some_libraries_find_nothing_with_a_part_of_the_variables() {
    assert_matrix(WITHOUT);
}

#[test]
fn the_newest_client_says_nothing_besides() {
    let (loader, pod, cells) = MATRIX[1];
    if can_start() {
        assert_eq!(String::from_utf8(load(loader, pod, cells).stderr).unwrap(), "");
    }
}

#[test]
fn a_pod_can_write_below_its_home_only_and_reaches_nobody() {
    let script = r#"
        id -u
        sed -n 's/^ *\([^ ]*\):.*/\1/p' /proc/net/dev
        for place in / /tmp /var/tmp "$HF_HUB_CACHE" "$HF_HUB_CACHE"/models--encoder "$HF_HOME"; do
          (touch "$place/written") 2>/dev/null && echo "$place" | sed "s|$HF_HOME|home|"
        done
        true"#;
    if can_start() {
        let output = Pod::Plain.run(volume(), &["sh", "-c", script]);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{USER}\nlo\nhome\n"));
    }
}
