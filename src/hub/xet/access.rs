//! The store's read token, which the Hub issues to callers with access to a repo. Requested here rather than by the official
//! client, which would reduce the Hub's refusal to a text and would need the Hub's token.

use std::{
    fmt,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use modelcache_wire::XetReadToken;
use reqwest::header::{HeaderMap, HeaderValue, USER_AGENT};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;
use xet::{XetError, xet_session::XetDownloadStreamGroup};

use super::{
    super::{
        Commit, Endpoint, Hub, HubError, Repo, Token,
        host::host_of,
        response::{self, InvalidResponse},
    },
    runtime::XetRuntime,
};

/// How long before its expiry a token is renewed.
const MARGIN: Duration = Duration::from_secs(60);
/// The minimum time for which a token is used, unless the store rejects it: our clock may be wrong, and the Hub limits the
/// rate of requests.
const AT_LEAST: Duration = Duration::from_secs(30);
/// The maximum time, in case the clock is wrong the other way.
const AT_MOST: Duration = Duration::from_secs(24 * 3600);

/// The Hub's response: the address of the store, and a token for it.
pub(super) struct XetAccess {
    /// The token of the store.
    pub token: SecretString,
    /// When it expires, in seconds of Unix time.
    pub expires_at: i64,
    /// The address of the store.
    pub store: Url,
}

impl XetAccess {
    /// Parses the Hub's response.
    fn parse(body: &[u8]) -> Result<Self, InvalidResponse> {
        let XetReadToken { access_token, exp, cas_url } = response::json(body)?;
        let token = SecretString::from(access_token);
        let wrong = |what: &str| InvalidResponse::Wrong(what.to_owned());
        // A secret that becomes a header: not repeated.
        let text = token.expose_secret();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("its token for Xet is malformed"));
        }
        let store = Url::parse(&cas_url).ok();
        let store = store.filter(|url| url.has_host() && matches!(url.scheme(), "https" | "http"));
        let store = store.ok_or_else(|| wrong("the address of its Xet store is invalid"))?;
        Ok(Self { token, expires_at: exp, store })
    }

    pub(super) fn host(&self) -> &str {
        self.store.host_str().unwrap_or("?")
    }
}

impl fmt::Debug for XetAccess {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XetAccess")
            .field("expires_at", &self.expires_at)
            .field("store", &host_of(&self.store))
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Requests access to a commit's files in Xet.
    pub(super) async fn xet_access(
        &self,
        repo: &Repo,
        commit: &Commit,
        token: Option<&Token>,
    ) -> Result<XetAccess, HubError> {
        let (body, answer) = self.json(&self.endpoint().xet_read_token(repo, commit), token).await?;
        let access = XetAccess::parse(&body).and_then(|access| require_tls(self.endpoint(), access));
        access.map_err(|error| error.at(answer.host, token.is_some()))
    }
}

/// Rejects a store without TLS if the Hub has TLS.
fn require_tls(hub: &Endpoint, access: XetAccess) -> Result<XetAccess, InvalidResponse> {
    if hub.as_str().starts_with("https:") && access.store.scheme() != "https" {
        return Err(InvalidResponse::Wrong("its Xet store has no TLS".to_owned()));
    }
    Ok(access)
}

/// The official client, authorized with a token of the store.
pub(super) struct ReadGrant {
    pub group: XetDownloadStreamGroup,
    /// The store's host, for messages.
    pub host: String,
    stale_from: Instant,
}

impl ReadGrant {
    pub async fn new(runtime: &XetRuntime, access: &XetAccess) -> Result<Self, XetError> {
        let stale_from = Instant::now() + fresh_for(access.expires_at, Timestamp::now().as_second());
        let agent = HeaderValue::from_static(concat!("modelcache/", env!("CARGO_PKG_VERSION")));
        let group = runtime
            .session
            .new_download_stream_group()?
            .with_endpoint(access.store.as_str().trim_end_matches('/'))
            // Without expiry: the official client must not rely on a clock that may be wrong, and cannot renew it.
            .with_token_info(access.token.expose_secret(), u64::MAX)
            .with_custom_headers(HeaderMap::from_iter([(USER_AGENT, agent)]));
        let group = runtime.run(group.build()).await?;
        Ok(Self { group, host: host_of(&access.store), stale_from })
    }

    pub fn is_fresh(&self) -> bool {
        Instant::now() < self.stale_from
    }
}

/// How long to use a token that expires at `expires_at`.
fn fresh_for(expires_at: i64, now: i64) -> Duration {
    let left = Duration::from_secs(expires_at.saturating_sub(now).try_into().unwrap_or_default());
    left.saturating_sub(MARGIN).clamp(AT_LEAST, AT_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_without_tls_requires_a_hub_without_tls() {
        let allowed = |hub: &str, store: &str| {
            let access = XetAccess { token: "secret".into(), expires_at: 0, store: store.parse().unwrap() };
            assert!(!format!("{access:?}").contains("secret"));
            require_tls(&hub.parse().unwrap(), access).is_ok()
        };
        assert!(allowed("https://hub", "https://store") && allowed("http://hub", "http://store"));
        assert!(!allowed("https://hub", "http://store"));
    }

    #[test]
    fn a_token_is_renewed_before_it_expires_but_not_constantly() {
        assert_eq!(fresh_for(10_000 + 3600, 10_000), Duration::from_secs(59 * 60));
        for expires_at in [i64::MIN, 0, 10_000, 10_061] {
            assert_eq!(fresh_for(expires_at, 10_000), AT_LEAST, "{expires_at}");
        }
        assert_eq!(fresh_for(i64::MAX, 10_000), AT_MOST);
    }

    #[test]
    fn malformed_access_responses_are_rejected() {
        let answer = |token: &str, store: &str| {
            XetAccess::parse(
                format!(r#"{{"accessToken":"{token}","exp":1700000000,"casUrl":"{store}"}}"#).as_bytes(),
            )
        };
        let access = answer("ey.a-b_c", "https://cas.example/x").unwrap();
        assert_eq!((access.token.expose_secret(), access.expires_at), ("ey.a-b_c", 1_700_000_000));
        assert_eq!(access.store.as_str(), "https://cas.example/x");
        for (token, store) in [
            ("", "https://cas.example"),
            ("very secret", "https://cas.example"),
            ("very\\nsecret", "https://cas.example"),
            ("verysecret", "cas.example"),
            ("verysecret", "file:///verysecret"),
        ] {
            let what = format!("{:?}", answer(token, store).unwrap_err());
            assert!(!what.contains("secret"), "{what}");
        }
        assert!(
            matches!(XetAccess::parse(b"{}"), Err(InvalidResponse::Wrong(what)) if what.starts_with("it is not the expected JSON"))
        );
    }
}
