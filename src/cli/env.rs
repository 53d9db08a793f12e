//! The Hub's own environment variables, with the precedence of `huggingface_hub`. Pure: the environment is handed in.

use std::{collections::HashMap, ffi::OsString, path::PathBuf};

use crate::hub::TokenSource;

/// Environment variables. An empty one counts as none.
#[derive(Debug)]
pub(super) struct Env(HashMap<String, String>);

impl FromIterator<(String, String)> for Env {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}

impl Env {
    /// Those of this process, as far as they are text.
    pub(super) fn of_process() -> Self {
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        std::env::vars_os().filter_map(text).collect()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A path in a variable, `~` meaning the home folder.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.get(name)?;
        let below_home = if value == "~" { Some("") } else { value.strip_prefix("~/") };
        Some(below_home.map_or_else(|| PathBuf::from(value), |rest| self.user_home().join(rest)))
    }

    fn user_home(&self) -> PathBuf {
        self.get("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from)
    }

    /// Where the Hub's libraries keep everything of theirs.
    fn hub_home(&self) -> PathBuf {
        self.path("HF_HOME").unwrap_or_else(|| {
            self.path("XDG_CACHE_HOME").unwrap_or_else(|| self.user_home().join(".cache")).join("huggingface")
        })
    }

    /// Where the cache is.
    pub(super) fn cache(&self) -> PathBuf {
        self.path("HF_HUB_CACHE")
            .or_else(|| self.path("HUGGINGFACE_HUB_CACHE"))
            .unwrap_or_else(|| self.hub_home().join("hub"))
    }

    /// The token. A file of which nobody has spoken may be missing.
    pub(super) fn token(&self) -> TokenSource {
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            // The Hub's libraries take white space for no token, too.
            if let Some(token) = self.get(name).filter(|token| !token.trim().is_empty()) {
                return TokenSource::fixed(token);
            }
        }
        let path = self.path("HF_TOKEN_PATH").unwrap_or_else(|| self.hub_home().join("token"));
        if path.exists() { TokenSource::File(path) } else { TokenSource::None }
    }

    /// Whether the Hub may not be asked.
    pub(super) fn offline(&self) -> bool {
        self.get("HF_HUB_OFFLINE").or_else(|| self.get("TRANSFORMERS_OFFLINE")).is_some_and(is_true)
    }

    /// Whether snapshots shall hold files instead of links.
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
    fn the_cache_is_where_the_hubs_libraries_have_it() {
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
    fn the_token_comes_from_the_nearest_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let (home, path) = (dir.path().to_str().unwrap(), file.to_str().unwrap());
        let fixed = |text: &str| TokenSource::Fixed(text.parse().unwrap());
        let token = |variables: &[(&str, &str)]| with(variables).token();
        assert_eq!(token(&[("HF_TOKEN", "hf_a\n"), ("HUGGING_FACE_HUB_TOKEN", "hf_b")]), fixed("hf_a"));
        assert_eq!(token(&[("HF_TOKEN", " "), ("HUGGING_FACE_HUB_TOKEN", "hf_b")]), fixed("hf_b"));
        assert!(matches!(token(&[("HF_TOKEN", "hf a")]), TokenSource::Malformed(_)));
        assert_eq!(token(&[("HF_TOKEN_PATH", path)]), TokenSource::None);
        std::fs::write(&file, "hf_c").unwrap();
        assert_eq!(token(&[("HF_TOKEN_PATH", path)]), TokenSource::File(file.clone()));
        assert_eq!(token(&[("HF_HOME", home)]), TokenSource::File(file));
    }

    #[test]
    fn switches_are_read_as_python_reads_them() {
        for (value, expected) in
            [("1", true), ("true", true), ("On", true), ("0", false), ("2", false), ("", false)]
        {
            assert_eq!(with(&[("HF_HUB_OFFLINE", value)]).offline(), expected, "{value:?}");
        }
        assert!(with(&[("TRANSFORMERS_OFFLINE", "YES")]).offline());
    }
}
