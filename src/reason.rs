//! The vocabulary: one word for each cause, the same in conditions, events, metrics, reports and exit codes.
//!
//! Knows neither the Hub nor Kubernetes; every room maps its errors onto these words.

use std::fmt;

use serde::{Deserialize, Serialize};

mod guide;

pub use guide::Guide;

/// The question that a reason answers; the condition `type` on the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConditionType {
    /// Is the token one that the Hub knows?
    Authenticated,
    /// May the token's account read this repo?
    Authorized,
    /// Is there such a revision, with files that match the patterns?
    Resolved,
    /// Are the files on the volume, complete and verified?
    Downloaded,
    /// The answer to all of them; computed, never set by hand.
    Ready,
    /// Is a complete, verified snapshot on the volume, of this spec or of one before it? Pods may start.
    Available,
    /// Is there a newer commit than the one on the volume?
    UpdateAvailable,
    /// Is it on its way without anybody's help? There only while True.
    Reconciling,
    /// Is user action required? There only while True.
    Stalled,
}

impl ConditionType {
    /// The condition type, as written on the resource.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authenticated => "Authenticated",
            Self::Authorized => "Authorized",
            Self::Resolved => "Resolved",
            Self::Downloaded => "Downloaded",
            Self::Ready => "Ready",
            Self::Available => "Available",
            Self::UpdateAvailable => "UpdateAvailable",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

/// What has to happen for a reason to go away, as a rule. Decides when to requeue; the words that come with a reason may tell
/// more, and time that was enough has an end: the controller weighs both between `Stalled` and `Reconciling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing: all is well.
    None,
    /// User action is required; retrying alone does not help.
    UserAction,
    /// Something else must happen first: a claim, a node, a time that the Hub asks for.
    Wait,
    /// It may pass: retried with growing pauses.
    Retry,
}

impl Remedy {
    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::UserAction => "user-action",
            Self::Wait => "wait",
            Self::Retry => "retry",
        }
    }
}

/// Process exit codes, after `sysexits.h` where it has a fitting one.
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// A failure without a class of its own.
    pub const FAILURE: u8 = 1;
    /// The command line or a given file is wrong.
    pub const USAGE: u8 = 2;
    /// Bytes do not match their hash, or the Hub's listing is not usable (`EX_DATAERR`).
    pub const DATA: u8 = 65;
    /// Revision or files not found (`EX_NOINPUT`).
    pub const NOT_FOUND: u8 = 66;
    /// The Hub cannot be reached, or its answer is not usable (`EX_UNAVAILABLE`).
    pub const UNREACHABLE: u8 = 69;
    /// The volume is full or not writable (`EX_CANTCREAT`).
    pub const VOLUME: u8 = 73;
    /// Rate limited: try again later (`EX_TEMPFAIL`).
    pub const RATE_LIMITED: u8 = 75;
    /// User action on the token or the access is required (`EX_NOPERM`).
    pub const NO_ACCESS: u8 = 77;
    /// Stopped by SIGTERM: 128 + 15, as a shell reports it.
    pub const TERMINATED: u8 = 143;
}

macro_rules! reasons {
    ($( $(#[doc = $doc:literal])+ $name:ident: $remedy:ident, $exit:ident; )+) => {
        /// Why a condition has its status. The variant's name is the published word: add, never rename.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason { $( $(#[doc = $doc])+ $name, )+ }

        impl Reason {
            /// All reasons, in the order of the documentation.
            pub const ALL: &[Self] = &[ $( Self::$name, )+ ];

            /// The published word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$name => stringify!($name), )+ }
            }

            /// What it means, in a sentence or two.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $( Self::$name => concat!($( $doc ),+).trim_ascii(), )+ }
            }

            /// What has to happen for it to go away.
            #[must_use]
            pub const fn remedy(self) -> Remedy {
                match self { $( Self::$name => Remedy::$remedy, )+ }
            }

            /// The exit code of a process that ends for this reason.
            #[must_use]
            pub const fn exit_code(self) -> u8 {
                match self { $( Self::$name => exit::$exit, )+ }
            }
        }
    };
}

reasons! {
    /// The Hub knows the token.
    TokenValid: None, OK;
    /// A token is sent, but nothing shows whether it is good: the repo is open to everybody, and the endpoint offers no way to check a token.
    TokenUnconfirmed: None, OK;
    /// No token is asked for, and none is needed so far.
    Anonymous: None, OK;
    /// The Secret (or the token file) that should hold the token does not exist.
    SecretNotFound: UserAction, NO_ACCESS;
    /// The Secret exists, but not the key in it.
    SecretKeyNotFound: UserAction, NO_ACCESS;
    /// The token cannot be one: empty, or with white space or control characters inside.
    TokenMalformed: UserAction, NO_ACCESS;
    /// The Hub refuses the token: wrong, expired or revoked.
    TokenInvalid: UserAction, NO_ACCESS;

    /// The account may read the repo.
    AccessGranted: None, OK;
    /// No token is given, and the repo is gated, private or missing.
    TokenRequired: UserAction, NO_ACCESS;
    /// The account has not accepted the terms of the gated repo.
    TermsNotAccepted: UserAction, NO_ACCESS;
    /// The account has asked for access; the repo's authors have not decided.
    AccessPending: UserAction, NO_ACCESS;
    /// The repo's authors have refused the account's request.
    AccessRejected: UserAction, NO_ACCESS;
    /// A fine-grained token lacks a permission that its account has.
    TokenLacksPermission: UserAction, NO_ACCESS;
    /// The repo does not exist, or it is private and the account may not see it: the Hub does not say which.
    RepoNotFoundOrPrivate: UserAction, NO_ACCESS;
    /// The Hub has disabled the repo.
    RepoDisabled: UserAction, NO_ACCESS;
    /// The endpoint is not one that the operator may send tokens to.
    EndpointNotAllowed: UserAction, NO_ACCESS;
    /// Any other refusal, in the Hub's own words.
    AccessDenied: UserAction, NO_ACCESS;

    /// The revision stands for a commit, and files match.
    Resolved: None, OK;
    /// The repo has no such branch, tag or commit.
    RevisionNotFound: UserAction, NOT_FOUND;
    /// No file of the revision matches the patterns.
    NoMatchingFiles: UserAction, NOT_FOUND;
    /// The repo name is not one that the Hub could have.
    InvalidRepo: UserAction, USAGE;
    /// The endpoint is not an address that a Hub could have.
    InvalidEndpoint: UserAction, USAGE;
    /// A pattern cannot be used.
    InvalidPattern: UserAction, USAGE;
    /// The repo lists a file whose name cannot be written safely to a volume.
    UnsafeFileName: UserAction, DATA;

    /// The Hub gave no answer: name resolution, connection, TLS, timeout or a server error.
    HubUnreachable: Retry, UNREACHABLE;
    /// The Hub answered, but the answer about this repo cannot be used: a listing that is too long or incomplete, or no JSON.
    InvalidResponse: Retry, UNREACHABLE;
    /// The Hub asks to wait.
    RateLimited: Wait, RATE_LIMITED;
    /// Not checked yet: an earlier condition has to be True first, or no operator has checked the ModelCache.
    NotChecked: Wait, FAILURE;

    /// Every file is on the volume, and its hash is right.
    Verified: None, OK;
    /// The claim does not exist.
    ClaimNotFound: UserAction, FAILURE;
    /// The claim waits for a volume, or is refused.
    ClaimPending: Wait, FAILURE;
    /// A claim of this name exists and was not made for this ModelCache: it is never touched.
    ClaimConflict: UserAction, FAILURE;
    /// Pods of others write to the claim, and nobody who may change it has allowed the operator to write there, too.
    ClaimInUse: UserAction, FAILURE;
    /// The claim is being deleted.
    ClaimTerminating: Wait, FAILURE;
    /// The claim has lost its volume.
    ClaimLost: UserAction, FAILURE;
    /// The volume has not enough space.
    VolumeFull: UserAction, VOLUME;
    /// The volume cannot be written: owner, mode or a read-only mount.
    VolumeNotWritable: UserAction, VOLUME;
    /// Two ModelCaches want one ref of one cache at two commits. The one whose data are on the volume keeps it, else the older one.
    RefConflict: UserAction, FAILURE;
    /// A link, a special file or the like lies where the cache has a file or a folder of its own.
    VolumeUnsafe: UserAction, VOLUME;
    /// The volume's file system cannot hold the name of a file, or takes two names for one.
    NameNotSupported: UserAction, VOLUME;
    /// The API server refuses the Job or its pod: quota, limits, pod security, or something missing that the spec names.
    JobRejected: UserAction, FAILURE;
    /// The Job's pod does not run yet.
    JobPending: Wait, FAILURE;
    /// The spec asks for a pause: nothing is made, and the Hub is not asked.
    Suspended: Wait, FAILURE;
    /// The Job is at work.
    Downloading: Wait, FAILURE;
    /// No byte came for too long.
    TransferStalled: Retry, UNREACHABLE;
    /// Bytes do not match the hash that the Hub lists.
    HashMismatch: Retry, DATA;
    /// The download failed in another way; the message says how.
    DownloadFailed: Retry, FAILURE;
    /// The download was stopped from outside before it was done.
    Stopped: Retry, TERMINATED;
    /// The Job's container ran out of memory.
    OutOfMemory: UserAction, FAILURE;
    /// The node evicted the Job's pod.
    Evicted: Retry, FAILURE;

    /// This version of the operator cannot use the ModelCache: a field has a value or a shape that it does not know.
    InvalidSpec: UserAction, USAGE;
    /// The model is complete and verified on the volume.
    Ready: None, OK;
    /// A complete, verified snapshot is on the volume, and its refs name it.
    Available: None, OK;
    /// No complete snapshot is on the volume, or none is known.
    NoSnapshot: Wait, FAILURE;
    /// The Hub has a newer commit than the one on the volume.
    NewCommit: None, OK;
}

impl Reason {
    /// The topic that it answers; none for those that any topic may have.
    #[must_use]
    pub const fn topic(self) -> Option<ConditionType> {
        Some(match self {
            Self::TokenValid
            | Self::TokenUnconfirmed
            | Self::Anonymous
            | Self::SecretNotFound
            | Self::SecretKeyNotFound
            | Self::TokenMalformed
            | Self::TokenInvalid => ConditionType::Authenticated,
            Self::AccessGranted
            | Self::TokenRequired
            | Self::TermsNotAccepted
            | Self::AccessPending
            | Self::AccessRejected
            | Self::TokenLacksPermission
            | Self::RepoNotFoundOrPrivate
            | Self::RepoDisabled
            | Self::EndpointNotAllowed
            | Self::AccessDenied => ConditionType::Authorized,
            Self::Resolved
            | Self::RevisionNotFound
            | Self::NoMatchingFiles
            | Self::InvalidRepo
            | Self::InvalidEndpoint
            | Self::InvalidPattern
            | Self::UnsafeFileName => ConditionType::Resolved,
            Self::HubUnreachable | Self::InvalidResponse | Self::RateLimited | Self::NotChecked => {
                return None;
            }
            Self::Verified
            | Self::ClaimNotFound
            | Self::ClaimPending
            | Self::ClaimConflict
            | Self::ClaimInUse
            | Self::ClaimTerminating
            | Self::ClaimLost
            | Self::VolumeFull
            | Self::VolumeNotWritable
            | Self::RefConflict
            | Self::VolumeUnsafe
            | Self::NameNotSupported
            | Self::JobRejected
            | Self::JobPending
            | Self::Suspended
            | Self::Downloading
            | Self::TransferStalled
            | Self::HashMismatch
            | Self::DownloadFailed
            | Self::Stopped
            | Self::OutOfMemory
            | Self::Evicted => ConditionType::Downloaded,
            Self::InvalidSpec | Self::Ready => ConditionType::Ready,
            Self::Available | Self::NoSnapshot => ConditionType::Available,
            Self::NewCommit => ConditionType::UpdateAvailable,
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The status of a verdict, with the spelling of a Kubernetes condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// It is not known now.
    Unknown,
}

impl Answer {
    /// The condition status, as written on the resource.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// The answer to one topic, with its cause and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The question.
    #[serde(rename = "type")]
    pub topic: ConditionType,
    /// The answer.
    pub status: Answer,
    /// The cause.
    pub reason: Reason,
    /// One or two sentences: what is wrong, and what to do. Never a token or a signed address.
    pub message: String,
}

impl Verdict {
    /// A good answer.
    pub fn yes(topic: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { topic, status: Answer::True, reason, message: message.into() }
    }

    /// An answer other than yes: False, or Unknown where the reason says nothing about the topic itself.
    pub fn no(topic: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        let status = match reason {
            Reason::HubUnreachable
            | Reason::InvalidResponse
            | Reason::RateLimited
            | Reason::NotChecked
            | Reason::TokenUnconfirmed => Answer::Unknown,
            _ => Answer::False,
        };
        Self { topic, status, reason, message: message.into() }
    }

    /// The answer that stands in the way: the first that does not hold, leaving out those that only wait for another.
    pub fn obstacle<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Option<&'a Self> {
        let mut open = all.filter(|verdict| !verdict.holds());
        open.clone().find(|verdict| verdict.reason != Reason::NotChecked).or_else(|| open.next())
    }

    /// Whether it blocks nothing: a plain yes, or nothing that has to be known.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.status == Answer::True || self.reason == Reason::TokenUnconfirmed
    }
}
