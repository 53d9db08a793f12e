//! Everything that can be said before a byte is downloaded: token, access, commit, files. Shared by the controller and
//! the `check` command. Knows no Kubernetes.

use std::time::Duration;

use super::{
    Commit, Endpoint, Hub, HubError, Patterns, Refusal, Repo, RepoFile, RepoId, Revision, RevisionInfo,
    Token, TokenRecord, TokenState,
    advice::{self, Subject},
};
use crate::reason::{Reason, Topic, Verdict};

mod tally;

use tally::{Names, Wanted};

pub use tally::Proof;

/// What is to be found out.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The repo.
    pub repo: &'a Repo,
    /// The branch, tag or commit that is wanted.
    pub revision: &'a Revision,
    /// Which of its files.
    pub patterns: &'a Patterns,
    /// A commit to stay at, whatever the revision stands for now.
    pub pinned: Option<&'a Commit>,
    /// The branch or tag whose newest commit is told, where the revision is a commit and has no other.
    pub followed: Option<&'a Revision>,
    /// Who asks.
    pub token: Option<&'a Token>,
    /// What is known of this very token by earlier answers, and where this one's is added.
    pub record: &'a TokenRecord,
    /// The snapshot of an earlier answer about the same repo and patterns. A commit never changes: as long as it is the same, its
    /// files are not listed again, unless they are wanted one by one.
    pub known: Option<&'a Snapshot>,
    /// Whether the files are wanted one by one, as by who downloads them. Else they are counted as they come, and a listing of
    /// any length takes little memory.
    pub files: bool,
    /// Whether what nothing has shown so far is found out: that the token is good even where the repo can be read without one, and
    /// that a file is given. Who downloads the files needs neither.
    pub confirm: bool,
}

impl<'a> Question<'a> {
    /// What sentences about it are about.
    #[must_use]
    pub fn subject(&self, hub: &'a Hub) -> Subject<'a> {
        Subject { repo: self.repo, revision: self.revision, endpoint: hub.endpoint() }
    }
}

/// The files to be downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The repo's own ID on the Hub, where that is told.
    pub repo: Option<RepoId>,
    /// The commit that they belong to.
    pub commit: Commit,
    /// The wanted files, in order of path; none where they were only counted.
    pub files: Vec<RepoFile>,
    /// How many files are wanted.
    pub count: usize,
    /// Their length together.
    pub bytes: u64,
    /// How many files the commit has, wanted or not.
    pub listed: usize,
    /// The file that is requested as proof of access.
    pub proof: Proof,
    /// The commit that the revision, or the branch that is followed, stands for now. Differs from `commit` if that is pinned;
    /// none where the branch does not tell.
    pub latest: Option<Commit>,
}

/// What else an answer is about, beside the repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Nothing.
    Repo,
    /// The token: the Hub asks all to wait who ask with it.
    Token,
    /// The endpoint: it cannot be reached, or fails.
    Endpoint,
}

/// The answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// Is the token good?
    pub authenticated: Verdict,
    /// May its account read the repo?
    pub authorized: Verdict,
    /// Are there commit and files?
    pub resolved: Verdict,
    /// What there is, if all answers are yes.
    pub snapshot: Option<Snapshot>,
    /// The pause that the Hub asks for.
    pub retry_after: Option<Duration>,
    /// What others can learn from it.
    pub concern: Concern,
}

impl Preflight {
    /// The answers in order.
    #[must_use]
    pub fn verdicts(&self) -> [&Verdict; 3] {
        [&self.authenticated, &self.authorized, &self.resolved]
    }

    /// Whether a download may begin.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.verdicts().iter().all(|verdict| verdict.holds())
    }

    /// The answer that stands in the way: of those that were looked at, the first that is not yes.
    #[must_use]
    pub fn obstacle(&self) -> Option<&Verdict> {
        Verdict::obstacle(self.verdicts().into_iter())
    }

    /// The answers where one is known before the Hub is asked, such as a missing Secret or an impossible repo name; the
    /// others wait for it.
    #[must_use]
    pub fn stopped_by(verdict: Verdict) -> Self {
        let waiting = |topic| {
            let message = format!("Waits for {}.", verdict.topic.as_str());
            Verdict::no(topic, Reason::NotChecked, message)
        };
        let mut answers = Self {
            authenticated: waiting(Topic::Authenticated),
            authorized: waiting(Topic::Authorized),
            resolved: waiting(Topic::Resolved),
            snapshot: None,
            retry_after: None,
            concern: Concern::Repo,
        };
        answers.set(verdict);
        answers
    }

    fn set(&mut self, verdict: Verdict) {
        match verdict.topic {
            Topic::Authenticated => self.authenticated = verdict,
            Topic::Authorized => self.authorized = verdict,
            _ => self.resolved = verdict,
        }
    }
}

/// Asks the Hub in this order: may we read, what is the revision, whose is the token if that is still in doubt, which
/// files are there, is one of them given. Stops at the first answer that is not yes.
///
/// `auth-check` is one optional call: where it says no without saying that it is the Hub's gate or the token, as mirrors do that
/// do not offer it, the calls that matter have the last word.
pub async fn preflight(hub: &Hub, question: &Question<'_>) -> Preflight {
    let token_settled = !question.confirm || question.record.is_good().await;
    let round = Round { hub, question, subject: question.subject(hub), token_settled };
    let outcome = round.run().await;
    // Whatever came out may have shown that it is good.
    let token_is_good = question.record.is_good().await;
    match outcome {
        Ok(snapshot) => round.success(snapshot, token_is_good),
        Err(stop) => round.failure(stop, token_is_good),
    }
}

/// Why a round ended early.
struct Stop {
    /// Where it ended, if the error says nothing about a topic.
    at: Topic,
    error: HubError,
    /// A better sentence than the error has.
    message: Option<String>,
    /// `whoami-v2` failed, which has limits of its own.
    is_of_whoami: bool,
}

impl Stop {
    const fn new(at: Topic, error: HubError) -> Self {
        Self { at, error, message: None, is_of_whoami: false }
    }

    fn of_whoami(error: HubError) -> Self {
        Self { is_of_whoami: true, ..Self::new(Topic::Authenticated, error) }
    }

    /// Only the endpoint's own host speaks for others: a storage host that fails may be that of one repo.
    fn concern(&self, endpoint: &Endpoint) -> Concern {
        match &self.error {
            _ if self.is_of_whoami => Concern::Repo,
            HubError::RateLimited { host, .. } if host == endpoint.host() => Concern::Token,
            HubError::Unreachable { host, .. } if host == endpoint.host() => Concern::Endpoint,
            _ => Concern::Repo,
        }
    }
}

/// What `auth-check` says.
enum Probe {
    /// Yes.
    Granted,
    /// No. At a mirror that need not mean anything.
    Refused(Refusal),
    /// Something else than an answer to the question.
    Untold(HubError),
}

struct Round<'a> {
    hub: &'a Hub,
    question: &'a Question<'a>,
    subject: Subject<'a>,
    /// Whether the token was good before, or need not be.
    token_settled: bool,
}

impl Round<'_> {
    async fn run(&self) -> Result<Snapshot, Stop> {
        let Question { repo, revision, token, record, .. } = *self.question;
        let probe = self.probe().await?;
        let info = self.hub.revision(repo, revision, token).await;
        let probe = self.weigh(probe, &info).await?;
        let closed = info.as_ref().is_ok_and(|info| info.private || info.gated);
        let disabled = info.as_ref().is_ok_and(|info| info.disabled);
        // Who may read what not everybody may read has a good token.
        if closed && matches!(probe, Probe::Granted) {
            record.prove().await;
        } else {
            self.confirm_token().await?;
        }
        let snapshot = self.resolve(info).await?;
        if self.question.confirm {
            self.prove(&snapshot, probe, disabled).await?;
            if closed && !snapshot.proof.is_open() {
                record.prove().await;
            }
        }
        Ok(snapshot)
    }

    /// The access probe.
    async fn probe(&self) -> Result<Probe, Stop> {
        match self.hub.auth_check(self.question.repo, self.question.token).await {
            Ok(()) => Ok(Probe::Granted),
            Err(HubError::Refused(refusal)) if refusal.token == TokenState::Bad => {
                Err(Stop::new(Topic::Authenticated, HubError::Refused(refusal)))
            }
            Err(HubError::Refused(refusal)) => Ok(Probe::Refused(refusal)),
            Err(error) if error.is_an_answer() => Ok(Probe::Untold(error)),
            Err(error) => Err(Stop::new(self.first_open(), error)),
        }
    }

    /// What a negative probe comes to beside what the repo tells of itself.
    async fn weigh(&self, probe: Probe, info: &Result<RevisionInfo, HubError>) -> Result<Probe, Stop> {
        match (probe, info) {
            // Nobody can accept terms to get into what the Hub has disabled.
            (Probe::Refused(refusal), Ok(info)) if refusal.is_specific() && info.disabled => {
                Err(self.settle(refusal.disabled()).await)
            }
            (Probe::Refused(refusal), _) if refusal.is_specific() => Err(self.settle(refusal).await),
            // A revision that is not there means that the repo is.
            (probe, Err(error)) if error.reason() == Reason::RevisionNotFound => Ok(probe),
            // A mirror that lacks the probe takes its address for that of a repo which it does not have.
            (Probe::Refused(probe), Err(HubError::Refused(refusal))) if refusal.doubts(&probe) => {
                Err(self.settle(refusal.clone()).await)
            }
            (Probe::Refused(refusal), Err(_)) if !refusal.is_unknown_call() => {
                Err(self.settle(refusal).await)
            }
            (Probe::Untold(error), Err(_)) => Err(Stop::new(self.first_open(), error)),
            (probe, _) => Ok(probe),
        }
    }

    /// Asks for a byte of a file: the only call that everything depends on which keeps it from us. It also finds out whether the
    /// Hub's storage can be reached.
    async fn prove(&self, snapshot: &Snapshot, probe: Probe, disabled: bool) -> Result<(), Stop> {
        let Question { repo, token, .. } = *self.question;
        let file = snapshot.proof.file();
        let remote = self.hub.file(repo, &snapshot.commit, &file.path, file.size);
        let error = match remote.open(token, 0..file.size.min(1)).await {
            // It is given. That it is not what was listed, the download tells.
            Ok(_) | Err(HubError::WrongSize { .. }) => return Ok(()),
            // Where Xet has it, that is the way.
            Err(HubError::Storage { .. }) if file.xet_hash.is_some() => return Ok(()),
            Err(error) => error,
        };
        Err(match (error, probe) {
            (HubError::Refused(refusal), _) if disabled => self.settle(refusal.disabled()).await,
            // Of two refusals, the one with more to say.
            (HubError::Refused(file), Probe::Refused(probe))
                if file.words.is_empty() && !file.is_specific() =>
            {
                self.settle(probe).await
            }
            (HubError::Refused(refusal), _) => self.late(HubError::Refused(refusal.of_a_file())).await,
            (error, _) => Stop::new(Topic::Resolved, error),
        })
    }

    /// The first topic that an unanswered call leaves open.
    const fn first_open(&self) -> Topic {
        match self.question.token {
            Some(_) if !self.token_settled => Topic::Authenticated,
            _ => Topic::Authorized,
        }
    }

    /// Finds out about the token, if a refusal leaves that open.
    async fn settle(&self, refusal: Refusal) -> Stop {
        let settled = match (refusal.token, self.question.token) {
            (TokenState::Unclear, Some(token)) => self.question.record.settle(self.hub, token, refusal).await,
            _ => Ok(refusal),
        };
        match settled {
            Ok(refusal) => Stop::new(Topic::Authorized, HubError::Refused(refusal)),
            Err(error) => Stop::of_whoami(error),
        }
    }

    /// Makes sure that a token which nothing has needed so far is not a bad one that the Hub just ignored.
    async fn confirm_token(&self) -> Result<(), Stop> {
        let Some(token) = self.question.token.filter(|_| self.question.confirm) else { return Ok(()) };
        match self.question.record.confirm(self.hub, token).await {
            Ok(None) => Ok(()),
            Ok(Some(refusal)) => Err(Stop::new(Topic::Authenticated, HubError::Refused(refusal))),
            Err(error) => Err(Stop::of_whoami(error)),
        }
    }

    async fn resolve(&self, info: Result<RevisionInfo, HubError>) -> Result<Snapshot, Stop> {
        let Question { repo, patterns, pinned, token, .. } = *self.question;
        let (now, told) = match (info, pinned) {
            (Ok(info), _) => (info.commit.clone(), Some(info)),
            // The branch is gone, but what is pinned stays.
            (Err(error), Some(pinned)) if error.reason() == Reason::RevisionNotFound => {
                (pinned.clone(), None)
            }
            (Err(error), _) => return Err(self.late(error).await),
        };
        let latest = self.newest(&now).await;
        let commit = pinned.cloned().unwrap_or(now);
        let number = told.as_ref().and_then(|info| info.files_of(&commit));
        let own = told.and_then(|info| info.repo);
        let listed_before =
            self.question.known.filter(|known| !self.question.files && known.commit == commit);
        if let Some(known) = listed_before {
            return Ok(Snapshot { repo: own, latest, ..known.clone() });
        }
        let (mut names, mut sum) = (Names::default(), Wanted::default());
        let mut files = Vec::new();
        let wanted = |path: &str| {
            names.add(path);
            patterns.matches(path)
        };
        let listed = if self.question.files {
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
            // What is missing then is the commit, whatever the revision is called.
            let revision = Revision::from(commit);
            let message = advice::explain(&error, &Subject { revision: &revision, ..self.subject });
            let missing = error.reason() == Reason::RevisionNotFound;
            return Err(Stop { message: missing.then_some(message), ..self.late(error).await });
        }
        let Wanted { count, bytes, proof } = sum;
        let Some(proof) = proof else { return Err(self.nothing(&names)) };
        Ok(Snapshot { repo: own, commit, files, count, bytes, listed: names.listed, proof, latest })
    }

    /// What is newer than a commit, only the branch can tell that it was taken from. Nothing else depends on it: where it does
    /// not tell, that is no obstacle.
    async fn newest(&self, now: &Commit) -> Option<Commit> {
        let Question { repo, revision, followed, token, .. } = *self.question;
        let Some(branch) = followed.filter(|_| revision.as_commit().is_some()) else {
            return Some(now.clone());
        };
        match self.hub.revision(repo, branch, token).await {
            Ok(info) => Some(info.commit),
            Err(error) if error.reason() == Reason::RevisionNotFound => Some(now.clone()),
            Err(_) => None,
        }
    }

    /// A failure after the access probe: a mirror's first word on access, or access that went away just now.
    async fn late(&self, error: HubError) -> Stop {
        match error {
            HubError::Refused(refusal) if refusal.reason.topic() != Some(Topic::Resolved) => {
                self.settle(refusal).await
            }
            error => Stop::new(Topic::Resolved, error),
        }
    }

    fn nothing(&self, names: &Names) -> Stop {
        let Names { listed, examples } = names;
        let message = advice::no_matching_files(&self.subject, self.question.patterns, *listed, examples);
        let error = HubError::Refused(Refusal::nothing_matches());
        Stop { message: Some(message), ..Stop::new(Topic::Resolved, error) }
    }

    /// What is known of the token where nothing stands against it.
    fn authenticated(&self, token_is_good: bool) -> Verdict {
        let reason = match self.question.token {
            None => Reason::Anonymous,
            Some(_) if token_is_good => Reason::TokenValid,
            Some(_) => Reason::TokenUnconfirmed,
        };
        let message = advice::fine(reason, &self.subject);
        match reason {
            Reason::TokenUnconfirmed => Verdict::no(Topic::Authenticated, reason, message),
            _ => Verdict::yes(Topic::Authenticated, reason, message),
        }
    }

    fn authorized(&self) -> Verdict {
        let reason = Reason::AccessGranted;
        Verdict::yes(Topic::Authorized, reason, advice::fine(reason, &self.subject))
    }

    fn success(&self, snapshot: Snapshot, token_is_good: bool) -> Preflight {
        let Snapshot { repo, commit, latest, count, bytes, .. } = &snapshot;
        // Told only once it makes a difference: the first look at a branch and all later ones say the same.
        let moved = latest.as_ref().is_some_and(|latest| latest != commit);
        let mut message = advice::resolved(&self.subject, commit.short(), moved, *count, *bytes);
        message.extend(repo.as_ref().and_then(|own| advice::own_name(&self.subject, own)));
        Preflight {
            authenticated: self.authenticated(token_is_good),
            authorized: self.authorized(),
            resolved: Verdict::yes(Topic::Resolved, Reason::Resolved, message),
            snapshot: Some(snapshot),
            retry_after: None,
            concern: Concern::Repo,
        }
    }

    fn failure(&self, stop: Stop, token_is_good: bool) -> Preflight {
        let reason = stop.error.reason();
        let topic = reason.topic().unwrap_or(stop.at);
        let (open, good) = match &stop.error {
            HubError::Refused(refusal) => (
                topic == Topic::Authorized && refusal.token == TokenState::Unclear,
                refusal.token == TokenState::Good,
            ),
            _ => (false, false),
        };
        let concern = stop.concern(self.hub.endpoint());
        let message = stop.message.unwrap_or_else(|| advice::explain(&stop.error, &self.subject));
        let mut answers = Preflight::stopped_by(Verdict::no(topic, reason, message));
        answers.retry_after = stop.error.retry_after();
        answers.concern = concern;
        if topic > Topic::Authenticated {
            answers.set(if open && !token_is_good {
                let message = "The refusal does not tell whether the token is good.";
                Verdict::no(Topic::Authenticated, Reason::NotChecked, message)
            } else {
                self.authenticated(token_is_good || good)
            });
        }
        if topic > Topic::Authorized {
            answers.set(self.authorized());
        }
        answers
    }
}
