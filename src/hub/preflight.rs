//! Everything that can be checked before a download: token, access, commit, files. Shared by the controller and the `check`
//! and `fetch` commands. Knows no Kubernetes.

use std::time::Duration;

use super::{
    Commit, Endpoint, Hub, HubError, Patterns, Refusal, Repo, RepoFile, RepoId, Revision, RevisionInfo,
    Token, TokenState, TokenStatusCache,
    messages::{self, Subject},
};
use crate::reason::{ConditionType, Reason, Verdict};

mod tally;

use tally::{Names, Wanted};

pub use tally::Proof;

/// What a preflight checks.
#[derive(Clone, Copy, Debug)]
pub struct PreflightRequest<'a> {
    /// The repo.
    pub repo: &'a Repo,
    /// The wanted branch, tag or commit.
    pub revision: &'a Revision,
    /// The wanted files.
    pub patterns: &'a Patterns,
    /// A commit to use instead of the one that the revision points to now.
    pub pinned: Option<&'a Commit>,
    /// If the revision is a commit: the branch or tag whose newest commit is reported.
    pub followed: Option<&'a Revision>,
    /// The token to send.
    pub token: Option<&'a Token>,
    /// The status of this token from earlier responses, updated by this preflight.
    pub record: &'a TokenStatusCache,
    /// The result of an earlier preflight for the same repo and patterns. Commits are immutable: if it is the same commit, its
    /// files are not listed again, unless `files` is set.
    pub known: Option<&'a Snapshot>,
    /// Whether to return the individual files, as for a download. Otherwise they are only counted, which takes little memory
    /// for a listing of any length.
    pub files: bool,
    /// Whether to also check that the token is valid even if the repo can be read without one, and that a file can be
    /// downloaded. Not needed before a download.
    pub confirm: bool,
}

impl<'a> PreflightRequest<'a> {
    /// The subject of messages about it.
    #[must_use]
    pub fn subject(&self, hub: &'a Hub) -> Subject<'a> {
        Subject { repo: self.repo, revision: self.revision, endpoint: hub.endpoint() }
    }
}

/// The files to be downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The repo's own ID on the Hub, if known.
    pub repo: Option<RepoId>,
    /// Their commit.
    pub commit: Commit,
    /// The wanted files, sorted by path; empty if they were only counted.
    pub files: Vec<RepoFile>,
    /// The number of wanted files.
    pub count: usize,
    /// Their total size in bytes.
    pub bytes: u64,
    /// The number of files in the commit, wanted or not.
    pub listed: usize,
    /// The file to request as proof of access.
    pub proof: Proof,
    /// The commit that the revision, or the followed branch, points to now. Differs from `commit` if that is pinned; `None`
    /// if the branch could not be resolved.
    pub latest: Option<Commit>,
}

/// What a failure affects besides the repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Nothing else.
    Repo,
    /// Every request with the same token: the Hub limits its rate.
    Token,
    /// Every request to the endpoint: it is unreachable or failing.
    Endpoint,
}

/// The results of a preflight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// Whether the token is valid.
    pub authenticated: Verdict,
    /// Whether its account may read the repo.
    pub authorized: Verdict,
    /// Whether commit and files exist.
    pub resolved: Verdict,
    /// The files, if all checks passed.
    pub snapshot: Option<Snapshot>,
    /// The delay that the Hub requests.
    pub retry_after: Option<Duration>,
    /// What the failure affects besides the repo.
    pub concern: Concern,
}

impl Preflight {
    /// The results in order.
    #[must_use]
    pub fn verdicts(&self) -> [&Verdict; 3] {
        [&self.authenticated, &self.authorized, &self.resolved]
    }

    /// Whether all checks passed.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.verdicts().iter().all(|verdict| verdict.holds())
    }

    /// The first failed check.
    #[must_use]
    pub fn obstacle(&self) -> Option<&Verdict> {
        Verdict::obstacle(self.verdicts().into_iter())
    }

    /// The results if one check failed without asking the Hub, such as a missing Secret or an invalid repo name; the others
    /// wait for it.
    #[must_use]
    pub fn stopped_by(verdict: Verdict) -> Self {
        let waiting = |topic| {
            let message = format!("Waits for {}.", verdict.topic.as_str());
            Verdict::no(topic, Reason::NotChecked, message)
        };
        let mut answers = Self {
            authenticated: waiting(ConditionType::Authenticated),
            authorized: waiting(ConditionType::Authorized),
            resolved: waiting(ConditionType::Resolved),
            snapshot: None,
            retry_after: None,
            concern: Concern::Repo,
        };
        answers.set(verdict);
        answers
    }

    fn set(&mut self, verdict: Verdict) {
        match verdict.topic {
            ConditionType::Authenticated => self.authenticated = verdict,
            ConditionType::Authorized => self.authorized = verdict,
            _ => self.resolved = verdict,
        }
    }
}

/// Asks the Hub in this order: access, revision, token (if still in doubt), listing, and one file. Stops at the first
/// failure.
///
/// `auth-check` is optional: if it is refused for another reason than the Hub's gate or the token, as by mirrors that do not
/// offer it, the later calls decide.
pub async fn preflight(hub: &Hub, request: &PreflightRequest<'_>) -> Preflight {
    let token_settled = !request.confirm || request.record.is_good().await;
    let run = PreflightRun { hub, request, subject: request.subject(hub), token_settled };
    let outcome = run.run().await;
    // The run may have shown that it is valid, whatever its outcome.
    let token_is_good = request.record.is_good().await;
    match outcome {
        Ok(snapshot) => run.success(snapshot, token_is_good),
        Err(failure) => run.failure(failure, token_is_good),
    }
}

/// Why a run ended early.
struct Failure {
    /// The failed topic, unless the error determines one.
    at: ConditionType,
    error: HubError,
    /// A better message than the error's.
    message: Option<String>,
    /// Whether `whoami-v2` failed, which has separate rate limits.
    is_of_whoami: bool,
}

impl Failure {
    const fn new(at: ConditionType, error: HubError) -> Self {
        Self { at, error, message: None, is_of_whoami: false }
    }

    fn of_whoami(error: HubError) -> Self {
        Self { is_of_whoami: true, ..Self::new(ConditionType::Authenticated, error) }
    }

    /// Only failures of the endpoint's own host affect others: a failing storage host may be that of one repo.
    fn concern(&self, endpoint: &Endpoint) -> Concern {
        match &self.error {
            _ if self.is_of_whoami => Concern::Repo,
            HubError::RateLimited { host, .. } if host == endpoint.host() => Concern::Token,
            HubError::Unreachable { host, .. } if host == endpoint.host() => Concern::Endpoint,
            _ => Concern::Repo,
        }
    }
}

/// The result of `auth-check`.
enum Probe {
    /// Access granted.
    Granted,
    /// Refused, which may be meaningless for a mirror.
    Refused(Refusal),
    /// No conclusive response.
    Inconclusive(HubError),
}

struct PreflightRun<'a> {
    hub: &'a Hub,
    request: &'a PreflightRequest<'a>,
    subject: Subject<'a>,
    /// Whether the token is already known to be valid, or need not be.
    token_settled: bool,
}

impl PreflightRun<'_> {
    async fn run(&self) -> Result<Snapshot, Failure> {
        let PreflightRequest { repo, revision, token, record, .. } = *self.request;
        let probe = self.probe().await?;
        let info = self.hub.revision(repo, revision, token).await;
        let probe = self.combine(probe, &info).await?;
        let closed = info.as_ref().is_ok_and(|info| info.private || info.gated);
        let disabled = info.as_ref().is_ok_and(|info| info.disabled);
        // Access to a non-public repo proves a valid token.
        if closed && matches!(probe, Probe::Granted) {
            record.prove().await;
        } else {
            self.confirm_token().await?;
        }
        let snapshot = self.resolve(info).await?;
        if self.request.confirm {
            self.prove(&snapshot, probe, disabled).await?;
            if closed && !snapshot.proof.is_open() {
                record.prove().await;
            }
        }
        Ok(snapshot)
    }

    /// Runs the access probe.
    async fn probe(&self) -> Result<Probe, Failure> {
        match self.hub.auth_check(self.request.repo, self.request.token).await {
            Ok(()) => Ok(Probe::Granted),
            Err(HubError::Refused(refusal)) if refusal.token == TokenState::Bad => {
                Err(Failure::new(ConditionType::Authenticated, HubError::Refused(refusal)))
            }
            Err(HubError::Refused(refusal)) => Ok(Probe::Refused(refusal)),
            Err(error) if error.is_response() => Ok(Probe::Inconclusive(error)),
            Err(error) => Err(Failure::new(self.first_open(), error)),
        }
    }

    /// Reconciles the access probe with the response about the revision.
    async fn combine(&self, probe: Probe, info: &Result<RevisionInfo, HubError>) -> Result<Probe, Failure> {
        match (probe, info) {
            // Accepting terms does not help if the Hub has disabled the repo.
            (Probe::Refused(refusal), Ok(info)) if refusal.is_specific() && info.disabled => {
                Err(self.classify_token(refusal.disabled()).await)
            }
            (Probe::Refused(refusal), _) if refusal.is_specific() => Err(self.classify_token(refusal).await),
            // An unknown revision implies that the repo exists.
            (probe, Err(error)) if error.reason() == Reason::RevisionNotFound => Ok(probe),
            // A mirror without the probe interprets its address as that of an unknown repo.
            (Probe::Refused(probe), Err(HubError::Refused(refusal))) if refusal.doubts(&probe) => {
                Err(self.classify_token(refusal.clone()).await)
            }
            (Probe::Refused(refusal), Err(_)) if !refusal.is_unknown_call() => {
                Err(self.classify_token(refusal).await)
            }
            (Probe::Inconclusive(error), Err(_)) => Err(Failure::new(self.first_open(), error)),
            (probe, _) => Ok(probe),
        }
    }

    /// Requests one byte of a file, which is subject to every restriction that a download is. Also checks that the Hub's storage
    /// is reachable.
    async fn prove(&self, snapshot: &Snapshot, probe: Probe, disabled: bool) -> Result<(), Failure> {
        let PreflightRequest { repo, token, .. } = *self.request;
        let file = snapshot.proof.file();
        let remote = self.hub.file(repo, &snapshot.commit, &file.path, file.size);
        let error = match remote.open(token, 0..file.size.min(1)).await {
            // Access is proven; the download will report a wrong size.
            Ok(_) | Err(HubError::WrongSize { .. }) => return Ok(()),
            // It will be downloaded from Xet instead.
            Err(HubError::Storage { .. }) if file.xet_hash.is_some() => return Ok(()),
            Err(error) => error,
        };
        Err(match (error, probe) {
            (HubError::Refused(refusal), _) if disabled => self.classify_token(refusal.disabled()).await,
            // Of two refusals, prefer the more specific one.
            (HubError::Refused(file), Probe::Refused(probe))
                if file.words.is_empty() && !file.is_specific() =>
            {
                self.classify_token(probe).await
            }
            (HubError::Refused(refusal), _) => self.after_probe(HubError::Refused(refusal.for_file())).await,
            (error, _) => Failure::new(ConditionType::Resolved, error),
        })
    }

    /// The topic to blame for a failed access probe.
    const fn first_open(&self) -> ConditionType {
        match self.request.token {
            Some(_) if !self.token_settled => ConditionType::Authenticated,
            _ => ConditionType::Authorized,
        }
    }

    /// Determines whether a refusal is due to the token, if that is unclear.
    async fn classify_token(&self, refusal: Refusal) -> Failure {
        let settled = match (refusal.token, self.request.token) {
            (TokenState::Unclear, Some(token)) => {
                self.request.record.classify(self.hub, token, refusal).await
            }
            _ => Ok(refusal),
        };
        match settled {
            Ok(refusal) => Failure::new(ConditionType::Authorized, HubError::Refused(refusal)),
            Err(error) => Failure::of_whoami(error),
        }
    }

    /// Checks a token that no call has needed so far: the Hub ignores invalid ones on public repos.
    async fn confirm_token(&self) -> Result<(), Failure> {
        let Some(token) = self.request.token.filter(|_| self.request.confirm) else { return Ok(()) };
        match self.request.record.confirm(self.hub, token).await {
            Ok(None) => Ok(()),
            Ok(Some(refusal)) => Err(Failure::new(ConditionType::Authenticated, HubError::Refused(refusal))),
            Err(error) => Err(Failure::of_whoami(error)),
        }
    }

    async fn resolve(&self, info: Result<RevisionInfo, HubError>) -> Result<Snapshot, Failure> {
        let PreflightRequest { repo, patterns, pinned, token, .. } = *self.request;
        let (now, info) = match (info, pinned) {
            (Ok(info), _) => (info.commit.clone(), Some(info)),
            // The branch was deleted, but the pinned commit may still exist.
            (Err(error), Some(pinned)) if error.reason() == Reason::RevisionNotFound => {
                (pinned.clone(), None)
            }
            (Err(error), _) => return Err(self.after_probe(error).await),
        };
        let latest = self.newest(&now).await;
        let commit = pinned.cloned().unwrap_or(now);
        let number = info.as_ref().and_then(|info| info.files_of(&commit));
        let own = info.and_then(|info| info.repo);
        let listed_before = self.request.known.filter(|known| !self.request.files && known.commit == commit);
        if let Some(known) = listed_before {
            return Ok(Snapshot { repo: own, latest, ..known.clone() });
        }
        let (mut names, mut sum) = (Names::default(), Wanted::default());
        let mut files = Vec::new();
        let wanted = |path: &str| {
            names.add(path);
            patterns.matches(path)
        };
        let listed = if self.request.files {
            self.hub.list(repo, &commit, number, token, wanted).await.map(|listing| {
                for file in &listing {
                    sum.add(file);
                }
                files = listing;
            })
        } else {
            self.hub.each_file(repo, &commit, number, token, wanted, |file| sum.add(&file)).await
        };
        if let Err(error) = listed {
            // The commit is missing then, not the revision.
            let revision = Revision::from(commit);
            let message = messages::explain(&error, &Subject { revision: &revision, ..self.subject });
            let missing = error.reason() == Reason::RevisionNotFound;
            return Err(Failure { message: missing.then_some(message), ..self.after_probe(error).await });
        }
        let Wanted { count, bytes, proof } = sum;
        let Some(proof) = proof else { return Err(self.no_match(&names)) };
        Ok(Snapshot { repo: own, commit, files, count, bytes, listed: names.listed, proof, latest })
    }

    /// The newest commit of the followed branch. A failure is not fatal, since nothing else depends on it.
    async fn newest(&self, now: &Commit) -> Option<Commit> {
        let PreflightRequest { repo, revision, followed, token, .. } = *self.request;
        let Some(branch) = followed.filter(|_| revision.as_commit().is_some()) else {
            return Some(now.clone());
        };
        match self.hub.revision(repo, branch, token).await {
            Ok(info) => Some(info.commit),
            Err(error) if error.reason() == Reason::RevisionNotFound => Some(now.clone()),
            Err(_) => None,
        }
    }

    /// Classifies a failure after the access probe: a mirror's first refusal, or access that was just revoked.
    async fn after_probe(&self, error: HubError) -> Failure {
        match error {
            HubError::Refused(refusal) if refusal.reason.topic() != Some(ConditionType::Resolved) => {
                self.classify_token(refusal).await
            }
            error => Failure::new(ConditionType::Resolved, error),
        }
    }

    fn no_match(&self, names: &Names) -> Failure {
        let Names { listed, examples } = names;
        let message = messages::no_matching_files(&self.subject, self.request.patterns, *listed, examples);
        let error = HubError::Refused(Refusal::nothing_matches());
        Failure { message: Some(message), ..Failure::new(ConditionType::Resolved, error) }
    }

    /// The result for the token if it was not refused.
    fn authenticated(&self, token_is_good: bool) -> Verdict {
        let reason = match self.request.token {
            None => Reason::Anonymous,
            Some(_) if token_is_good => Reason::TokenValid,
            Some(_) => Reason::TokenUnconfirmed,
        };
        let message = messages::success(reason, &self.subject);
        match reason {
            Reason::TokenUnconfirmed => Verdict::no(ConditionType::Authenticated, reason, message),
            _ => Verdict::yes(ConditionType::Authenticated, reason, message),
        }
    }

    fn authorized(&self) -> Verdict {
        let reason = Reason::AccessGranted;
        Verdict::yes(ConditionType::Authorized, reason, messages::success(reason, &self.subject))
    }

    fn success(&self, snapshot: Snapshot, token_is_good: bool) -> Preflight {
        let Snapshot { repo, commit, latest, count, bytes, .. } = &snapshot;
        // Mentioned only if it differs, so that the message is stable.
        let moved = latest.as_ref().is_some_and(|latest| latest != commit);
        let mut message = messages::resolved(&self.subject, commit.short(), moved, *count, *bytes);
        message.extend(repo.as_ref().and_then(|own| messages::own_name(&self.subject, own)));
        Preflight {
            authenticated: self.authenticated(token_is_good),
            authorized: self.authorized(),
            resolved: Verdict::yes(ConditionType::Resolved, Reason::Resolved, message),
            snapshot: Some(snapshot),
            retry_after: None,
            concern: Concern::Repo,
        }
    }

    fn failure(&self, failure: Failure, token_is_good: bool) -> Preflight {
        let reason = failure.error.reason();
        let topic = reason.topic().unwrap_or(failure.at);
        let (open, good) = match &failure.error {
            HubError::Refused(refusal) => (
                topic == ConditionType::Authorized && refusal.token == TokenState::Unclear,
                refusal.token == TokenState::Good,
            ),
            _ => (false, false),
        };
        let concern = failure.concern(self.hub.endpoint());
        let message = failure.message.unwrap_or_else(|| messages::explain(&failure.error, &self.subject));
        let mut answers = Preflight::stopped_by(Verdict::no(topic, reason, message));
        answers.retry_after = failure.error.retry_after();
        answers.concern = concern;
        if topic > ConditionType::Authenticated {
            answers.set(if open && !token_is_good {
                let message = "The refusal does not show whether the token is valid.";
                Verdict::no(ConditionType::Authenticated, Reason::NotChecked, message)
            } else {
                self.authenticated(token_is_good || good)
            });
        }
        if topic > ConditionType::Authorized {
            answers.set(self.authorized());
        }
        answers
    }
}
