//! The HTTP proxy for an endpoint and the storage behind it.

use std::{fmt, str::FromStr};

use url::Url;

use super::host::host_of;

/// The address of a proxy: scheme, host and port, without a password, so that it can be shown anywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Url);

/// An invalid proxy address. It is not repeated: it may contain a password anywhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address is not a usable proxy: {why}")]
pub struct ProxyError {
    why: &'static str,
}

impl Proxy {
    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), host_of(&self.0))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(given: &str) -> Result<Self, ProxyError> {
        let given = given.trim();
        let refuse = |why| Err(ProxyError { why });
        let Ok(url) = Url::parse(given) else {
            return refuse("it must have the form http://proxy.example:3128");
        };
        if !matches!(url.scheme(), "http" | "https") {
            return refuse("it must begin with http:// or https://");
        }
        if url.host_str().is_none_or(str::is_empty) {
            return refuse("it has no host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse(
                "it must not contain a user name or password, since anyone who may read a Job could read them. Allow the \
                cluster's addresses in the proxy, or run a proxy in the cluster that adds the password",
            );
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return refuse("it must end after host and port");
        }
        Ok(Self(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_scheme_a_host_and_a_port() {
        for (given, shown) in [
            ("http://proxy:3128", "http://proxy:3128"),
            (" HTTPS://Proxy.Example/ ", "https://proxy.example"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(given.parse::<Proxy>().unwrap().to_string(), shown);
        }
        for bad in ["", "proxy:3128", "socks5://proxy", "http://", "http://proxy/path", "http://proxy?a=b"] {
            assert!(bad.parse::<Proxy>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_password_is_rejected_and_not_repeated() {
        for bad in ["http://me:verysecret@proxy:3128", "http://verysecret@proxy", "me:verysecret@proxy"] {
            let error = bad.parse::<Proxy>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        let error = "http://me:x@proxy:3128".parse::<Proxy>().unwrap_err().to_string();
        assert!(error.starts_with("the address is not a usable proxy") && error.contains("Job"), "{error}");
    }
}
