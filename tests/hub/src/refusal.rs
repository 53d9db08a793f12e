//! The Hub's refusals, from `refusals.json`: status, code and message for each situation, with source and date.

use std::sync::LazyLock;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use modelcache_wire::{
    ErrorBody,
    header::{ERROR_CODE, ERROR_MESSAGE},
};
use serde::Deserialize;
use serde_json::json;

use crate::{name::RepoName, repo::Access};

macro_rules! situations {
    ($( $name:ident, )+) => {
        /// A situation in which the Hub refuses, described in `refusals.json` under `when`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[allow(missing_docs, reason = "each is described in its row")]
        pub enum Situation { $( $name, )+ }

        impl Situation {
            /// All situations.
            pub const ALL: &[Self] = &[ $( Self::$name, )+ ];
        }
    };
}

situations! {
    GateNeedsLogin,
    UnknownTokenAtGate,
    LoginRequired,
    RepoNotFound,
    UnknownToken,
    ForeignOauthToken,
    ExpiredToken,
    TermsNotAccepted,
    RequestPending,
    RequestRejected,
    RequestReset,
    NoGatedPermission,
    OrganizationApproval,
    RevokedByOrganization,
    BlockedRegion,
    Disabled,
    RevisionNotFound,
    EntryNotFound,
    NoSuchPage,
    QuotaUsedUp,
    AddressLimited,
    InternalError,
}

/// A recorded refusal.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// The situation.
    pub situation: Situation,
    /// Its description: the caller, the request, and the refused calls.
    pub when: String,
    /// The HTTP status.
    pub status: u16,
    /// The header `X-Error-Code`.
    pub code: Option<String>,
    /// The header `X-Error-Message`, with `{word}` for model, dataset or space, `{id}`, `{page}`, `{revision}` and `{token}`.
    pub words: String,
    /// The exception that the official client raises for a file or `auth-check`.
    pub client: String,
    /// The source of the recording.
    pub source: String,
    /// Its date: a year, a month or a day.
    pub date: String,
}

static RECORDED: LazyLock<Vec<Recorded>> = LazyLock::new(|| {
    let rows: Result<Vec<Recorded>, _> = serde_json::from_str(include_str!("../refusals.json"));
    #[allow(clippy::panic, reason = "a mistake in the file has to fail every test, and say where")]
    rows.unwrap_or_else(|error| panic!("parse refusals.json: {error}"))
});

/// All recorded refusals, in file order.
#[must_use]
pub fn recorded() -> &'static [Recorded] {
    &RECORDED
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: Option<&'static str>,
    pub(crate) message: String,
}

impl Refusal {
    /// As recorded, with its places filled in.
    pub(crate) fn of(situation: Situation, places: &[(&str, &str)]) -> Self {
        // Guaranteed by the test `each_situation_is_recorded_once`.
        let row = RECORDED.iter().find(|row| row.situation == situation);
        let fill = |words: &String| {
            places
                .iter()
                .fold(words.clone(), |words, (place, value)| words.replace(&format!("{{{place}}}"), value))
        };
        Self {
            status: row
                .and_then(|row| StatusCode::from_u16(row.status).ok())
                .unwrap_or(StatusCode::NOT_IMPLEMENTED),
            code: row.and_then(|row| row.code.as_deref()),
            message: row.map(|row| fill(&row.words)).unwrap_or_default(),
        }
    }

    /// As recorded, about a repo.
    pub(crate) fn about(situation: Situation, repo: &RepoName) -> Self {
        let page = format!("https://huggingface.co/{repo}");
        Self::of(situation, &[("word", repo.kind.word()), ("id", &repo.id), ("page", &page)])
    }

    /// A message that is not recorded.
    pub(crate) fn in_words(words: &str) -> Self {
        Self { status: StatusCode::FORBIDDEN, code: None, message: words.to_owned() }
    }

    /// The gate is closed to this user.
    pub(crate) fn gate_closed(repo: &RepoName, access: Access) -> Self {
        let situation = match access {
            Access::Pending => Situation::RequestPending,
            Access::Rejected => Situation::RequestRejected,
            Access::Reset => Situation::RequestReset,
            Access::NotRequested | Access::Accepted => Situation::TermsNotAccepted,
        };
        Self::about(situation, repo)
    }

    pub(crate) fn revision_not_found(revision: &str) -> Self {
        Self::of(Situation::RevisionNotFound, &[("revision", revision)])
    }

    pub(crate) fn entry_not_found() -> Self {
        Self::of(Situation::EntryNotFound, &[])
    }

    pub(crate) fn no_such_page() -> Self {
        Self::of(Situation::NoSuchPage, &[])
    }

    /// As in the API: the message in a header and in JSON.
    pub(crate) fn as_json(&self) -> Response {
        let body = Body::from(json!(ErrorBody { error: Some(self.message.clone()) }).to_string());
        self.answer(body, "application/json; charset=utf-8")
    }

    /// As for files: the message in a header and as text.
    pub(crate) fn as_text(&self) -> Response {
        self.answer(Body::from(self.message.clone()), "text/plain; charset=utf-8")
    }

    fn answer(&self, body: Body, media_type: &'static str) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(ERROR_MESSAGE, text(&self.message));
        if let Some(code) = self.code {
            headers.insert(ERROR_CODE, HeaderValue::from_static(code));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let realm = "Bearer realm=\"Authentication required\", charset=\"UTF-8\"";
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(realm));
        }
        (self.status, headers, body).into_response()
    }
}

/// A header value from text that may come from a request; empty if invalid.
pub(crate) fn text(value: &str) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or(HeaderValue::from_static(""))
}
