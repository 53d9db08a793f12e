//! Which namespaces the operator watches: all of them, or some, each by itself.

use std::{
    collections::BTreeSet,
    fmt::{self, Debug},
    str::FromStr,
};

use futures::Stream;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        batch::v1::Job,
        core::v1::{PersistentVolumeClaim, Pod, Secret},
    },
};
use kube::{Api, Client, Resource, api::ListParams, runtime::watcher::Event};
use serde::de::DeserializeOwned;
use tracing::{info, warn};

use super::{
    backoff,
    secrets::Secrets,
    watcher::{self, Metadata},
};
use crate::{
    api::{ModelCache, is_dns_label},
    telemetry::{Contact, Contacts},
};

/// A scope cannot be watched. It is retried: the namespace and the rights may both come later.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot list {what} in {place}: {why}; {remedy}",
    place = scope.description(), why = message(source), remedy = scope.remedy()
)]
pub struct ScopeError {
    /// The plural of the kind.
    pub what: String,
    /// Where.
    pub scope: WatchScope,
    /// Why not.
    #[source]
    pub source: kube::Error,
}

/// The API server's message, without the object that it came in.
fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

/// The name of a namespace: a DNS label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Namespace(String);

/// A text that cannot be the name of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a namespace has at most 63 lower-case letters, digits and `-`, with a letter or digit at both ends")]
pub struct NamespaceError;

impl FromStr for Namespace {
    type Err = NamespaceError;

    fn from_str(name: &str) -> Result<Self, NamespaceError> {
        let good = name.len() <= 63 && is_dns_label(name);
        good.then(|| Self(name.to_owned())).ok_or(NamespaceError)
    }
}

/// What one set of watches covers: a namespace, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchScope(Option<Namespace>);

impl WatchScope {
    /// The scopes of these namespaces; no namespace means all of them.
    pub fn of(namespaces: &[Namespace]) -> Vec<Self> {
        if namespaces.is_empty() {
            return vec![Self(None)];
        }
        let once: BTreeSet<_> = namespaces.iter().cloned().collect();
        once.into_iter().map(|namespace| Self(Some(namespace))).collect()
    }

    /// The namespace, if it is one.
    pub fn namespace(&self) -> Option<&str> {
        self.0.as_ref().map(|namespace| namespace.0.as_str())
    }

    /// Objects of one kind in it.
    pub fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match &self.0 {
            Some(namespace) => Api::namespaced(client.clone(), &namespace.0),
            None => Api::all(client.clone()),
        }
    }

    /// Watches the objects of one kind in it.
    pub fn watch<K>(
        &self,
        client: &Client,
        query: ListParams,
        contacts: &Contacts,
    ) -> impl Stream<Item = Event<K>> + Send + use<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        self.watch_with(client, query, contacts.add(K::plural(&())))
    }

    /// The same, with a contact that others observe.
    pub fn watch_with<K>(
        &self,
        client: &Client,
        query: ListParams,
        contact: Contact,
    ) -> impl Stream<Item = Event<K>> + Send + use<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        watcher::events(self.api::<K>(client), query, contact)
    }

    /// As part of a sentence.
    pub fn description(&self) -> String {
        self.0
            .as_ref()
            .map_or_else(|| "all namespaces".to_owned(), |name| format!("the namespace {}", name.0))
    }

    /// What to check if it cannot be watched.
    pub const fn remedy(&self) -> &'static str {
        match self.0 {
            Some(_) => "does it exist, and is the operator's Role bound there?",
            None => "is the operator's ClusterRole bound?",
        }
    }

    /// Waits until all that is watched there can be listed: the namespace, or a Role in it, may be created later.
    /// What is missing is logged once, not with every retry; until then its ModelCaches count as not watched.
    pub async fn wait_until_listable(&self, client: &Client, secrets: Secrets, contacts: &Contacts) {
        let _until_then = contacts.add(ModelCache::plural(&()));
        let mut logged = String::new();
        for failures in 1.. {
            let Err(error) = self.probe(client, secrets).await else { break };
            let error = error.to_string();
            if error != logged {
                warn!(namespaces = %self, error, "cannot watch yet; retrying, which delays no other namespace");
                logged = error;
            }
            tokio::time::sleep(backoff::scope(failures, &self.to_string())).await;
        }
        info!(namespaces = %self, "watching");
    }

    /// Whether all that is watched can be listed.
    async fn probe(&self, client: &Client, secrets: Secrets) -> Result<(), ScopeError> {
        self.list::<ModelCache>(client).await?;
        self.list::<Job>(client).await?;
        self.list::<Pod>(client).await?;
        self.list::<PersistentVolumeClaim>(client).await?;
        match secrets {
            Secrets::Watch => self.list::<Secret>(client).await,
            Secrets::Poll => Ok(()),
        }
    }

    async fn list<K>(&self, client: &Client) -> Result<(), ScopeError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        let listed = self.api::<Metadata<K>>(client).list(&ListParams::default().limit(1)).await;
        let failed = |source| ScopeError { what: K::plural(&()).into(), scope: self.clone(), source };
        listed.map(|_| ()).map_err(failed)
    }
}

impl fmt::Display for WatchScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref().map_or("all", |namespace| &namespace.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_are_all_and_each_counts_once() {
        let named = |name: &str| name.parse::<Namespace>().unwrap();
        assert_eq!(WatchScope::of(&[]), [WatchScope(None)]);
        let scopes = WatchScope::of(&[named("b"), named("a"), named("b")]);
        assert_eq!(scopes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a", "b"]);
        for bad in ["", "-a", "a-", "A", "a.b", "a b", &"a".repeat(64)] {
            assert!(bad.parse::<Namespace>().is_err(), "{bad:?} was taken");
        }
    }
}
