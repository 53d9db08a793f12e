//! What users need to know about each reason beyond its meaning: the reference is made of it. An exhaustive match, so
//! that no reason comes without.

use super::Reason;

/// The long form of a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guide {
    /// What leads to it: the Hub's answer, or what is so in the cluster.
    pub cause: &'static str,
    /// What to do; none where there is nothing to do.
    pub fix: Option<&'static str>,
}

const fn good(cause: &'static str) -> Guide {
    Guide { cause, fix: None }
}

const fn bad(cause: &'static str, fix: &'static str) -> Guide {
    Guide { cause, fix: Some(fix) }
}

impl Reason {
    /// Its long form.
    #[must_use]
    #[allow(clippy::too_many_lines, reason = "a table")]
    pub const fn guide(self) -> Guide {
        match self {
            Self::TokenValid => good(
                "The Hub answered as it does only to a valid token: with 200 to `whoami-v2`, with content of a private or gated repo, or with \
                 a statement about the account, such as 403 with the code `GatedRepo`.",
            ),
            Self::TokenUnconfirmed => good(
                "The repo is open to everybody, and the endpoint does not offer `whoami-v2`, as some mirrors do not. The download does \
                 not depend on it: Ready can be True.",
            ),
            Self::Anonymous => good("The spec names no Secret, and the Hub answered without a token."),
            Self::SecretNotFound => bad(
                "The namespace of the ModelCache has no Secret with the name in `spec.tokenSecretRef.name`. On the command line: the \
                 token file does not exist or cannot be read. The Hub is not asked.",
                "Create the Secret: `kubectl create secret generic NAME -n NAMESPACE --from-file=token=FILE`.",
            ),
            Self::SecretKeyNotFound => bad(
                "The Secret exists, but it has no key with the name in `spec.tokenSecretRef.key` (default: `token`). The message lists \
                 the keys that it has if the Secret has the label `modelcache.internal/token: \"true\"`. The Hub is not asked.",
                "Store the token under that key, or name the right key in the spec. `kubectl describe secret NAME -n NAMESPACE` lists \
                 the keys.",
            ),
            Self::TokenMalformed => bad(
                "The value is empty, or it has white space or control characters inside. White space around the token is cut off. The \
                 Hub is not asked.",
                "Store the token alone, as the Hub showed it. A common mistake is a token that was encoded in base64 twice.",
            ),
            Self::TokenInvalid => bad(
                "A 401 whose words speak of the token, such as `Invalid credentials in Authorization header`, `User Access Token \"…\" is \
                 expired` or `OAuth token signature verification failed`; or a 401 that `whoami-v2` confirms. For a public repo the Hub \
                 may ignore a bad token, and for a gated one it answers as to nobody; `whoami-v2` then shows that it is bad.",
                "Make a new token on the Hub's page for access tokens, and replace the one in the Secret. If the message says that the \
                 value looks like something else than a token, such as one in quotation marks, store the token alone.",
            ),
            Self::AccessGranted => good(
                "The Hub gave the smallest of the wanted files, or the first byte of it; `README.md` and `LICENSE` do not count.",
            ),
            Self::TokenRequired => bad(
                "401 to a request without a token. With the code `GatedRepo` the repo is gated; without a code it is private or \
                 does not exist.",
                "For a gated repo, accept its terms on its page. Put a token of an account that may read the repo into a Secret, and name \
                 that Secret in `spec.tokenSecretRef`. If `spec.source.repo` or `spec.source.type` is wrong, delete the ModelCache and make \
                 it again: neither can be changed.",
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
                "403 with the code `GatedRepo`: the request has been rejected. The Hub ignores a second request.",
                "Contact the authors, or use a token of another account.",
            ),
            Self::TokenLacksPermission => bad(
                "403 that mentions a fine-grained token, or a token that an organization has revoked or has yet to approve.",
                "For a token that waits for approval, ask an administrator of the organization. Else edit the token. For gated repos \
                 enable “Read access to contents of all public gated repos you can access”; for a private repo give the token access \
                 to it. Or use another token of the account.",
            ),
            Self::RepoNotFoundOrPrivate => bad(
                "404 with the code `RepoNotFound` to a good token. The Hub gives the same answer for a repo that does not exist and for \
                 one that the account may not see.",
                "Check `spec.source.repo` and `spec.source.type` for a typing error. Neither can be changed: delete the ModelCache and make \
                 it again. Open the repo's page with the account of the token.",
            ),
            Self::RepoDisabled => bad(
                "403 `Access to this resource is disabled.`, or `disabled: true` in the Hub's metadata of the repo, whether it is gated or not.",
                "Read the repo's page. Only its authors and the Hub can change this.",
            ),
            Self::EndpointNotAllowed => bad(
                "`spec.source.endpoint` is not one of the operator's endpoints. No request is made: a token goes only to addresses that \
                 the operator's owner has listed.",
                "Use one of the endpoints in the message, or ask the operator's owner to add this one.",
            ),
            Self::AccessDenied => bad(
                "Any other 401 or 403. The message has the words of the answer, without query strings and tokens. An answer without \
                 words may come from a proxy. Words that name a region or an address are about where the request comes from: no token \
                 changes that.",
                "Follow the Hub's words. Open the repo's page with the account of the token.",
            ),
            Self::Resolved => {
                good("The revision stands for a commit, and the commit has files that the patterns select.")
            }
            Self::RevisionNotFound => bad(
                "404 with the code `RevisionNotFound`.",
                "Correct `spec.source.revision`. The repo's page lists its branches and tags.",
            ),
            Self::NoMatchingFiles => bad(
                "Every file of the commit either does not match `include` or matches `exclude`. The message names some of the files.",
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
                "A pattern cannot be parsed, or no file can ever match it. The Hub is not asked.",
                "Correct the pattern; the message says what is wrong with it.",
            ),
            Self::UnsafeFileName => bad(
                "A wanted file of the repo has a path that would leave its folder, has control characters or a backslash, or is too \
                 long for file systems.",
                "Leave the file out with `spec.source.exclude`: the message has the pattern. Or ask the repo's authors to rename it.",
            ),
            Self::HubUnreachable => bad(
                "No answer: the name does not resolve, the connection is refused, TLS fails, a proxy refuses, the request times out, or \
                 the answer is a 5xx. The message says which.",
                "Nothing at first. If it stays, check what the message names: DNS, firewall, certificates or proxy.",
            ),
            Self::InvalidResponse => bad(
                "The answer is not the Hub's protocol, such as a login page; or the listing of the repo has more files than can be \
                 handled, ends early, or lists a path twice. The message says which. Other ModelCaches of the endpoint are not \
                 affected.",
                "Nothing at first. If it stays for one repo, ask its authors to split it, or use another one. If it stays for all, \
                 check whether the endpoint is the address of the Hub or a full mirror of it, and what proxies put in its place.",
            ),
            Self::RateLimited => bad(
                "429. The pause is the one that the Hub asks for, in `RateLimit` or `Retry-After`.",
                "Nothing. A token raises the limit, and so does a paid plan.",
            ),
            Self::NotChecked => bad(
                "An earlier condition is not True, or the ModelCache is suspended. On Ready: no operator has checked it, because \
                 none runs, or none watches this namespace.",
                "Find the first condition that is not True, and fix that one. If there is none but Ready, see whether the operator \
                 runs (`kubectl get pods -A -l app.kubernetes.io/name=modelcache`), and have the namespace added to its \
                 `namespaces`.",
            ),
            Self::Verified => {
                good("The download Job reported that every file is in place and has the right hash.")
            }
            Self::ClaimNotFound => bad(
                "`spec.storage.existingClaim` names a claim that does not exist in the namespace.",
                "Create the claim. Or make another ModelCache without `existingClaim`: the field cannot be changed.",
            ),
            Self::ClaimPending => bad(
                "The claim has no volume yet, or the API server refused to create the claim, for example because of a quota. The message \
                 has the words of the provisioner, the scheduler or the API server, if there are any. The ModelCache is `Stalled` at \
                 once if the class is missing, if there is no default class, if the driver does not support what the claim asks for, or if \
                 the API server refuses the claim for a cause that does not pass (a quota that others use up may pass).",
                "Follow the message; `kubectl describe pvc NAME -n NAMESPACE` has all events of the claim. Class and access modes of a \
                 claim cannot be set later: make the class, or delete the claim and make it again. For a quota, raise it or set a \
                 smaller `spec.storage.claim.size`.",
            ),
            Self::ClaimConflict => bad(
                "A claim with the name of the ModelCache exists, but it was not made for it. The operator does not touch it.",
                "Use it with `spec.storage.existingClaim` in a ModelCache of another name. Delete it only if nobody needs its data.",
            ),
            Self::ClaimInUse => bad(
                "A pod that is none of ours mounts the claim of `spec.storage.existingClaim` writable, so that the volume may hold other \
                 data. Or the claim has the annotation `modelcache.internal/allow-writes` with another value than `true`.",
                "If the volume is meant for models, allow it: `kubectl annotate pvc CLAIM -n NAMESPACE --overwrite \
                 modelcache.internal/allow-writes=true`. Otherwise use another claim. Pods that only read mount it with `readOnly: \
                 true`.",
            ),
            Self::ClaimTerminating => bad(
                "The claim is being deleted, and something still uses it.",
                "End the pods that use it: `kubectl describe pvc NAME -n NAMESPACE` lists them. The operator makes its own claim again \
                 afterwards.",
            ),
            Self::ClaimLost => bad(
                "The claim's phase is `Lost`: its volume is gone.",
                "Delete the claim. The operator makes it again and downloads the files; a claim of yours you make again yourself.",
            ),
            Self::VolumeFull => bad(
                "The claim is smaller than the files, or the download found too little free space. A claim that the operator sized has \
                 room for one commit, not for two that differ much.",
                "Grow the claim (`kubectl edit pvc NAME -n NAMESPACE`, if its class allows it), choose fewer files with \
                 `spec.source.include`, or remove old commits with `modelcache prune`.",
            ),
            Self::VolumeNotWritable => bad(
                "The download cannot write to the volume. The message has the owner and the mode of the folder, and the user and group \
                 of the Job, or what its file system cannot do. A claim with `volumeMode: Block`, or with the access mode ReadOnlyMany \
                 alone, is refused before anything is made.",
                "Give the volume the group of the Job (`fsGroup`), set `spec.job.podSecurityContext`, or mount it writable. Where the \
                 file system lacks something, use another class. A claim keeps its modes: make another claim, and another ModelCache on \
                 it.",
            ),
            Self::VolumeUnsafe => bad(
                "Something else lies where the cache has a folder or a file of its own: a link, a FIFO, a device, or a file in place of \
                 the folder that `spec.storage.subPath` names. It is neither followed nor used, and nothing outside of the cache was \
                 changed. The message names it.",
                "Find out who writes to the volume besides the downloads. Remove what the message names; the next attempt makes it again. \
                 If it is not for you to remove, name another `spec.storage.subPath` (in a new ModelCache).",
            ),
            Self::NameNotSupported => bad(
                "The file system of the volume cannot hold the name of a file in the repo, such as `a:b` on exFAT, or takes two names \
                 for one, such as `Readme` and `README` where it has no letter case. The message names the file, or both.",
                "Leave the file out with `spec.source.exclude`, or use a volume with another file system.",
            ),
            Self::RefConflict => bad(
                "Another ModelCache on the same claim has the same ref of the same repo at another commit; the one whose data are \
                 there, or else the older one, keeps it. Or two refs cannot be files beside each other, such as `pr` and `pr/1`.",
                "Give both the same commit, write the ref in only one of them, or give this one another claim or `spec.storage.subPath` \
                 (in a new ModelCache: both fields cannot be changed).",
            ),
            Self::JobRejected => bad(
                "The API server refused the Job or its pod: a quota, a LimitRange, Pod Security, an admission policy, or a service account, \
                 priority class or runtime class that is missing. The message has its words. What may pass (a quota that others use up, a webhook that does not answer) gets 10 \
                 minutes (`Reconciling`); anything else is `Stalled` at once.",
                "Change what refuses it, or `spec.job`; what is missing may be made, too. It continues by itself.",
            ),
            Self::JobPending => bad(
                "The Job's pod is not running yet. It waits for a node, a volume, an image, or another Job on the same claim.",
                "Nothing at first. If it stays, the message has the words of the scheduler or the kubelet, such as `FailedMount`; `kubectl describe pod -n \
                 NAMESPACE` of the Job's pod has the rest. `ImagePullBackOff` means that the namespace needs \
                 `spec.job.imagePullSecrets`.",
            ),
            Self::Suspended => bad(
                "`spec.suspend` is true. It stands in `Ready` whatever was there before. Where the model is complete, `Ready` is True, \
                 and its message says that it is suspended.",
                "Set it to false.",
            ),
            Self::Downloading => {
                bad("The Job's pod is running.", "Nothing: `status.progress` has the progress.")
            }
            Self::TransferStalled => bad(
                "No byte of a file arrived for 60 s (300 s for the first one; longer with the endpoint's `timeoutSeconds`), on several connections. Or the Job did not end within its deadline.",
                "Check the proxies and firewalls between the cluster and the Hub's storage hosts, and the health of the volume.",
            ),
            Self::HashMismatch => bad(
                "A file has another size, SHA-256 or git SHA-1 than the Hub lists, also when it is fetched again. Wrong bytes were \
                 thrown away.",
                "Check for a proxy, cache or mirror that changes or cuts content, and check the health of the volume.",
            ),
            Self::DownloadFailed => bad(
                "The Job ended in another way. The message has its last words.",
                "Read the message, and the log of the Job's pod: `kubectl logs -n NAMESPACE -l modelcache.internal/name=NAME`.",
            ),
            Self::Stopped => bad(
                "The Job's process received SIGTERM, or its pod is gone: a node was drained, or somebody deleted the Job or its pod.",
                "Nothing: the next attempt continues with the bytes that are there.",
            ),
            Self::OutOfMemory => {
                bad("The kubelet reports `OOMKilled`.", "Raise `spec.job.resources.limits.memory`.")
            }
            Self::Evicted => bad(
                "The kubelet evicted the pod.",
                "Check the disk and the memory of the node. `spec.job.nodeSelector` chooses other nodes.",
            ),
            Self::InvalidSpec => bad(
                "A stored value is one that this version of the operator does not know. That happens when a newer version was installed \
                 and an older one came back. The message names the field. The Hub is not asked, nothing is made or deleted, \
                 and all other ModelCaches are served. Pods that wait for this one go on waiting.",
                "Install the newer version again, or change the field to a value that this version knows.",
            ),
            Self::Ready => good("`Downloaded` is True for the current spec."),
            Self::Available => good(
                "What was last recorded as complete is on the claim that the spec names. It stays True while another revision or further \
                 files are on their way, and pods start with what is there.",
            ),
            Self::NoSnapshot => bad(
                "Nothing was completed yet, or the claim is gone or another one than the snapshot was on.",
                "See `Ready`, which says what keeps the model from the volume.",
            ),
            Self::NewCommit => good(
                "The branch or tag stands for another commit than the one on the volume. The volume stays as it is. To move on, set \
                 `spec.source.revision` to the new commit **and** put the branch into `spec.source.aliases`: without the alias, \
                 no newer commit is reported, and programs that load from a branch other than `main` keep reading the old one. The guide \
                 [Moving to a newer commit](../guides/updating.md) has the commands.",
            ),
        }
    }
}
