//! One GET to the Hub: redirects, who may see the token, and which status is which failure. Knows no calls by name.

use std::time::Duration;

use jiff::Timestamp;
use modelcache_wire::header::{ERROR_CODE, ERROR_MESSAGE};
use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT_ENCODING, AUTHORIZATION, LOCATION, RANGE, RETRY_AFTER},
};
use url::Url;

use super::{
    Endpoint, Refusal, Token, coding,
    error::{HubError, Trouble},
    host::host_of,
    rate_limit,
    refusal::Evidence,
    transport,
};

/// Enough for a renamed repo, a resolve cache and the storage behind them.
const MAX_REDIRECTS: usize = 8;
/// How many bytes of an error's body are read to find the Hub's message.
const MAX_ERROR_BODY: usize = 16 * 1024;

/// A GET.
#[derive(Clone, Copy)]
pub(super) struct Get<'a> {
    pub address: &'a str,
    pub token: Option<&'a Token>,
    /// The first byte that is wanted, and the first that is not any more. None: all of it.
    pub part: Option<(u64, u64)>,
    /// Whether the address is the Hub's own, and not its storage's.
    pub at_home: bool,
    /// Whether a storage without TLS will do where the Hub has TLS.
    pub http_storage: bool,
    /// For the answer to begin.
    pub wait: Duration,
    /// A limit for the whole answer. Downloads have none, and they may be redirected away from the Hub, to its storage.
    pub limit: Option<Duration>,
}

/// An answer that is not a failure.
pub(super) struct Answer {
    pub response: Response,
    pub host: String,
    /// Whether the Hub itself gave it.
    pub at_home: bool,
}

impl Get<'_> {
    /// Sends it, and follows redirects: within the Hub's own origin with the token, to anywhere else without it, and
    /// without it ever after.
    pub async fn send(&self, client: &Client) -> Result<Answer, HubError> {
        let mut url = Url::parse(self.address).map_err(|error| HubError::Unreachable {
            host: "the hub".to_owned(),
            kind: Trouble::Setup,
            detail: error.to_string(),
        })?;
        let home = url.clone();
        let mut at_home = self.at_home;
        for _ in 0..=MAX_REDIRECTS {
            let host = host_of(&url);
            let mut request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
            if at_home && let Some(token) = self.token {
                request = match token.login() {
                    Some((user, password)) => request.basic_auth(user, Some(password)),
                    None => request.header(AUTHORIZATION, token.header()),
                };
            }
            if let Some((from, to)) = self.part {
                request = request.header(RANGE, format!("bytes={from}-{}", to.saturating_sub(1)));
            }
            if let Some(limit) = self.limit {
                request = request.timeout(limit);
            }
            let response = transport::within(self.wait, &host, request.send()).await?;
            if !is_redirect(response.status()) {
                return self.judge(response, host, at_home).await;
            }
            let bad = |what: String| HubError::BadAnswer { host: host.clone(), what };
            let target = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let target = target
                .and_then(|location| url.join(location).ok())
                .filter(|target| target.has_host() && matches!(target.scheme(), "https" | "http"))
                .ok_or_else(|| bad("it redirects to nowhere".to_owned()))?;
            if at_home && let Some(own) = self.at_own_scheme(&home, &target).filter(|own| *own != url) {
                url = own;
                continue;
            }
            if url.scheme() == "https" && target.scheme() != "https" && !self.http_storage {
                return Err(bad(format!(
                    "it redirects to {} without TLS; if files may come so, set httpStorage of the endpoint, or {}",
                    host_of(&target),
                    Endpoint::HTTP_STORAGE
                )));
            }
            at_home = at_home && target.origin() == home.origin();
            if !at_home && self.limit.is_some() {
                return Err(bad(format!(
                    "it redirects to {}; if that is the Hub, make it the endpoint",
                    target.origin().ascii_serialization()
                )));
            }
            url = target;
        }
        Err(HubError::BadAnswer { host: host_of(&url), what: "it redirects without end".to_owned() })
    }

    /// The same address by the endpoint's own scheme, where a redirect names the endpoint by the other one: a mirror behind a
    /// proxy that ends TLS does not know how it is reached. A download that gets TLS this way may have it.
    fn at_own_scheme(&self, home: &Url, target: &Url) -> Option<Url> {
        let port_fits = target.port().is_none_or(|port| Some(port) == home.port_or_known_default());
        let is_home = target.host() == home.host() && target.scheme() != home.scheme() && port_fits;
        (is_home && (home.scheme() == "https" || self.limit.is_some())).then(|| {
            let mut own = home.clone();
            own.set_path(target.path());
            own.set_query(target.query());
            own
        })
    }

    /// Sorts an answer by its status.
    async fn judge(&self, response: Response, host: String, at_home: bool) -> Result<Answer, HubError> {
        let status = response.status();
        match status.as_u16() {
            200 | 206 => Ok(Answer { response, host, at_home }),
            // Only a request with a range can have this answer; it is no failure yet.
            416 if self.part.is_some() => Ok(Answer { response, host, at_home }),
            429 => Err(rate_limited(response, host, self.token).await),
            // An overloaded server that says for how long.
            503 if response.headers().contains_key(RETRY_AFTER) => {
                Err(rate_limited(response, host, self.token).await)
            }
            status if !at_home => Err(HubError::Storage { host, status }),
            407 => Err(HubError::Unreachable {
                host,
                kind: Trouble::Proxy,
                detail: "it asks for a user name and password".to_owned(),
            }),
            408 | 500.. => Err(HubError::Unreachable {
                host,
                kind: Trouble::Server(status.as_u16()),
                detail: String::new(),
            }),
            400.. => Err(HubError::Refused(refusal(response, self.token).await)),
            other => Err(HubError::BadAnswer { host, what: format!("HTTP {other} is not expected") }),
        }
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

async fn rate_limited(response: Response, host: String, token: Option<&Token>) -> HubError {
    let pause = rate_limit::pause(response.headers(), Timestamp::now());
    let Refusal { words, .. } = refusal(response, token).await;
    HubError::RateLimited { host, retry_after: pause.length, named: pause.named, words }
}

/// Reads what the Hub says with a refusal.
async fn refusal(mut response: Response, token: Option<&Token>) -> Refusal {
    let mut body = Vec::new();
    // A body that breaks off takes nothing from status and headers.
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MAX_ERROR_BODY - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == MAX_ERROR_BODY {
            break;
        }
    }
    let body = coding::decode_beginning(response.headers(), body, MAX_ERROR_BODY);
    let header = |name| {
        response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Refusal::new(&Evidence {
        status: response.status().as_u16(),
        code: header(ERROR_CODE).as_deref(),
        message: header(ERROR_MESSAGE).as_deref(),
        body: &String::from_utf8_lossy(&body),
        token,
    })
}

/// Tries up to three times within about two seconds, if the failure is of the kind that is often gone a moment later.
/// Longer waiting is the caller's.
pub(super) async fn with_retries<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, HubError>
where
    F: Future<Output = Result<T, HubError>>,
{
    for pause in [200..400, 600..1200] {
        match attempt().await {
            Err(error) if error.is_brief() => {
                tracing::debug!(%error, "asking the hub again");
                tokio::time::sleep(Duration::from_millis(fastrand::u64(pause))).await;
            }
            other => return other,
        }
    }
    attempt().await
}
