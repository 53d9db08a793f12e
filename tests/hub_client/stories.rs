//! The preflight against the stand-in Hub, for each state of token and repo.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use modelcache::{
    hub::{
        Commit, Hub, HubError, Patterns, Preflight, PreflightRequest, Repo, RepoType, Revision, Token,
        TokenStatusCache, preflight,
    },
    reason::{Answer, Reason},
};
use pretty_assertions::assert_eq;
use standin_hub::{
    Access, BadTokens, Class, Content, Fault, FaultKind, Gate, Repo as Served, StandinHub, Token as Issued,
};

/// Alice asks; bob owns what is gated or private.
struct Story {
    hub: StandinHub,
    client: Hub,
}

/// A request, with defaults for all but the repo.
#[derive(Clone)]
struct Ask {
    repo: Repo,
    revision: Revision,
    patterns: Patterns,
    pinned: Option<Commit>,
    followed: Option<Revision>,
    token: Option<Token>,
    record: Arc<TokenStatusCache>,
}

fn ask(repo: &str) -> Ask {
    let (kind, id) = match repo.split_once('/') {
        Some(("datasets", id)) => (RepoType::Dataset, id),
        Some(("spaces", id)) => (RepoType::Space, id),
        _ => (RepoType::Model, repo),
    };
    Ask {
        repo: Repo { kind, id: id.parse().unwrap() },
        revision: Revision::default(),
        patterns: Patterns::default(),
        pinned: None,
        followed: None,
        token: None,
        record: Arc::default(),
    }
}

impl Ask {
    fn with(self, token: &str) -> Self {
        Self { token: Some(Token::parse(token).unwrap()), ..self }
    }

    fn at(self, revision: &str) -> Self {
        Self { revision: revision.parse().unwrap(), ..self }
    }

    fn only(self, include: &[&str]) -> Self {
        Self { patterns: Patterns::parse(include, [""; 0]).unwrap(), ..self }
    }
}

impl Story {
    async fn begin() -> Self {
        let hub = StandinHub::start().await;
        hub.user("bob").token("hf_bob");
        hub.user("alice")
            .token("hf_alice")
            .token(Issued::expired("hf_old").called("laptop"))
            .token(Issued::fine_grained("hf_fine"))
            .token(Issued::fine_grained_without_gated("hf_narrow"))
            .token(Issued::revoked_by("bob", "hf_revoked"))
            .token(Issued::not_approved_by("bob", "hf_new"));
        for (name, new) in [
            ("gated", Served::model as fn(&str) -> Served),
            ("gated-data", Served::dataset),
            ("gated-space", Served::space),
        ] {
            hub.add(files(new(&format!("bob/{name}"))).gated(Gate::Manual));
        }
        hub.add(files(Served::model("bob/public")));
        hub.add(files(Served::dataset("bob/public")));
        hub.add(files(Served::model("bob/private")).private(true));
        hub.add(files(Served::model("bob/disabled")).disabled(true));
        hub.add(files(Served::model("bob/disabled-gated")).gated(Gate::Manual).disabled(true));
        hub.add(files(Served::model("bob/regional")).region_blocked(true));
        let client = Hub::connect(&hub.url().parse().unwrap()).unwrap();
        Self { hub, client }
    }

    async fn ask(&self, ask: &Ask) -> Preflight {
        let question = PreflightRequest {
            repo: &ask.repo,
            revision: &ask.revision,
            patterns: &ask.patterns,
            pinned: ask.pinned.as_ref(),
            followed: ask.followed.as_ref(),
            token: ask.token.as_ref(),
            record: &ask.record,
            known: None,
            files: true,
            confirm: true,
        };
        preflight(&self.client, &question).await
    }

    #[track_caller]
    fn whoamis(&self) -> usize {
        self.hub.requests().iter().filter(|request| request.path.contains("whoami")).count()
    }
}

fn files(repo: Served) -> Served {
    repo.file("README.md", b"# hello".as_slice())
        .file("config.json", b"{}".as_slice())
        .lfs("model.safetensors", Content::random(7, 3000))
        .file("original/params.json", b"{}".as_slice())
        .branch("main")
}

fn reasons(answers: &Preflight) -> [Reason; 3] {
    answers.verdicts().map(|verdict| verdict.reason)
}

const FINE: [Reason; 3] = [Reason::TokenValid, Reason::AccessGranted, Reason::Resolved];
const INVALID: [Reason; 3] = [Reason::TokenInvalid, Reason::NotChecked, Reason::NotChecked];

fn not_authorized(reason: Reason) -> [Reason; 3] {
    [Reason::TokenValid, reason, Reason::NotChecked]
}

#[tokio::test]
async fn a_public_repo_needs_no_token() {
    let story = Story::begin().await;
    let answers = story.ask(&ask("bob/public")).await;
    assert_eq!(reasons(&answers), [Reason::Anonymous, Reason::AccessGranted, Reason::Resolved]);
    assert!(answers.holds() && answers.obstacle().is_none());
    let snapshot = answers.snapshot.unwrap();
    assert_eq!(snapshot.commit.as_str(), story.hub.commit("bob/public", "main"));
    assert_eq!(snapshot.latest.as_ref(), Some(&snapshot.commit));
    let served = story.hub.files("bob/public", "main");
    let found: Vec<_> = snapshot
        .files
        .iter()
        .map(|file| (file.path.to_string(), file.size, file.digest.to_string()))
        .collect();
    let expected: Vec<_> =
        served.iter().map(|file| (file.path.clone(), file.size, file.etag.clone())).collect();
    assert_eq!(found, expected);
    assert_eq!(snapshot.bytes, served.iter().map(|file| file.size).sum::<u64>());
    assert_eq!(snapshot.listed, 4);
}

#[tokio::test]
async fn each_state_of_a_gate_has_its_reason() {
    let story = Story::begin().await;
    for name in ["bob/gated", "datasets/bob/gated-data", "spaces/bob/gated-space"] {
        let mine = ask(name).with("hf_alice");
        for (access, reason) in [
            (Access::NotRequested, Reason::TermsNotAccepted),
            (Access::Pending, Reason::AccessPending),
            (Access::Rejected, Reason::AccessRejected),
            (Access::Reset, Reason::TermsNotAccepted),
        ] {
            story.hub.set_access("alice", name, access);
            let answers = story.ask(&mine).await;
            assert_eq!(reasons(&answers), not_authorized(reason), "{name} {access:?}");
            assert_eq!(answers.authorized.status, Answer::False);
            assert_eq!(answers.resolved.status, Answer::Unknown);
            assert_eq!(answers.resolved.message, "Waits for Authorized.");
            let page = format!("{}/{name}", story.hub.url());
            assert!(answers.authorized.message.contains(&page), "{}", answers.authorized.message);
        }
        story.hub.accept_terms("alice", name);
        assert_eq!(reasons(&story.ask(&mine).await), FINE);
        assert_eq!(
            reasons(&story.ask(&ask(name)).await),
            [Reason::Anonymous, Reason::TokenRequired, Reason::NotChecked]
        );
        assert_eq!(reasons(&story.ask(&ask(name).with("hf_fine")).await), FINE);
        let narrow = story.ask(&ask(name).with("hf_narrow")).await;
        assert_eq!(reasons(&narrow), not_authorized(Reason::TokenLacksPermission));
    }
    assert_eq!(story.whoamis(), 0, "a gate proves the token");
}

#[tokio::test]
async fn private_and_missing_repos_are_indistinguishable() {
    let story = Story::begin().await;
    for name in ["bob/private", "bob/missing"] {
        let answers = story.ask(&ask(name).with("hf_alice")).await;
        assert_eq!(reasons(&answers), not_authorized(Reason::RepoNotFoundOrPrivate));
        let answers = story.ask(&ask(name)).await;
        assert_eq!(reasons(&answers), [Reason::Anonymous, Reason::TokenRequired, Reason::NotChecked]);
        assert!(answers.authorized.message.contains("private, or it does not exist"));
    }
    assert_eq!(reasons(&story.ask(&ask("bob/private").with("hf_bob")).await), FINE);
    assert_eq!(story.whoamis(), 0);
}

/// The repo's own status takes precedence over its gate: accepting the terms would not help.
#[tokio::test]
async fn a_disabled_repo_is_reported_with_any_token() {
    let story = Story::begin().await;
    for repo in ["bob/disabled", "bob/disabled-gated"] {
        for token in ["hf_alice", "hf_bob"] {
            let answers = story.ask(&ask(repo).with(token)).await;
            assert_eq!(reasons(&answers), not_authorized(Reason::RepoDisabled), "{repo} {token}");
            assert!(!answers.authorized.message.contains("agree"), "{}", answers.authorized.message);
        }
        let answers = story.ask(&ask(repo)).await;
        assert_eq!(reasons(&answers), [Reason::Anonymous, Reason::RepoDisabled, Reason::NotChecked]);
    }
}

#[tokio::test]
async fn organization_restrictions_name_who_can_lift_them() {
    let story = Story::begin().await;
    let answers = story.ask(&ask("bob/public").with("hf_revoked")).await;
    assert_eq!(reasons(&answers), not_authorized(Reason::TokenLacksPermission));
    assert!(answers.authorized.message.contains("revoked by the organization administrator"));
    let answers = story.ask(&ask("bob/public").with("hf_new")).await;
    assert_eq!(reasons(&answers), not_authorized(Reason::TokenLacksPermission));
    assert!(answers.authorized.message.contains("administrators to approve"));
}

/// Metadata and access check are open but files are not: requesting one file shows that.
#[tokio::test]
async fn a_served_file_proves_access() {
    let story = Story::begin().await;
    let answers = story.ask(&ask("bob/regional")).await;
    assert_eq!(reasons(&answers), [Reason::Anonymous, Reason::AccessDenied, Reason::NotChecked]);
    assert!(answers.authorized.message.contains("No token changes that"), "{}", answers.authorized.message);
    let answers = story.ask(&ask("bob/regional").with("hf_alice")).await;
    assert_eq!(reasons(&answers), not_authorized(Reason::AccessDenied), "whoami knows it");
    assert_eq!(reasons(&story.ask(&ask("bob/regional").with("hf_unknown")).await), INVALID);
}

/// The smallest file of the storage, otherwise the smallest of the Hub, but never a public one.
#[tokio::test]
async fn the_smallest_conclusive_file_is_requested() {
    let story = Story::begin().await;
    story.hub.accept_terms("alice", "bob/gated");
    for (include, path) in [
        (&["*"][..], "model.safetensors"),
        (&["*.json", "README.md"], "config.json"),
        (&["README.md"], "README.md"),
    ] {
        let before = story.hub.requests().len();
        let answers = story.ask(&ask("bob/gated").with("hf_alice").only(include)).await;
        assert_eq!(reasons(&answers), FINE);
        let requests = story.hub.requests().split_off(before);
        let asked: Vec<_> = requests
            .iter()
            .filter(|request| request.class == Class::Resolve && request.path.contains("/resolve/"))
            .map(|request| request.path.rsplit_once('/').unwrap().1.to_owned())
            .collect();
        assert_eq!(asked, [path]);
        let bytes: u64 = requests.iter().filter(|it| it.class == Class::Cdn).map(|it| it.bytes).sum();
        assert!(bytes <= 1, "{bytes} bytes of it");
    }
}

#[tokio::test]
async fn an_unreachable_storage_is_detected_by_the_preflight() {
    let story = Story::begin().await;
    story.hub.fault(Fault::new(FaultKind::Status(403)).on(Class::Cdn));
    let answers = story.ask(&ask("bob/public")).await;
    assert_eq!(reasons(&answers), [Reason::Anonymous, Reason::AccessGranted, Reason::HubUnreachable]);
    assert!(answers.resolved.message.contains("storage host"), "{}", answers.resolved.message);
    // Only small files are wanted, and those come from the Hub.
    assert!(story.ask(&ask("bob/public").only(&["*.json"])).await.holds());
}

#[tokio::test]
async fn an_invalid_token_is_detected_whether_refused_or_ignored() {
    let story = Story::begin().await;
    for token in ["hf_unknown", "hf_old"] {
        for repo in ["bob/public", "datasets/bob/public", "bob/gated", "bob/private", "bob/missing"] {
            let mut told = Vec::new();
            for treatment in [BadTokens::Refused, BadTokens::Ignored] {
                story.hub.bad_tokens(treatment);
                let answers = story.ask(&ask(repo).with(token)).await;
                assert_eq!(reasons(&answers), INVALID, "{repo} {token} {treatment:?}");
                assert_eq!(answers.authenticated.status, Answer::False);
                told.push(answers);
            }
            assert_eq!(told[0], told[1], "{repo} {token}");
        }
    }
    let answers = story.ask(&ask("bob/public").with("hf_old")).await;
    assert!(answers.authenticated.message.contains("\"laptop\" is expired"));
}

#[tokio::test]
async fn whoami_is_called_once_per_token_for_concurrent_preflights() {
    let story = Story::begin().await;
    let question = ask("bob/public").with("hf_alice");
    let together = join_all([(); 8].map(|()| story.ask(&question))).await;
    assert!(together.iter().all(|answers| reasons(answers) == FINE));
    assert_eq!(story.whoamis(), 1);
    assert_eq!(reasons(&story.ask(&question).await), FINE);
    assert_eq!(story.whoamis(), 1);
}

#[tokio::test]
async fn the_account_is_named_by_whoami() {
    let story = Story::begin().await;
    let who = async |token: &str| story.client.whoami(&Token::parse(token).unwrap()).await;
    assert_eq!(who("hf_alice").await.unwrap().name, "alice");
    assert_eq!(who("hf_narrow").await.unwrap().can_read_gated, Some(false));
    assert_eq!(who("hf_fine").await.unwrap().can_read_gated, Some(true));
    assert_eq!(who("hf_old").await.unwrap_err().reason(), Reason::TokenInvalid);
}

#[tokio::test]
async fn a_missing_revision_is_named() {
    let story = Story::begin().await;
    story.hub.update("bob/public", |repo| repo.tag("v1").pull_request(3));
    for revision in ["v1", "refs/pr/3", &story.hub.commit("bob/public", "main")] {
        let answers = story.ask(&ask("bob/public").at(revision)).await;
        assert!(answers.holds(), "{revision}: {answers:?}");
    }
    let answers = story.ask(&ask("bob/public").at("feature/nope").with("hf_alice")).await;
    assert_eq!(reasons(&answers), [Reason::TokenValid, Reason::AccessGranted, Reason::RevisionNotFound]);
    assert!(answers.resolved.message.contains("`feature/nope`"), "{}", answers.resolved.message);
    // The gate comes first: without access, nothing is revealed.
    let answers = story.ask(&ask("bob/gated").at("nope").with("hf_alice")).await;
    assert_eq!(reasons(&answers), not_authorized(Reason::TermsNotAccepted));
}

#[tokio::test]
async fn patterns_select_files() {
    let story = Story::begin().await;
    let snapshot = story.ask(&ask("bob/public").only(&["*.json"])).await.snapshot.unwrap();
    let paths: Vec<_> = snapshot.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["config.json", "original/params.json"]);
    assert_eq!((snapshot.bytes, snapshot.listed), (4, 4));

    let answers = story.ask(&ask("bob/public").only(&["*.gguf"])).await;
    assert_eq!(answers.resolved.reason, Reason::NoMatchingFiles);
    assert_eq!(
        answers.resolved.message,
        "No file of bob/public at main matches include `*.gguf`. It has 4 files, such as `README.md`, `config.json`, \
         `model.safetensors`."
    );
}

#[tokio::test]
async fn a_commit_is_compared_with_the_followed_branch() {
    let story = Story::begin().await;
    let old: Commit = story.hub.commit("bob/public", "main").parse().unwrap();
    story.hub.update("bob/public", |repo| repo.file("config.json", b"{ }".as_slice()).branch("main"));
    let new: Commit = story.hub.commit("bob/public", "main").parse().unwrap();
    let at = |followed: &str| Ask { followed: followed.parse().ok(), ..ask("bob/public").at(old.as_str()) };
    for (followed, latest) in [("main", Some(&new)), ("only-on-the-volume", Some(&old))] {
        let snapshot = story.ask(&at(followed)).await.snapshot.unwrap();
        assert_eq!((&snapshot.commit, snapshot.latest.as_ref()), (&old, latest), "{followed}");
    }
    // If the branch cannot be resolved, the commit is still accessible.
    story.hub.fault(Fault::new(FaultKind::Status(503)).path("/revision/main"));
    let snapshot = story.ask(&at("main")).await.snapshot.unwrap();
    assert_eq!((&snapshot.commit, snapshot.latest), (&old, None));
    story.hub.clear_faults();
    // A requested branch needs no further request.
    let snapshot =
        story.ask(&Ask { followed: old.as_str().parse().ok(), ..ask("bob/public") }).await.snapshot.unwrap();
    assert_eq!((&snapshot.commit, snapshot.latest.as_ref()), (&new, Some(&new)));
}

#[tokio::test]
async fn a_pinned_commit_is_kept_while_the_branch_moves() {
    let story = Story::begin().await;
    let old: Commit = story.hub.commit("bob/public", "main").parse().unwrap();
    story.hub.update("bob/public", |repo| repo.file("new.txt", b"new".as_slice()).branch("main"));
    let pinned = Ask { pinned: Some(old.clone()), ..ask("bob/public") };
    let snapshot = story.ask(&pinned).await.snapshot.unwrap();
    assert_eq!((&snapshot.commit, snapshot.listed), (&old, 4));
    assert_eq!(snapshot.latest.unwrap().as_str(), story.hub.commit("bob/public", "main"));

    let snapshot = story.ask(&pinned.clone().at("gone")).await.snapshot.unwrap();
    assert_eq!(
        (&snapshot.commit, snapshot.latest.as_ref()),
        (&old, Some(&old)),
        "what is pinned outlives its branch"
    );

    let never: Commit = "f".repeat(40).parse().unwrap();
    let answers = story.ask(&Ask { pinned: Some(never.clone()), ..pinned }).await;
    assert_eq!(answers.resolved.reason, Reason::RevisionNotFound);
    assert!(answers.resolved.message.contains(never.as_str()), "{}", answers.resolved.message);
}

#[tokio::test]
async fn a_renamed_repo_is_found_under_its_former_name() {
    let story = Story::begin().await;
    story.hub.rename("bob/gated", "bob/renamed");
    story.hub.accept_terms("alice", "bob/renamed");
    for name in ["bob/gated", "Bob/RENAMED"] {
        let answers = story.ask(&ask(name).with("hf_alice")).await;
        assert_eq!(reasons(&answers), FINE);
        assert_eq!(answers.snapshot.unwrap().repo.unwrap().as_str(), "bob/renamed");
        let message = &answers.resolved.message;
        assert!(message.ends_with(" The Hub calls the repo bob/renamed."), "{message}");
    }
    let message = story.ask(&ask("bob/renamed").with("hf_alice")).await.resolved.message;
    assert!(!message.contains("The Hub calls"), "{message}");
}

#[tokio::test]
async fn long_listings_are_read_page_by_page() {
    let story = Story::begin().await;
    story.hub.page_size(2);
    let repo = (0..7).fold(Served::model("bob/many"), |repo, n| repo.file(&format!("d/{n}.txt"), "x"));
    story.hub.add(repo.branch("main"));
    let snapshot = story.ask(&ask("bob/many")).await.snapshot.unwrap();
    assert_eq!(snapshot.files.len(), 7);
    let pages = story.hub.requests().iter().filter(|request| request.path.contains("/tree/")).count();
    assert!(pages >= 4, "{pages}");
}

#[tokio::test]
async fn a_masked_listing_is_a_refusal() {
    let story = Story::begin().await;
    let commit = story.hub.commit("bob/gated", "main").parse().unwrap();
    let gated = ask("bob/gated").with("hf_alice");
    let token = gated.token.as_ref();
    let error = story.client.list(&gated.repo, &commit, None, token, |_| true).await.unwrap_err();
    assert_eq!(error.reason(), Reason::AccessDenied);
    let error = story.client.list(&gated.repo, &commit, None, None, |_| true).await.unwrap_err();
    assert_eq!(error.reason(), Reason::TokenRequired);
}

#[tokio::test]
async fn content_is_read_in_ranges_without_sending_the_token_to_the_storage() {
    let story = Story::begin().await;
    story.hub.accept_terms("alice", "bob/gated");
    story.hub.resolve_cache(true);
    let Ask { repo, token, .. } = ask("bob/gated").with("hf_alice");
    let commit: Commit = story.hub.commit("bob/gated", "main").parse().unwrap();
    for served in story.hub.files("bob/gated", "main") {
        let path = served.path.parse().unwrap();
        let file = story.client.file(&repo, &commit, &path, served.size);
        for from in [0, served.size / 2] {
            let mut body = file.open(token.as_ref(), from..served.size).await.unwrap();
            let mut length = 0;
            while let Some(chunk) = body.next_chunk().await.unwrap() {
                length += chunk.len() as u64;
            }
            assert_eq!(body.start + length, served.size, "{path} from {from}");
            assert_eq!(body.length, Some(length));
            assert_eq!(body.start, from, "{path}");
        }
    }
    let requests = story.hub.requests();
    assert!(requests.iter().any(|request| request.class == Class::Cdn));
    assert!(requests.iter().all(|request| request.authorized != (request.class == Class::Cdn)));
    assert!(requests.iter().all(|request| {
        request.user_agent.as_deref().is_some_and(|agent| agent.starts_with("modelcache/"))
    }));
    assert_eq!(story.hub.token_leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn content_is_refused_like_the_access_check() {
    let story = Story::begin().await;
    let commit: Commit = story.hub.commit("bob/gated", "main").parse().unwrap();
    let path = "model.safetensors".parse().unwrap();
    for (token, reason) in [
        (None, Reason::TokenRequired),
        (Some("hf_alice"), Reason::TermsNotAccepted),
        (Some("hf_old"), Reason::TokenInvalid),
        (Some("hf_narrow"), Reason::TokenLacksPermission),
    ] {
        let token = token.map(|token| Token::parse(token).unwrap());
        let repo = ask("bob/gated").repo;
        let error = story.client.file(&repo, &commit, &path, 1).open(token.as_ref(), 0..1).await.unwrap_err();
        assert_eq!(error.reason(), reason);
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn an_expired_signature_is_renewed() {
    let story = Story::begin().await;
    story.hub.fault(Fault::new(FaultKind::ExpiredSignature).on(Class::Resolve).times(1));
    let repo = ask("bob/public").repo;
    let commit: Commit = story.hub.commit("bob/public", "main").parse().unwrap();
    let path = "model.safetensors".parse().unwrap();
    let file = story.client.file(&repo, &commit, &path, 3000);
    let error = file.open(None, 0..3000).await.unwrap_err();
    assert!(matches!(error, HubError::Storage { status: 403, .. }), "{error:?}");
    assert!(error.is_transient());
    file.open(None, 0..3000).await.unwrap();
}

#[tokio::test]
async fn faults_of_the_hub_are_unknown_and_transient() {
    let story = Story::begin().await;
    let question = ask("bob/public");
    for (harm, reason, pause) in [
        (FaultKind::Status(500), Reason::HubUnreachable, None),
        (FaultKind::Status(503), Reason::HubUnreachable, None),
        (FaultKind::ErrorPage, Reason::InvalidResponse, None),
        (FaultKind::RateLimit(55), Reason::RateLimited, Some(Duration::from_secs(56))),
        (FaultKind::RetryAfter(7), Reason::RateLimited, Some(Duration::from_secs(7))),
    ] {
        story.hub.fault(Fault::new(harm).on(Class::Api).path("/revision/"));
        let answers = story.ask(&question).await;
        assert_eq!(reasons(&answers), [Reason::Anonymous, Reason::AccessGranted, reason], "{harm}");
        assert_eq!(answers.resolved.status, Answer::Unknown);
        assert_eq!(answers.retry_after, pause);
        story.hub.clear_faults();
        story.hub.fault(Fault::new(harm).on(Class::Api).path("/auth-check"));
        let answers = story.ask(&question).await;
        // This call is optional, but a rate limit affects all calls.
        if reason == Reason::RateLimited {
            assert_eq!(reasons(&answers), [Reason::Anonymous, reason, Reason::NotChecked], "{harm}");
        } else {
            assert!(answers.holds(), "{harm}");
        }
        story.hub.clear_faults();
    }
    story.hub.fault(Fault::new(FaultKind::Status(503)).on(Class::Api).times(2));
    assert!(story.ask(&question).await.holds(), "two hiccups are not noticed");
    story.hub.off().await;
    let answers = story.ask(&question).await;
    assert_eq!(reasons(&answers), [Reason::Anonymous, Reason::HubUnreachable, Reason::NotChecked]);
    assert!(answers.authorized.message.contains("no connection"), "{}", answers.authorized.message);
    story.hub.on();
    assert!(story.ask(&question).await.holds());
}

#[tokio::test]
async fn no_message_contains_a_token() {
    let story = Story::begin().await;
    for token in ["hf_alice", "hf_old", "hf_unknown", "hf_narrow", "hf_revoked"] {
        for repo in ["bob/public", "bob/gated", "bob/private", "bob/disabled", "bob/missing"] {
            let answers = story.ask(&ask(repo).with(token)).await;
            assert!(!format!("{answers:?}").contains(token), "{answers:?}");
        }
    }
}
