//! The answer of `GET /api/{models,datasets,spaces}/ID/revision/REVISION`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::IgnoredAny};

use crate::known;

/// What a repo is at a revision, as `ModelInfo` of `huggingface_hub` has it. `S` is how its list of files is held: there may be
/// very many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoInfo<S> {
    /// The commit of the revision.
    pub sha: String,
    /// The repo's own ID: names in another case and former names are answered too.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Only some accounts see it.
    #[serde(default)]
    pub private: bool,
    /// Whether terms have to be accepted.
    #[serde(default)]
    pub gated: Gated,
    /// The Hub has disabled it, as for its licence.
    pub disabled: Option<bool>,
    /// All files of the commit.
    pub siblings: Option<S>,
}

/// A file of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sibling {
    /// Its path.
    pub rfilename: String,
}

/// How a repo is gated: `false`, `"auto"` or `"manual"` (`ModelInfo.gated` of `huggingface_hub`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gated {
    /// It is not.
    #[default]
    No,
    /// Who accepts the terms gets in.
    Auto,
    /// The authors decide on each request.
    Manual,
    /// Something else stands there, which is not `false` or `null`: `true`, on older mirrors.
    Somehow,
}

impl Serialize for Gated {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::No => to.serialize_bool(false),
            Self::Auto => to.serialize_str("auto"),
            Self::Manual => to.serialize_str("manual"),
            Self::Somehow => to.serialize_bool(true),
        }
    }
}

impl<'de> Deserialize<'de> for Gated {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Nothing,
            Switch(bool),
            Word(String),
            Other(IgnoredAny),
        }
        Ok(match Form::deserialize(value)? {
            Form::Nothing | Form::Switch(false) => Self::No,
            Form::Word(word) if word == "auto" => Self::Auto,
            Form::Word(word) if word == "manual" => Self::Manual,
            Form::Switch(true) | Form::Word(_) | Form::Other(IgnoredAny) => Self::Somehow,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, to_string};

    use super::*;

    #[test]
    fn a_gate_is_read_as_it_is_written() {
        for (json, gated) in [
            ("false", Gated::No),
            ("\"auto\"", Gated::Auto),
            ("\"manual\"", Gated::Manual),
            ("true", Gated::Somehow),
        ] {
            assert_eq!(
                (from_str::<Gated>(json).unwrap(), to_string(&gated).unwrap()),
                (gated, json.to_owned())
            );
        }
        for (json, gated) in [("null", Gated::No), ("\"paid\"", Gated::Somehow), ("[0]", Gated::Somehow)] {
            assert_eq!(from_str::<Gated>(json).unwrap(), gated, "{json}");
        }
    }

    #[test]
    fn a_commit_is_enough() {
        let bare = RepoInfo::<Vec<Sibling>> {
            sha: "main".to_owned(),
            id: None,
            private: false,
            gated: Gated::No,
            disabled: None,
            siblings: None,
        };
        for json in [
            r#"{"sha":"main"}"#,
            r#"{"sha":"main","id":7,"gated":null,"disabled":null,"siblings":null,"other":[1]}"#,
        ] {
            assert_eq!(from_str::<RepoInfo<Vec<Sibling>>>(json).unwrap(), bare, "{json}");
        }
        assert!(from_str::<RepoInfo<Vec<Sibling>>>("{}").is_err());
    }
}
