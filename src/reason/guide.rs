//! What a person needs to know of each reason beyond its meaning: the reference is made of it. An exhaustive match, so
//! that no reason comes without.

use super::Reason;

/// The long form of a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guide {
    /// By what it is told: the Hub's answer, or what is seen in the cluster.
    pub seen: &'static str,
    /// What to do; none where there is nothing to do.
    pub action: Option<&'static str>,
}

const fn good(seen: &'static str) -> Guide {
    Guide { seen, action: None }
}

const fn bad(seen: &'static str, action: &'static str) -> Guide {
    Guide { seen, action: Some(action) }
}

impl Reason {
    /// Its long form.
    #[must_use]
    #[allow(clippy::too_many_lines, reason = "a table")]
    pub const fn guide(self) -> Guide {
        match self {
            Self::TokenValid => good(
                "The Hub answered 200 to `whoami-v2`, or gave access to a repo that not everybody may read.",
            ),
            Self::Anonymous => good("The spec names no Secret, and the Hub answered without a token."),
            Self::SecretNotFound => bad(
                "The API server has no Secret of the name in `spec.tokenSecretRef.name` in the ModelCache's namespace; for the \
                 command line, the token file is not there or cannot be read. The Hub is not asked.",
                "Create the Secret: `kubectl create secret generic NAME --from-file=token=FILE`.",
            ),
            Self::SecretKeyNotFound => bad(
                "The Secret is there, without the key in `spec.tokenSecretRef.key` (`token` unless given). The message lists the \
                 keys that it has. The Hub is not asked.",
                "Put the token under that key, or name the key in the spec.",
            ),
            Self::TokenMalformed => bad(
                "The value is empty, or has white space or control characters inside; around the token they are cut off. The Hub is not \
                 asked.",
                "Store the token alone, as the Hub showed it. A common slip is a token that was encoded in base64 twice.",
            ),
            Self::TokenInvalid => bad(
                "401 `Invalid credentials in Authorization header`, 401 `User Access Token \"…\" is expired`, or a 401 that \
                 `whoami-v2` confirms. On a public repo the Hub may also ignore the token: `whoami-v2` then tells.",
                "Make a new token on the Hub's page for access tokens, and replace the one in the Secret.",
            ),
            Self::AccessGranted => good("The Hub answered 200 to `auth-check` for this repo."),
            Self::TokenRequired => bad(
                "401 to a request without a token: with the code `GatedRepo` the repo is gated, without a code it is private or \
                 missing.",
                "For a gated repo accept its terms on its page. Give a token of an account that may read the repo, in a Secret that \
                 `spec.tokenSecretRef` names.",
            ),
            Self::TermsNotAccepted => bad(
                "403 with the code `GatedRepo`: the account is not in the authorized list, or its access was reset.",
                "Open the repo's page with the account of the token, and agree to the terms.",
            ),
            Self::AccessPending => bad(
                "403 with the code `GatedRepo`: the request is awaiting a review.",
                "Wait for the repo's authors, or write to them on the repo's page.",
            ),
            Self::AccessRejected => bad(
                "403 with the code `GatedRepo`: the request has been rejected. The Hub ignores a second one.",
                "Talk to the authors, or use a token of another account.",
            ),
            Self::TokenLacksPermission => bad(
                "403 that speaks of a fine-grained token, or of a token that an organization has revoked.",
                "Edit the token: for gated repos enable “Read access to contents of all public gated repos you can access”; for \
                 private ones give it the repo. Or use another token of the account.",
            ),
            Self::RepoNotFoundOrPrivate => bad(
                "404 with the code `RepoNotFound` to a good token. The Hub does not tell a missing repo from one that the account may \
                 not see.",
                "Look for a typing error in `spec.source.repo` and `spec.source.type`; open the repo's page with the account of the token.",
            ),
            Self::RepoDisabled => bad(
                "403 `Access to this resource is disabled.`",
                "See the repo's page; only its authors and the Hub can change this.",
            ),
            Self::EndpointNotAllowed => bad(
                "`spec.source.endpoint` is not one of the operator's endpoints. No request is made: a token goes only to addresses that \
                 the operator's owner has named.",
                "Use one of the endpoints in the message, or have the operator's owner add it.",
            ),
            Self::AccessDenied => bad(
                "Any other 401 or 403. The message has the answer's own words, without addresses' queries and tokens; without words it \
                 may be a proxy's.",
                "Follow the Hub's words. Open the repo's page with the account of the token.",
            ),
            Self::Resolved => {
                good("The revision is a commit, and its listing has files that the patterns select.")
            }
            Self::RevisionNotFound => bad(
                "404 with the code `RevisionNotFound`.",
                "Correct `spec.source.revision`; branches and tags are on the repo's page.",
            ),
            Self::NoMatchingFiles => bad(
                "The listing has no file that `include` selects and `exclude` leaves. The message names some that it has.",
                "Correct the patterns.",
            ),
            Self::InvalidRepo => bad(
                "The name breaks the Hub's rules for names. The Hub is not asked.",
                "Write `organization/name` as on the repo's page.",
            ),
            Self::InvalidEndpoint => bad(
                "The address is not an `https://` or `http://` address of a host. The Hub is not asked.",
                "Write the address alone, such as `https://huggingface.co`.",
            ),
            Self::InvalidPattern => bad(
                "A pattern cannot be read, or is one that no file can match. The Hub is not asked.",
                "Correct the pattern; the message says what is wrong with it.",
            ),
            Self::UnsafeFileName => bad(
                "The listing has a path that would leave its folder, has control characters, or is too long for file systems.",
                "Leave the file out with `spec.source.exclude`, or ask the repo's authors to rename it.",
            ),
            Self::HubUnreachable => bad(
                "No usable answer: the name does not resolve, the connection is refused, TLS fails, a proxy refuses, the time runs out, a \
                 5xx, or a page that is not the Hub's. The message says which.",
                "It may pass by itself. The message names where to look if it does not: DNS, firewall, certificates, proxy.",
            ),
            Self::RateLimited => bad(
                "429. The pause is the one that the Hub asks for, in `RateLimit` or `Retry-After`.",
                "Nothing: it goes on by itself. A token raises the limit; so does a paid plan.",
            ),
            Self::NotChecked => bad(
                "An earlier condition is not True, or the resource is suspended.",
                "See the first condition that is not True.",
            ),
            Self::Verified => {
                good("The download Job reported that every file is in place and has the right hash.")
            }
            Self::ClaimNotFound => bad(
                "`spec.storage.existingClaim` names a claim that is not in the namespace.",
                "Make the claim, or leave `existingClaim` out to have one made.",
            ),
            Self::ClaimPending => bad(
                "The claim has no volume yet. The message has the events' words where there are any.",
                "Look at the storage class and the claim's events: `kubectl describe pvc NAME`.",
            ),
            Self::ClaimConflict => bad(
                "There is a claim of the ModelCache's name that was not made for it. It is never touched.",
                "Name it in `spec.storage.existingClaim` of a ModelCache with another name, or delete it.",
            ),
            Self::ClaimTerminating => bad(
                "The claim has a deletion time.",
                "End the pods that use it. It is made again once it is gone.",
            ),
            Self::ClaimLost => bad(
                "The claim's phase is `Lost`: its volume is gone.",
                "Delete the claim; the files are downloaded again.",
            ),
            Self::VolumeFull => bad(
                "The claim is smaller than the files, or the download found too little room.",
                "Grow the claim, or choose fewer files with `spec.source.include`.",
            ),
            Self::VolumeNotWritable => bad(
                "The download could not write. The message says owner, mode, and the user and group of the Job.",
                "Give the volume the group of the Job (`fsGroup`), set `spec.job.podSecurityContext`, or mount it writable.",
            ),
            Self::RefConflict => bad(
                "Another, older ModelCache holds the same ref of the same repo on the same claim at another commit.",
                "Give this one another claim or `spec.storage.subPath`, or both the same revision.",
            ),
            Self::JobRejected => bad(
                "The API server refused the Job or its pod: a quota, a LimitRange, Pod Security, an admission policy. The message has its words.",
                "Change what refuses it, or the resources and the security context in `spec.job`.",
            ),
            Self::JobPending => bad(
                "The Job's pod is not running yet: it waits for a node, an image, or another Job of the same claim.",
                "Nothing at first. The message has the scheduler's or the kubelet's words.",
            ),
            Self::Suspended => bad("`spec.suspend` is true.", "Set it to false."),
            Self::Downloading => {
                bad("The Job's pod is running.", "Nothing: `status.progress` says how far it is.")
            }
            Self::TransferStalled => bad(
                "No byte came for the whole time that is waited, and a new connection did not help.",
                "Look at proxies and firewalls between the cluster and the Hub's storage.",
            ),
            Self::HashMismatch => bad(
                "A file's SHA-256, or git's SHA-1, is not the one in the listing, twice. The bytes were thrown away.",
                "Look for a proxy or cache that changes content, and at the volume's health.",
            ),
            Self::DownloadFailed => bad(
                "The Job ended in another way. The message has its last words.",
                "Read the message, and the log of the Job's pod.",
            ),
            Self::Stopped => bad(
                "The Job's process got SIGTERM: a node was drained, or the Job was deleted.",
                "Nothing: it goes on from the bytes that are there.",
            ),
            Self::OutOfMemory => {
                bad("The kubelet reports `OOMKilled`.", "Raise `spec.job.resources.limits.memory`.")
            }
            Self::Evicted => bad(
                "The kubelet reports that it evicted the pod.",
                "Look at the node's disk and memory; `spec.job.nodeSelector` chooses others.",
            ),
            Self::Ready => good("`Downloaded` is True for the spec as it is now."),
            Self::NewCommit => good(
                "The branch or tag is at another commit than the one on the volume, which stays as it is. Set \
                 `spec.source.revision` to the new commit to move on.",
            ),
        }
    }
}
