//! The Hub's refusals: status, code and words, as they were observed. One constructor for each situation.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use crate::{name::RepoName, repo::Access};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: Option<&'static str>,
    pub(crate) message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn login_required() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, None, "Invalid username or password.")
    }

    pub(crate) fn unknown_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, None, "Invalid credentials in Authorization header")
    }

    pub(crate) fn expired_token(name: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, None, format!("User Access Token \"{name}\" is expired"))
    }

    pub(crate) fn revoked_by_organization() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            None,
            "Your token has been revoked by the organization administrator, you can no longer access \
             organization resources. Please contact them for more information.",
        )
    }

    pub(crate) fn repo_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, Some("RepoNotFound"), "Repository not found")
    }

    pub(crate) fn disabled() -> Self {
        Self::new(StatusCode::FORBIDDEN, None, "Access to this resource is disabled.")
    }

    pub(crate) fn in_words(words: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, None, words)
    }

    pub(crate) fn token_lacks_gated() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            None,
            "Please enable access to public gated repositories in your fine-grained token settings to view this \
             repository.",
        )
    }

    /// The gate is closed to someone without a token.
    pub(crate) fn gate_needs_login(repo: &RepoName) -> Self {
        let (word, id) = (repo.kind.word(), &repo.id);
        Self::new(
            StatusCode::UNAUTHORIZED,
            Some("GatedRepo"),
            format!(
                "Access to {word} {id} is restricted. You must have access to it and be authenticated to access it. \
                 Please log in."
            ),
        )
    }

    /// The gate is closed to this user.
    pub(crate) fn gate_closed(repo: &RepoName, access: Access) -> Self {
        let (word, id) = (repo.kind.word(), &repo.id);
        let page = format!("https://huggingface.co/{repo}");
        let message = match access {
            Access::Pending => {
                format!("Your request to access {word} {id} is awaiting a review from the repo authors.")
            }
            Access::Rejected => {
                format!("Your request to access {word} {id} has been rejected by the repo's authors.")
            }
            Access::Reset => format!(
                "Your request to access {word} {id} has been reset by the repo's authors. Visit {page} to submit a \
                 new request."
            ),
            Access::NotRequested | Access::Accepted => format!(
                "Access to {word} {id} is restricted and you are not in the authorized list. Visit {page} to ask for \
                 access."
            ),
        };
        Self::new(StatusCode::FORBIDDEN, Some("GatedRepo"), message)
    }

    pub(crate) fn revision_not_found(revision: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Some("RevisionNotFound"), format!("Invalid rev id: {revision}"))
    }

    pub(crate) fn entry_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, Some("EntryNotFound"), "Entry not found")
    }

    pub(crate) fn no_such_page() -> Self {
        Self::new(StatusCode::NOT_FOUND, None, "Sorry, we can't find the page you are looking for.")
    }

    /// As the API tells it: the words in a header and in JSON.
    pub(crate) fn as_json(&self) -> Response {
        let body = Body::from(json!({ "error": self.message }).to_string());
        self.answer(body, "application/json; charset=utf-8")
    }

    /// As the addresses of files tell it: the words in a header and as text.
    pub(crate) fn as_text(&self) -> Response {
        self.answer(Body::from(self.message.clone()), "text/plain; charset=utf-8")
    }

    fn answer(&self, body: Body, media_type: &'static str) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert("x-error-message", text(&self.message));
        if let Some(code) = self.code {
            headers.insert("x-error-code", HeaderValue::from_static(code));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let realm = "Bearer realm=\"Authentication required\", charset=\"UTF-8\"";
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(realm));
        }
        (self.status, headers, body).into_response()
    }
}

/// A header from text that may come from a request; one that cannot be a header is left empty.
pub(crate) fn text(value: &str) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or(HeaderValue::from_static(""))
}
