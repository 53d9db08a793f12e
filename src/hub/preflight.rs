//! Everything that can be said before a byte is downloaded: token, access, commit, files. Shared by the controller and
//! the `check` command. Knows no Kubernetes.

use std::time::Duration;

use super::{
    Commit, Hub, HubError, Patterns, Refusal, Repo, RepoFile, RepoPath, Revision, RevisionInfo, Token,
    TokenRecord, TokenState,
    advice::{self, Subject},
};
use crate::reason::{Reason, Topic, Verdict};

/// What is to be found out.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The repo.
    pub repo: &'a Repo,
    /// The branch, tag or commit that is wanted.
    pub revision: &'a Revision,
    /// Which of its files.
    pub patterns: &'a Patterns,
    /// A commit to stay at, whatever the revision stands for by now.
    pub pinned: Option<&'a Commit>,
    /// The branch or tag whose newest commit is told, where the revision is a commit and has no other.
    pub followed: Option<&'a Revision>,
    /// Who asks.
    pub token: Option<&'a Token>,
    /// What is known of this very token by earlier answers, and where this one's is added.
    pub record: &'a TokenRecord,
    /// Whether the files are wanted one by one, as by who downloads them. Else they are counted as they come, and a listing of
    /// any length takes little memory.
    pub files: bool,
    /// Whether it matters that the token is good even where the repo can be read without one.
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
    /// The commit that the revision, or the branch that is followed, stands for now. Differs from `commit` if that is pinned;
    /// none where the branch does not tell.
    pub latest: Option<Commit>,
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
/// files are there. Stops at the first answer that is not yes.
pub async fn preflight(hub: &Hub, question: &Question<'_>) -> Preflight {
    let token_settled = !question.confirm || question.record.is_good().await;
    let round = Round { hub, question, subject: question.subject(hub), token_settled };
    match round.run().await {
        Ok(snapshot) => round.success(snapshot),
        Err(stop) => round.failure(stop),
    }
}

/// Why a round ended early.
struct Stop {
    /// Where it ended, if the error says nothing about a topic.
    at: Topic,
    error: HubError,
    /// A better sentence than the error has.
    message: Option<String>,
}

impl Stop {
    const fn new(at: Topic, error: HubError) -> Self {
        Self { at, error, message: None }
    }
}

/// What a listing comes to, file by file.
#[derive(Default)]
struct Tally {
    /// All files.
    listed: usize,
    /// The wanted ones.
    count: usize,
    bytes: u64,
    /// The first paths in their order.
    examples: Vec<RepoPath>,
}

impl Tally {
    /// So many examples help a person to correct a pattern.
    const EXAMPLES: usize = 3;

    /// Counts a file, and says whether it is wanted.
    fn add(&mut self, file: &RepoFile, patterns: &Patterns) -> bool {
        self.listed += 1;
        let at = self.examples.partition_point(|example| *example < file.path);
        if at < Self::EXAMPLES {
            self.examples.insert(at, file.path.clone());
            self.examples.truncate(Self::EXAMPLES);
        }
        let wanted = patterns.matches(&file.path);
        if wanted {
            self.count += 1;
            self.bytes = self.bytes.saturating_add(file.size);
        }
        wanted
    }
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
        let granted = self.access().await?;
        let info = self.hub.revision(self.question.repo, self.question.revision, self.question.token).await;
        // Who may read what not everybody may read has a good token.
        let proven = granted && info.as_ref().is_ok_and(|info| info.private || info.gated);
        if proven {
            self.question.record.prove().await;
        } else {
            self.confirm_token().await?;
        }
        self.resolve(info).await
    }

    /// The access probe. False: this endpoint is a mirror that does not offer it, so the other calls must tell.
    async fn access(&self) -> Result<bool, Stop> {
        match self.hub.auth_check(self.question.repo, self.question.token).await {
            Ok(()) => Ok(true),
            Err(HubError::Refused(refusal)) if refusal.is_unknown_call() => Ok(false),
            Err(HubError::Refused(refusal)) => Err(self.settle(refusal).await),
            Err(error) => Err(Stop::new(self.first_open(), error)),
        }
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
            Err(error) => Stop::new(Topic::Authenticated, error),
        }
    }

    /// Makes sure that a token which nothing has needed so far is not a bad one that the Hub just ignored.
    async fn confirm_token(&self) -> Result<(), Stop> {
        let Some(token) = self.question.token.filter(|_| self.question.confirm) else { return Ok(()) };
        match self.question.record.confirm(self.hub, token).await {
            Ok(None) => Ok(()),
            Ok(Some(refusal)) => Err(Stop::new(Topic::Authenticated, HubError::Refused(refusal))),
            Err(error) => Err(Stop::new(Topic::Authenticated, error)),
        }
    }

    async fn resolve(&self, info: Result<RevisionInfo, HubError>) -> Result<Snapshot, Stop> {
        let Question { repo, patterns, pinned, token, .. } = *self.question;
        let told = info.as_ref().ok().cloned();
        let now = match (info, pinned) {
            (Ok(info), _) => info.commit,
            // The branch is gone, but what is pinned stays.
            (Err(error), Some(pinned)) if error.reason() == Reason::RevisionNotFound => pinned.clone(),
            (Err(error), _) => return Err(self.late(error).await),
        };
        let latest = self.newest(&now).await;
        let commit = pinned.cloned().unwrap_or(now);
        let named = told.and_then(|info| info.files_of(&commit));
        let mut tally = Tally::default();
        let mut files = Vec::new();
        let listed = if self.question.files {
            self.hub.list(repo, &commit, named, token).await.map(|listing| {
                files = listing.into_iter().filter(|file| tally.add(file, patterns)).collect();
            })
        } else {
            let see = |file: RepoFile| _ = tally.add(&file, patterns);
            self.hub.each_file(repo, &commit, named, token, see).await
        };
        if let Err(error) = listed {
            // What is missing then is the commit, whatever the revision is called.
            let revision = Revision::from(commit);
            let message = advice::explain(&error, &Subject { revision: &revision, ..self.subject });
            let missing = error.reason() == Reason::RevisionNotFound;
            return Err(Stop { message: missing.then_some(message), ..self.late(error).await });
        }
        let Tally { listed, count, bytes, .. } = tally;
        if count == 0 {
            return Err(self.nothing(&tally));
        }
        Ok(Snapshot { commit, files, count, bytes, listed, latest })
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

    fn nothing(&self, tally: &Tally) -> Stop {
        let Tally { listed, examples, .. } = tally;
        let message = advice::no_matching_files(&self.subject, self.question.patterns, *listed, examples);
        let error = HubError::Refused(Refusal::nothing_matches());
        Stop { message: Some(message), ..Stop::new(Topic::Resolved, error) }
    }

    /// A good answer to a topic.
    fn yes(&self, topic: Topic) -> Verdict {
        let reason = match topic {
            Topic::Authenticated if self.question.token.is_none() => Reason::Anonymous,
            Topic::Authenticated => Reason::TokenValid,
            _ => Reason::AccessGranted,
        };
        Verdict::yes(topic, reason, advice::fine(reason, &self.subject))
    }

    fn success(&self, snapshot: Snapshot) -> Preflight {
        let Snapshot { commit, latest, count, bytes, .. } = &snapshot;
        // Told only once it makes a difference: the first look at a branch and all later ones say the same.
        let moved = latest.as_ref().is_some_and(|latest| latest != commit);
        let message = advice::resolved(&self.subject, commit.short(), moved, *count, *bytes);
        Preflight {
            authenticated: self.yes(Topic::Authenticated),
            authorized: self.yes(Topic::Authorized),
            resolved: Verdict::yes(Topic::Resolved, Reason::Resolved, message),
            snapshot: Some(snapshot),
            retry_after: None,
        }
    }

    fn failure(&self, stop: Stop) -> Preflight {
        let reason = stop.error.reason();
        let topic = reason.topic().unwrap_or(stop.at);
        let message = stop.message.unwrap_or_else(|| advice::explain(&stop.error, &self.subject));
        let mut answers = Preflight::stopped_by(Verdict::no(topic, reason, message));
        answers.retry_after = stop.error.retry_after();
        if topic > Topic::Authenticated {
            answers.set(self.authenticated(topic, &stop.error));
        }
        if topic > Topic::Authorized {
            answers.set(self.yes(Topic::Authorized));
        }
        answers
    }

    /// What a later failure says about the token.
    fn authenticated(&self, failed: Topic, error: &HubError) -> Verdict {
        let open = failed == Topic::Authorized
            && !self.token_settled
            && matches!(error, HubError::Refused(refusal) if refusal.token == TokenState::Unclear);
        if open {
            let message = "The refusal does not tell whether the token is good.";
            return Verdict::no(Topic::Authenticated, Reason::NotChecked, message);
        }
        self.yes(Topic::Authenticated)
    }
}
