//! The middleware for every request: injects faults and writes the log.

use std::{
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request as HttpRequest, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use modelcache_wire::header::RATE_LIMIT;

use crate::{
    api,
    cdn::{self, Signer},
    fault::{self, Class, FaultKind, Faults},
    log::{Log, Request, locked},
    refusal::{Refusal, text},
    resolve::{self, Signing},
    route::{Call, Route, Target, decoded},
    state::{Caller, Found, State},
};

/// The largest form that is read, in bytes.
const LARGEST_FORM: usize = 1 << 20;

/// The public addresses of the Hub and its CDN.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) hub: String,
    pub(crate) cdn: String,
}

/// The state shared by both listeners.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) state: Mutex<State>,
    pub(crate) faults: Faults,
    pub(crate) log: Log,
    pub(crate) addresses: OnceLock<Addresses>,
    pub(crate) signature_lifetime: Mutex<Duration>,
    signer: Signer,
    /// The number of requests so far, by which the reported quotas decrease.
    asked: AtomicU64,
    began: Instant,
}

/// The listener that received a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Hub,
    Cdn,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State::new()),
            faults: Faults::default(),
            log: Log::new(),
            addresses: OnceLock::new(),
            signature_lifetime: Mutex::new(Duration::from_hours(1)),
            signer: Signer::new(),
            asked: AtomicU64::new(0),
            began: Instant::now(),
        }
    }

    /// Answers a request.
    pub(crate) async fn enter(&self, host: Host, request: HttpRequest<Body>) -> Response {
        let (parts, body) = request.into_parts();
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let route = Route::parse(parts.uri.path());
        let class = match (host, &route) {
            (Host::Cdn, _) => Class::Cdn,
            (Host::Hub, Route::Repo(target)) if target.call.is_resolve() => Class::Resolve,
            (Host::Hub, _) => Class::Api,
        };
        let path = decoded(parts.uri.path());
        // Unsupported paths (the `hf` command requests some) must not use up faults.
        let known = host == Host::Cdn || route != Route::Unknown;
        let redirects = matches!(&route, Route::Repo(target) if matches!(target.call, Call::Resolve { .. }))
            && locked(&self.state).resolve_cache;
        let bodiless = parts.method == Method::HEAD || redirects;
        let harm = known.then(|| self.faults.take(class, bodiless, &path)).flatten();
        let leaked = self.leak(class, &parts, &path);

        let response = if leaked && class == Class::Cdn {
            cdn::token_leaked()
        } else if let Some(instead) = harm.and_then(|harm| fault::instead(harm, class)) {
            instead
        } else if host == Host::Cdn {
            let query = parts.uri.query().unwrap_or_default();
            let mut headers = parts.headers.clone();
            if harm == Some(FaultKind::NoRanges) {
                headers.remove(header::RANGE);
            }
            cdn::answer(&locked(&self.state), &self.signer, parts.uri.path(), query, &headers)
        } else {
            let form = to_bytes(body, LARGEST_FORM).await.unwrap_or_default();
            self.hub(&route, &parts, &String::from_utf8_lossy(&form), harm)
        };

        let hangs = harm == Some(FaultKind::Hang);
        let status = if hangs { 0 } else { response.status().as_u16() };
        let counter = self.log.record(Request { millis, ..logged(class, &parts, path, status) });
        match harm {
            Some(FaultKind::Hang) => std::future::pending().await,
            Some(FaultKind::Late(millis)) => tokio::time::sleep(Duration::from_millis(millis)).await,
            _ => {}
        }
        fault::shape(response, harm, counter)
    }

    /// Whether a token was leaked: to the CDN, or in an address.
    fn leak(&self, class: Class, parts: &Parts, path: &str) -> bool {
        let to_cdn = class == Class::Cdn && parts.headers.contains_key(header::AUTHORIZATION);
        let in_address = locked(&self.state).knows_token_in(&parts.uri.to_string());
        let leaked = to_cdn || in_address;
        if leaked {
            let place = if to_cdn { "Authorization header to the CDN" } else { "token in an address" };
            self.log.record_leak(format!("{place}: {} {path}", parts.method));
        }
        leaked
    }

    fn hub(&self, route: &Route<'_>, parts: &Parts, form: &str, harm: Option<FaultKind>) -> Response {
        let state = locked(&self.state);
        let caller = state.caller(header_text(&parts.headers, header::AUTHORIZATION));
        let mut response = match route {
            Route::Home => "A stand-in for the Hugging Face Hub.".into_response(),
            Route::Whoami => api::whoami(&state, caller),
            Route::Unknown => Refusal::no_such_page().as_json(),
            Route::Repo(target) => self.repo(&state, caller, target, parts, form, harm),
        };
        // In every response, as on the Hub, including redirects and refusals: they mean nothing without a 429.
        let files = matches!(route, Route::Repo(target) if target.call.is_resolve());
        let (class, quota) = if files { ("resolvers", 3000) } else { ("api", 500) };
        let left = quota - 1 - self.asked.fetch_add(1, Ordering::Relaxed) % quota;
        let headers = response.headers_mut();
        headers.insert(RATE_LIMIT, text(&format!("\"{class}\";r={left};t=300")));
        headers.insert("ratelimit-policy", text(&format!("\"fixed window\";\"{class}\";q={quota};w=300")));
        response
    }

    fn repo(
        &self,
        state: &State,
        caller: Caller<'_>,
        target: &Target<'_>,
        parts: &Parts,
        form: &str,
        harm: Option<FaultKind>,
    ) -> Response {
        let query = parts.uri.query().unwrap_or_default();
        if target.call.is_resolve()
            && let Some(refusal) = state.closed_to_all(&target.name)
        {
            return refusal.as_text();
        }
        let repo = match state.visible(&target.name, caller) {
            Ok(Found::Repo(repo)) => repo,
            Ok(Found::Moved(name)) => {
                let path = target.path_for(&name.id);
                return resolve::moved(&if query.is_empty() { path } else { format!("{path}?{query}") });
            }
            Err(refusal) if target.call.is_resolve() => return refusal.as_text(),
            Err(refusal) => return refusal.as_json(),
        };
        match &target.call {
            Call::Info { revision } => api::info(repo, revision.as_deref()),
            Call::Refs => api::refs(repo),
            Call::AuthCheck => api::auth_check(state, repo, caller),
            Call::XetReadToken { revision } => api::xet_read_token(state, repo, caller, revision),
            Call::PathsInfo { revision } => api::paths_info(state, repo, caller, revision, form),
            Call::Tree { revision, path } => {
                let url = self
                    .addresses
                    .get()
                    .map_or_else(String::new, |at| format!("{}{}", at.hub, parts.uri.path()));
                api::tree(state, repo, caller, &api::Listing { url: &url, query, revision, folder: path })
            }
            Call::Resolve { revision, path } => {
                let lifetime = if harm == Some(FaultKind::ExpiredSignature) {
                    Duration::ZERO
                } else {
                    *locked(&self.signature_lifetime)
                };
                let (hub_url, cdn_url) = self.addresses.get().map_or(("", ""), |at| (&at.hub, &at.cdn));
                let signing = Signing { signer: &self.signer, hub_url, cdn_url, lifetime };
                resolve::file((state, repo, caller), (revision, path), &signing, &parts.headers)
            }
            Call::ResolveCache { commit, path } => {
                resolve::cached_file((state, repo, caller), (commit, path), &parts.headers)
            }
        }
    }
}

fn logged(class: Class, parts: &Parts, path: String, status: u16) -> Request {
    let query = if class == Class::Api { parts.uri.query().unwrap_or_default() } else { "" };
    Request {
        class,
        method: parts.method.to_string(),
        path,
        query: query.to_owned(),
        status,
        bytes: 0,
        range: header_text(&parts.headers, header::RANGE).map(str::to_owned),
        user_agent: header_text(&parts.headers, header::USER_AGENT).map(str::to_owned),
        authorized: parts.headers.contains_key(header::AUTHORIZATION),
        millis: 0,
    }
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
