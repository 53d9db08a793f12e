//! Fault injection: what goes wrong, where, and how often.

use std::{fmt, io, str::FromStr, sync::Mutex, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use clap::{Args, ValueEnum};
use futures::{Stream, StreamExt as _};
use modelcache_wire::header::RATE_LIMIT;
use serde::{Deserialize, Serialize};

use crate::{
    cdn,
    log::{Counter, locked},
    refusal::{Refusal, Situation, text},
};

/// A part of the Hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Addresses below `/api`.
    Api,
    /// Addresses of files.
    Resolve,
    /// The CDN.
    Cdn,
}

/// The kind of a fault. As text: the name with dashes, and its number after a colon, like `cut:1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum FaultKind {
    /// The connection is closed after this many bytes of the body.
    Cut(u64),
    /// One byte of the body is wrong; the size is right.
    WrongBytes,
    /// The body is this many bytes shorter, consistently with its header.
    Short(u64),
    /// An HTML page with status 200 instead of the response.
    ErrorPage,
    /// This status instead of the response.
    Status(u16),
    /// 429 with `RateLimit` headers: this many seconds to wait.
    RateLimit(u64),
    /// The same with the message for callers without a token: too many from one IP address.
    AddressLimit(u64),
    /// 429 from a proxy in front of the Hub, without a message and a delay.
    EdgeLimit,
    /// 500 with the Hub's own message.
    InternalError,
    /// 429 with `Retry-After`: this many seconds.
    RetryAfter(u64),
    /// The body stalls after this many bytes, with the connection left open.
    Stall(u64),
    /// No response, with the connection left open.
    Hang,
    /// The status is delayed by this many milliseconds.
    Late(u64),
    /// The body is throttled to this many bytes per second.
    Slow(u64),
    /// The CDN's address is already expired when it is issued.
    ExpiredSignature,
    /// The CDN ignores `Range`.
    NoRanges,
}

impl FaultKind {
    /// Whether it needs a body: `HEAD` requests and redirects do not use such a fault up.
    const fn needs_body(self) -> bool {
        matches!(self, Self::Cut(_) | Self::WrongBytes | Self::Short(_) | Self::Stall(_) | Self::Slow(_))
    }
}

/// A fault: its kind, where and how often it occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct Fault {
    /// cut:BYTES, wrong-bytes, short:BYTES, error-page, status:CODE, rate-limit:SECONDS, address-limit:SECONDS, edge-limit,
    /// internal-error, retry-after:SECONDS, stall:BYTES, hang, late:MILLISECONDS, slow:BYTES-PER-SECOND, expired-signature,
    /// no-ranges
    harm: FaultKind,
    /// Only in this part of the Hub
    #[serde(default)]
    #[arg(long = "on")]
    class: Option<Class>,
    /// Only for paths that contain this text
    #[serde(default)]
    #[arg(long)]
    path: Option<String>,
    /// Only after this many successful matching requests
    #[serde(default)]
    #[arg(long, default_value_t = 0)]
    after: u64,
    /// At most this many times
    #[serde(default)]
    #[arg(long)]
    times: Option<u64>,
}

impl From<FaultKind> for Fault {
    fn from(harm: FaultKind) -> Self {
        Self::new(harm)
    }
}

impl Fault {
    /// A fault everywhere and without a limit.
    #[must_use]
    pub fn new(harm: FaultKind) -> Self {
        Self { harm, class: None, path: None, after: 0, times: None }
    }

    /// Only in this part of the Hub.
    #[must_use]
    pub fn on(mut self, class: Class) -> Self {
        self.class = Some(class);
        self
    }

    /// Only for paths that contain this text.
    #[must_use]
    pub fn path(mut self, text: &str) -> Self {
        self.path = Some(text.to_owned());
        self
    }

    /// Only after this many successful matching requests.
    #[must_use]
    pub fn after(mut self, requests: u64) -> Self {
        self.after = requests;
        self
    }

    /// At most this many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    fn matches(&self, class: Class, bodiless: bool, path: &str) -> bool {
        self.class.is_none_or(|wanted| wanted == class)
            && self.path.as_deref().is_none_or(|wanted| path.contains(wanted))
            && !(bodiless && self.harm.needs_body())
            && self.times != Some(0)
            && (self.harm != FaultKind::ExpiredSignature || class == Class::Resolve)
    }
}

/// The configured faults.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(crate) fn set(&self, fault: Fault) {
        locked(&self.0).push(fault);
    }

    pub(crate) fn clear(&self) {
        locked(&self.0).clear();
    }

    pub(crate) fn clear_on(&self, path: &str) {
        locked(&self.0).retain(|fault| fault.path.as_deref() != Some(path));
    }

    /// The fault for this request: the first that matches, whose remaining count is decremented.
    pub(crate) fn take(&self, class: Class, bodiless: bool, path: &str) -> Option<FaultKind> {
        let mut faults = locked(&self.0);
        let fault = faults.iter_mut().find(|fault| fault.matches(class, bodiless, path))?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times = fault.times.map(|times| times - 1);
        Some(fault.harm)
    }
}

/// The response that replaces the real one, for such kinds.
pub(crate) fn instead(harm: FaultKind, class: Class) -> Option<Response> {
    let with = |status: StatusCode, headers: &[(&'static str, String)], body: &str| {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), text(value)))
            .collect();
        Some((status, headers, body.to_owned()).into_response())
    };
    let html = [("content-type", "text/html; charset=utf-8".to_owned())];
    match harm {
        FaultKind::ErrorPage => {
            with(StatusCode::OK, &html, "<!DOCTYPE html><html><body><h1>Bad gateway</h1></body></html>")
        }
        FaultKind::Status(403) if class == Class::Cdn => Some(cdn::denied("Access Denied")),
        FaultKind::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let reason = status.canonical_reason().unwrap_or_default();
            with(status, &html, &format!("<html><body><h1>{reason}</h1></body></html>"))
        }
        FaultKind::RateLimit(seconds) => Some(limited(Situation::QuotaUsedUp, class, seconds)),
        FaultKind::AddressLimit(seconds) => Some(limited(Situation::AddressLimited, class, seconds)),
        FaultKind::EdgeLimit => with(StatusCode::TOO_MANY_REQUESTS, &html, ""),
        FaultKind::InternalError => Some(in_words(&Refusal::of(Situation::InternalError, &[]), class)),
        FaultKind::RetryAfter(seconds) => {
            let retry = [("retry-after", seconds.to_string())];
            with(StatusCode::TOO_MANY_REQUESTS, &retry, "Too many requests")
        }
        _ => None,
    }
}

/// 429 with a delay.
fn limited(situation: Situation, class: Class, seconds: u64) -> Response {
    let name = if class == Class::Api { "api" } else { "resolvers" };
    let mut response = in_words(&Refusal::of(situation, &[]), class);
    let headers = response.headers_mut();
    headers.insert(RATE_LIMIT, text(&format!("\"{name}\";r=0;t={seconds}")));
    headers.insert("ratelimit-policy", text(&format!("\"fixed window\";\"{name}\";q=500;w=300")));
    response
}

fn in_words(refusal: &Refusal, class: Class) -> Response {
    if class == Class::Api { refusal.as_json() } else { refusal.as_text() }
}

/// Applies the fault to the body of a response, and counts the sent bytes.
pub(crate) fn shape(response: Response, harm: Option<FaultKind>, counter: Counter) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(FaultKind::Short(missing)) = harm {
        let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let length =
            length.and_then(|value| value.parse::<u64>().ok()).or(exact_size(&body)).unwrap_or_default();
        parts.headers.insert(header::CONTENT_LENGTH, length.saturating_sub(missing).into());
        let stream = harmed(body, Some(FaultKind::Short(length.saturating_sub(missing))), counter);
        return Response::from_parts(parts, Body::from_stream(stream));
    }
    if !parts.headers.contains_key(header::CONTENT_LENGTH)
        && let Some(size) = exact_size(&body)
    {
        parts.headers.insert(header::CONTENT_LENGTH, size.into());
    }
    Response::from_parts(parts, Body::from_stream(harmed(body, harm, counter)))
}

fn exact_size(body: &Body) -> Option<u64> {
    use hyper::body::Body as _;
    body.size_hint().exact()
}

/// The faulty stream of a body. `Short` contains the remaining length.
fn harmed(
    body: Body,
    harm: Option<FaultKind>,
    counter: Counter,
) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send {
    let state = (body.into_data_stream(), Bytes::new(), 0_u64);
    let began = tokio::time::Instant::now();
    futures::stream::unfold(state, move |(mut source, mut rest, sent)| {
        let counter = counter.clone();
        async move {
            if rest.is_empty() {
                match source.next().await? {
                    Ok(chunk) => rest = chunk,
                    Err(error) => return Some((Err(error), (source, rest, sent))),
                }
            }
            let limit = match harm {
                Some(FaultKind::Cut(after) | FaultKind::Stall(after) | FaultKind::Short(after)) => {
                    after.saturating_sub(sent)
                }
                Some(FaultKind::Slow(rate)) => (rate / 20).max(1),
                Some(FaultKind::WrongBytes) if sent == 0 => 1,
                _ => u64::MAX,
            };
            if limit == 0 && !rest.is_empty() {
                match harm {
                    Some(FaultKind::Stall(_)) => std::future::pending().await,
                    Some(FaultKind::Short(_)) => return None,
                    _ => {
                        // Flush the buffers before the connection is closed.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        let error = io::Error::new(io::ErrorKind::ConnectionReset, "cut on purpose");
                        return Some((Err(axum::Error::new(error)), (source, rest, sent)));
                    }
                }
            }
            let length = usize::try_from(limit).unwrap_or(usize::MAX).min(rest.len());
            let mut piece = rest.split_to(length);
            if harm == Some(FaultKind::WrongBytes) && sent == 0 {
                piece = piece.iter().map(|byte| byte ^ 1).collect();
            }
            if let Some(FaultKind::Slow(rate)) = harm {
                // Paced by the clock: fixed pauses would make small chunks too slow.
                let micros = (sent + length as u64).saturating_mul(1_000_000) / rate.max(1);
                tokio::time::sleep_until(began + Duration::from_micros(micros)).await;
            }
            counter.add(piece.len());
            Some((Ok(piece), (source, rest, sent + length as u64)))
        }
    })
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(bytes) => write!(f, "cut:{bytes}"),
            Self::WrongBytes => f.write_str("wrong-bytes"),
            Self::Short(bytes) => write!(f, "short:{bytes}"),
            Self::ErrorPage => f.write_str("error-page"),
            Self::Status(status) => write!(f, "status:{status}"),
            Self::RateLimit(seconds) => write!(f, "rate-limit:{seconds}"),
            Self::AddressLimit(seconds) => write!(f, "address-limit:{seconds}"),
            Self::EdgeLimit => f.write_str("edge-limit"),
            Self::InternalError => f.write_str("internal-error"),
            Self::RetryAfter(seconds) => write!(f, "retry-after:{seconds}"),
            Self::Stall(bytes) => write!(f, "stall:{bytes}"),
            Self::Hang => f.write_str("hang"),
            Self::Late(millis) => write!(f, "late:{millis}"),
            Self::Slow(rate) => write!(f, "slow:{rate}"),
            Self::ExpiredSignature => f.write_str("expired-signature"),
            Self::NoRanges => f.write_str("no-ranges"),
        }
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        let number = || -> Result<u64, String> {
            number
                .and_then(|number| number.parse().ok())
                .ok_or_else(|| format!("`{name}` needs a number: `{name}:1`"))
        };
        Ok(match name {
            "cut" => Self::Cut(number()?),
            "wrong-bytes" => Self::WrongBytes,
            "short" => Self::Short(number()?),
            "error-page" => Self::ErrorPage,
            "status" => Self::Status(u16::try_from(number()?).map_err(|_| "a status has three digits")?),
            "rate-limit" => Self::RateLimit(number()?),
            "address-limit" => Self::AddressLimit(number()?),
            "edge-limit" => Self::EdgeLimit,
            "internal-error" => Self::InternalError,
            "retry-after" => Self::RetryAfter(number()?),
            "stall" => Self::Stall(number()?),
            "hang" => Self::Hang,
            "late" => Self::Late(number()?),
            "slow" => Self::Slow(number()?),
            "expired-signature" => Self::ExpiredSignature,
            "no-ranges" => Self::NoRanges,
            _ => return Err(format!("there is no fault `{name}`")),
        })
    }
}

impl TryFrom<String> for FaultKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<FaultKind> for String {
    fn from(harm: FaultKind) -> Self {
        harm.to_string()
    }
}
