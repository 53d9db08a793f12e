//! Parses the operator's endpoints file: a YAML list of endpoints and how to connect to them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{
    files::{self, Unread},
    hub::{CaBundle, CaBundleError, Endpoint, EndpointError, ProxyError, Timeout, TimeoutError, Timeouts},
    text::{of_path, printable},
};

/// The longest endpoints file or CA bundle that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// An invalid endpoints file. Of its content, only addresses are repeated, without anything that may be secret.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the endpoints file {}: {why}", of_path(file))]
pub(super) struct EndpointsError {
    file: PathBuf,
    why: Violation,
}

/// The valid keys of an entry.
const KEYS: [&str; 6] = ["url", "proxy", "timeoutSeconds", "httpStorage", "caBundle", "caBundleFile"];

#[derive(Debug, thiserror::Error)]
enum Violation {
    #[error("it cannot be read: {0}")]
    Unreadable(Unread),
    #[error("line {0} is not YAML")]
    Syntax(u64),
    #[error("it must be a list with at least one endpoint, such as `- url: https://huggingface.co`")]
    NoList,
    #[error("entry {0}: {1}")]
    Entry(usize, EntryError),
}

#[derive(Debug, thiserror::Error)]
enum EntryError {
    #[error(
        "it must have the key url, and may have proxy, timeoutSeconds, httpStorage and one of caBundle and caBundleFile"
    )]
    NoMap,
    #[error(
        "there is no key `{0}`: valid are url, proxy, timeoutSeconds, httpStorage, caBundle and caBundleFile"
    )]
    UnknownKey(String),
    #[error("{0} must be a string")]
    NoText(&'static str),
    #[error("{0} is already in an earlier entry")]
    Twice(String),
    #[error(transparent)]
    Url(#[from] EndpointError),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("httpStorage must be true or false")]
    NoBool,
    #[error("timeoutSeconds is not usable: {0}")]
    Timeout(#[from] TimeoutError),
    #[error("set caBundle or caBundleFile, not both")]
    TwoBundles,
    #[error("caBundle is not usable: {0}")]
    Bundle(#[from] CaBundleError),
    #[error("caBundleFile {} cannot be read: {why}", of_path(.0), why = .1)]
    UnreadableBundle(PathBuf, Unread),
    #[error("caBundleFile {} is not usable: {why}", of_path(.0), why = .1)]
    BundleFile(PathBuf, CaBundleError),
}

/// Reads the endpoints, the default one first.
pub(super) fn read(file: &Path) -> Result<Vec<Endpoint>, EndpointsError> {
    let text = files::read_given(file, LONGEST).and_then(files::text).map_err(Violation::Unreadable);
    text.and_then(|text| parse(&text)).map_err(|why| EndpointsError { file: file.to_owned(), why })
}

fn parse(text: &str) -> Result<Vec<Endpoint>, Violation> {
    // Parsed as an untyped value first: the parser's type errors would repeat the value.
    let value: Value = serde_saphyr::from_str(text)
        .map_err(|error| Violation::Syntax(error.location().map_or(1, |location| location.line())))?;
    let entries = value.as_array().filter(|entries| !entries.is_empty()).ok_or(Violation::NoList)?;
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        let endpoint = endpoint(entry).map_err(|violation| Violation::Entry(number, violation))?;
        if endpoints.iter().any(|known| known.as_str() == endpoint.as_str()) {
            return Err(Violation::Entry(number, EntryError::Twice(endpoint.to_string())));
        }
        endpoints.push(endpoint);
    }
    Ok(endpoints)
}

fn endpoint(entry: &Value) -> Result<Endpoint, EntryError> {
    let entry = entry.as_object().ok_or(EntryError::NoMap)?;
    if let Some(key) = entry.keys().find(|key| !KEYS.contains(&key.as_str())) {
        // If `url:` was left out, the key is an address, which may contain a password.
        let key = if key.contains('@') { "…".to_owned() } else { printable(key) };
        return Err(EntryError::UnknownKey(key));
    }
    let mut endpoint: Endpoint = text(entry, "url")?.ok_or(EntryError::NoMap)?.parse()?;
    if let Some(proxy) = text(entry, "proxy")? {
        endpoint = endpoint.with_proxy(proxy.parse()?);
    }
    match entry.get("timeoutSeconds") {
        None | Some(Value::Null) => {}
        Some(seconds) => {
            let timeout = Timeout::try_from(seconds.as_u64().ok_or(TimeoutError)?)?;
            endpoint = endpoint.with_timeouts(Timeouts::both(timeout));
        }
    }
    match entry.get("httpStorage") {
        None | Some(Value::Null) => {}
        Some(allowed) => endpoint = endpoint.with_http_storage(allowed.as_bool().ok_or(EntryError::NoBool)?),
    }
    let bundle = match (text(entry, "caBundle")?, text(entry, "caBundleFile")?) {
        (None, None) => return Ok(endpoint),
        (Some(_), Some(_)) => return Err(EntryError::TwoBundles),
        (Some(bundle), None) => bundle.parse()?,
        (None, Some(file)) => bundle_in(Path::new(file))?,
    };
    Ok(endpoint.with_ca_bundle(bundle))
}

/// A string of an entry. Null and empty count as unset.
fn text<'a>(entry: &'a Map<String, Value>, key: &'static str) -> Result<Option<&'a str>, EntryError> {
    match entry.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(EntryError::NoText(key)),
    }
}

fn bundle_in(file: &Path) -> Result<CaBundle, EntryError> {
    let text = files::read(file, LONGEST).and_then(files::text);
    let text = text.map_err(|error| EntryError::UnreadableBundle(file.to_owned(), error))?;
    text.parse().map_err(|error| EntryError::BundleFile(file.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    const AUTHORITY: &str = include_str!("../../tests/hub_client/tls/ca.pem");

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn each_endpoint_has_its_own_settings() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.crt");
        std::fs::write(&file, AUTHORITY).unwrap();
        let block = AUTHORITY.trim().replace('\n', "\n    ");
        let text = format!(
            "# the Hub first\n- url: https://huggingface.co\n- url: https://hub.example/hf\n  proxy: http://proxy:3128\n  \
             caBundle: |\n    {block}\n- url: https://other.example\n  proxy:\n  timeoutSeconds: 600\n  httpStorage: true\n  caBundleFile: {}\n",
            file.display()
        );
        let at = |url: &str| url.parse::<Endpoint>().unwrap();
        let bundle = || AUTHORITY.parse().unwrap();
        let expected = vec![
            at("https://huggingface.co"),
            at("https://hub.example/hf")
                .with_proxy("http://proxy:3128".parse().unwrap())
                .with_ca_bundle(bundle()),
            at("https://other.example")
                .with_timeouts(Timeouts::both("600".parse().unwrap()))
                .with_http_storage(true)
                .with_ca_bundle(bundle()),
        ];
        assert_eq!(parse(&text).unwrap(), expected);
    }

    #[test]
    fn an_error_names_its_entry() {
        let hub = "- url: https://huggingface.co\n";
        for (text, expected) in [
            ("- url: [\n".to_owned(), "line "),
            (String::new(), "it must be a list"),
            ("[]".to_owned(), "it must be a list"),
            ("url: https://huggingface.co".to_owned(), "it must be a list"),
            (format!("{hub}- https://hub.example"), "entry 2: it must have the key url"),
            (format!("{hub}- proxy: http://proxy"), "entry 2: it must have the key url"),
            (format!("{hub}- url: https://a\n  prxy: http://proxy"), "entry 2: there is no key `prxy`"),
            (format!("{hub}- url: ftp://a"), "entry 2: the address is not an endpoint"),
            (format!("{hub}{hub}"), "entry 2: https://huggingface.co is already in an earlier entry"),
            ("- url: 7".to_owned(), "entry 1: url must be a string"),
            (
                "- {url: 'https://a', proxy: 'socks5://p'}".to_owned(),
                "entry 1: the address is not a usable proxy",
            ),
            (
                "- {url: 'https://a', timeoutSeconds: 0}".to_owned(),
                "entry 1: timeoutSeconds is not usable: a",
            ),
            (
                "- {url: 'https://a', timeoutSeconds: 1h}".to_owned(),
                "entry 1: timeoutSeconds is not usable: a",
            ),
            ("- {url: 'https://a', httpStorage: maybe}".to_owned(), "entry 1: httpStorage must be true or"),
            (
                "- {url: 'https://a', caBundle: x}".to_owned(),
                "entry 1: caBundle is not usable: it contains no",
            ),
            ("- {url: 'https://a', caBundle: x, caBundleFile: /y}".to_owned(), "entry 1: set caBundle or"),
            ("- {url: 'https://a', caBundleFile: /none/ca}".to_owned(), "entry 1: caBundleFile /none/ca "),
        ] {
            let error = error(&text);
            assert!(error.starts_with(expected), "{error:?} does not begin with {expected:?}");
        }
    }

    #[test]
    fn a_password_is_never_repeated() {
        for text in [
            "- url: https://me:verysecret@hub",
            "- {url: 'https://a', proxy: 'http://me:verysecret@proxy:3128'}",
            "- {url: 'https://a', 'http://me:verysecret@proxy': x}",
            "- http://me:verysecret@proxy",
            "http://me:verysecret@proxy",
            "- {url: 'https://a', proxy: ['http://me:verysecret@proxy']}",
            "- {url: 'https://a', caBundle: 'http://me:verysecret@proxy'}",
            "- url: https://a\n  proxy: http://me:verysecret@proxy\n bad: [",
        ] {
            let error = error(text);
            assert!(!error.contains("secret"), "{error}");
        }
        let file = Path::new("/none/endpoints.yaml");
        let error = read(file).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot use the endpoints file /none/endpoints.yaml: it cannot be read"),
            "{error}"
        );
    }

    #[test]
    fn the_file_in_the_guide_is_valid() {
        let page = include_str!("../../docs/guides/install.md");
        let block = page.split("```").find(|block| block.contains("kind: Secret")).unwrap();
        let secret: Value = serde_saphyr::from_str(block.trim_start_matches("yaml")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.crt");
        std::fs::write(&file, AUTHORITY).unwrap();
        let text = secret["stringData"]["endpoints.yaml"].as_str().unwrap();
        let endpoints = parse(&text.replace("/etc/modelcache/ca.crt", file.to_str().unwrap())).unwrap();
        assert!(endpoints[0].proxy().is_some() && endpoints[1].ca_bundle().is_some());
    }
}
