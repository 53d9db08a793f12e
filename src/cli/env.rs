//! The Hub's environment variables, interpreted as by `huggingface_hub`. Pure: the environment is passed in.
//!
//! Two intended differences: an empty variable counts as unset, and `~name` is not expanded to another user's home.

#[cfg(test)]
mod official;

use std::{collections::HashMap, ffi::OsString, path::PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use crate::hub::{CaBundle, CaBundleError, Endpoint, Timeout, TimeoutError, Timeouts, TokenSource};

/// The variables that hold a token; the first that is not empty counts.
const TOKENS: [&str; 2] = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];

/// Environment variables.
#[derive(Debug, Default)]
pub(super) struct Env {
    /// All but those with a token.
    variables: HashMap<String, String>,
    /// In the order of [`TOKENS`].
    tokens: [Option<SecretString>; 2],
}

impl FromIterator<(String, String)> for Env {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let mut env = Self::default();
        for (name, value) in variables {
            match TOKENS.iter().position(|token| *token == name) {
                Some(at) => env.tokens[at] = Some(value.into()),
                None => _ = env.variables.insert(name, value),
            }
        }
        env
    }
}

impl Env {
    /// Those of this process that are UTF-8.
    pub(super) fn of_process() -> Self {
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        std::env::vars_os().filter_map(text).collect()
    }

    /// A variable. An empty one counts as unset.
    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Expands `~` to the home folder, and `$NAME` and `${NAME}` to variables.
    fn expanded(&self, path: &str) -> String {
        let home = match path.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                format!("{}{rest}", self.get("HOME").unwrap_or_default().trim_end_matches('/'))
            }
            _ => path.to_owned(),
        };
        self.with_variables(if home.is_empty() { "/" } else { &home })
    }

    /// Expands variables; unset ones are left as written. Tokens are not available in paths.
    fn with_variables(&self, text: &str) -> String {
        let mut result = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            result.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let plain = &after[..after.find(|c| !word(c)).unwrap_or(after.len())];
            let (name, length) = braced.map_or((plain, plain.len()), |(name, _)| (name, name.len() + 2));
            match self.variables.get(name) {
                Some(value) => result.push_str(value),
                None => result.push_str(&rest[at..=at + length]),
            }
            rest = &after[length..];
        }
        result + rest
    }

    /// The home folder of the Hub's libraries.
    fn hub_home(&self) -> String {
        let usual = || format!("{}/huggingface", self.get("XDG_CACHE_HOME").unwrap_or("~/.cache"));
        self.expanded(&self.get("HF_HOME").map_or_else(usual, str::to_owned))
    }

    /// The path of the cache. As in Python, variables are expanded repeatedly.
    pub(super) fn cache(&self) -> PathBuf {
        let given = self.get("HF_HUB_CACHE").or_else(|| self.get("HUGGINGFACE_HUB_CACHE"));
        let usual = || format!("{}/hub", self.hub_home());
        self.expanded(&given.map_or_else(usual, str::to_owned)).into()
    }

    /// The token. A missing token file is not an error.
    pub(super) fn token(&self) -> TokenSource {
        let mut given = self.tokens.iter().flatten().map(SecretString::expose_secret);
        let fixed = given.find(|token| !token.is_empty());
        // As in the Hub's libraries, white space counts as unset.
        if let Some(token) = fixed.filter(|token| !token.trim().is_empty()) {
            return TokenSource::fixed(token);
        }
        let path = self.token_path();
        if path.exists() { TokenSource::File(path) } else { TokenSource::None }
    }

    fn token_path(&self) -> PathBuf {
        let usual = || format!("{}/token", self.hub_home());
        self.expanded(&self.get("HF_TOKEN_PATH").map_or_else(usual, str::to_owned)).into()
    }

    /// Whether access to the Hub is disabled.
    pub(super) fn offline(&self) -> bool {
        self.get("HF_HUB_OFFLINE").or_else(|| self.get("TRANSFORMERS_OFFLINE")).is_some_and(is_true)
    }

    /// Additional certificate authorities for the endpoint. This variable is our own.
    pub(super) fn ca_bundle(&self) -> Result<Option<CaBundle>, CaBundleError> {
        self.get(CaBundle::VARIABLE).map(str::parse).transpose()
    }

    /// The timeouts of the endpoint. An error names its variable.
    pub(super) fn timeouts(&self) -> Result<Timeouts, (&'static str, TimeoutError)> {
        let read = |name: &'static str| {
            self.get(name).map(str::parse::<Timeout>).transpose().map_err(|error| (name, error))
        };
        Ok(Timeouts { download: read(Timeouts::DOWNLOAD)?, metadata: read(Timeouts::METADATA)? })
    }

    /// Whether storage without TLS is accepted. This variable is our own.
    pub(super) fn http_storage(&self) -> bool {
        self.get(Endpoint::HTTP_STORAGE).is_some_and(is_true)
    }

    /// Whether Xet is disabled.
    pub(super) fn without_xet(&self) -> bool {
        self.get("HF_HUB_DISABLE_XET").is_some_and(is_true)
    }

    /// Whether snapshots hold files instead of links.
    pub(super) fn without_links(&self) -> bool {
        self.get("HF_HUB_DISABLE_SYMLINKS").is_some_and(is_true)
    }
}

fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn with(variables: &[(&str, &str)]) -> Env {
        variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn the_cache_is_where_the_hubs_libraries_put_it() {
        let all = [
            ("HF_HUB_CACHE", "/a"),
            ("HUGGINGFACE_HUB_CACHE", "/b"),
            ("HF_HOME", "~/c"),
            ("XDG_CACHE_HOME", "/d"),
            ("HOME", "/home/me"),
        ];
        let expected =
            ["/a", "/b", "/home/me/c/hub", "/d/huggingface/hub", "/home/me/.cache/huggingface/hub"];
        for (from, expected) in expected.iter().enumerate() {
            assert_eq!(with(&all[from..]).cache(), PathBuf::from(expected));
        }
        assert_eq!(with(&[("HF_HUB_CACHE", ""), ("HF_HOME", "/h")]).cache(), PathBuf::from("/h/hub"));
    }

    #[test]
    fn the_token_is_read_from_the_first_source() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let (home, path) = (dir.path().to_str().unwrap(), file.to_str().unwrap());
        let fixed = |text: &str| TokenSource::Fixed(text.parse().unwrap());
        let token = |variables: &[(&str, &str)]| with(variables).token();
        assert_eq!(token(&[("HF_TOKEN", "hf_a\n"), ("HUGGING_FACE_HUB_TOKEN", "hf_b")]), fixed("hf_a"));
        assert_eq!(token(&[("HF_TOKEN", ""), ("HUGGING_FACE_HUB_TOKEN", "hf_b")]), fixed("hf_b"));
        assert!(matches!(token(&[("HF_TOKEN", "hf a")]), TokenSource::Malformed(_)));
        assert_eq!(token(&[("HF_TOKEN_PATH", path)]), TokenSource::None);
        std::fs::write(&file, "hf_c").unwrap();
        assert_eq!(token(&[("HF_TOKEN_PATH", path)]), TokenSource::File(file.clone()));
        assert_eq!(token(&[("HF_HOME", home)]), TokenSource::File(file));
    }

    #[test]
    fn nothing_prints_the_token() {
        let env = with(&[
            ("HF_TOKEN", "hf_secret"),
            ("HUGGING_FACE_HUB_TOKEN", "hf_secret"),
            ("HOME", "/home/ann"),
        ]);
        let shown = format!("{env:?}");
        assert!(shown.contains("/home/ann") && !shown.contains("hf_secret"), "{shown}");
    }

    #[test]
    fn timeouts_are_whole_seconds() {
        let timeouts = |variables: &[(&str, &str)]| with(variables).timeouts();
        assert_eq!(timeouts(&[("HF_HUB_ETAG_TIMEOUT", "")]), Ok(Timeouts::default()));
        let seconds = |seconds: &str| Some(seconds.parse().unwrap());
        assert_eq!(
            timeouts(&[("HF_HUB_ETAG_TIMEOUT", "86400"), ("HF_HUB_DOWNLOAD_TIMEOUT", "5")]),
            Ok(Timeouts { download: seconds("5"), metadata: seconds("86400") })
        );
        assert_eq!(
            timeouts(&[("HF_HUB_ETAG_TIMEOUT", "1"), ("HF_HUB_DOWNLOAD_TIMEOUT", "soon")]),
            Err(("HF_HUB_DOWNLOAD_TIMEOUT", TimeoutError))
        );
    }

    #[test]
    fn switches_are_read_as_python_reads_them() {
        for (value, expected) in
            [("1", true), ("true", true), ("On", true), ("0", false), ("2", false), ("", false)]
        {
            assert_eq!(with(&[("HF_HUB_OFFLINE", value)]).offline(), expected, "{value:?}");
        }
        assert!(with(&[("TRANSFORMERS_OFFLINE", "YES")]).offline());
        assert!(with(&[("MODELCACHE_HTTP_STORAGE", "1")]).http_storage());
    }
}
