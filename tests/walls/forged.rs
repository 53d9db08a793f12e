//! Forged content of the files that the program relies on: refs, records, listings, sidecars.

use std::fs;

use serde_json::{Value, json};

use crate::{base::Bases, place::Place};

/// Too deep for a recursive parser.
const DEEP: usize = 5_000_000;
/// Times that no genuine record has.
const TIMES: &[&str] =
    &["9999-12-30T22:00:00Z", "2199-01-01T00:00:00Z", "-009998-01-02T00:00:00Z", "soon", "\u{1b}[31m"];
/// Names that lead elsewhere, or are displayed as something else.
pub const NAMES: &[&str] = &[
    "../../../../outside/secret",
    "/etc/passwd",
    "sub/../../../../../../outside/secret",
    "a\u{202e}gpj.exe",
    "zero\u{200b}width",
    "\u{1b}[31mred",
    "line\nFORGED: all is well",
    "config.json\0",
    ".",
    "",
];

/// Misleading content for a file at this place.
pub fn content(place: Place, bases: &Bases, chance: &mut fastrand::Rng) -> Vec<u8> {
    match place {
        Place::Ref | Place::OtherRef | Place::NestedRef => reference(bases, chance),
        Place::Record | Place::OtherRecord => record(bases, chance),
        Place::Tree => tree(bases, chance),
        Place::Sidecar => sidecar(bases, chance),
        _ => noise(chance, 4096),
    }
}

fn reference(bases: &Bases, chance: &mut fastrand::Rng) -> Vec<u8> {
    let [first, main] = &bases.commits;
    let texts = [
        format!("{main}\n"),
        first.clone(),
        main.to_uppercase(),
        format!("{main}/../../../../outside/trap"),
        "../../../outside/trap".to_owned(),
        "f".repeat(40),
        "0".repeat(40),
        "ref: refs/heads/main".to_owned(),
        main[..39].to_owned(),
        format!("\u{1b}[2J{main}"),
        "\u{202e}\u{200b}".to_owned(),
        "a".repeat(3 << 20),
        "\0".repeat(40),
    ];
    chance.choice(texts).unwrap().into_bytes()
}

fn record(bases: &Bases, chance: &mut fastrand::Rng) -> Vec<u8> {
    if chance.u8(..8) == 0 {
        return deep(chance);
    }
    let files: Vec<_> = bases.files[1]
        .iter()
        .map(|file| json!({ "path": file.path, "size": file.size, "digest": file.etag }))
        .collect();
    let mut record = json!({
        "formatVersion": 1, "repo": "acme/tiny", "type": "model", "commit": bases.commit(),
        "include": [], "exclude": [], "files": files, "bytes": 1, "verifiedAt": TIMES[0],
    });
    for _ in 0..chance.usize(0..3) {
        match chance.u8(..8) {
            0 => record["verifiedAt"] = json!(chance.choice(TIMES).unwrap()),
            1 => record["files"][0]["path"] = json!(chance.choice(NAMES).unwrap()),
            2 => record["files"][0]["size"] = json!(number(chance)),
            3 => record["files"][1]["size"] = json!(u64::MAX),
            4 => record["files"] = Value::from(vec![record["files"][0].clone(); 5000]),
            5 => record["commit"] = json!(chance.choice(NAMES).unwrap()),
            6 => record["include"] = json!(["\u{202e}".repeat(1000)]),
            _ => record["files"] = json!([]),
        }
    }
    record.to_string().into_bytes()
}

fn tree(bases: &Bases, chance: &mut fastrand::Rng) -> Vec<u8> {
    if chance.u8(..5) == 0 {
        return deep(chance);
    }
    let entry = json!({ "size": number(chance), "blob_id": "0".repeat(40), "lfs_sha256": bases.etag("model.safetensors") });
    let name = *chance.choice(NAMES).unwrap();
    json!({ "format_version": 1, "files": { "config.json": entry, name: entry } }).to_string().into_bytes()
}

/// A sidecar that claims to be from this boot.
pub fn sidecar_of(size: u64, length: u64, written: &[u64]) -> Vec<u8> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).unwrap();
    let mut bytes = b"mcparts1".to_vec();
    bytes.extend(size.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(boot.to_le_bytes());
    bytes.extend(written.iter().flat_map(|part| part.to_le_bytes()));
    bytes
}

fn sidecar(bases: &Bases, chance: &mut fastrand::Rng) -> Vec<u8> {
    let size = bases.files[1].iter().find(|file| file.path == "model.safetensors").unwrap().size;
    let length = chance.choice([8 << 20, 64 << 20, u64::MAX, u64::MAX / 2, 0, 1]).unwrap();
    match chance.u8(..5) {
        0 => sidecar_of(number(chance), length, &[number(chance)]),
        1 => sidecar_of(size, length, &vec![number(chance); chance.usize(..2000)]),
        2 => sidecar_of(size, 8 << 20, &[size]),
        3 => sidecar_of(size, length, &[number(chance)]),
        _ => sidecar_of(size, 8 << 20, &[1]),
    }
}

/// Deeply nested JSON.
fn deep(chance: &mut fastrand::Rng) -> Vec<u8> {
    let beginning = chance.choice(["", "{\"files\":", "{\"format_version\":1,\"files\":{\"a\":"]).unwrap();
    let piece = chance.choice(["[", "{\"a\":"]).unwrap();
    [beginning, &piece.repeat(DEEP / piece.len())].concat().into_bytes()
}

/// Random bytes.
pub fn noise(chance: &mut fastrand::Rng, length: usize) -> Vec<u8> {
    (0..length).map(|_| chance.u8(..)).collect()
}

fn number(chance: &mut fastrand::Rng) -> u64 {
    chance.choice([0, 1, 2, 40, 699_999, 700_000, 700_001, 1 << 31, 1 << 40, u64::MAX - 1, u64::MAX]).unwrap()
}
