use std::time::Duration;

use super::*;
use crate::hub::{ErrorResponse, RepoPath, RepoType, Token};

const SHA1: &str = "0123456789abcdef0123456789abcdef01234567";

fn repo(kind: RepoType) -> Repo {
    Repo { kind, id: "org/x".parse().unwrap() }
}

/// The message for a refusal, for a dataset.
fn refused_with(token_sent: bool, status: u16, code: Option<&str>, words: &str) -> String {
    let token = Token::parse("hf_good").unwrap();
    let token = token_sent.then_some(&token);
    let refusal = Refusal::new(&ErrorResponse { status, code, message: Some(words), body: "", token });
    say(&HubError::Refused(refusal))
}

fn say(error: &HubError) -> String {
    let subject = Subject {
        repo: &repo(RepoType::Dataset),
        revision: &"v2".parse().unwrap(),
        endpoint: &Endpoint::default(),
    };
    explain(error, &subject)
}

#[test]
fn a_refusal_has_a_remedy() {
    const PAGE: &str = "https://huggingface.co/datasets/org/x";
    let gated = Some("GatedRepo");
    for (text, parts) in [
        (
            refused_with(true, 401, None, "Invalid credentials in Authorization header"),
            &[
                "wrong, expired or revoked. The Hub says: Invalid credentials in Authorization header.",
                "https://huggingface.co/settings/tokens",
            ][..],
        ),
        (refused_with(false, 401, gated, "Please log in."), &["is gated, and no token", PAGE]),
        (
            refused_with(false, 401, None, "Invalid username or password."),
            &["private, or it does not exist", PAGE],
        ),
        (
            refused_with(true, 403, gated, "you are not in the authorized list"),
            &["has not accepted the terms", PAGE],
        ),
        (refused_with(true, 403, gated, "it has been reset by"), &["have reset the access", PAGE]),
        (refused_with(true, 403, gated, "is awaiting a review"), &["not yet decided", PAGE]),
        (refused_with(true, 403, gated, "has been rejected"), &["again does not help", PAGE]),
        (
            refused_with(true, 403, None, "enable in your fine-grained token settings"),
            &["enable access to public gated repositories", "https://huggingface.co/settings/tokens"],
        ),
        (
            refused_with(true, 403, None, "Your token has been revoked by the organization administrator."),
            &[
                "may not be used for datasets/org/x. The Hub says: Your token has been revoked by the organization \
             administrator. Use another",
            ],
        ),
        (
            refused_with(true, 404, Some("RepoNotFound"), "Repository not found"),
            &["does not say which", PAGE],
        ),
        (
            refused_with(true, 403, None, "Access to this resource is disabled."),
            &["has disabled datasets/org/x", "no token and no accepted terms", PAGE],
        ),
        (
            refused_with(true, 403, None, "This dataset is not available in your region."),
            &["the location of this request. The Hub says: This dataset", "No token changes that", PAGE],
        ),
        (
            refused_with(true, 403, None, "your token needs to be approved by the organization before"),
            &["has not approved this token", "Ask one of its administrators"],
        ),
        (
            refused_with(true, 404, Some("RevisionNotFound"), "Invalid rev id"),
            &["no branch, tag or commit `v2`", PAGE],
        ),
        (refused_with(true, 403, Some("X"), "Not from here."), &["The Hub says: Not from here. Open", PAGE]),
        (refused_with(true, 403, None, ""), &["HTTP 403 without an explanation", PAGE]),
    ] {
        for part in parts {
            assert!(text.contains(part), "{part:?} is missing in {text:?}");
        }
        assert!(text.ends_with('.') && !text.contains("  ") && !text.contains(".."), "{text}");
    }
}

/// The hint describes the form only and repeats nothing of the text.
#[test]
fn a_common_mistake_in_a_secret_gets_a_hint() {
    for (stored, look) in [
        ("\"hf_secret\"", "text in quotation marks"),
        ("HF_TOKEN=hf_secret", "a line of an environment file"),
        ("$(HF_SECRET)", "a variable that was not expanded"),
        ("<secret>", "an example"),
        ("aGZfc2VjcmV0", "base64-encoded once more"),
        ("vault://secret", "an address"),
        ("{\"token\":\"secret\"}", "structured data, such as JSON"),
    ] {
        let token = Token::parse(stored).unwrap();
        let message = Some("Invalid credentials in Authorization header");
        let refusal =
            Refusal::new(&ErrorResponse { status: 401, code: None, message, body: "", token: Some(&token) });
        let message = say(&HubError::Refused(refusal));
        assert!(message.contains(look) && message.contains("store the token alone"), "{message}");
        assert!(!message.contains(stored) && !message.contains("secret"), "{message}");
    }
}

#[test]
fn a_refused_gate_names_terms_and_page() {
    let refusal = Refusal::new(&ErrorResponse {
        status: 403,
        code: Some("GatedRepo"),
        message: Some("Access is restricted and you are not in the authorized list."),
        body: "",
        token: Some(&Token::parse("hf_good").unwrap()),
    });
    let repo = Repo { kind: RepoType::Model, id: "meta-llama/Llama-3.1-8B".parse().unwrap() };
    let subject = Subject { repo: &repo, revision: &Revision::default(), endpoint: &Endpoint::default() };
    assert_eq!(
        explain(&HubError::Refused(refusal), &subject),
        "The account of this token has not accepted the terms of meta-llama/Llama-3.1-8B. Open \
         https://huggingface.co/meta-llama/Llama-3.1-8B with that account and agree."
    );
}

#[test]
fn each_kind_of_failure_is_named() {
    let unreachable = |kind, detail: &str| {
        say(&HubError::Unreachable { host: "hub.example".into(), kind, detail: detail.into() })
    };
    assert_eq!(
        unreachable(ConnectFailure::Dns, "Name or service not known"),
        "hub.example cannot be reached: its name does not resolve (Name or service not known). Check the name, and the \
         DNS where this runs."
    );
    assert_eq!(
        unreachable(ConnectFailure::Server(503), ""),
        "hub.example cannot be reached: server error, HTTP 503. This may be temporary."
    );
    for kind in [
        ConnectFailure::Connect,
        ConnectFailure::Tls,
        ConnectFailure::Handshake,
        ConnectFailure::Timeout,
        ConnectFailure::Proxy,
        ConnectFailure::Cut,
        ConnectFailure::Setup,
    ] {
        assert!(unreachable(kind, "x").contains(&kind.to_string()));
    }
    let limited = |named, words: &str| {
        let retry_after = Duration::from_secs(56);
        say(&HubError::RateLimited { host: "h".into(), retry_after, named, words: words.into() })
    };
    assert_eq!(limited(true, ""), "h asks to wait 56 s before the next request.");
    assert_eq!(
        limited(false, "Make sure you pass a HF_TOKEN."),
        "h limits requests without saying for how long; waiting 56 s. The Hub says: Make sure you pass a \
         HF_TOKEN."
    );
    assert!(say(&HubError::Storage { host: "cdn".into(), status: 403 }).contains("cdn"));
    let name = "Icon\r".parse::<RepoPath>().unwrap_err();
    assert_eq!(
        say(&HubError::Name(name)),
        "datasets/org/x cannot be used as a whole: the file name `Icon\\r` cannot be written safely: it has control characters. \
         Exclude that file with the pattern `Icon?`, or ask the repo's authors to rename it."
    );
    let missing = say(&HubError::Token(TokenError::Missing));
    assert!(missing.starts_with("The token file does not exist. Check --token-file"), "{missing}");
    let unreadable = |kind| say(&HubError::Token(TokenError::Unreadable { kind }));
    assert_eq!(
        unreadable(io::ErrorKind::PermissionDenied),
        "The token file cannot be read by the user of this process. Check its owner and mode; in a pod, \
         set `fsGroup`, or the mode of its volume."
    );
    assert!(unreadable(io::ErrorKind::IsADirectory).contains("cannot be read: is a directory."));
}

#[test]
fn patterns_that_match_nothing_get_a_hint() {
    let listed = ["a", "b", "c"].map(str::to_owned);
    let subject = Subject {
        repo: &repo(RepoType::Model),
        revision: &Revision::default(),
        endpoint: &Endpoint::default(),
    };
    let message = |include: &[&str], exclude: &[&str], count, listed| {
        no_matching_files(&subject, &Patterns::parse(include, exclude).unwrap(), count, listed)
    };
    assert_eq!(
        message(&["*.gguf"], &[], 4, &listed),
        "No file of org/x at main matches include `*.gguf`. It has 4 files, such as `a`, `b`, `c`."
    );
    assert_eq!(
        message(&["*"], &["*"], 1, &listed[..1]),
        "No file of org/x at main matches include `*` after exclude `*`. It has 1 file, such as `a`."
    );
    assert_eq!(
        message(&[], &["*"], 1, &listed[..1]),
        "No file of org/x at main remains after exclude `*`. It has 1 file, such as `a`."
    );
    let many: Vec<String> = (0..7).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(message(&many, &[], 4, &listed).contains("`4` and 2 more."));
    assert_eq!(message(&[], &[], 0, &[]), "org/x has no files at main.");
}

#[test]
fn a_commit_is_not_described_as_pinned_at_itself() {
    let repo = repo(RepoType::Model);
    let endpoint = Endpoint::default();
    let message = |revision: &str, pinned: bool| {
        let revision = revision.parse().unwrap();
        let subject = Subject { repo: &repo, revision: &revision, endpoint: &endpoint };
        resolved(&subject, "0123456", pinned, 17, 26_954_000_000)
    };
    assert_eq!(message("main", true), "main is pinned at commit 0123456: 17 files, 25.1 GiB.");
    assert_eq!(message("main", false), "main is commit 0123456: 17 files, 25.1 GiB.");
    assert_eq!(message(SHA1, true), "Commit 0123456: 17 files, 25.1 GiB.");
}
