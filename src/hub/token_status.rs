//! Caches whether a token is valid. The Hub rate-limits `whoami-v2` strictly, so it is called at most once per token, however
//! many repos are checked with it.

use std::time::Duration;

use tokio::{sync::Mutex, time::Instant};

use super::{ConnectFailure, Hub, HubError, Refusal, Token};
use crate::reason::Reason;

/// The longest delay before `whoami-v2` is called again, whatever it requested.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// The cached status of one token. Shared by all requests with it.
#[derive(Debug, Default)]
pub struct TokenStatusCache(Mutex<Known>);

#[derive(Clone, Debug, Default)]
enum Known {
    /// Nothing.
    #[default]
    Nothing,
    /// It gave access to a non-public repo. `whoami-v2` was not needed yet.
    Proven,
    /// `whoami-v2` accepts it, or is unavailable while a repo has proven it.
    Good,
    /// `whoami-v2` accepts it, although a refusal suggested otherwise.
    Confirmed,
    /// `whoami-v2` rejects it.
    Bad(Refusal),
    /// `whoami-v2` is not offered, or inconclusive.
    Unavailable,
    /// `whoami-v2` is rate limited until then.
    Limited(Instant, HubError),
}

impl TokenStatusCache {
    /// Whether it was valid when last checked.
    pub(super) async fn is_good(&self) -> bool {
        matches!(*self.0.lock().await, Known::Proven | Known::Good | Known::Confirmed)
    }

    /// Records that it just gave access to a non-public repo.
    pub(super) async fn prove(&self) {
        let mut known = self.0.lock().await;
        *known = match &*known {
            Known::Nothing | Known::Proven | Known::Limited(..) => Known::Proven,
            // `whoami-v2` has already been called.
            Known::Good | Known::Unavailable => Known::Good,
            Known::Confirmed | Known::Bad(_) => Known::Confirmed,
        };
    }

    /// Checks a token that no call has needed so far. Returns the refusal if it is invalid; a rate limit of `whoami-v2` is not a
    /// refusal.
    pub(super) async fn confirm(&self, hub: &Hub, token: &Token) -> Result<Option<Refusal>, HubError> {
        let mut known = self.0.lock().await;
        if known.is_open() {
            *known = ask(hub, token).await?;
        }
        Ok(match &*known {
            Known::Bad(refusal) => Some(refusal.clone()),
            _ => None,
        })
    }

    /// Completes a refusal that does not show whether the token is invalid.
    pub(super) async fn classify(
        &self,
        hub: &Hub,
        token: &Token,
        refusal: Refusal,
    ) -> Result<Refusal, HubError> {
        let mut known = self.0.lock().await;
        if known.is_open() || matches!(*known, Known::Proven) {
            *known = match ask(hub, token).await? {
                Known::Good => Known::Confirmed,
                other => other,
            };
        }
        Ok(match &*known {
            // Only the call can decide.
            Known::Limited(until, error) => return Err(error.clone().until(*until)),
            Known::Confirmed => refusal.with_good_token(),
            Known::Good if refusal.reason != Reason::TokenInvalid => refusal.with_good_token(),
            Known::Bad(own) => own.clone(),
            // Keep the refusal as it is: a valid token may have become invalid since.
            _ => refusal,
        })
    }
}

impl Known {
    /// Whether `whoami-v2` should be called.
    fn is_open(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Limited(until, _) => *until <= Instant::now(),
            _ => false,
        }
    }
}

async fn ask(hub: &Hub, token: &Token) -> Result<Known, HubError> {
    match hub.whoami(token).await {
        Ok(_) => Ok(Known::Good),
        Err(error @ HubError::RateLimited { retry_after, .. }) => {
            Ok(Known::Limited(Instant::now() + retry_after.min(MAX_DELAY), error))
        }
        // It may be valid for repos only.
        Err(HubError::Refused(own)) if token.is_short_lived() && !own.names_defect() => {
            Ok(Known::Unavailable)
        }
        Err(HubError::Refused(own)) if own.status == 401 && own.may_be_from_hub() => {
            Ok(Known::Bad(own.with_bad_token()))
        }
        // A mirror that does not offer the call, or forwards it without the token.
        Err(HubError::Refused(_)) => Ok(Known::Unavailable),
        Err(error) if not_offered(&error) => Ok(Known::Unavailable),
        Err(error) => Err(error),
    }
}

/// Whether the server does not support the call at all.
const fn not_offered(error: &HubError) -> bool {
    matches!(
        error,
        HubError::Unreachable { kind: ConnectFailure::Server(501), .. } | HubError::BadAnswer { .. }
    )
}
