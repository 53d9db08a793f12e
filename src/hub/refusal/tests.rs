//! Every recorded refusal with the Hub's own text, for each repo type.

use super::*;
use crate::text::testing::{assert_safe, nasty};
use TokenState::{Bad, Good, NotSent, Unclear};
use standin_hub::Situation;

fn token() -> Token {
    Token::parse("hf_good").unwrap()
}

const GATED: Option<&str> = Some("GatedRepo");
const REPO: Option<&str> = Some("RepoNotFound");
const FINE_GRAINED: &str = "Please enable access to public gated repositories in your fine-grained token settings to view this \
                            repository.";

/// A recorded refusal: situation, token sent, status, code, text; and the expected classification.
type Row = (&'static str, bool, u16, Option<&'static str>, &'static str, Reason, TokenState);

const ROWS: &[Row] = &[
    (
        "no token, gated repo",
        false,
        401,
        GATED,
        "Access to model org/x is restricted. You must have access to it and be authenticated to access it. Please log in.",
        Reason::TokenRequired,
        NotSent,
    ),
    (
        "no token, private or missing repo",
        false,
        401,
        None,
        "Invalid username or password.",
        Reason::TokenRequired,
        NotSent,
    ),
    (
        "valid token, private without access or missing",
        true,
        404,
        REPO,
        "Repository not found",
        Reason::RepoNotFoundOrPrivate,
        Good,
    ),
    (
        "no token, a mirror's missing repo",
        false,
        404,
        REPO,
        "Repository not found",
        Reason::RepoNotFoundOrPrivate,
        NotSent,
    ),
    (
        "unknown or revoked token",
        true,
        401,
        None,
        "Invalid credentials in Authorization header",
        Reason::TokenInvalid,
        Bad,
    ),
    ("expired token", true, 401, None, "User Access Token \"ci\" is expired", Reason::TokenInvalid, Bad),
    (
        "terms not accepted",
        true,
        403,
        GATED,
        "Access to model org/x is restricted and you are not in the authorized list. Visit https://huggingface.co/org/x to ask \
         for access.",
        Reason::TermsNotAccepted,
        Good,
    ),
    (
        "request pending",
        true,
        403,
        GATED,
        "Your request to access model org/x is awaiting a review from the repo authors.",
        Reason::AccessPending,
        Good,
    ),
    (
        "request rejected",
        true,
        403,
        GATED,
        "Your request to access model org/x has been rejected by the repo's authors.",
        Reason::AccessRejected,
        Good,
    ),
    (
        "request reset",
        true,
        403,
        GATED,
        "Your request to access model org/x has been reset by the repo's authors. Visit https://huggingface.co/org/x to submit a \
         new request.",
        Reason::TermsNotAccepted,
        Good,
    ),
    ("gated without a word", true, 403, GATED, "", Reason::TermsNotAccepted, Good),
    ("gated with new words", true, 403, GATED, "Come back on Monday.", Reason::AccessDenied, Good),
    ("fine-grained token", true, 403, None, FINE_GRAINED, Reason::TokenLacksPermission, Good),
    ("fine-grained token, with a code", true, 403, GATED, FINE_GRAINED, Reason::TokenLacksPermission, Good),
    (
        "token revoked by an organization",
        true,
        403,
        None,
        "Your token has been revoked by the organization administrator, you can no longer access organization resources.",
        Reason::TokenLacksPermission,
        Good,
    ),
    ("disabled repo", true, 403, None, "Access to this resource is disabled.", Reason::RepoDisabled, Unclear),
    (
        "disabled repo, no token",
        false,
        403,
        None,
        "Access to this resource is disabled.",
        Reason::RepoDisabled,
        NotSent,
    ),
    (
        "organization's IP range",
        true,
        403,
        None,
        "Your IP is not allowed by this organization.",
        Reason::AccessDenied,
        Unclear,
    ),
    // Checked before authentication: a malformed token gets the same.
    (
        "blocked region",
        true,
        403,
        None,
        "This model is not available in your region.",
        Reason::AccessDenied,
        Unclear,
    ),
    ("another policy, with a code", true, 403, Some("Policy"), "No.", Reason::AccessDenied, Unclear),
    (
        "token that the organization has not approved",
        true,
        403,
        None,
        "Due to the organization token policy, your token needs to be approved by the organization before you can access this \
         resource.",
        Reason::TokenLacksPermission,
        Good,
    ),
    (
        "OAuth token of another Hub, or an old one",
        true,
        401,
        None,
        "OAuth token signature verification failed: signature verification failed",
        Reason::TokenInvalid,
        Bad,
    ),
    ("token of a mirror", true, 401, None, "The access token is not valid.", Reason::TokenInvalid, Bad),
    ("token of a pipeline", true, 401, None, "jwt expired", Reason::TokenInvalid, Bad),
    (
        "a mirror that asks for a token although one was sent",
        true,
        401,
        None,
        "Please pass a token.",
        Reason::TokenInvalid,
        Unclear,
    ),
    ("law", true, 451, None, "Not available in your country.", Reason::AccessDenied, Unclear),
    (
        "bad revision",
        true,
        404,
        Some("RevisionNotFound"),
        "Invalid rev id: nope",
        Reason::RevisionNotFound,
        Unclear,
    ),
    ("bad path", false, 404, Some("EntryNotFound"), "Entry not found", Reason::NoMatchingFiles, NotSent),
    // A token was sent, but the request counts as unauthenticated: only whoami can decide.
    (
        "token ignored, private or missing",
        true,
        401,
        None,
        "Invalid username or password.",
        Reason::TokenInvalid,
        Unclear,
    ),
    (
        "token ignored, gated",
        true,
        401,
        GATED,
        "Access to model org/x is restricted. Please log in.",
        Reason::TokenInvalid,
        Unclear,
    ),
    ("401 of an older Hub", true, 401, REPO, "Repository not found", Reason::TokenInvalid, Unclear),
    ("401 with unknown words", true, 401, None, "Who are you?", Reason::TokenInvalid, Unclear),
    (
        "a call that a mirror does not know",
        true,
        404,
        None,
        "Not Found",
        Reason::RepoNotFoundOrPrivate,
        Unclear,
    ),
];

#[test]
fn every_recorded_refusal_has_its_reason() {
    let given = token();
    for &(situation, token_sent, status, code, words, reason, state) in ROWS {
        let token = token_sent.then_some(&given);
        for word in ["model", "dataset", "space"] {
            let words = words.replace("model org", &format!("{word} org"));
            let body = serde_json::json!({ "error": words }).to_string();
            // `/api` sends the text twice, as header and as JSON; `/resolve` as header and as plain text.
            for (message, body) in [
                (Some(words.as_str()), body.as_str()),
                (Some(words.as_str()), words.as_str()),
                (None, body.as_str()),
            ] {
                let refusal = Refusal::new(&ErrorResponse { status, code, message, body, token });
                assert_eq!((refusal.reason, refusal.token), (reason, state), "{situation}, {word}");
                assert_eq!(refusal.words, words, "{situation}, {word}");
            }
        }
    }
}

/// The rows that the stand-in Hub replays: each is classified, and none proves a token that was not sent.
#[test]
fn every_row_of_the_stand_in_is_classified() {
    let given = Token::parse("hf_good").unwrap();
    for row in standin_hub::recorded().iter().filter(|row| row.status < 429) {
        let (code, message) = (row.code.as_deref(), Some(row.words.as_str()));
        let evidence = ErrorResponse { status: row.status, code, message, body: "", token: Some(&given) };
        let refusal = Refusal::new(&evidence);
        let expected = match row.situation {
            Situation::GateNeedsLogin | Situation::UnknownTokenAtGate | Situation::LoginRequired => {
                (Reason::TokenInvalid, Unclear)
            }
            Situation::RepoNotFound => (Reason::RepoNotFoundOrPrivate, Good),
            Situation::UnknownToken | Situation::ForeignOauthToken | Situation::ExpiredToken => {
                (Reason::TokenInvalid, Bad)
            }
            Situation::TermsNotAccepted | Situation::RequestReset => (Reason::TermsNotAccepted, Good),
            Situation::RequestPending => (Reason::AccessPending, Good),
            Situation::RequestRejected => (Reason::AccessRejected, Good),
            Situation::NoGatedPermission
            | Situation::OrganizationApproval
            | Situation::RevokedByOrganization => (Reason::TokenLacksPermission, Good),
            Situation::BlockedRegion => (Reason::AccessDenied, Unclear),
            Situation::Disabled => (Reason::RepoDisabled, Unclear),
            Situation::RevisionNotFound => (Reason::RevisionNotFound, Unclear),
            Situation::EntryNotFound => (Reason::NoMatchingFiles, Unclear),
            Situation::NoSuchPage => (Reason::RepoNotFoundOrPrivate, Unclear),
            Situation::QuotaUsedUp | Situation::AddressLimited | Situation::InternalError => {
                panic!("no refusal: {row:?}")
            }
        };
        assert_eq!((refusal.reason, refusal.token), expected, "{}", row.when);
        let anonymous = Refusal::new(&ErrorResponse { token: None, ..evidence });
        assert_eq!(anonymous.token, NotSent, "{}", row.when);
    }
}

#[test]
fn messages_about_the_location_are_recognized() {
    for words in [
        "This model is not available in your region.",
        "Not available in your country.",
        "Your IP is not allowed by this organization.",
        "Blocked for users in the EU.",
        "Access from your location is restricted",
    ] {
        assert!(names_location(words), "{words}");
    }
    for words in ["Access denied by policy", "You have an issue with your recipient", "museum", ""] {
        assert!(!names_location(words), "{words}");
    }
}

#[test]
fn a_page_of_an_intermediary_proves_nothing() {
    let given = token();
    for (body, words) in [("<html>Blocked by policy</html>", ""), ("", ""), ("Blocked.", "Blocked.")] {
        let token = Some(&given);
        let refusal = Refusal::new(&ErrorResponse { status: 403, code: None, message: None, body, token });
        assert_eq!((refusal.reason, refusal.token), (Reason::AccessDenied, Unclear));
        assert_eq!(refusal.words, words);
    }
}

#[test]
fn whoami_decides_unclear_refusals() {
    let given = token();
    let settled = |code, words| {
        let token = Some(&given);
        let refusal =
            Refusal::new(&ErrorResponse { status: 401, code, message: Some(words), body: "", token });
        (refusal.clone().with_good_token().reason, refusal.with_bad_token().reason)
    };
    let bad = Reason::TokenInvalid;
    assert_eq!(settled(None, "Invalid username or password."), (Reason::RepoNotFoundOrPrivate, bad));
    assert_eq!(settled(REPO, "Repository not found"), (Reason::RepoNotFoundOrPrivate, bad));
    assert_eq!(settled(None, "Who are you?"), (Reason::AccessDenied, bad));
    let gated = "Access is restricted and you are not in the authorized list.";
    assert_eq!(settled(GATED, gated), (Reason::TermsNotAccepted, bad));
}

#[test]
fn masked_hashes_mean_no_access() {
    assert_eq!(Refusal::masked(true).reason, Reason::AccessDenied);
    assert_eq!(Refusal::masked(false).reason, Reason::TokenRequired);
}

#[test]
fn only_an_uncoded_404_is_an_unknown_call() {
    let unknown = |status, code| {
        Refusal::new(&ErrorResponse { status, code, message: None, body: "", token: None }).is_unknown_call()
    };
    assert!(unknown(404, None) && unknown(405, None));
    assert!(!unknown(404, REPO) && !unknown(403, None));
}

#[test]
fn the_token_of_the_request_is_never_repeated() {
    // A token of a mirror, which does not look like one of the Hub's.
    let given = Token::parse("very/secret+1=").unwrap();
    for (message, body) in [
        (Some("`very/secret+1=` is not known"), ""),
        (None, r#"{"error":"`very\/secret+1=` is not known"}"#),
        (None, "`very/secret+1=` is not known"),
    ] {
        let code = Some("very/secret+1=");
        let refusal = Refusal::new(&ErrorResponse { status: 403, code, message, body, token: Some(&given) });
        assert_eq!((refusal.words.as_str(), refusal.code.as_deref()), ("`…` is not known", Some("…")));
    }
}

#[test]
fn foreign_texts_are_sanitized() {
    for (given, shown) in [
        ("plain  words\n twice", "plain words twice"),
        ("a\u{1b}[31mred\u{7}\u{202e}", "a [31mred"),
        ("see https://cdn.example/x/y?Signature=abc&Key=d#f now", "see https://cdn.example/x/y now"),
        ("(https://me:pw@cdn.example?x=1)", "(https://cdn.example"),
        ("token hf_abcdefghijklmnopqrstuv bad", "token hf_… bad"),
        ("hf_transfer is fine", "hf_transfer is fine"),
        ("hf_x=hf_abc_def-ghi.jkl-mno,hf_abcdefghijklmnopq", "hf_x=hf_…,hf_…"),
        ("Bearer\u{200b}of-a-mirror", "Bearer …"),
        ("Authorization:Bearer of-a-mirror \"bearer: other", "Authorization:Bearer … \"bearer: …"),
    ] {
        assert_eq!(clean(given), shown);
    }
    for (case, words) in nasty(300).chain([(0, "word ".repeat(1000))]) {
        assert_safe(&clean(&words), MAX_WORDS, case);
    }
}
