//! How the operator learns that a Secret has changed.

use std::time::Duration;

use kube::ResourceExt;

use super::{access::AccessReport, backoff};
use crate::{api::ModelCache, reason::Verdict};

/// By a watch, or by polling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secrets {
    /// At once, with the right to list and watch all Secrets.
    #[default]
    Watch,
    /// After a while, with the right to get the ones that are referred to.
    Poll,
}

impl Secrets {
    /// When a resource is reconciled again because of its Secret: while it lacks anything that another token may give.
    #[must_use]
    pub fn requeue_after(
        self,
        cache: &ModelCache,
        checked: &AccessReport,
        downloaded: &Verdict,
    ) -> Option<Duration> {
        let lacks = !(checked.granted() && downloaded.holds());
        let waits = cache.spec.token_secret_ref.is_some() && !cache.spec.suspend && lacks;
        (self == Self::Poll && waits).then(|| backoff::polled(&cache.name_any()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        controller::fixtures::{cache, granted, refused, with_token},
        reason::{ConditionType, Reason},
    };

    #[test]
    fn only_what_another_token_may_help_is_looked_at_for_its_secret() {
        let there = Verdict::yes(ConditionType::Downloaded, Reason::Verified, "There.");
        let missing = Verdict::no(ConditionType::Downloaded, Reason::NotChecked, "Waits.");
        let asks = with_token(cache());
        let (yes, no) = (granted(&asks), refused(&asks, Reason::TokenInvalid));
        let poll = |cache: &ModelCache, checked: &AccessReport, downloaded: &Verdict| {
            Secrets::Poll.requeue_after(cache, checked, downloaded)
        };
        let soon = poll(&asks, &no, &missing).unwrap().as_secs();
        assert!((30..=33).contains(&soon), "{soon}");
        assert_eq!(poll(&asks, &no, &there), poll(&asks, &no, &missing), "revoked after the download");
        assert_eq!(poll(&asks, &yes, &there), None);
        assert_eq!(poll(&cache(), &no, &missing), None, "no Secret is asked for");
        assert_eq!(Secrets::Watch.requeue_after(&asks, &no, &missing), None);
        let mut asleep = asks.clone();
        asleep.spec.suspend = true;
        assert_eq!(poll(&asleep, &no, &missing), None);
    }
}
