//! What the Hub answered for one spec and one token, as the decision needs it. Pure.

use std::time::Duration;

use kube::ResourceExt as _;

use crate::{
    api::{ModelCache, condition},
    hub::{Commit, Endpoint, Preflight, RepoId},
    reason::{ConditionType, Reason, Verdict},
};

use super::{observation::SecretState, source::Wanted};

/// The commit and what it holds, without the list of files, which may be long.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The repo's own ID on the Hub, where it names one.
    pub repo: Option<RepoId>,
    /// The commit that the files are of.
    pub commit: Commit,
    /// How many files match.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// The newest commit of the revision, or of the branch that is followed; none where that is not known.
    pub latest: Option<Commit>,
}

/// The answers to the questions that come before a download.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessReport {
    /// Is the token one that the Hub knows?
    pub authenticated: Verdict,
    /// May its account read the repo?
    pub authorized: Verdict,
    /// Is there such a revision, with files that match?
    pub resolved: Verdict,
    /// The parsed source, where it can be parsed.
    pub wanted: Option<Wanted>,
    /// Where the Hub was asked; a Job asks there too.
    pub endpoint: Option<Endpoint>,
    /// What the revision stands for, where the Hub answered.
    pub snapshot: Option<Snapshot>,
    /// A time that the Hub asked to wait.
    pub retry_after: Option<Duration>,
}

impl AccessReport {
    /// A spec that cannot be used: the Hub is not asked.
    #[must_use]
    pub fn unusable(verdict: Verdict) -> Self {
        Self::from(Preflight::stopped_by(verdict))
    }

    /// A Secret that gives no token: the Hub is not asked. `None` where there is a token or none is wanted.
    #[must_use]
    pub fn without_token(cache: &ModelCache, secret: &SecretState, wanted: &Wanted) -> Option<Self> {
        let reference = cache.spec.token_secret_ref.as_ref()?;
        let name = &reference.name;
        let key = &reference.key;
        let (reason, message) = match secret {
            SecretState::NotAsked | SecretState::Present(..) => return None,
            SecretState::NotFound => (
                Reason::SecretNotFound,
                format!(
                    "There is no Secret {name} in this namespace. Create it with the token under the key {key} \
                     (kubectl create secret generic {name} -n {} --from-file={key}=FILE); the cache continues by itself.",
                    cache.namespace().unwrap_or_default()
                ),
            ),
            SecretState::KeyNotFound { keys } => (
                Reason::SecretKeyNotFound,
                match keys.as_deref() {
                    None => format!(
                        "The Secret {name} has no key {key}. Put the token there, or name the key in \
                         spec.tokenSecretRef.key. Its keys: kubectl describe secret {name} -n {}",
                        cache.namespace().unwrap_or_default()
                    ),
                    Some([]) => format!(
                        "The Secret {name} is empty. Put the token under the key {key}; the cache continues by itself."
                    ),
                    Some(keys) => format!(
                        "The Secret {name} has no key {key}; it has {}. Put the token there, or name the key in \
                         spec.tokenSecretRef.key.",
                        keys.join(", ")
                    ),
                },
            ),
            // Not which rule the value breaks: that would give away what it looks like.
            SecretState::Malformed => (
                Reason::TokenMalformed,
                format!(
                    "The key {key} of the Secret {name} holds no token: a token is one word of visible ASCII characters. \
                     Put a token of the Hub there; the cache continues by itself."
                ),
            ),
        };
        let verdict = Verdict::no(ConditionType::Authenticated, reason, message);
        Some(Self::stopped(wanted.clone(), verdict))
    }

    /// An answer that is known before the Hub is asked. What is on the volume is reported all the same.
    #[must_use]
    pub fn stopped(wanted: Wanted, verdict: Verdict) -> Self {
        Self { wanted: Some(wanted), ..Self::from(Preflight::stopped_by(verdict)) }
    }

    /// The Hub is not asked now, for a reason that says nothing about this resource.
    #[must_use]
    pub fn postponed(wanted: Wanted, with_token: bool, reason: Reason, message: String) -> Self {
        let topic = if with_token { ConditionType::Authenticated } else { ConditionType::Authorized };
        let mut checked = Self::stopped(wanted, Verdict::no(topic, reason, message));
        if !with_token {
            let message = "Requests are made without a token.";
            checked.authenticated = Verdict::yes(ConditionType::Authenticated, Reason::Anonymous, message);
        }
        checked
    }

    /// What the Hub answered.
    #[must_use]
    pub fn answered(wanted: Wanted, endpoint: Endpoint, preflight: Preflight) -> Self {
        let mut checked = Self { wanted: Some(wanted), endpoint: Some(endpoint), ..Self::from(preflight) };
        for verdict in checked.conditions_mut() {
            verdict.message.push_str(here(verdict.reason));
        }
        checked
    }

    /// What the resource last said: while it is suspended, the Hub is not asked.
    #[must_use]
    pub fn suspended(cache: &ModelCache) -> Self {
        let reported = cache.conditions();
        let [authenticated, authorized, resolved] =
            [ConditionType::Authenticated, ConditionType::Authorized, ConditionType::Resolved].map(|topic| {
                condition::verdict(reported, topic).unwrap_or_else(|| {
                    Verdict::no(topic, Reason::NotChecked, "Suspended: the Hub is not asked.")
                })
            });
        let wanted = Wanted::parse(&cache.spec).ok();
        Self {
            authenticated,
            authorized,
            resolved,
            wanted,
            endpoint: None,
            snapshot: None,
            retry_after: None,
        }
    }

    /// The good answers to an earlier process, as the resource has them. `None` where one of them was not good, or where
    /// the question has changed since.
    #[must_use]
    pub fn earlier(cache: &ModelCache, endpoint: &Endpoint) -> Option<Self> {
        let status = cache.status.as_ref()?;
        let asked_to_look = cache.reconcile_at();
        if status.observed_generation != cache.metadata.generation
            || status.last_handled_reconcile_at != asked_to_look
        {
            return None;
        }
        let earlier = Self { endpoint: Some(endpoint.clone()), ..Self::suspended(cache) };
        earlier.granted().then_some(earlier)
    }

    /// The three conditions, in the order in which one waits for the other.
    #[must_use]
    pub const fn conditions(&self) -> [&Verdict; 3] {
        [&self.authenticated, &self.authorized, &self.resolved]
    }

    /// The same, to change what they say.
    pub(super) const fn conditions_mut(&mut self) -> [&mut Verdict; 3] {
        [&mut self.authenticated, &mut self.authorized, &mut self.resolved]
    }

    /// Whether a download may start.
    #[must_use]
    pub fn granted(&self) -> bool {
        self.conditions().into_iter().all(Verdict::holds)
    }

    /// The first answer that is not a plain yes, leaving out those that only wait for another.
    #[must_use]
    pub fn first_unmet(&self) -> Option<&Verdict> {
        Verdict::obstacle(self.conditions().into_iter())
    }
}

/// What a sentence for every place leaves out in a cluster: where a token is named, and that there is no need to touch the
/// `ModelCache` who has done what is to be done at the Hub.
const fn here(reason: Reason) -> &'static str {
    match reason {
        Reason::TokenRequired => " The token's Secret is named in spec.tokenSecretRef.",
        Reason::TermsNotAccepted | Reason::AccessPending | Reason::TokenLacksPermission => {
            " The cache continues by itself."
        }
        _ => "",
    }
}

impl From<Preflight> for AccessReport {
    fn from(preflight: Preflight) -> Self {
        let Preflight { authenticated, authorized, resolved, snapshot, retry_after, concern: _ } = preflight;
        let snapshot = snapshot.map(|found| Snapshot {
            repo: found.repo,
            commit: found.commit,
            files: u64::try_from(found.count).unwrap_or(u64::MAX),
            bytes: found.bytes,
            latest: found.latest,
        });
        Self { authenticated, authorized, resolved, wanted: None, endpoint: None, snapshot, retry_after }
    }
}
