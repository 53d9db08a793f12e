//! Compares our interpretation of thousands of generated environments with the official client's.

use std::{collections::BTreeMap, path::Path};

use pretty_assertions::assert_eq;
use serde_json::json;
use test_support::official as judge;

use super::Env;
use crate::{
    cli::source::endpoint,
    hub::{Token, TokenSource},
};

const PATHS: &[&str] =
    &["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HF_TOKEN_PATH", "HERE", "x"];
/// Without unclosed braces, whose handling Python changed in a security fix (CVE-2025-6075).
const PATH: &[&str] = &[
    "~",
    "/",
    "/",
    "a",
    "b c",
    "$HOME",
    "$HERE",
    "${HERE}",
    "${x}",
    "$x",
    "$nothing",
    "${nothing}",
    "$",
    "}",
    "ü",
    "..",
    ".",
    "_",
    "$HERE_",
    "~/",
    "//",
];
const SWITCHES: &[&str] = &["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_SYMLINKS"];
const SWITCH: &[&str] = &["1", "0", "true", "True", "YES", "on", "no", "2", " 1", "ON", "y", "false"];
const TOKENS: &[&str] = &["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];
const TOKEN: &[&str] = &["hf_a", " hf_b ", "hf_c\n", "\r\n", " ", "hf_d\r\n", "x"];
const ENDPOINT: &[&str] = &[
    "https://hub.example",
    "https://hub.example/",
    "http://10.0.0.1:8080/a/b//",
    "https://h/api/x",
    "http://h:81",
];

#[test]
fn the_environment_means_what_it_means_to_the_official_client() {
    let mut chance = judge::chance("environments");
    let mut cases = Vec::new();
    for _ in 0..4000 {
        let value =
            |chance: &mut fastrand::Rng, values: &[&str]| (*chance.choice(values).unwrap()).to_owned();
        let mut case =
            BTreeMap::from([("HOME", value(&mut chance, &["/home/me", "/root/", "/", "/a b/$x"]))]);
        for name in PATHS.iter().filter(|_| chance.u8(..3) == 0).copied().collect::<Vec<_>>() {
            // Never `~name`, where we differ.
            let path = judge::text(&mut chance, PATH, 5);
            let other_home =
                path.strip_prefix('~').is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
            if !path.is_empty() && !other_home {
                case.insert(name, path);
            }
        }
        for (names, values) in [(SWITCHES, SWITCH), (TOKENS, TOKEN), (&["HF_ENDPOINT"], ENDPOINT)] {
            for name in names {
                if chance.bool() {
                    case.insert(name, value(&mut chance, values));
                }
            }
        }
        cases.push(case);
    }
    let questions: Vec<_> = cases.iter().map(|case| json!(case)).collect();
    let mut tokens = 0;
    for (case, theirs) in cases.iter().zip(judge::ask("environment", &questions)) {
        let env: Env = case.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        let path = |name: &str| Path::new(theirs[name].as_str().unwrap()).to_owned();
        assert_eq!(env.cache(), path("cache"), "{case:?}");
        assert_eq!(env.token_path(), path("token_path"), "{case:?}");
        assert_eq!(env.offline(), theirs["offline"], "{case:?}");
        assert_eq!(env.without_links(), theirs["without_links"], "{case:?}");
        let given = case.get("HF_ENDPOINT").map(String::as_str);
        assert_eq!(endpoint(given).unwrap().as_str(), theirs["endpoint"], "{case:?}");
        let token: Option<Token> = theirs["token"].as_str().map(|token| token.parse().unwrap());
        tokens += usize::from(token.is_some());
        // Without a token in the environment, the file is used; some generated paths are existing folders.
        let file = env.token_path();
        let elsewhere = if file.exists() { TokenSource::File(file) } else { TokenSource::None };
        assert_eq!(env.token(), token.map_or(elsewhere, TokenSource::Fixed), "{case:?}");
    }
    println!("{} environments, {tokens} with a token", cases.len());
    assert!(tokens > 500);
}

/// The intended differences.
#[test]
fn what_the_client_silently_corrects_is_an_error() {
    let cases = [
        json!({ "HF_TOKEN": "hf_a\nhf_b" }),
        json!({ "HF_HUB_CACHE": "", "HOME": "/h" }),
        json!({ "HF_ENDPOINT": "" }),
        json!({ "HF_HOME": "~root/x", "HOME": "/h" }),
    ];
    let theirs = judge::ask("environment", &cases);
    let ours = cases.map(|case| {
        let variables = case.as_object().unwrap().iter();
        variables.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect::<Env>()
    });
    // The client joins two lines to one token. We report the user's mistake.
    assert_eq!(theirs[0]["token"], "hf_ahf_b");
    assert!(matches!(ours[0].token(), TokenSource::Malformed(_)));
    // To the client, an empty variable is the working directory, or no Hub at all.
    assert_eq!(theirs[1]["cache"], "");
    assert_eq!(ours[1].cache(), Path::new("/h/.cache/huggingface/hub"));
    assert_eq!(theirs[2]["endpoint"], "");
    assert_eq!(endpoint(Some("")).unwrap(), crate::hub::Endpoint::default());
    // Other users' homes would have to be looked up.
    assert_eq!(theirs[3]["cache"], "/root/x/hub");
    assert_eq!(ours[3].cache(), Path::new("~root/x/hub"));
}
