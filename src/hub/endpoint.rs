//! The endpoint of a Hub: its address, how to reach it, and the URLs of its API. Sends nothing.

use std::{fmt, str::FromStr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::{CaBundle, Commit, Proxy, Repo, RepoPath, Revision, Timeouts, host::host_of};

/// All but the unreserved characters of RFC 3986: a revision is one path segment, including its `/`.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The address of the Hub or a mirror, and how to reach it. May have a path, as corporate mirrors do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Without a trailing slash.
    base: String,
    host: String,
    proxy: Option<Proxy>,
    ca_bundle: Option<CaBundle>,
    timeouts: Timeouts,
    http_storage: bool,
}

/// An invalid address. It is not repeated: it may contain a password anywhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address is not an endpoint: {why}")]
pub struct EndpointError {
    why: &'static str,
}

impl Endpoint {
    /// The environment variable that allows storage without TLS.
    pub const HTTP_STORAGE: &str = "MODELCACHE_HTTP_STORAGE";

    fn at(base: String, host: String) -> Self {
        Self { base, host, proxy: None, ca_bundle: None, timeouts: Timeouts::default(), http_storage: false }
    }

    /// Uses this HTTP proxy instead of the environment's.
    #[must_use]
    pub fn with_proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Trusts additional certificate authorities.
    #[must_use]
    pub fn with_ca_bundle(mut self, bundle: CaBundle) -> Self {
        self.ca_bundle = Some(bundle);
        self
    }

    /// Overrides the default timeouts.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Accepts files from storage without TLS although the endpoint has TLS. They are verified by hashes received over TLS,
    /// but others may read them in transit.
    #[must_use]
    pub fn with_http_storage(mut self, allowed: bool) -> Self {
        self.http_storage = allowed;
        self
    }

    /// The address, without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.base
    }

    /// The proxy of this endpoint, if set.
    #[must_use]
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// The additional certificate authorities, if set.
    #[must_use]
    pub fn ca_bundle(&self) -> Option<&CaBundle> {
        self.ca_bundle.as_ref()
    }

    /// The overridden timeouts.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Whether files from storage without TLS are accepted.
    #[must_use]
    pub fn http_storage(&self) -> bool {
        self.http_storage
    }

    /// Host and non-default port, as shown in messages.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The web page of a repo.
    #[must_use]
    pub fn page(&self, repo: &Repo) -> String {
        format!("{}/{repo}", self.base)
    }

    /// The web page where users manage tokens.
    #[must_use]
    pub fn token_page(&self) -> String {
        format!("{}/settings/tokens", self.base)
    }

    pub(super) fn whoami(&self) -> String {
        format!("{}/api/whoami-v2", self.base)
    }

    pub(super) fn models(&self) -> String {
        format!("{}/api/models?limit=1", self.base)
    }

    pub(super) fn auth_check(&self, repo: &Repo) -> String {
        format!("{}/auth-check", self.api(repo))
    }

    pub(super) fn revision(&self, repo: &Repo, revision: &Revision) -> String {
        format!("{}/revision/{}", self.api(repo), utf8_percent_encode(revision.as_str(), SEGMENT))
    }

    pub(super) fn tree(&self, repo: &Repo, commit: &Commit) -> String {
        format!("{}/tree/{commit}?recursive=true&expand=false", self.api(repo))
    }

    pub(super) fn resolve(&self, repo: &Repo, commit: &Commit, path: &RepoPath) -> String {
        let mut address = format!("{}/{repo}/resolve/{commit}", self.base);
        for part in path.as_str().split('/') {
            address.push('/');
            address.extend(utf8_percent_encode(part, SEGMENT));
        }
        address
    }

    /// Path and query of another address, such as the Hub's own in a mirror's response, at this endpoint.
    pub(super) fn address_of(&self, elsewhere: &Url) -> String {
        let own_path = self.base.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
        let path = elsewhere.path();
        let path = path.strip_prefix(&own_path).filter(|rest| rest.starts_with('/')).unwrap_or(path);
        let query = elsewhere.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}{path}{query}", self.base)
    }

    /// The address that issues read tokens for a commit's files in Xet.
    #[cfg(feature = "xet")]
    pub(super) fn xet_read_token(&self, repo: &Repo, commit: &Commit) -> String {
        format!("{}/xet-read-token/{commit}", self.api(repo))
    }

    fn api(&self, repo: &Repo) -> String {
        format!("{}/api/{}s/{}", self.base, repo.kind, repo.id)
    }
}

impl Default for Endpoint {
    /// The public Hub.
    fn default() -> Self {
        let host = "huggingface.co".to_owned();
        Self::at(format!("https://{host}"), host)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(given: &str) -> Result<Self, EndpointError> {
        let given = given.trim();
        let refuse = |why| Err(EndpointError { why });
        let Ok(mut url) = Url::parse(given) else {
            return refuse("it must have the form https://huggingface.co");
        };
        if !matches!(url.scheme(), "https" | "http") {
            return refuse("it must begin with https:// or http://");
        }
        if url.host_str().is_none_or(str::is_empty) {
            return refuse("it has no host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse(
                "it must not contain a user name or password, since addresses are shown. Use `user:password` as the \
                 token",
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("it must not have a `?` or `#`");
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let base = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self::at(base, host_of(&url)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::RepoType;

    fn repo(kind: RepoType, id: &str) -> Repo {
        Repo { kind, id: id.parse().unwrap() }
    }

    #[test]
    fn addresses_are_normalized() {
        assert_eq!(Endpoint::default(), "https://huggingface.co".parse().unwrap());
        for (given, shown) in [
            ("https://huggingface.co/", "https://huggingface.co"),
            ("HTTPS://HuggingFace.co:443", "https://huggingface.co"),
            (" http://mirror:8080 ", "http://mirror:8080"),
            ("https://host/api/huggingfaceml/hub//", "https://host/api/huggingfaceml/hub"),
        ] {
            assert_eq!(given.parse::<Endpoint>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn invalid_addresses_are_rejected() {
        for bad in [
            "",
            "huggingface.co",
            "ftp://huggingface.co",
            "https://",
            "https://h/?a=b",
            "https://h/#x",
            "file:///etc",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad:?} was taken");
        }
        assert_eq!(
            "https://user:pass@host/a".parse::<Endpoint>().unwrap_err().to_string(),
            "the address is not an endpoint: it must not contain a user name or password, since addresses are shown. Use \
            `user:password` as the token"
        );
    }

    #[test]
    fn errors_repeat_nothing_secret() {
        for bad in [
            "https://me:verysecret@hub:99999",
            "https://me:very/secret@hub",
            "https://me:verysecret@hub/x?y#z",
            "https://hub/?token=verysecret",
            "https://hub/#verysecret",
            "https://hub:99999/?token=verysecret",
            "https://hub:99999/?user=a@verysecret",
            "hub?verysecret",
            "me:verysecret@hub",
            "ftp://me:verysecret@hub",
        ] {
            let error = bad.parse::<Endpoint>().unwrap_err().to_string();
            assert!(!error.contains("very") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn foreign_addresses_are_mapped_to_the_endpoint() {
        let hub = "https://huggingface.co/api/models/a/b/tree/main?cursor=a%2Cb";
        for (endpoint, elsewhere, expected) in [
            ("https://mirror", hub, "https://mirror/api/models/a/b/tree/main?cursor=a%2Cb"),
            ("https://mirror/hf", hub, "https://mirror/hf/api/models/a/b/tree/main?cursor=a%2Cb"),
            ("https://mirror:8443/hf", "http://mirror/hf/api/x", "https://mirror:8443/hf/api/x"),
            ("https://mirror/api", "http://mirror/apis/x", "https://mirror/api/apis/x"),
            ("https://mirror/a/b", "http://mirror/a/b", "https://mirror/a/b/a/b"),
        ] {
            let endpoint: Endpoint = endpoint.parse().unwrap();
            assert_eq!(endpoint.address_of(&elsewhere.parse().unwrap()), expected);
        }
    }

    #[test]
    fn path_segments_are_encoded() {
        let endpoint = Endpoint::default();
        let model = repo(RepoType::Model, "org/name");
        let data = repo(RepoType::Dataset, "org/data");
        let commit: Commit = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
        assert_eq!(endpoint.page(&data), "https://huggingface.co/datasets/org/data");
        assert_eq!(
            endpoint.revision(&model, &"refs/pr/1".parse().unwrap()),
            "https://huggingface.co/api/models/org/name/revision/refs%2Fpr%2F1"
        );
        assert_eq!(
            endpoint.resolve(&data, &commit, &"a b/ü?#%2e.bin".parse().unwrap()),
            format!("https://huggingface.co/datasets/org/data/resolve/{commit}/a%20b/%C3%BC%3F%23%252e.bin")
        );
    }
}
