//! The stages in random histories of cluster, Hub and clock. After every event the operator reconciles until nothing changes, and
//! what must always be so is checked. `MODELCACHE_TEST_SEED` plays a history again.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::{api::core::v1::PersistentVolumeClaim, apimachinery::pkg::apis::meta::v1::Time};
use kube::ResourceExt;

use crate::{
    api::{self, CachedSnapshot, Kept, ModelCacheStatus, condition},
    chance::chance,
    controller::{
        access::AccessReport,
        attempt::{Attempt, AttemptState, is_active},
        claim,
        fixtures::{COMMIT, at, bound_claim, cache, ended, granted, refused, report, running, seen},
        observation::Observation,
        plan::{Action, Plan},
        planner,
        stages::input::Input,
        status,
    },
    hub::Commit,
    reason::{ConditionType, Reason},
};

const HISTORIES: usize = 100;
const EVENTS: usize = 60;
/// Reconciles after which an unchanged world must be at rest.
const AT_REST: usize = 4;
const OTHER: &str = "89abcdef0123456789abcdef0123456789abcdef";

struct World {
    observation: Observation,
    access: AccessReport,
    now: i64,
    claims: u32,
    history: Vec<String>,
}

impl World {
    fn new() -> Self {
        let observation = seen(cache());
        let access = granted(&observation.cache);
        Self { observation, access, now: 0, claims: 0, history: Vec::new() }
    }

    fn status(&self) -> ModelCacheStatus {
        self.observation.cache.status.clone().unwrap_or_default()
    }

    fn claim_uid(&self) -> Option<String> {
        self.observation.claim.as_ref()?.metadata.uid.clone()
    }

    fn holds(&self, topic: ConditionType) -> bool {
        condition::holds(self.observation.cache.conditions(), topic)
    }

    fn plan(&self) -> Plan {
        let Self { observation, access, .. } = self;
        planner::plan(&Input { observation, access, image: "image", now: at(self.now) })
    }

    /// What the Hub says of the spec as it is now.
    fn hub(&mut self, refusal: Option<Reason>) {
        let cache = &self.observation.cache;
        self.access = refusal.map_or_else(|| granted(cache), |reason| refused(cache, reason));
        if ["v2", OTHER].contains(&cache.spec.source.revision.as_str())
            && let Some(snapshot) = &mut self.access.snapshot
        {
            snapshot.commit = OTHER.parse().unwrap();
        }
    }

    fn change_spec(&mut self, change: impl FnOnce(&mut api::ModelCacheSpec)) {
        let cache = Arc::make_mut(&mut self.observation.cache);
        change(&mut cache.spec);
        cache.metadata.generation = cache.metadata.generation.map(|generation| generation + 1);
    }

    fn last(&mut self, change: impl FnOnce(Attempt) -> Attempt) {
        if let Some(last) = self.observation.attempts.pop() {
            let last = if is_active(&last.job) { change(last) } else { last };
            self.observation.attempts.push(last);
        }
    }

    /// The Job ends with a report on what it was created for.
    fn ends(&mut self, reason: &str) {
        let now = at(self.now);
        self.last(|last| {
            let pod = last.job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
            let arguments = pod.containers[0].args.clone().unwrap();
            let revision = arguments.iter().find_map(|it| it.strip_prefix("--revision=")).unwrap();
            let commit = if revision.parse::<Commit>().is_ok() { revision } else { OTHER };
            let text = report(reason)
                .replace(COMMIT, commit)
                .replace(&format!(r#""revision":"{commit}""#), &format!(r#""revision":"{revision}""#));
            ended(last.job, if reason == "Verified" { "Complete" } else { "Failed" }, Some(&text), now)
        });
    }

    fn event(&mut self, chance: &mut fastrand::Rng) {
        let event = chance.u8(..17);
        self.history.push(format!("{}s: {event}", self.now));
        match event {
            0 => self.hub(None),
            1 => self.hub(Some(Reason::HubUnreachable)),
            2 => self.hub(Some(*chance.choice(&[Reason::TermsNotAccepted, Reason::RateLimited]).unwrap())),
            3 | 4 => self.now += chance.i64(1..4000),
            5 | 6 => self.last(|last| running(last.job)),
            7 | 8 => self.ends("Verified"),
            9 => {
                self.ends(chance.choice(&["HashMismatch", "VolumeFull", "TokenInvalid", "Stopped"]).unwrap());
            }
            10 => {
                let revision = if chance.bool() { "main" } else { "v2" };
                self.change_spec(|spec| spec.source.revision = revision.to_owned());
                self.hub(None);
            }
            11 => self.change_spec(|spec| spec.suspend = !spec.suspend),
            12 => self.change_spec(|spec| spec.source.include = vec![format!("*.{}", chance.u8(..3))]),
            13 => self.change_spec(|spec| {
                spec.source.aliases = if chance.bool() { vec!["stable".to_owned()] } else { Vec::new() };
            }),
            14 => {
                let commit = if chance.bool() { COMMIT } else { OTHER };
                self.change_spec(|spec| spec.source.revision = commit.to_owned());
            }
            15 => self.ends("HubUnreachable"),
            _ => {
                // The claim is deleted, or deleted and made by hand.
                self.observation.claim = None;
                self.observation.attempts.clear();
            }
        }
        // The spec may have changed what the Hub is asked.
        if self.access.wanted.is_some() && event >= 10 {
            let refusal = self.access.first_unmet().map(|verdict| verdict.reason);
            self.hub(refusal);
        }
    }

    /// Applies a plan. An operator that dies on the way does some of the actions and writes no status.
    fn apply(&mut self, plan: Plan, dies_after: Option<usize>) {
        for action in plan.actions.iter().take(dies_after.unwrap_or(usize::MAX)) {
            self.act(action);
        }
        if dies_after.is_none() {
            let applied = plan.applied(None);
            let cache = Arc::make_mut(&mut self.observation.cache);
            cache.status = Some(status::build_status(cache, &self.access, &applied, at(self.now)));
        }
    }

    fn act(&mut self, action: &Action) {
        let history = &self.history;
        match action {
            Action::CreateClaim(made) => {
                assert_eq!(self.observation.claim, None, "a claim is created once: {history:?}");
                self.claims += 1;
                let mut claim: PersistentVolumeClaim = bound_claim(&self.observation.cache);
                assert_eq!(claim.name_any(), made.name_any());
                claim.metadata.uid = Some(format!("claim-{}", self.claims));
                claim.metadata.creation_timestamp = Some(Time(at(self.now + 1)));
                self.observation.claim = Some(claim);
            }
            Action::CreateJob(job) => {
                let name = job.name_any();
                let active = self.observation.attempts.iter().filter(|it| is_active(&it.job)).count();
                assert_eq!(active, 0, "one Job at a time: {history:?}");
                let taken = self.observation.attempts.iter().any(|it| it.job.name_any() == name);
                assert!(!taken, "there is a Job {name}: {history:?}");
                let mut job = (**job).clone();
                job.metadata.uid = Some(format!("{name}-uid"));
                job.metadata.creation_timestamp = Some(Time(at(self.now)));
                self.observation.attempts.push(Attempt { job, pod: None, said: None });
            }
            Action::DeleteJob(job) => {
                self.observation.attempts.retain(|attempt| attempt.obsolete() != *job);
            }
        }
    }

    fn check(&self) {
        let history = &self.history;
        let (ready, available) = (self.holds(ConditionType::Ready), self.holds(ConditionType::Available));
        assert!(available || !ready, "Ready is Available: {history:?}");
        let is = |topic| condition::find(self.observation.cache.conditions(), topic).is_some();
        assert_eq!(
            u8::from(is(ConditionType::Stalled)) + u8::from(is(ConditionType::Reconciling)),
            u8::from(!ready),
            "{history:?}"
        );
        let snapshots = self.status().snapshots;
        assert_eq!(available, self.status().current().is_some(), "{history:?}");
        let here = |snapshot: &CachedSnapshot| Some(&snapshot.claim_uid) == self.claim_uid().as_ref();
        assert!(snapshots.iter().all(here), "{history:?}");
        let kept: Vec<_> = snapshots.iter().map(|snapshot| snapshot.kept).collect();
        assert!(kept.iter().skip(1).all(|kept| *kept == Kept::Previous), "{history:?}");
        let refs = snapshots.iter().flat_map(|snapshot| &snapshot.refs);
        let distinct: BTreeSet<_> = refs.clone().collect();
        assert_eq!(distinct.len(), refs.count(), "a ref names one snapshot: {history:?}");
    }
}

#[test]
fn whatever_happens_one_job_is_at_work_and_what_is_there_stays() {
    let mut chance = chance("histories");
    let (mut ready, mut finished) = (0, 0);
    for _ in 0..HISTORIES {
        let mut world = World::new();
        for _ in 0..EVENTS {
            let before = (world.holds(ConditionType::Ready), world.status(), world.claim_uid());
            world.event(&mut chance);
            let spec_is_known = before.1.observed_generation == world.observation.cache.metadata.generation;
            if chance.u8(..10) == 0 {
                let plan = world.plan();
                let actions = plan.actions.len();
                world.apply(plan, Some(chance.usize(..=actions)));
            }
            let mut rested = false;
            for _ in 0..AT_REST {
                let plan = world.plan();
                let status = world.status();
                let acts = !plan.actions.is_empty();
                world.apply(plan, None);
                world.check();
                rested = !acts && world.status() == status;
                if rested {
                    break;
                }
            }
            assert!(rested, "it does not come to rest: {:?}", world.history);
            let is_there = world.claim_uid() == before.2;
            let lost = before.0 && spec_is_known && is_there && !world.holds(ConditionType::Ready);
            assert!(!lost, "neither Hub nor time take Ready away: {:?}", world.history);
            ready += usize::from(world.holds(ConditionType::Ready));
            finished += world
                .observation
                .attempts
                .iter()
                .filter(|attempt| matches!(attempt.state(), AttemptState::Succeeded(_)))
                .count();
        }
        let claim = world.observation.claim.as_ref();
        assert!(claim.is_none_or(|claim| claim::is_ours(claim, &world.observation.cache)));
    }
    assert!(ready > HISTORIES && finished > HISTORIES, "histories get somewhere: {ready} {finished}");
}
