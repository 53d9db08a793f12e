//! All that exists around one ModelCache, as one plain value: what the pure steps are given. Knows no client.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::ResourceExt;

use super::{attempt::Attempt, complaint::Complaint, neighbour::Neighbour, placement::Place};
use crate::{
    api::{self, ModelCache, Progress},
    hub::Token,
};

/// Keys of a Secret that a message has room for. A Secret can have a hundred thousand.
const MOST_KEYS: usize = 20;

/// The Secret that a ModelCache refers to, as far as it matters.
#[derive(Clone, Debug)]
pub enum SecretState {
    /// The spec names none.
    NotAsked,
    /// There is no such Secret.
    NotFound,
    /// The Secret has other keys.
    KeyNotFound {
        /// The first of the keys that it has, sorted, where it is a Secret for ModelCaches. Who names another one has not shown that they may
        /// know what is in it.
        keys: Option<Vec<String>>,
    },
    /// The value cannot be a token.
    Malformed,
    /// A token, and the version of the Secret that it is from.
    Present(Token, String),
}

impl SecretState {
    /// What a Secret has under a key.
    pub(super) fn of(secret: &Secret, key: &str) -> Self {
        let for_models = secret.labels().get(api::LABEL_TOKEN).is_some_and(|value| value == "true");
        let Secret { data, metadata, .. } = secret;
        let Some(value) = data.as_ref().and_then(|data| data.get(key)) else {
            let keys = || data.iter().flat_map(|data| data.keys().take(MOST_KEYS).cloned()).collect();
            return Self::KeyNotFound { keys: for_models.then(keys) };
        };
        // Bytes that are no text become a character that no token has, and are refused as such.
        match Token::parse(&String::from_utf8_lossy(&value.0)) {
            Ok(token) => {
                let part = |part: &Option<String>| part.clone().unwrap_or_default();
                let version = format!("{}/{}", part(&metadata.uid), part(&metadata.resource_version));
                Self::Present(token, version)
            }
            Err(_) => Self::Malformed,
        }
    }

    /// The token, where there is one.
    #[must_use]
    pub fn token(&self) -> Option<&Token> {
        match self {
            Self::Present(token, _) => Some(token),
            _ => None,
        }
    }

    /// The version of the Secret, where it holds a token.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Present(_, version) => Some(version),
            _ => None,
        }
    }
}

/// Everything that a decision depends on, except for the Hub's answers.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The resource itself.
    pub cache: Arc<ModelCache>,
    /// The Secret with the token.
    pub secret: SecretState,
    /// The claim that the resource uses.
    pub claim: Option<PersistentVolumeClaim>,
    /// What others say of the claim, where it keeps an attempt waiting.
    pub claim_said: Option<Complaint>,
    /// The Jobs of the resource, oldest attempt first.
    pub attempts: Vec<Attempt>,
    /// The name of another resource's Job that is at work on the claim.
    pub busy: Option<String>,
    /// Where a Job has to run, if one may be made or waits to run.
    pub place: Option<Place>,
    /// A pod of others that writes to the claim, if a Job may be made or waits to run, and the claim needs consent for it.
    pub writer: Option<String>,
    /// Other resources that use the claim.
    pub neighbours: Vec<Neighbour>,
    /// How far the running Job has come.
    pub progress: Option<Progress>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        controller::{
            access::AccessReport,
            fixtures::{cache, with_token},
            source::Wanted,
        },
        reason::Reason,
    };

    /// The reason and message for a Secret with these labels and values.
    fn said(labels: &serde_json::Value, data: &serde_json::Value) -> Option<(Reason, String)> {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": { "name": "hf", "labels": labels }, "data": data,
        }))
        .unwrap();
        let cache = with_token(cache());
        let wanted = Wanted::parse(&cache.spec).unwrap();
        let checked = AccessReport::without_token(&cache, &SecretState::of(&secret, "token"), &wanted)?;
        let verdict = checked.authenticated;
        Some((verdict.reason, verdict.message))
    }

    #[test]
    fn of_a_hundred_thousand_keys_no_more_are_kept_than_a_message_has_room_for() {
        let data: std::collections::BTreeMap<_, _> = (0..100_000).map(|key| (key.to_string(), "")).collect();
        let labels = json!({ api::LABEL_TOKEN: "true" });
        let secret =
            serde_json::from_value(json!({ "metadata": { "labels": labels }, "data": data })).unwrap();
        let SecretState::KeyNotFound { keys: Some(keys) } = SecretState::of(&secret, "token") else {
            panic!("it has no such key");
        };
        assert_eq!(keys.len(), MOST_KEYS);
    }

    #[test]
    fn the_keys_of_a_secret_are_listed_only_where_it_is_for_models() {
        let data = json!({ "admin-password": "eA==", "tls.key": "eA==" });
        for labels in [json!({}), json!({ api::LABEL_TOKEN: "false" }), json!({ "app": "postgres" })] {
            let (reason, message) = said(&labels, &data).unwrap();
            assert_eq!(reason, Reason::SecretKeyNotFound);
            assert!(!message.contains("password") && !message.contains("tls"), "{message}");
            assert!(message.ends_with("kubectl describe secret hf -n team"), "{message}");
            // Nor how many there are.
            assert_eq!(said(&labels, &json!({})).unwrap().1, message);
        }
        let ours = json!({ api::LABEL_TOKEN: "true" });
        assert!(said(&ours, &data).unwrap().1.contains("it has admin-password, tls.key."));
        assert!(said(&ours, &json!({})).unwrap().1.contains("is empty"));
    }

    #[test]
    fn what_no_token_looks_like_is_not_described() {
        let mut messages = Vec::new();
        // Empty, two words, a line of PEM, and bytes that are no text.
        for value in ["", "dHdvIHdvcmRz", "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCng=", "/v8="] {
            let (reason, message) = said(&json!({}), &json!({ "token": value })).unwrap();
            assert_eq!(reason, Reason::TokenMalformed);
            messages.push(message);
        }
        messages.dedup();
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert_eq!(said(&json!({}), &json!({ "token": "aGZfYWJjZGVmZ2hpamtsbW5vcA==" })), None);
    }
}
