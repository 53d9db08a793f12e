//! Why a fill is blocked, and the sentence for it: cause first, then the remedy. Pure.

use std::fmt;

use crate::{
    api,
    reason::{ConditionType, Reason},
    units,
};

/// Why a fill is blocked, with all that its sentence names.
#[derive(Clone, Debug, PartialEq)]
pub enum Blocked<'a> {
    /// The claim that the spec names does not exist.
    ClaimNotFound { claim: &'a str },
    /// The claim is being deleted.
    ClaimTerminating { claim: &'a str, namespace: &'a str },
    /// A claim of this name was not made for this ModelCache.
    ClaimConflict { claim: &'a str, namespace: &'a str },
    /// The claim has lost its volume; `own` is whether the operator makes the next one.
    ClaimLost { claim: &'a str, namespace: &'a str, own: bool },
    /// The claim is created by this plan, with this many bytes.
    ClaimCreated { claim: &'a str, size: u64 },
    /// The claim is smaller than the files; `grow` is what to do about it.
    ClaimTooSmall { claim: &'a str, size: u64, wanted: u64, grow: Grow },
    /// Pods of others, or the owner of the claim, keep ModelCaches from it.
    ClaimInUse { claim: &'a str, namespace: &'a str, writer: Option<&'a str> },
    /// The volume cannot hold a cache, in the words of the room that knows volumes.
    VolumeUnusable(String),
    /// The spec asks for a pause.
    Suspended,
    /// An earlier condition has to be True first.
    NotChecked { waits_for: ConditionType },
    /// Another Job is at work on the claim.
    ClaimBusy { job: &'a str, only_reads: bool },
    /// Another ModelCache has the ref at another commit.
    RefConflict { other: &'a str, holds: bool, name: &'a str, commit: &'a str, is_alias: bool },
    /// The Job that downloads is created by this plan.
    JobCreated { job: &'a str },
    /// The Job that inspects the claim is created by this plan.
    InspectionCreated { job: &'a str },
    /// A Job inspects the claim.
    Inspecting { job: &'a str, claim: &'a str },
    /// A Job makes the refs name a snapshot that is on the claim.
    UpdatingRefs { job: &'a str, claim: &'a str, commit: &'a str },
    /// A snapshot is complete, and not all refs name it yet.
    RefsPending { commit: &'a str },
    /// A Job downloads; `of` is how many files and bytes, where that is known.
    Downloading { job: &'a str, of: Option<(u64, u64)>, claim: &'a str },
}

/// How a claim gets larger.
#[derive(Clone, Debug, PartialEq)]
pub enum Grow {
    /// It does not exist yet: the spec says its size.
    Spec,
    /// It exists: by this command or advice.
    Claim(String),
}

impl Blocked<'_> {
    /// The reason code.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::ClaimNotFound { .. } => Reason::ClaimNotFound,
            Self::ClaimTerminating { .. } => Reason::ClaimTerminating,
            Self::ClaimConflict { .. } => Reason::ClaimConflict,
            Self::ClaimLost { .. } => Reason::ClaimLost,
            Self::ClaimCreated { .. } => Reason::ClaimPending,
            Self::ClaimTooSmall { .. } => Reason::VolumeFull,
            Self::ClaimInUse { .. } => Reason::ClaimInUse,
            Self::VolumeUnusable(_) => Reason::VolumeNotWritable,
            Self::Suspended => Reason::Suspended,
            Self::NotChecked { .. } => Reason::NotChecked,
            Self::ClaimBusy { .. }
            | Self::JobCreated { .. }
            | Self::InspectionCreated { .. }
            | Self::Inspecting { .. }
            | Self::UpdatingRefs { .. }
            | Self::RefsPending { .. } => Reason::JobPending,
            Self::RefConflict { .. } => Reason::RefConflict,
            Self::Downloading { .. } => Reason::Downloading,
        }
    }
}

impl fmt::Display for Blocked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClaimNotFound { claim } => write!(
                f,
                "There is no claim {claim} in this namespace. Make it, and the cache continues by itself. Or make another \
                 ModelCache: spec.storage.existingClaim cannot be changed."
            ),
            Self::ClaimTerminating { claim, namespace } => write!(
                f,
                "The claim {claim} is being deleted. If pods still use it, end them: kubectl describe pvc {claim} -n \
                 {namespace} lists them."
            ),
            Self::ClaimConflict { claim, namespace } => write!(
                f,
                "A claim {claim} exists that was not made for this ModelCache. It is left alone. Use it with \
                 spec.storage.existingClaim in a ModelCache of another name. Delete it only if nobody needs its data: kubectl delete pvc {claim} -n {namespace}"
            ),
            Self::ClaimLost { claim, namespace, own } => write!(
                f,
                "The claim {claim} has lost its volume. Delete the claim (kubectl delete pvc {claim} -n {namespace}){}; the data are \
                 downloaded again.",
                if *own { "" } else { " and make it again" }
            ),
            Self::ClaimCreated { claim, size } => {
                write!(f, "The claim {claim} of {} is being made.", units::size(*size))
            }
            Self::ClaimTooSmall { claim, size, wanted, grow } => {
                let (size, wanted) = (units::size(*size), units::size(*wanted));
                write!(f, "The claim {claim} of {size} is too small: the files take {wanted}. ")?;
                match grow {
                    Grow::Spec => f.write_str("Raise spec.storage.claim.size."),
                    Grow::Claim(how) => {
                        write!(f, "Grow it ({how}), or choose fewer files with spec.source.include.")
                    }
                }
            }
            Self::ClaimInUse { claim, namespace, writer } => {
                let allow = api::ANNOTATION_ALLOW_WRITES;
                match writer {
                    Some(pod) => write!(
                        f,
                        "The pod {pod} writes to the claim {claim}, and nobody has allowed the operator to write there, too."
                    ),
                    None => {
                        write!(f, "The annotation {allow} of the claim {claim} keeps ModelCaches from it.")
                    }
                }?;
                write!(
                    f,
                    " If the volume is meant for models, allow it: kubectl annotate pvc {claim} -n {namespace} --overwrite {allow}=true"
                )
            }
            Self::VolumeUnusable(why) => f.write_str(why),
            Self::Suspended => {
                f.write_str("Suspended: no claim or Job is created while spec.suspend is true.")
            }
            Self::NotChecked { waits_for } => write!(f, "Waits for {} to be True.", waits_for.as_str()),
            Self::ClaimBusy { job, only_reads } => {
                let does = if *only_reads { "uses" } else { "fills" };
                write!(f, "The Job {job} {does} the same claim; this one comes next.")
            }
            Self::RefConflict { other, holds, name, commit, is_alias } => {
                let state = if *holds { "holds" } else { "is older and about to write" };
                write!(
                    f,
                    "The ModelCache {other} {state} the ref {name} of this repo on this claim at commit {commit}. "
                )?;
                if *is_alias {
                    write!(f, "Take {name} out of spec.source.aliases")
                } else {
                    f.write_str("Give this one the same revision")
                }?;
                f.write_str(
                    ", or make another ModelCache with another claim or spec.storage.subPath: neither can be changed.",
                )
            }
            Self::JobCreated { job } => write!(f, "The Job {job} is being made."),
            Self::InspectionCreated { job } => {
                write!(f, "The Job {job} is being made, to inspect the claim.")
            }
            Self::Inspecting { job, claim } => {
                write!(f, "The Job {job} inspects what is on the claim {claim} from before.")
            }
            Self::UpdatingRefs { job, claim, commit } => {
                write!(f, "The Job {job} makes commit {commit} on the claim {claim} the current one.")
            }
            Self::RefsPending { commit } => {
                write!(f, "Commit {commit} is complete and verified; its refs are updated next.")
            }
            Self::Downloading { job, of, claim } => {
                write!(f, "The Job {job} downloads")?;
                if let Some((files, bytes)) = of {
                    write!(f, " {files} files, {},", units::size(*bytes))?;
                }
                write!(f, " to the claim {claim}.")
            }
        }
    }
}
