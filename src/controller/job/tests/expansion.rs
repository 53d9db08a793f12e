//! What the kubelet makes of a Job's arguments and variables, on generated specs.

use std::collections::BTreeMap;

use fastrand::Rng;
use pretty_assertions::assert_eq;

use super::{COMMIT, Commit, Endpoint, JobKind, JobParams, Revision, Target, build, cache, endpoint};
use crate::{
    api::LogLevel,
    chance,
    controller::fixtures::with_token,
    hub::{Patterns, Repo, RepoType},
};

const CASES: usize = 500;
/// What has a meaning to the kubelet, to a shell, or to nobody.
const PIECES: &[&str] = &[
    "$",
    "$$",
    "$(",
    ")",
    "$(TOKEN)",
    "$$(TOKEN)",
    "$(PATH)",
    "$(A)$(B)",
    "${TOKEN}",
    "$TOKEN",
    "$(NONE)",
    "$()",
    "$($(A))",
    "a",
    "b/",
    "x",
    "ü",
    "$ü",
    "🤗",
    "{",
    "}",
    "%24(A)",
    "'",
    "\"",
    "`A`",
    "-",
    "=",
    ",",
];
const NAMES: &[&str] = &["TOKEN", "PATH", "A", "B", "", "$(A", "HTTPS_PROXY"];

/// `Expand` of `k8s.io/kubernetes/third_party/forked/golang/expansion`, byte by byte. A name that is not in the environment
/// stays as it is written, as in `MappingFuncFor`.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> Vec<u8> {
    let input = text.as_bytes();
    let mut output = Vec::new();
    let (mut checkpoint, mut cursor) = (0, 0);
    while cursor < input.len() {
        if input[cursor] == b'$' && cursor + 1 < input.len() {
            output.extend(&input[checkpoint..cursor]);
            let rest = &input[cursor + 1..];
            let end = rest.iter().position(|&byte| byte == b')');
            let advance = match (rest[0], end) {
                (b'$', _) => {
                    output.push(b'$');
                    1
                }
                (b'(', Some(end)) => {
                    let name = String::from_utf8_lossy(&rest[1..end]).into_owned();
                    let value = environment.get(&name).cloned().unwrap_or_else(|| format!("$({name})"));
                    output.extend(value.bytes());
                    end + 1
                }
                (b'(', None) => {
                    output.extend(b"$(");
                    1
                }
                // Go makes a rune of the byte: what is not ASCII comes out as another character.
                (byte, _) => {
                    output.extend(format!("${}", char::from(byte)).bytes());
                    1
                }
            };
            cursor += advance;
            checkpoint = cursor + 1;
        }
        cursor += 1;
    }
    output.extend(&input[checkpoint..]);
    output
}

#[test]
fn the_kubelets_rules_are_these() {
    let environment = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    let cases: [(&str, &[u8]); 9] = [
        ("$(A)", b"1"),
        ("$$(A)", b"$(A)"),
        ("$$$(A)", b"$1"),
        ("$(B)", b"$(B)"),
        ("$(A", b"$(A"),
        ("$", b"$"),
        ("$x", b"$x"),
        ("a$$", b"a$"),
        ("$\u{fc}", b"$\xc3\x83\xbc"),
    ];
    for (text, expected) in cases {
        assert_eq!(expand(text, &environment), expected, "{text}");
    }
}

fn parsed<T: std::str::FromStr>(chance: &mut Rng, longest: usize) -> Option<T> {
    chance::text(chance, PIECES, longest).parse().ok()
}

/// Up to five values that can be used.
fn several<T: std::str::FromStr>(chance: &mut Rng) -> Vec<T> {
    (0..chance.usize(..6)).filter_map(|_| parsed(chance, 6)).collect()
}

/// Texts that a pattern may have, without those that a pattern's canonical form would change.
fn texts(chance: &mut Rng) -> Vec<String> {
    let all = (0..chance.usize(..6)).map(|_| chance::text(chance, PIECES, 8));
    let mut texts: Vec<String> = all.filter(|text| !text.is_empty() && !text.ends_with('/')).collect();
    texts.sort();
    texts.dedup();
    texts
}

fn endpoint_of(chance: &mut Rng) -> Endpoint {
    let path = chance::text(chance, PIECES, 4);
    let found = format!("http://hub.example/{path}").parse().unwrap_or_else(|_| endpoint());
    let authority = include_str!("../../../../tests/hub_client/tls/ca.pem");
    found.with_proxy("http://proxy:3128".parse().unwrap()).with_ca_bundle(authority.parse().unwrap())
}

#[test]
fn no_text_of_a_spec_means_anything_to_the_kubelet() {
    let mut chance = chance::chance("expansion");
    let commit: Commit = COMMIT.parse().unwrap();
    let repo = Repo { kind: RepoType::Model, id: "acme/tiny".parse().unwrap() };
    let mut with_a_sign = 0;
    for _ in 0..CASES {
        let (include, exclude) = (texts(&mut chance), texts(&mut chance));
        let refs: Vec<Revision> = several(&mut chance);
        let target = Target {
            repo: repo.clone(),
            patterns: Patterns::parse(&include, &exclude).unwrap(),
            claim_uid: "claim-uid".to_owned(),
            sub_path: None,
        };
        let endpoint = endpoint_of(&mut chance);
        let revision = parsed::<Revision>(&mut chance, 6).unwrap_or_default();
        let fetches = chance.bool();
        let mut cache = with_token(cache());
        cache.spec.job.log_level = chance.bool().then_some(LogLevel::Debug);
        let job = build(JobParams {
            cache: &cache,
            target: &target,
            task: "0123456789",
            refs: &refs,
            claim_name: "models",
            attempt: 1,
            secret_version: None,
            image: "image",
            place: None,
            kind: if fetches { JobKind::Fetch(&commit, &endpoint) } else { JobKind::Inspect(&revision) },
            bytes: None,
        });
        let container = job.spec.unwrap().template.spec.unwrap().containers.remove(0);

        let mut environment: BTreeMap<String, String> =
            NAMES.iter().map(|name| ((*name).to_owned(), chance::text(&mut chance, PIECES, 4))).collect();
        for variable in container.env.unwrap_or_default() {
            assert!(variable.value_from.is_none());
            let value = String::from_utf8(expand(&variable.value.unwrap(), &environment)).unwrap();
            match variable.name.as_str() {
                "MODELCACHE_LOG" => assert_eq!(value, "debug"),
                "HTTP_PROXY" | "HTTPS_PROXY" => assert_eq!(value, endpoint.proxy().unwrap().to_string()),
                "MODELCACHE_CA_BUNDLE" => assert_eq!(value, endpoint.ca_bundle().unwrap().as_pem()),
                "HF_HUB_OFFLINE" => assert_eq!(value, "1"),
                other => panic!("{other} is not ours"),
            }
            environment.insert(variable.name, value);
        }

        let mut wanted = vec!["fetch".to_owned(), "acme/tiny".to_owned(), "--type=model".to_owned()];
        if fetches {
            wanted.extend([format!("--revision={commit}"), format!("--endpoint={endpoint}")]);
        } else {
            wanted.push(format!("--revision={revision}"));
        }
        wanted.extend(
            ["--report=/dev/termination-log", "--output=json", "--cache-dir=/cache"].map(str::to_owned),
        );
        wanted.extend(refs.iter().map(|name| format!("--alias={name}")));
        wanted.extend(include.iter().map(|text| format!("--include={text}")));
        wanted.extend(exclude.iter().map(|text| format!("--exclude={text}")));
        if fetches {
            wanted.push("--token-file=/var/run/secrets/modelcache.internal/token".to_owned());
        }
        with_a_sign += usize::from(wanted.iter().any(|text| text.contains('$')));
        let got = container.args.unwrap();
        assert!(container.command.is_none());
        let got: Vec<String> = got
            .iter()
            .map(|text| String::from_utf8_lossy(&expand(text, &environment)).into_owned())
            .collect();
        assert_eq!(got, wanted, "with {environment:?}");
    }
    println!("{CASES} Jobs, {with_a_sign} with a sign that the kubelet knows");
    assert!(with_a_sign > CASES / 2);
}
