//! What the official client makes of each refusal: its own error classes, with the Hub's words.
#![allow(clippy::unwrap_used, reason = "tests fail by it")]

use standin_hub::{
    Access, BadTokens, Content, Fault, FaultKind, Gate, Kind, Repo, RepoName, Situation, StandinHub, Token,
    client, recorded,
};
use test_support::client::Client;

/// A Hub with one user, a token of each kind, and repos of each kind.
async fn hub() -> StandinHub {
    let hub = StandinHub::start().await;
    hub.user("alice")
        .token("hf_alice")
        .token(Token::fine_grained("hf_fine"))
        .token(Token::fine_grained_without_gated("hf_narrow"))
        .token(Token::expired("hf_old").called("laptop"))
        .token(Token::revoked_by("acme", "hf_revoked"))
        .token(Token::not_approved_by("acme", "hf_new"));
    let repo = |repo: Repo| {
        repo.file("config.json", "{}")
            .file("README.md", "#")
            .lfs("model.safetensors", Content::random(7, 1000))
    };
    hub.add(repo(Repo::model("acme/open")));
    hub.add(repo(Repo::model("other/open")));
    hub.add(repo(Repo::model("acme/gated")).gated(Gate::Manual));
    hub.add(repo(Repo::dataset("acme/gated")).gated(Gate::Auto));
    hub.add(repo(Repo::model("acme/secret")).private(true));
    hub.add(repo(Repo::model("acme/gone")).disabled(true));
    hub.add(repo(Repo::model("acme/regional")).region_blocked(true));
    hub.add(repo(Repo::model("acme/blocked")).refused("Not from this country."));
    hub
}

/// Status, code and words of the refusal at `auth-check`, or nothing.
fn refusal(hub: &StandinHub, repo: &str, token: Option<&str>) -> Option<(u16, String, String)> {
    let name = RepoName::from(repo);
    let url = format!("{}/api/{}/{}/auth-check", hub.url(), name.kind.plural(), name.id);
    let authorization = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = authorization.iter().map(|value| ("Authorization", value.as_str())).collect();
    let reply = client::get(&url, &headers).unwrap();
    let header = |name| reply.header(name).unwrap_or_default().to_owned();
    assert_eq!(reply.status == 401, reply.header("www-authenticate").is_some());
    if reply.status == 200 {
        return None;
    }
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["error"], header("x-error-message"));
    Some((reply.status, header("x-error-code"), header("x-error-message")))
}

/// A request that is refused as a row says: whose token, and below which address.
struct Asked {
    token: Option<&'static str>,
    address: &'static str,
}

/// How each situation comes about. An exhaustive match: no row goes without.
fn asked(situation: Situation, hub: &StandinHub) -> Asked {
    const GATE: &str = "/api/models/acme/gated/auth-check";
    const FILE: &str = "/acme/open/resolve/main/config.json";
    let stands = |access| hub.set_access("alice", "acme/gated", access);
    let limited = |harm| hub.fault(Fault::new(harm).times(1));
    let (token, address) = match situation {
        Situation::GateNeedsLogin => (None, GATE),
        Situation::UnknownTokenAtGate => (Some("hf_wrong"), GATE),
        Situation::LoginRequired => (None, "/api/models/acme/secret/revision/main"),
        Situation::RepoNotFound => (Some("hf_alice"), "/api/models/acme/secret/revision/main"),
        Situation::UnknownToken => (Some("hf_wrong"), FILE),
        Situation::ForeignOauthToken => (Some("hf_oauth_wrong"), FILE),
        Situation::ExpiredToken => (Some("hf_old"), FILE),
        Situation::TermsNotAccepted => (Some("hf_alice"), GATE),
        Situation::RequestPending => {
            stands(Access::Pending);
            (Some("hf_alice"), GATE)
        }
        Situation::RequestRejected => {
            stands(Access::Rejected);
            (Some("hf_alice"), GATE)
        }
        Situation::RequestReset => {
            stands(Access::Reset);
            (Some("hf_alice"), GATE)
        }
        Situation::NoGatedPermission => (Some("hf_narrow"), GATE),
        Situation::OrganizationApproval => (Some("hf_new"), FILE),
        Situation::RevokedByOrganization => (Some("hf_revoked"), FILE),
        Situation::BlockedRegion => (Some("hf_wrong"), "/acme/regional/resolve/main/config.json"),
        Situation::Disabled => (Some("hf_alice"), "/acme/gone/resolve/main/config.json"),
        Situation::RevisionNotFound => (None, "/acme/open/resolve/v9/config.json"),
        Situation::EntryNotFound => (None, "/acme/open/resolve/main/none"),
        Situation::NoSuchPage => (None, "/api/models/acme/open/revision/refs/pr/1"),
        Situation::QuotaUsedUp => {
            limited(FaultKind::RateLimit(60));
            (Some("hf_alice"), FILE)
        }
        Situation::AddressLimited => {
            limited(FaultKind::AddressLimit(60));
            (None, FILE)
        }
        Situation::InternalError => {
            limited(FaultKind::InternalError);
            (None, FILE)
        }
    };
    Asked { token, address }
}

/// The row as it is about the repos here.
fn filled(words: &str) -> String {
    [
        ("{word}", "model"),
        ("{page}", "https://huggingface.co/acme/gated"),
        ("{id}", "acme/gated"),
        ("{revision}", "v9"),
        ("{token}", "laptop"),
    ]
    .iter()
    .fold(words.to_owned(), |words, (place, value)| words.replace(place, value))
}

#[tokio::test]
async fn each_row_is_answered_as_recorded_and_the_official_client_raises_what_its_source_says() {
    let mut hubs = Vec::new();
    let mut requests = Vec::new();
    for row in recorded() {
        let hub = hub().await;
        let Asked { token, address } = asked(row.situation, &hub);
        requests.push(serde_json::json!([format!("{}{address}", hub.url()), token]));
        hubs.push(hub);
    }
    // Without retries: of one request, one answer. The client knows some by an address with TLS, as the Hub's is.
    let script = "import json, sys\n\
                  from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status\n\
                  def told(url, token):\n    \
                  r = get_session().get(url, headers=build_hf_headers(token=token or False), follow_redirects=True)\n    \
                  r.request.url = r.request.url.copy_with(scheme='https')\n    \
                  try: hf_raise_for_status(r)\n    \
                  except Exception as e: name = type(e).__name__\n    \
                  return [r.status_code, r.headers.get('X-Error-Code'), r.headers.get('X-Error-Message'), name]\n\
                  print(json.dumps([told(*asked) for asked in json.loads(sys.argv[1])]))";
    let requests = serde_json::Value::from(requests).to_string();
    let told = Client::of(&hubs[0]).python_with(script, &[&requests]).unwrap();
    let told: Vec<serde_json::Value> = serde_json::from_str(&told).unwrap();
    assert_eq!(told.len(), recorded().len());
    for (row, told) in recorded().iter().zip(told) {
        let words = filled(&row.words);
        assert_eq!(told, serde_json::json!([row.status, row.code, words, row.client]), "{}", row.when);
        assert!(!row.source.is_empty() && row.date.starts_with("20"), "{row:?}");
    }
}

#[test]
fn each_situation_is_recorded_once() {
    for (at, row) in recorded().iter().enumerate() {
        let first = recorded().iter().position(|other| other.situation == row.situation);
        assert_eq!(first, Some(at), "{:?} has two rows", row.situation);
    }
    assert_eq!(recorded().len(), Situation::ALL.len());
}

#[tokio::test]
async fn who_may_read_is_not_refused() {
    let hub = hub().await;
    for (token, repo) in [
        (None, "acme/open"),
        (Some("hf_alice"), "acme/open"),
        (Some("hf_narrow"), "acme/open"),
        (Some("hf_revoked"), "other/open"),
        (Some("hf_new"), "other/open"),
        // Who asks whether there is access is not told of the region.
        (None, "acme/regional"),
    ] {
        assert_eq!(refusal(&hub, repo, token), None, "{token:?} at {repo}");
    }
    let (status, _, words) = refusal(&hub, "acme/blocked", Some("hf_alice")).unwrap();
    assert_eq!((status, words.as_str()), (403, "Not from this country."));
}

/// Each call that tells what a repo is, for a repo whose content is closed.
#[tokio::test]
async fn what_a_disabled_or_blocked_repo_is_can_be_read() {
    let hub = hub().await;
    for (repo, disabled) in [("acme/gone", true), ("acme/regional", false)] {
        let info = client::get(&format!("{}/api/models/{repo}/revision/main", hub.url()), &[]).unwrap();
        let info: serde_json::Value = serde_json::from_slice(&info.body).unwrap();
        assert_eq!(info["disabled"], disabled, "{repo}");
        let sha = info["sha"].as_str().unwrap();
        for revision in [sha, &sha[..7]] {
            let again = format!("{}/api/models/{repo}/revision/{revision}", hub.url());
            let again: serde_json::Value =
                serde_json::from_slice(&client::get(&again, &[]).unwrap().body).unwrap();
            assert_eq!(again["sha"], sha, "{revision}");
        }
    }
}

#[tokio::test]
async fn a_gate_tells_where_the_user_stands() {
    let hub = hub().await;
    for (access, words) in [
        (
            Access::NotRequested,
            "you are not in the authorized list. Visit https://huggingface.co/acme/gated to ask",
        ),
        (Access::Pending, "is awaiting a review from the repo authors."),
        (Access::Rejected, "has been rejected by the repo's authors."),
        (
            Access::Reset,
            "has been reset by the repo's authors. Visit https://huggingface.co/acme/gated to submit",
        ),
    ] {
        hub.set_access("alice", "acme/gated", access);
        let error = Client::with_token(&hub, "hf_alice").download_error("acme/gated", "");
        assert!(error.starts_with("GatedRepoError ") && error.contains(words), "{error}");
    }
    hub.accept_terms("alice", "acme/gated");
    assert_eq!(refusal(&hub, "acme/gated", Some("hf_alice")), None);
    assert_eq!(refusal(&hub, "acme/gated", Some("hf_fine")), None);
    assert!(refusal(&hub, "acme/gated", Some("hf_narrow")).is_some());
}

#[tokio::test]
async fn a_gated_repo_lists_its_files_with_masked_hashes_and_gives_its_readme() {
    let hub = hub().await;
    hub.update("acme/gated", Repo::xet_hashes);
    let get = |path: &str, token: Option<&str>| {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = authorization.iter().map(|value| ("Authorization", value.as_str())).collect();
        client::get(&format!("{}{path}", hub.url()), &headers).unwrap()
    };
    let weights = |token| -> serde_json::Value {
        let reply = get("/api/models/acme/gated/tree/main?recursive=true", token);
        let entries: Vec<serde_json::Value> = serde_json::from_slice(&reply.body).unwrap();
        entries.into_iter().find(|entry| entry["path"] == "model.safetensors").unwrap()
    };
    let mask = "*".repeat(64);
    for token in [None, Some("hf_alice"), Some("hf_narrow")] {
        assert_eq!(weights(token)["lfs"]["oid"], mask);
        assert_eq!(weights(token)["xetHash"], mask);
        assert_eq!(weights(token)["size"], 1000);
        assert_eq!(get("/api/models/acme/gated", token).status, 200);
        assert_eq!(get("/acme/gated/resolve/main/README.md", token).status, 200);
        assert_ne!(get("/acme/gated/resolve/main/config.json", token).status, 200);
        assert_eq!(get("/acme/gated/resolve/typo/config.json", token).status / 100, 4);
        assert_ne!(
            get("/acme/gated/resolve/typo/config.json", token).header("x-error-code"),
            Some("RevisionNotFound")
        );
    }
    hub.accept_terms("alice", "acme/gated");
    assert_eq!(weights(Some("hf_alice"))["lfs"]["oid"], Content::random(7, 1000).sha256().unwrap());
    assert_eq!(RepoName::from("datasets/acme/gated").kind, Kind::Dataset);
}

#[tokio::test]
async fn a_bad_token_can_be_ignored_where_none_is_needed() {
    let hub = hub().await;
    hub.bad_tokens(BadTokens::Ignored);
    for token in ["hf_wrong", "hf_old"] {
        Client::with_token(&hub, token).hf(&["download", "acme/open"]).unwrap();
        for repo in ["acme/secret", "acme/missing"] {
            let (status, code, words) = refusal(&hub, repo, Some(token)).unwrap();
            assert_eq!((status, code.as_str()), (401, ""), "{repo}: {words}");
        }
        assert_eq!(
            client::get(&format!("{}/api/whoami-v2", hub.url()), &[("Authorization", token)]).unwrap().status,
            401
        );
    }
}
