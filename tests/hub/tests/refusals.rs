//! What the official client makes of each refusal: its own error classes, with the Hub's words.
#![allow(clippy::unwrap_used, reason = "tests fail by it")]

mod common;

use common::Client;
use standin_hub::{Access, BadTokens, Content, Gate, Kind, Repo, RepoName, StandinHub, Token, client};

/// A Hub with one user, a token of each kind, and repos of each kind.
async fn hub() -> StandinHub {
    let hub = StandinHub::start().await;
    hub.user("alice")
        .token("hf_alice")
        .token(Token::fine_grained("hf_fine"))
        .token(Token::fine_grained_without_gated("hf_narrow"))
        .token(Token::expired("hf_old").called("laptop"))
        .token(Token::revoked_by("acme", "hf_revoked"));
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

#[tokio::test]
async fn each_token_meets_each_repo_as_the_table_says() {
    let hub = hub().await;
    let restricted = "Access to model acme/gated is restricted";
    let login = "Invalid username or password.";
    let expired = "User Access Token \"laptop\" is expired";
    let unknown = "Invalid credentials in Authorization header";
    let not_found = "Repository not found";
    let disabled = "Access to this resource is disabled.";
    let revoked = "Your token has been revoked by the organization administrator, ";
    let narrow = "Please enable access to public gated repositories in your fine-grained token settings";
    for (token, repo, status, code, words) in [
        (None, "acme/gated", 401, "GatedRepo", restricted),
        (None, "datasets/acme/gated", 401, "GatedRepo", "Access to dataset acme/gated is restricted"),
        (None, "acme/secret", 401, "", login),
        (None, "acme/missing", 401, "", login),
        (None, "acme/gone", 403, "", disabled),
        (Some("hf_alice"), "acme/secret", 404, "RepoNotFound", not_found),
        (Some("hf_alice"), "acme/missing", 404, "RepoNotFound", not_found),
        (Some("hf_alice"), "datasets/acme/open", 404, "RepoNotFound", not_found),
        (Some("hf_alice"), "acme/gated", 403, "GatedRepo", restricted),
        (Some("hf_alice"), "acme/gone", 403, "", disabled),
        (Some("hf_alice"), "acme/blocked", 403, "", "Not from this country."),
        (Some("hf_fine"), "acme/gated", 403, "GatedRepo", restricted),
        (Some("hf_narrow"), "acme/gated", 403, "", narrow),
        (Some("hf_revoked"), "acme/open", 403, "", revoked),
        (Some("hf_old"), "acme/open", 401, "", expired),
        (Some("hf_old"), "acme/secret", 401, "", expired),
        (Some("hf_wrong"), "acme/open", 401, "", unknown),
        (Some("hf_wrong"), "acme/gated", 401, "", unknown),
    ] {
        let (got_status, got_code, got_words) = refusal(&hub, repo, token).unwrap();
        assert_eq!((got_status, got_code.as_str()), (status, code), "{token:?} at {repo}");
        assert!(got_words.starts_with(words), "{token:?} at {repo}: {got_words}");
    }
    for (token, repo) in [
        (None, "acme/open"),
        (Some("hf_alice"), "acme/open"),
        (Some("hf_narrow"), "acme/open"),
        (Some("hf_revoked"), "other/open"),
    ] {
        assert_eq!(refusal(&hub, repo, token), None, "{token:?} at {repo}");
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
async fn the_official_client_raises_its_own_errors() {
    let hub = hub().await;
    for (token, repo, class, words) in [
        ("hf_alice", "acme/gated", "GatedRepoError", "you are not in the authorized list"),
        ("hf_alice", "acme/secret", "RepositoryNotFoundError", "Repository Not Found"),
        ("hf_alice", "acme/missing", "RepositoryNotFoundError", "Repository Not Found"),
        ("hf_wrong", "acme/open", "HfHubHTTPError", "Invalid credentials in Authorization header"),
        ("hf_old", "acme/open", "HfHubHTTPError", "User Access Token \"laptop\" is expired"),
        (
            "hf_narrow",
            "acme/gated",
            "LocalEntryNotFoundError",
            "Please enable access to public gated repositories",
        ),
        ("hf_revoked", "acme/open", "LocalEntryNotFoundError", "revoked by the organization administrator"),
        ("hf_alice", "acme/gone", "LocalEntryNotFoundError", "Access to this resource is disabled."),
    ] {
        let error = Client::with_token(&hub, token).download_error(repo, "");
        assert!(error.starts_with(class) && error.contains(words), "{token} at {repo}: {error}");
    }
    let client = Client::with_token(&hub, "hf_alice");
    let error = client.download_error("acme/open", ", revision='v9'");
    assert!(error.starts_with("RevisionNotFoundError ") && error.contains("Invalid rev id: v9"), "{error}");
    let error = client
        .python(
            "import huggingface_hub as h\n\
             try: h.hf_hub_download('acme/open', 'x')\n\
             except Exception as e: print(type(e).__name__, e)",
        )
        .unwrap();
    assert!(error.starts_with("RemoteEntryNotFoundError ") && error.contains("Entry Not Found"), "{error}");
    assert!(
        client.cache().join("models--acme--open/.no_exist").is_dir(),
        "the commit is told with the refusal"
    );
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
        for repo in ["acme/gated", "acme/secret", "acme/missing"] {
            let (status, code, words) = refusal(&hub, repo, Some(token)).unwrap();
            assert_eq!((status, code.as_str()), (401, ""), "{repo}: {words}");
        }
        assert_eq!(
            client::get(&format!("{}/api/whoami-v2", hub.url()), &[("Authorization", token)]).unwrap().status,
            401
        );
    }
}
