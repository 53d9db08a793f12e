//! A single GET to the Hub: redirects, where the token may be sent, and the mapping of statuses to errors. Knows no specific
//! calls.

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
    error::{ConnectFailure, HubError},
    host::host_of,
    rate_limit,
    refusal::ErrorResponse,
    transport,
};

/// Enough for a renamed repo, a resolve cache and the storage.
const MAX_REDIRECTS: usize = 8;
/// How much of an error body is read to find the Hub's message, in bytes.
const MAX_ERROR_BODY: usize = 16 * 1024;

/// A GET request.
#[derive(Clone, Copy)]
pub(super) struct Get<'a> {
    pub address: &'a str,
    pub token: Option<&'a Token>,
    /// The half-open byte range. `None`: all of it.
    pub part: Option<(u64, u64)>,
    /// Whether the address belongs to the Hub, not to its storage.
    pub same_origin: bool,
    /// Whether storage without TLS is accepted if the Hub has TLS.
    pub http_storage: bool,
    /// The timeout until the response begins.
    pub wait: Duration,
    /// The timeout of the whole response. Downloads have none, and only they may be redirected to the Hub's storage.
    pub limit: Option<Duration>,
}

/// A successful response.
pub(super) struct Answer {
    pub response: Response,
    pub host: String,
    /// Whether it is from the Hub itself.
    pub same_origin: bool,
}

impl Get<'_> {
    /// Sends it and follows redirects: with the token within the Hub's own origin, and without it from the first redirect
    /// elsewhere on.
    pub async fn send(&self, client: &Client) -> Result<Answer, HubError> {
        let mut url = Url::parse(self.address).map_err(|error| HubError::Unreachable {
            host: "the hub".to_owned(),
            kind: ConnectFailure::Setup,
            detail: error.to_string(),
        })?;
        let home = url.clone();
        let mut same_origin = self.same_origin;
        for _ in 0..=MAX_REDIRECTS {
            let host = host_of(&url);
            let mut request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
            if same_origin && let Some(token) = self.token {
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
                return self.classify(response, host, same_origin).await;
            }
            let bad = |what: String| HubError::BadAnswer { host: host.clone(), what };
            let target = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let target = target
                .and_then(|location| url.join(location).ok())
                .filter(|target| target.has_host() && matches!(target.scheme(), "https" | "http"))
                .ok_or_else(|| bad("it redirects to an invalid address".to_owned()))?;
            if same_origin && let Some(own) = self.at_own_scheme(&home, &target).filter(|own| *own != url) {
                url = own;
                continue;
            }
            if url.scheme() == "https" && target.scheme() != "https" && !self.http_storage {
                return Err(bad(format!(
                    "it redirects to {} without TLS; to accept that for files, set httpStorage of the endpoint, or {}",
                    host_of(&target),
                    Endpoint::HTTP_STORAGE
                )));
            }
            same_origin = same_origin && target.origin() == home.origin();
            if !same_origin && self.limit.is_some() {
                return Err(bad(format!(
                    "it redirects to {}; if that is the Hub, use it as the endpoint",
                    target.origin().ascii_serialization()
                )));
            }
            url = target;
        }
        Err(HubError::BadAnswer { host: host_of(&url), what: "too many redirects".to_owned() })
    }

    /// The same address with the endpoint's own scheme, if a redirect to the endpoint has the other one: a mirror behind a proxy
    /// that terminates TLS does not know its public scheme. Downloads may be upgraded to TLS this way.
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

    /// Classifies a response by its status.
    async fn classify(
        &self,
        response: Response,
        host: String,
        same_origin: bool,
    ) -> Result<Answer, HubError> {
        let status = response.status();
        match status.as_u16() {
            200 | 206 => Ok(Answer { response, host, same_origin }),
            // Possible only for a range request; the caller handles it.
            416 if self.part.is_some() => Ok(Answer { response, host, same_origin }),
            429 => Err(rate_limited(response, host, self.token).await),
            // An overloaded server that specifies a delay.
            503 if response.headers().contains_key(RETRY_AFTER) => {
                Err(rate_limited(response, host, self.token).await)
            }
            status if !same_origin => Err(HubError::Storage { host, status }),
            407 => Err(HubError::Unreachable {
                host,
                kind: ConnectFailure::Proxy,
                detail: "it requires a user name and password".to_owned(),
            }),
            408 | 500.. => Err(HubError::Unreachable {
                host,
                kind: ConnectFailure::Server(status.as_u16()),
                detail: String::new(),
            }),
            400.. => Err(HubError::Refused(refusal(response, self.token).await)),
            other => Err(HubError::BadAnswer { host, what: format!("unexpected HTTP {other}") }),
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

/// Reads the Hub's error message.
async fn refusal(mut response: Response, token: Option<&Token>) -> Refusal {
    let mut body = Vec::new();
    // A truncated body does not invalidate status and headers.
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
    Refusal::new(&ErrorResponse {
        status: response.status().as_u16(),
        code: header(ERROR_CODE).as_deref(),
        message: header(ERROR_MESSAGE).as_deref(),
        body: &String::from_utf8_lossy(&body),
        token,
    })
}

/// Makes up to three attempts within about two seconds on momentary failures. Longer waits are up to the caller.
pub(super) async fn with_retries<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, HubError>
where
    F: Future<Output = Result<T, HubError>>,
{
    for pause in [200..400, 600..1200] {
        match attempt().await {
            Err(error) if error.is_momentary() => {
                tracing::debug!(%error, "retrying the request");
                tokio::time::sleep(Duration::from_millis(fastrand::u64(pause))).await;
            }
            other => return other,
        }
    }
    attempt().await
}
