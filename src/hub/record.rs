//! What is known of one token from earlier answers. The Hub limits `whoami-v2` strictly, so it is asked at most once for each
//! token, however many repos are asked about with it.

use std::time::Duration;

use tokio::{sync::Mutex, time::Instant};

use super::{Hub, HubError, Refusal, Token, Trouble};
use crate::reason::Reason;

/// `whoami-v2` is asked again after so long, whatever it has asked for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// What is known of one token. Shared by all who ask with it.
#[derive(Debug, Default)]
pub struct TokenRecord(Mutex<Known>);

#[derive(Clone, Debug, Default)]
enum Known {
    /// Nothing.
    #[default]
    Nothing,
    /// A repo that not everybody may read was given for it. `whoami-v2` was not needed yet.
    Proven,
    /// `whoami-v2` knows it, or does not tell while a repo has proven it.
    Good,
    /// `whoami-v2` knows it, although a refusal looked otherwise.
    GoodAfterAll,
    /// `whoami-v2` refuses it.
    Bad(Refusal),
    /// `whoami-v2` is not offered there, or says nothing useful.
    Untold,
    /// `whoami-v2` is rate limited until then.
    Limited(Instant, HubError),
}

impl TokenRecord {
    /// Whether it was good the last time.
    pub(super) async fn is_good(&self) -> bool {
        matches!(*self.0.lock().await, Known::Proven | Known::Good | Known::GoodAfterAll)
    }

    /// It has just opened what not everybody may read.
    pub(super) async fn prove(&self) {
        let mut known = self.0.lock().await;
        *known = match &*known {
            Known::Nothing | Known::Proven | Known::Limited(..) => Known::Proven,
            // `whoami-v2` has been asked already.
            Known::Good | Known::Untold => Known::Good,
            Known::GoodAfterAll | Known::Bad(_) => Known::GoodAfterAll,
        };
    }

    /// Nothing has needed the token so far: the refusal of a bad one that the Hub has just ignored. That `whoami-v2` is rate limited
    /// is no refusal.
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

    /// A refusal that does not tell whether the token is bad, with what is known of that.
    pub(super) async fn settle(
        &self,
        hub: &Hub,
        token: &Token,
        refusal: Refusal,
    ) -> Result<Refusal, HubError> {
        let mut known = self.0.lock().await;
        if known.is_open() || matches!(*known, Known::Proven) {
            *known = match ask(hub, token).await? {
                Known::Good => Known::GoodAfterAll,
                other => other,
            };
        }
        Ok(match &*known {
            // Nothing but the call can tell.
            Known::Limited(until, error) => return Err(error.clone().until(*until)),
            Known::GoodAfterAll => refusal.with_good_token(),
            Known::Good if refusal.reason != Reason::TokenInvalid => refusal.with_good_token(),
            Known::Bad(own) => own.clone(),
            // What the refusal looks like is the best there is: a token that was good may have gone bad since.
            _ => refusal,
        })
    }
}

impl Known {
    /// Whether `whoami-v2` is to be asked.
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
            Ok(Known::Limited(Instant::now() + retry_after.min(LONGEST_PAUSE), error))
        }
        // It may be good for repos, and for nothing else.
        Err(HubError::Refused(own)) if token.is_short_lived() && !own.names_a_flaw() => Ok(Known::Untold),
        Err(HubError::Refused(own)) if own.status == 401 && own.may_be_of_the_hub() => {
            Ok(Known::Bad(own.with_bad_token()))
        }
        // A mirror that does not offer the call, or asks the Hub for it without the token.
        Err(HubError::Refused(_)) => Ok(Known::Untold),
        Err(error) if not_offered(&error) => Ok(Known::Untold),
        Err(error) => Err(error),
    }
}

/// Whether a server says that it does not know the call at all.
const fn not_offered(error: &HubError) -> bool {
    matches!(error, HubError::Unreachable { kind: Trouble::Server(501), .. } | HubError::BadAnswer { .. })
}
