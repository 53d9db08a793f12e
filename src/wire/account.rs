//! The answer of `GET /api/whoami-v2`.

use serde::{Deserialize, Serialize};

use crate::known;

/// Whose token it is, as `HfApi.whoami` returns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoAmI {
    /// The account's name.
    #[serde(default, deserialize_with = "known")]
    pub name: Option<String>,
    /// How the caller has identified himself.
    #[serde(default, deserialize_with = "known")]
    pub auth: Option<Auth>,
}

/// The token that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// An access token of a user; OAuth logins have none.
    pub access_token: Option<AccessToken>,
}

/// What an access token may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessToken {
    /// Only those with the role `fineGrained` have it. Others may what their account may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fine_grained: Option<FineGrained>,
}

/// The permissions of a fine-grained token, as far as they are not about single repos.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FineGrained {
    /// The box "Read access to contents of all public gated repos you can access" of the token's page.
    pub can_read_gated_repos: Option<bool>,
}

#[cfg(test)]
mod tests {
    use serde_json::from_str;

    use super::*;

    #[test]
    fn odd_forms_are_none() {
        let nobody = WhoAmI { name: None, auth: None };
        for answer in ["{}", r#"{"name":7,"auth":"basic"}"#, r#"{"name":null,"auth":{"accessToken":[1]}}"#] {
            assert_eq!(from_str::<WhoAmI>(answer).unwrap(), nobody, "{answer}");
        }
        let login = from_str::<WhoAmI>(r#"{"name":"ann","auth":{"type":"oauth"}}"#).unwrap();
        assert_eq!(login, WhoAmI { name: Some("ann".to_owned()), auth: Some(Auth { access_token: None }) });
    }
}
