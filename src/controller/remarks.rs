//! What users should know about a model that is Ready: the end of that condition's message. Pure.

use super::{access::AccessReport, plan::Applied};
use crate::{
    api::{ModelCache, Resolved},
    reason::{Remedy, Verdict},
};

/// All of it, each sentence with a space before it; nothing where all is well.
#[must_use]
pub fn all(
    cache: &ModelCache,
    checked: &AccessReport,
    applied: &Applied,
    resolved: Option<&Resolved>,
    update: Option<&Verdict>,
) -> String {
    let own_name = resolved.and_then(|resolved| own_name(cache, applied, &resolved.repo));
    let suspended = cache.spec.suspend.then(|| {
        "It is suspended: while spec.suspend is true, the Hub is not asked for anything newer.".to_owned()
    });
    let update = update.map(|update| update.message.clone());
    let remarks = own_name.into_iter().chain(suspended).chain(refused(checked)).chain(update);
    remarks.fold(String::new(), |all, remark| all + " " + &remark)
}

/// The Hub's own name, where programs that have it from there ask for another than the spec does.
fn own_name(cache: &ModelCache, applied: &Applied, own: &str) -> Option<String> {
    let asked = &cache.spec.source.repo;
    if own.is_empty() || own == asked {
        return None;
    }
    let both = applied.current().is_some_and(|snapshot| snapshot.names.iter().any(|name| name == own));
    Some(if both {
        format!("The Hub calls the repo {own}: programs find it under both names.")
    } else {
        format!("The Hub calls the repo {own}, but programs find this only as {asked}.")
    })
}

/// What blocks the next commit until the user acts. An outage is no remark: it passes.
fn refused(checked: &AccessReport) -> Option<String> {
    let unmet = checked.first_unmet().filter(|verdict| verdict.reason.remedy() == Remedy::UserAction)?;
    Some(format!("But {} is {}: {}", unmet.topic.as_str(), unmet.reason, unmet.message))
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::{
        api::condition,
        controller::{
            fixtures::{COMMIT, at, bound, cache, downloaded, ended, next_job, reconciled, refused, report},
            observation::Observation,
        },
        reason::{ConditionType, Reason},
    };

    const DONE: &str = "Commit 0123456 of acme/tiny (100 MiB) is complete and verified on the claim tiny.";

    /// The end of the message of Ready, after the next reconcile.
    fn end(seen: &Observation, checked: &AccessReport) -> String {
        let cache = reconciled(seen.clone(), checked, at(20)).cache;
        let ready = condition::verdict(cache.conditions(), ConditionType::Ready).unwrap();
        assert_eq!(ready.reason, Reason::Ready);
        ready.message.strip_prefix(DONE).unwrap().to_owned()
    }

    #[test]
    fn where_all_is_well_nothing_is_added() {
        let (seen, checked) = downloaded();
        assert_eq!(end(&seen, &checked), "");
        assert_eq!(end(&seen, &refused(&seen.cache, Reason::HubUnreachable)), "", "an outage passes");
    }

    #[test]
    fn a_dead_token_an_update_and_a_pause_are_told() {
        let (mut seen, mut checked) = downloaded();
        checked.snapshot.as_mut().unwrap().latest = Some("89".repeat(20).parse().unwrap());
        let update = format!(
            " main is now at commit {}; this cache stays at {}. Set spec.source.revision to the new commit to move \
             on, with the branch among spec.source.aliases.",
            "89".repeat(20),
            &COMMIT[..7]
        );
        assert_eq!(end(&seen, &checked), update);
        checked.authenticated =
            Verdict::no(ConditionType::Authenticated, Reason::TokenInvalid, "The Hub rejects this token.");
        let dead = " But Authenticated is TokenInvalid: The Hub rejects this token.";
        assert_eq!(end(&seen, &checked), format!("{dead}{update}"));
        checked = refused(&seen.cache, Reason::AccessDenied);
        std::sync::Arc::make_mut(&mut seen.cache).spec.suspend = true;
        let paused = " It is suspended: while spec.suspend is true, the Hub is not asked for anything newer. But Authorized is AccessDenied: No.";
        assert_eq!(end(&seen, &checked), paused);
    }

    #[test]
    fn the_hubs_own_name_is_told_and_whether_programs_find_it() {
        let (mut seen, mut checked) = bound(cache());
        checked.snapshot.as_mut().unwrap().repo = Some("Acme/Tiny".parse().unwrap());
        let job = next_job(&seen, &checked, at(0));
        let names = report("Verified").replace(r#""files""#, r#""names":["Acme/Tiny"],"files""#);
        for (report, reported) in [
            (names, " The Hub calls the repo Acme/Tiny: programs find it under both names."),
            (
                report("Verified"),
                " The Hub calls the repo Acme/Tiny, but programs find this only as acme/tiny.",
            ),
        ] {
            seen.attempts = vec![ended(job.clone(), "Complete", Some(&report), at(10))];
            assert_eq!(end(&seen, &checked), reported);
            let status = reconciled(seen.clone(), &checked, at(20)).cache.status.clone().unwrap();
            assert_eq!(status.resolved.unwrap().repo, "Acme/Tiny");
        }
        // It stays in the message while the Hub does not answer.
        let after = reconciled(seen, &checked, at(20));
        let reported = end(&after, &refused(&after.cache, Reason::HubUnreachable));
        assert!(reported.contains("Acme/Tiny"), "{reported}");
    }
}
