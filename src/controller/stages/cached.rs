//! Are the data there? What was recorded as complete stays so, whatever the Hub says.

use std::ops::ControlFlow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::input::{Fill, OnClaim, Stage};
use crate::{
    api::Cached,
    controller::{inputs::Inputs, plan::Plan},
    fetch::Report,
    hub::Commit,
    reason::{Reason, Topic, Verdict},
    units,
};

pub(super) fn stage(fill: &Fill<'_>) -> Stage<()> {
    let source = &fill.on.input.observation.cache.spec.source;
    match &fill.on.cached {
        Some(it) if it.inputs_hash == fill.inputs.hash() => {
            ControlFlow::Break(verified(it.clone().of(source), &fill.inputs))
        }
        _ => ControlFlow::Continue(()),
    }
}

/// What a Job reported as complete.
pub(super) fn record(on: &OnClaim<'_>, commit: &Commit, inputs: &Inputs, report: Report) -> Plan {
    let cached = Cached {
        commit: commit.to_string(),
        short_commit: commit.short().to_owned(),
        claim_name: on.claim.name_any(),
        claim_uid: inputs.claim_uid.clone(),
        volume_name: on.claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()),
        path: match &inputs.sub_path {
            Some(folder) => format!("{folder}/{}", report.path.unwrap_or_default()),
            None => report.path.unwrap_or_default(),
        },
        names: report.names,
        inputs_hash: inputs.hash().to_owned(),
        bytes: i64::try_from(report.bytes).ok(),
        verified_at: report.verified_at.map(Time),
        ..Cached::default()
    };
    verified(cached.of(&on.input.observation.cache.spec.source), inputs)
}

fn verified(cached: Cached, inputs: &Inputs) -> Plan {
    let size = cached.bytes.and_then(|bytes| u64::try_from(bytes).ok()).map(units::size).unwrap_or_default();
    let message = format!(
        "Commit {} of {} ({size}) is complete and verified on the claim {}.",
        cached.short_commit, inputs.repo.id, cached.claim_name
    );
    Plan::report(Verdict::yes(Topic::Downloaded, Reason::Verified, message), Some(cached))
}
