//! The preflight against servers that are not quite the Hub: mirrors that lack calls, proxies that answer instead, and calls
//! that fail individually.

use std::time::Duration;

use modelcache::{
    hub::{
        Commit, Concern, Endpoint, Hub, Patterns, Preflight, PreflightRequest, Token, TokenStatusCache,
        preflight,
    },
    reason::{Answer, Reason},
};
use pretty_assertions::assert_eq;

use crate::{
    SHA1, model, token,
    wire::{Reply, Wire, answer, ok},
};

/// A Hub with five calls and a fixed response for each; others get a 404 page.
#[derive(Clone, Default)]
struct Calls(Vec<(&'static str, Reply)>);

impl Calls {
    /// The responses for a public repo.
    fn public() -> Self {
        Self::default()
            .with("/auth-check", ok("OK"))
            .with("/revision/", ok(&format!(r#"{{"sha":"{SHA1}","private":false,"gated":false}}"#)))
            .with("/tree/", ok(&format!(r#"[{{"type":"file","path":"a","size":5,"oid":"{SHA1}"}}]"#)))
            .with("/whoami-v2", ok(r#"{"name":"ann"}"#))
            .with("/resolve/", ok("hello"))
    }

    /// This response to each call about the repo except for its files.
    fn closed(self, refusal: &Reply) -> Self {
        self.with("/auth-check", refusal.clone()).with("/revision/", refusal.clone())
    }

    fn with(mut self, call: &'static str, answer: Reply) -> Self {
        self.0.retain(|(known, _)| *known != call);
        // The latest takes precedence: an earlier one may match more addresses.
        self.0.insert(0, (call, answer));
        self
    }

    fn without(self, call: &'static str) -> Self {
        self.with(call, answer(404, "", "<html>Not Found</html>"))
    }

    fn serve(self) -> Wire {
        Wire::start(move |head| {
            let call = self.0.iter().find(|(call, _)| head.contains(call));
            call.map_or_else(|| answer(404, "", "<html>Not Found</html>"), |(_, answer)| answer.clone())
        })
    }
}

async fn ask(wire: &Wire, token: Option<&Token>) -> Preflight {
    ask_again(wire, token, &TokenStatusCache::default()).await
}

async fn ask_again(wire: &Wire, token: Option<&Token>, record: &TokenStatusCache) -> Preflight {
    ask_about(&wire.endpoint(), None, token, record).await
}

async fn ask_about(
    endpoint: &Endpoint,
    pinned: Option<&Commit>,
    token: Option<&Token>,
    record: &TokenStatusCache,
) -> Preflight {
    let hub = Hub::connect(endpoint).unwrap();
    let question = PreflightRequest {
        repo: &model(),
        revision: &"main".parse().unwrap(),
        patterns: &Patterns::default(),
        pinned,
        followed: None,
        token,
        record,
        known: None,
        files: true,
        confirm: true,
    };
    preflight(&hub, &question).await
}

fn reasons(answers: &Preflight) -> [Reason; 3] {
    answers.verdicts().map(|verdict| verdict.reason)
}

const FINE: [Reason; 3] = [Reason::TokenValid, Reason::AccessGranted, Reason::Resolved];
const UNCONFIRMED: [Reason; 3] = [Reason::TokenUnconfirmed, Reason::AccessGranted, Reason::Resolved];

fn refused(status: u16, words: &str) -> Reply {
    answer(status, &format!("X-Error-Message: {words}\r\n"), "")
}

#[tokio::test]
async fn a_mirror_without_access_check_and_whoami_is_trusted() {
    let wire = Calls::public().without("/auth-check").without("/whoami-v2").serve();
    let answers = ask(&wire, Some(&token())).await;
    assert_eq!(reasons(&answers), UNCONFIRMED);
    assert_eq!(answers.authenticated.status, Answer::Unknown);
    assert!(answers.holds() && answers.obstacle().is_none(), "it is in nobody's way");
    let anonymous = [Reason::Anonymous, Reason::AccessGranted, Reason::Resolved];
    assert_eq!(reasons(&ask(&wire, None).await), anonymous);
}

#[tokio::test]
async fn a_mirror_without_access_check_refuses_later() {
    let calls = Calls::public().without("/auth-check");
    let stars = "*".repeat(64);
    let masked = format!(
        r#"[{{"type":"file","path":"a","size":5,"oid":"{SHA1}","lfs":{{"oid":"{stars}","size":5}}}}]"#
    );
    let wire = calls.clone().with("/tree/", ok(&masked)).serve();
    let denied = [Reason::TokenValid, Reason::AccessDenied, Reason::NotChecked];
    let answers = ask(&wire, Some(&token())).await;
    assert_eq!(reasons(&answers), denied, "whoami knows it");
    assert!(answers.authorized.message.contains("it may have cached another account"));
    let needed = [Reason::Anonymous, Reason::TokenRequired, Reason::NotChecked];
    assert_eq!(reasons(&ask(&wire, None).await), needed);

    let missing = answer(404, "X-Error-Code: RepoNotFound\r\n", "");
    let wire = Calls::public().without("/auth-check").with("/revision/", missing).serve();
    let missing = [Reason::Anonymous, Reason::RepoNotFoundOrPrivate, Reason::NotChecked];
    assert_eq!(reasons(&ask(&wire, None).await), missing);
}

#[tokio::test]
async fn a_mirror_that_treats_the_access_check_as_a_repo_shows_nothing_about_the_token() {
    let missing = |status| answer(status, "X-Error-Code: RepoNotFound\r\n", "");
    let calls = Calls::public().with("/auth-check", missing(404)).with("/revision/", missing(401));
    let unknown = [Reason::TokenValid, Reason::RepoNotFoundOrPrivate, Reason::NotChecked];
    assert_eq!(reasons(&ask(&calls.clone().serve(), Some(&token())).await), unknown, "whoami knows it");
    let anonymous = [Reason::Anonymous, Reason::RepoNotFoundOrPrivate, Reason::NotChecked];
    assert_eq!(reasons(&ask(&calls.clone().serve(), None).await), anonymous);
    let wire = calls.with("/whoami-v2", refused(401, "Invalid credentials")).serve();
    let invalid = [Reason::TokenInvalid, Reason::NotChecked, Reason::NotChecked];
    assert_eq!(reasons(&ask(&wire, Some(&token())).await), invalid);
}

#[tokio::test]
async fn a_mirror_that_does_not_forward_the_token_does_not_invalidate_it() {
    let stranger = refused(401, "401: Error while fetching from upstream remote: Unauthorized");
    let calls = Calls::public().with("/whoami-v2", stranger.clone());
    assert_eq!(reasons(&ask(&calls.clone().serve(), Some(&token())).await), UNCONFIRMED);
    let answers = ask(&calls.closed(&stranger).serve(), Some(&token())).await;
    assert_eq!(reasons(&answers), [Reason::TokenInvalid, Reason::NotChecked, Reason::NotChecked]);
    let told = &answers.authenticated.message;
    assert!(told.contains("or a mirror in between does not forward it"), "{told}");
}

/// A listing page with `files` files, numbered from `from` on.
fn page(from: usize, files: usize) -> String {
    let entry = |n| format!(r#"{{"type":"file","path":"{n}","size":5,"oid":"{SHA1}"}}"#);
    format!("[{}]", (from..from + files).map(entry).collect::<Vec<_>>().join(","))
}

/// The Hub's response about a revision: its commit and number of files.
fn revision_with(commit: &str, files: usize) -> Reply {
    let siblings = vec![r#"{"rfilename":"x"}"#; files].join(",");
    ok(&format!(r#"{{"sha":"{commit}","siblings":[{siblings}]}}"#))
}

#[tokio::test]
async fn a_first_page_is_not_mistaken_for_the_whole_listing() {
    let unusable = [Reason::Anonymous, Reason::AccessGranted, Reason::InvalidResponse];
    let calls = Calls::public().with("/tree/", ok(&page(0, 1000)));
    for (revision, expected, told) in [
        (revision_with(SHA1, 2501), unusable, "after 1000 of the 2501 files"),
        (revision_with(SHA1, 0), unusable, "a full page of 1000 entries"),
        (
            revision_with(SHA1, 1000),
            [Reason::Anonymous, Reason::AccessGranted, Reason::Resolved],
            "1000 files",
        ),
    ] {
        let wire = calls.clone().with("/revision/", revision).serve();
        let answers = ask(&wire, None).await;
        assert_eq!(reasons(&answers), expected, "{}", answers.resolved.message);
        assert!(answers.resolved.message.contains(told), "{}", answers.resolved.message);
        assert_eq!(answers.snapshot.is_some(), expected[2] == Reason::Resolved);
    }
}

#[tokio::test]
async fn a_mirror_that_drops_queries_is_detected_at_once() {
    let again = format!("/api/models/org/x/tree/{SHA1}?cursor=a");
    let first = answer(200, &format!("Link: <{again}>; rel=\"next\"\r\n"), &page(0, 1000));
    let hollow = format!(
        r#"[{{"type":"directory","path":"d","size":0,"oid":"{SHA1}"}},{{"type":"file","path":"a","size":5,"oid":"{SHA1}"}}]"#
    );
    for (listing, told, pages) in
        [(first, "next page is the same page again", 2), (ok(&hollow), "folders but none of their files", 1)]
    {
        let wire = Calls::public().with("/tree/", listing).serve();
        let answers = ask(&wire, None).await;
        let unusable = [Reason::Anonymous, Reason::AccessGranted, Reason::InvalidResponse];
        assert_eq!(reasons(&answers), unusable, "{}", answers.resolved.message);
        assert!(answers.resolved.message.contains(told), "{}", answers.resolved.message);
        assert_eq!(wire.heads().iter().filter(|head| head.contains("/tree/")).count(), pages);
    }
}

/// The response about the revision counts another commit's files, so the pinned commit is requested too, but only if needed.
#[tokio::test]
async fn a_pinned_commit_is_counted_separately() {
    let pinned = "89abcdef0123456789abcdef0123456789abcdef";
    for (listed, of_pinned, asked, expected) in [
        (3, revision_with(pinned, 3), 1, Reason::Resolved),
        (1000, revision_with(pinned, 1000), 2, Reason::Resolved),
        (1000, revision_with(pinned, 1001), 2, Reason::InvalidResponse),
        (1000, answer(404, "", ""), 2, Reason::InvalidResponse),
    ] {
        let wire = Calls::public()
            .with("/tree/", ok(&page(0, listed)))
            .with("/revision/", revision_with(SHA1, 7))
            .with("/revision/89abcdef", of_pinned)
            .serve();
        let pinned = pinned.parse().unwrap();
        let answers = ask_about(&wire.endpoint(), Some(&pinned), None, &TokenStatusCache::default()).await;
        assert_eq!(answers.resolved.reason, expected, "{}", answers.resolved.message);
        let questions = wire.heads().iter().filter(|head| head.contains("/revision/")).count();
        assert_eq!(questions, asked, "{listed} files");
    }
}

#[tokio::test]
async fn the_next_page_is_requested_at_the_endpoint_whatever_its_host() {
    for (below, next) in [
        ("", "https://huggingface.co/api/models/org/x/tree/2?cursor=a%2Cb"),
        ("/hf", "https://huggingface.co/api/models/org/x/tree/2?cursor=a%2Cb"),
        ("/hf", "https://localhost/hf/api/models/org/x/tree/2?cursor=a%2Cb"),
        ("/hf", "/hf/api/models/org/x/tree/2?cursor=a%2Cb"),
    ] {
        let first = answer(200, &format!("Link: <{next}>; rel=\"next\"\r\n"), &page(0, 1000));
        let calls = Calls::public().with("/tree/2?", ok(&page(1000, 2))).with("/tree/0", first);
        let wire = calls.with("/revision/", revision_with(SHA1, 1002)).serve();
        let endpoint = format!("{}{below}", wire.url()).parse().unwrap();
        let answers = ask_about(&endpoint, None, Some(&token()), &TokenStatusCache::default()).await;
        assert_eq!(answers.snapshot.map(|snapshot| snapshot.count), Some(1002), "{:?}", answers.resolved);
        let asked = wire.heads().into_iter().rfind(|head| head.contains("/tree/")).unwrap();
        assert!(
            asked.starts_with(&format!("get {below}/api/models/org/x/tree/2?cursor=a%2cb http")),
            "{asked}"
        );
        assert!(asked.contains("authorization: bearer hf_good"));
    }
}

#[tokio::test]
async fn a_server_that_is_not_a_hub_is_reported() {
    let wire = Wire::start(|_| answer(404, "", "<html>Welcome to nginx</html>"));
    let answers = ask(&wire, None).await;
    assert_eq!(reasons(&answers), [Reason::Anonymous, Reason::RepoNotFoundOrPrivate, Reason::NotChecked]);
    assert!(answers.authorized.message.contains(&wire.url()), "{}", answers.authorized.message);
}

#[tokio::test]
async fn whoami_decides_an_unspecific_401() {
    let invalid = [Reason::TokenInvalid, Reason::NotChecked, Reason::NotChecked];
    for (words, with_good_token) in [
        ("Invalid username or password.", Reason::RepoNotFoundOrPrivate),
        ("Who are you?", Reason::AccessDenied),
    ] {
        let calls = Calls::public().closed(&refused(401, words));
        let wire = calls.clone().serve();
        let settled = [Reason::TokenValid, with_good_token, Reason::NotChecked];
        assert_eq!(reasons(&ask(&wire, Some(&token())).await), settled, "{words}");
        let wire = calls.clone().with("/whoami-v2", refused(401, "Invalid credentials")).serve();
        assert_eq!(reasons(&ask(&wire, Some(&token())).await), invalid, "{words}");
        let wire = calls.without("/whoami-v2").serve();
        assert_eq!(reasons(&ask(&wire, Some(&token())).await), invalid, "{words}");
    }
}

#[tokio::test]
async fn a_recorded_message_needs_no_whoami() {
    let bad = refused(401, "Invalid credentials in Authorization header");
    let wire = Calls::public().with("/auth-check", bad).serve();
    let answers = ask(&wire, Some(&token())).await;
    assert_eq!(reasons(&answers), [Reason::TokenInvalid, Reason::NotChecked, Reason::NotChecked]);
    assert_eq!(wire.heads().len(), 1);
}

#[tokio::test]
async fn whoami_is_called_once_and_only_if_nothing_proves_the_token() {
    let whoami = |wire: &Wire| wire.heads().iter().filter(|head| head.contains("whoami")).count();
    let wire = Calls::public().serve();
    assert_eq!(reasons(&ask(&wire, Some(&token())).await), FINE);
    assert_eq!(whoami(&wire), 1);
    ask(&wire, None).await;
    assert_eq!(whoami(&wire), 1);

    for proof in [r#""gated":"auto""#, r#""private":true"#] {
        let revision = ok(&format!(r#"{{"sha":"{SHA1}",{proof}}}"#));
        let wire = Calls::public().with("/revision/", revision).serve();
        assert_eq!(reasons(&ask(&wire, Some(&token())).await), FINE);
        assert_eq!(whoami(&wire), 0, "{proof}");
    }
}

#[tokio::test]
async fn whoami_is_called_at_most_once_per_token() {
    let whoami = |wire: &Wire| wire.heads().iter().filter(|head| head.contains("whoami")).count();
    let token = token();
    let unclear = || refused(401, "Invalid username or password.");
    let public = || Calls::public();
    let closed = |calls: Calls| calls.closed(&unclear());
    let private = || Calls::public().with("/revision/", ok(&format!(r#"{{"sha":"{SHA1}","private":true}}"#)));
    let gone = || public().with("/whoami-v2", refused(401, "Invalid credentials"));
    let no = |reason| [Reason::TokenValid, reason, Reason::NotChecked];
    let bad = [Reason::TokenInvalid, Reason::NotChecked, Reason::NotChecked];
    let unknown = no(Reason::RepoNotFoundOrPrivate);
    for (story, all) in [
        // It stays valid, and its account has no access to one repo.
        (vec![(public(), FINE), (private(), FINE), (public(), FINE)], 1),
        (vec![(closed(public()), unknown); 3], 1),
        // It becomes invalid after it was proven: the one call detects that.
        (vec![(private(), FINE), (closed(gone()), bad), (gone(), bad), (gone(), bad)], 1),
        // It was invalid from the beginning, and the Hub ignores it if it is not needed.
        (vec![(gone(), bad), (closed(gone()), bad), (gone(), bad)], 1),
        // The one call was made already: the refusal itself decides.
        (vec![(public(), FINE), (closed(gone()), bad)], 1),
        // A mirror that does not offer the call, and a repo that proves the token nevertheless.
        (vec![(public().without("/whoami-v2"), UNCONFIRMED), (private(), FINE), (public(), FINE)], 1),
        // The Hub was wrong about it.
        (vec![(gone(), bad), (private(), FINE), (public(), FINE)], 1),
        // A mirror that does not offer the call is not asked repeatedly.
        (vec![(public().without("/whoami-v2"), UNCONFIRMED); 3], 1),
    ] {
        let record = TokenStatusCache::default();
        let mut asked = 0;
        for (step, (calls, expected)) in story.into_iter().enumerate() {
            let wire = calls.serve();
            assert_eq!(reasons(&ask_again(&wire, Some(&token), &record).await), expected, "step {step}");
            asked += whoami(&wire);
        }
        assert!(asked <= all, "{asked} questions");
    }
}

#[tokio::test]
async fn a_proxys_refusal_proves_nothing_about_the_token() {
    let page = || answer(403, "Content-Type: text/html\r\n", "<html>Blocked by policy</html>");
    let wire = Wire::start(move |_| page());
    let answers = ask(&wire, Some(&token())).await;
    assert_eq!(reasons(&answers), [Reason::NotChecked, Reason::AccessDenied, Reason::NotChecked]);
    assert_eq!(answers.obstacle(), Some(&answers.authorized));
    assert!(answers.authorized.message.contains("a proxy or firewall"));
}

#[tokio::test]
async fn failed_checks_are_unknown_and_the_others_wait() {
    let down = || answer(500, "", "");
    let limited = || answer(429, "RateLimit: \"api\";r=0;t=55\r\n", "");
    let good = Some(token());
    let not = Reason::NotChecked;
    for (call, given, known_good, at) in [
        ("/auth-check", None, false, 1),
        ("/auth-check", good.as_ref(), false, 0),
        ("/auth-check", good.as_ref(), true, 1),
        ("/whoami-v2", good.as_ref(), false, 0),
        ("/revision/", good.as_ref(), true, 2),
        ("/tree/", good.as_ref(), false, 2),
        ("/tree/", None, false, 2),
        ("/resolve/", None, false, 2),
    ] {
        for (failure, reason, pause) in
            [(down(), Reason::HubUnreachable, None), (limited(), Reason::RateLimited, Some(56))]
        {
            // A single failing call may just not be offered, and a rate limit of `whoami-v2` does not block anything.
            if matches!(
                (call, reason),
                ("/auth-check", Reason::HubUnreachable) | ("/whoami-v2", Reason::RateLimited)
            ) {
                continue;
            }
            let wire = Calls::public().with(call, failure).serve();
            let record = TokenStatusCache::default();
            if known_good {
                ask_again(&Calls::public().serve(), given, &record).await;
            }
            let answers = ask_again(&wire, given, &record).await;
            for (n, verdict) in answers.verdicts().into_iter().enumerate() {
                let context = format!("{call} {reason} {verdict:?}");
                if n < at {
                    assert!(verdict.holds(), "{context}");
                } else {
                    assert_eq!(verdict.status, Answer::Unknown, "{context}");
                    assert_eq!(verdict.reason, if n == at { reason } else { not }, "{context}");
                }
            }
            assert_eq!(answers.retry_after.map(|pause| pause.as_secs()), pause);
            assert_eq!(answers.snapshot, None);
        }
    }
}

/// Only `whoami-v2` is limited: preflights that do not need it continue, and the others wait until the limit ends.
#[tokio::test]
async fn a_rate_limit_of_whoami_affects_only_those_who_need_it() {
    let open = Calls::public().with("/whoami-v2", answer(429, "Retry-After: 3600\r\n", ""));
    let closed = open.clone().closed(&answer(401, "", ""));
    let (open, closed) = (open.serve(), closed.serve());
    let record = TokenStatusCache::default();
    let answers = ask_again(&open, Some(&token()), &record).await;
    assert_eq!(reasons(&answers), [Reason::TokenUnconfirmed, Reason::AccessGranted, Reason::Resolved]);
    assert!(answers.holds());

    let answers = ask_again(&closed, Some(&token()), &record).await;
    assert_eq!(reasons(&answers), [Reason::RateLimited, Reason::NotChecked, Reason::NotChecked]);
    let pause = answers.retry_after.unwrap();
    assert!(pause < Duration::from_secs(3600) && pause > Duration::from_secs(3500), "{pause:?}");
    assert_eq!(answers.concern, Concern::Repo, "it is no limit of the token");
    let asked =
        [&open, &closed].map(|wire| wire.heads().iter().filter(|head| head.contains("whoami")).count());
    assert_eq!(asked, [1, 0]);
}

#[tokio::test]
async fn a_file_of_another_size_than_listed_still_proves_access() {
    let wire = Calls::public().with("/resolve/", ok("longer than it should be")).serve();
    assert_eq!(reasons(&ask(&wire, Some(&token())).await), FINE);
}

/// How mirrors respond to the optional call: olah reports a missing repo, Nexus a bad request, and others return a page.
#[tokio::test]
async fn the_access_check_does_not_override_the_required_calls() {
    for probe in [
        answer(404, "X-Error-Code: RepoNotFound\r\n", "Repository not found"),
        answer(400, "", "Bad Request"),
        refused(403, "Not one of our paths."),
        refused(401, "Invalid username or password."),
        answer(405, "", ""),
        answer(410, "", ""),
        answer(500, "", ""),
        answer(501, "", ""),
        answer(504, "", ""),
        ok("<html>Welcome</html>"),
    ] {
        let calls = Calls::public().with("/auth-check", probe);
        let wire = calls.clone().serve();
        assert_eq!(reasons(&ask(&wire, Some(&token())).await), FINE);
        let anonymous = [Reason::Anonymous, Reason::AccessGranted, Reason::Resolved];
        assert_eq!(reasons(&ask(&wire, None).await), anonymous);
        // The response for a file decides.
        let closed = answer(403, "X-Error-Code: GatedRepo\r\nX-Error-Message: is awaiting a review\r\n", "");
        let wire = calls.with("/resolve/", closed).serve();
        let pending = [Reason::TokenValid, Reason::AccessPending, Reason::NotChecked];
        assert_eq!(reasons(&ask(&wire, Some(&token())).await), pending);
    }
}

#[tokio::test]
async fn a_revision_missing_on_a_mirror_is_reported_regardless_of_access() {
    let missing = |code| answer(404, &format!("X-Error-Code: {code}\r\n"), "");
    let calls = Calls::public().with("/auth-check", missing("RepoNotFound"));
    let wire = calls.with("/revision/", missing("RevisionNotFound")).serve();
    let answers = ask(&wire, None).await;
    assert_eq!(reasons(&answers), [Reason::Anonymous, Reason::AccessGranted, Reason::RevisionNotFound]);
}

/// Refusals that are also sent without a token: none proves a token.
#[tokio::test]
async fn a_refusal_with_an_unknown_message_does_not_prove_a_token() {
    let open = [Reason::NotChecked, Reason::AccessDenied, Reason::NotChecked];
    let known = [Reason::TokenValid, Reason::AccessDenied, Reason::NotChecked];
    let bad = [Reason::TokenInvalid, Reason::NotChecked, Reason::NotChecked];
    for words in ["This model is not available in your region.", "Your network is blocked.", "No."] {
        let calls = Calls::public().with("/resolve/", refused(403, words));
        for (calls, expected) in [
            (calls.clone(), known),
            (calls.clone().without("/whoami-v2"), open),
            (calls.clone().with("/whoami-v2", refused(401, "Invalid credentials")), bad),
            (calls.closed(&refused(403, words)).without("/whoami-v2"), open),
        ] {
            let answers = ask(&calls.serve(), Some(&token())).await;
            assert_eq!(reasons(&answers), expected, "{words}");
        }
    }
}

#[tokio::test]
async fn a_specific_refusal_invalidates_a_token_while_whoami_is_limited() {
    let limited = || answer(429, "RateLimit: \"api\";r=0;t=55\r\n", "");
    let words = "OAuth token signature verification failed: signature verification failed";
    let wire = Calls::public().closed(&refused(401, words)).with("/whoami-v2", limited()).serve();
    let answers = ask(&wire, Some(&token())).await;
    assert_eq!(reasons(&answers), [Reason::TokenInvalid, Reason::NotChecked, Reason::NotChecked]);
    assert!(answers.authenticated.message.contains("signature verification failed"));
}

/// Tokens of pipelines, which `whoami-v2` may not know even if they are valid.
#[tokio::test]
async fn whoami_alone_does_not_invalidate_a_short_lived_token() {
    let ci = ["hf_jwt_abc.def", "hf_oauth_abc.def"].map(|token| Token::parse(token).unwrap());
    let calls =
        Calls::public().with("/whoami-v2", refused(401, "Invalid credentials in Authorization header"));
    for token in &ci {
        assert_eq!(reasons(&ask(&calls.clone().serve(), Some(token)).await), UNCONFIRMED);
        let expired = calls.clone().with("/whoami-v2", refused(401, "jwt expired"));
        assert_eq!(ask(&expired.serve(), Some(token)).await.authenticated.reason, Reason::TokenInvalid);
    }
}

#[tokio::test]
async fn a_listed_file_missing_on_a_mirror_is_named() {
    let wire = Calls::public().without("/resolve/").serve();
    let answers = ask(&wire, None).await;
    assert_eq!(reasons(&answers), [Reason::Anonymous, Reason::AccessGranted, Reason::NoMatchingFiles]);
    assert!(answers.resolved.message.contains("no longer has a file"), "{}", answers.resolved.message);
}

#[tokio::test]
async fn an_unsafe_file_name_is_rejected() {
    let listing = format!(r#"[{{"type":"file","path":"../../etc/cron.d/x","size":5,"oid":"{SHA1}"}}]"#);
    let wire = Calls::public().with("/tree/", ok(&listing)).serve();
    let answers = ask(&wire, None).await;
    assert_eq!(reasons(&answers), [Reason::Anonymous, Reason::AccessGranted, Reason::UnsafeFileName]);
    assert!(answers.resolved.message.contains("../../etc/cron.d/x"));
}
