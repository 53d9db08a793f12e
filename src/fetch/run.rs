//! The order of a fetch, from the question whether anything is to do at all to the report.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{
    select,
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{
    FetchError, FetchRequest, Progress, Report,
    context::{CompletionGuard, Context, TokenProvider},
    plan::{Plan, plan},
    retry::{RateLimitBudget, backoff},
    single_flight::SingleFlight,
};
#[cfg(feature = "xet")]
use crate::{cache::Scratch, hub::XetFiles};
use crate::{
    cache::{
        CacheError, Links, Publication, Record, RepoDir, Selection, abandoned, add_name, check_refs,
        commit_of_ref, diagnose, further_names, locate, prepare, require_space, resumable, settle_folder,
        sweep, sync_volume, write_refs,
    },
    hub::{
        Commit, Digest, Hub, HubError, Patience, Preflight, Question, Repo, RepoFile, RepoId, Revision,
        Snapshot, Token, TokenRecord, advice, preflight,
    },
    reason::{Reason, Topic},
    units,
};

/// How often the Hub is asked for the listing while it cannot be reached. Fewer than for a file: a person may be waiting.
const QUESTIONS: u32 = 3;

/// How often the free space is checked.
const ROOM_PAUSE: Duration = Duration::from_secs(1);
/// How long to wait in the end for a writer that still uses the disk: Kubernetes soon kills a pod that does not report.
const FAREWELL: Duration = Duration::from_secs(10);

/// Does all of it, and says how it ended. When `stop` comes first, everything temporary is removed before the end.
pub async fn fetch(
    request: &FetchRequest,
    progress: &Arc<Progress>,
    stop: impl Future<Output = ()>,
) -> Report {
    let started = Instant::now();
    let (target, rate_limit) = (OnceLock::new(), RateLimitBudget::default());
    let (guard, mut all_ended) = mpsc::channel(1);
    let run = Run {
        request,
        dir: request.cache.repo(&request.repo),
        selection: Selection::of(&request.patterns),
        target: &target,
        progress,
        rate_limit: &rate_limit,
        guard,
    };
    let result = select! {
        result = run.all() => result,
        () = stop => Err(FetchError::Stopped),
    };
    let dir = run.dir.clone();
    drop(run);
    // The last of the writers has removed its temporary file, or put it in place. A disk that does not answer cannot
    // be helped, and what stays behind is swept by the next run.
    if timeout(FAREWELL, all_ended.recv()).await.is_err() {
        tracing::warn!("the volume does not answer: leaving a temporary file behind");
    }

    let mut report =
        Report::new(&request.repo.id, request.repo.kind, &request.revision, Reason::Verified, String::new());
    if let Some(Target { commit, files, bytes }) = target.into_inner() {
        report.commit = Some(commit.to_string());
        (report.files, report.bytes) = (files, bytes);
    }
    report.downloaded_bytes = progress.fetched();
    report.seconds = started.elapsed().as_secs();
    match result {
        Ok(Done { record, names, note }) => {
            report.message = format!(
                "{} at {} is complete and verified: {}, {}.{note}",
                request.repo,
                record.commit.short(),
                units::files(record.files.len()),
                units::size(record.bytes),
            );
            report.path = Some(dir.snapshot_from_root(&record.commit));
            (report.files, report.bytes) = (record.files.len() as u64, record.bytes);
            report.commit = Some(record.commit.to_string());
            report.verified_at = Some(record.verified_at);
            report.names = names.iter().map(ToString::to_string).collect();
        }
        Err(error) => {
            report.reason = error.reason();
            report.retry_after_seconds = error.retry_after().map(|pause| pause.as_secs());
            // Some errors are sentences already.
            report.message = format!("{}.", explained(error).await.trim_end_matches('.'));
        }
    }
    report
}

/// What is to be in the cache, once the Hub has answered.
#[derive(Debug)]
struct Target {
    commit: Commit,
    files: u64,
    bytes: u64,
}

/// A good end.
struct Done {
    record: Record,
    /// The further names by which readers find it.
    names: Vec<RepoId>,
    /// What else a person should know.
    note: String,
}

impl From<Record> for Done {
    fn from(record: Record) -> Self {
        Self { record, names: Vec::new(), note: String::new() }
    }
}

#[derive(Clone)]
struct Run<'a> {
    request: &'a FetchRequest,
    dir: RepoDir,
    selection: Selection,
    target: &'a OnceLock<Target>,
    progress: &'a Arc<Progress>,
    rate_limit: &'a RateLimitBudget,
    guard: CompletionGuard,
}

impl Run<'_> {
    /// The whole fetch, in the folder that the name leads to, whatever its name is.
    async fn all(&self) -> Result<Done, FetchError> {
        let FetchRequest { cache, repo, .. } = self.request.clone();
        let dir = spawn_blocking({
            let (cache, repo) = (cache.clone(), repo.clone());
            move || locate(&cache, &repo)
        });
        let done = self.in_folder(dir.await?).fetched().await?;
        let names = spawn_blocking(move || further_names(&cache, &repo)).await?;
        Ok(Done { names, ..done })
    }

    fn in_folder(&self, dir: RepoDir) -> Self {
        Self { dir, ..self.clone() }
    }

    async fn fetched(&self) -> Result<Done, FetchError> {
        let FetchRequest { repo, revision, offline, .. } = self.request;
        // A commit never changes, so what is complete stays so, and nobody has to be asked.
        if revision.as_commit().is_some() || *offline {
            if let Some(record) = self.complete_here(commit_of_ref(&self.dir, revision)).await? {
                return Ok(record.into());
            }
            if *offline {
                return Err(FetchError::Offline { what: format!("{repo} at {revision}") });
            }
        }
        match self.ask().await {
            Ok((hub, token, snapshot)) => self.fetch_under_both_names(&hub, token, snapshot).await,
            Err(error) => self.fall_back_to_cache(error).await,
        }
    }

    /// The record of a commit, if nothing of it is missing. The refs are made to name it.
    async fn complete_here(&self, commit: Option<Commit>) -> Result<Option<Record>, FetchError> {
        let Some(commit) = commit else { return Ok(None) };
        let (dir, selection, refs) = (self.dir.clone(), self.selection.clone(), self.refs());
        let found = spawn_blocking(move || {
            let record = Record::read(&dir, &commit, &selection).filter(|record| record.is_complete(&dir));
            let Some(record) = record.and_then(|record| record.confirmed(&dir)) else { return Ok(None) };
            write_refs(&dir, &commit, &refs).map(|()| Some(record))
        });
        Ok(found.await??)
    }

    /// Whether the commit that the revision was the last time is complete.
    async fn is_cached(&self) -> Result<bool, FetchError> {
        Ok(self.complete_here(commit_of_ref(&self.dir, &self.request.revision)).await?.is_some())
    }

    fn refs(&self) -> Vec<Revision> {
        let FetchRequest { revision, aliases, .. } = self.request;
        [revision].into_iter().chain(aliases).filter(|name| name.as_commit().is_none()).cloned().collect()
    }

    /// Asks the Hub what there is to download, and whether we may.
    async fn ask(&self) -> Result<(Hub, Option<Token>, Snapshot), FetchError> {
        let FetchRequest { repo, revision, patterns, endpoint, token, limits, .. } = self.request;
        let token = token.read()?;
        let patience = Patience {
            metadata: limits.metadata,
            first_byte: limits.first_byte,
            idle: limits.stall,
            ..Patience::default()
        };
        let hub = Hub::with_patience(endpoint, patience).map_err(|error| self.hub_error(error))?;
        let record = TokenRecord::default();
        // Whether a token that is not needed would be good is of no interest here.
        let question = Question {
            repo,
            revision,
            patterns,
            pinned: None,
            followed: None,
            token: token.as_ref(),
            record: &record,
            known: None,
            files: true,
            confirm: false,
        };
        let mut asked = 0;
        loop {
            asked += 1;
            let mut answer = preflight(&hub, &question).await;
            if let Some(snapshot) = answer.snapshot.take() {
                return Ok((hub, token, snapshot));
            }
            let error = obstacle(&answer);
            if asked == QUESTIONS {
                return Err(error);
            }
            let wait = match error.reason() {
                Reason::HubUnreachable | Reason::InvalidResponse => Some(backoff(limits.pause, asked)),
                // What is complete in the cache need not wait for it.
                Reason::RateLimited if self.is_cached().await? => None,
                Reason::RateLimited => error
                    .retry_after()
                    .filter(|wait| self.rate_limit.take(*wait, limits.rate_limit, Instant::now())),
                _ => None,
            };
            let Some(wait) = wait else { return Err(error) };
            tracing::warn!(%error, pause_seconds = wait.as_secs_f32(), "asking the hub again");
            sleep(wait).await;
        }
    }

    fn hub_error(&self, error: HubError) -> FetchError {
        let FetchRequest { repo, revision, endpoint, .. } = self.request;
        let advice = advice::explain(&error, &advice::Subject { repo, revision, endpoint });
        FetchError::Hub { error, advice }
    }

    /// What was once downloaded stays usable without the Hub, even after a token was revoked.
    async fn fall_back_to_cache(&self, error: FetchError) -> Result<Done, FetchError> {
        let about_us = match &error {
            FetchError::Token(_) | FetchError::Hub { .. } => true,
            FetchError::Preflight { verdict, .. } => {
                verdict.topic != Topic::Resolved
                    || matches!(
                        verdict.reason,
                        Reason::HubUnreachable | Reason::InvalidResponse | Reason::RateLimited
                    )
            }
            _ => false,
        };
        if about_us
            && let Some(record) = self.complete_here(commit_of_ref(&self.dir, &self.request.revision)).await?
        {
            tracing::warn!(%error, "using what is complete in the cache");
            return Ok(Done { note: format!(" The Hub did not confirm it: {error}"), ..record.into() });
        }
        Err(error)
    }

    /// Where the Hub has another name for the repo than was asked for, readers may ask for both.
    async fn fetch_under_both_names(
        &self,
        hub: &Hub,
        token: Option<Token>,
        snapshot: Snapshot,
    ) -> Result<Done, FetchError> {
        let FetchRequest { repo: asked, cache, .. } = self.request.clone();
        let own = Repo { kind: asked.kind, id: snapshot.repo.clone().unwrap_or_else(|| asked.id.clone()) };
        // Without links in snapshots, there is none here either.
        let may_link = self.request.links != Some(Links::Files);
        let run = if may_link {
            let (asked, own) = (asked.clone(), own.clone());
            self.in_folder(spawn_blocking(move || settle_folder(&asked, &own, &cache)).await??)
        } else {
            self.clone()
        };
        let record = run.download(hub, token, snapshot).await?;
        if own == asked {
            return Ok(record.into());
        }
        let added = spawn_blocking({
            let (dir, own) = (run.dir.clone(), own.clone());
            move || if may_link { add_name(&dir, &own) } else { Ok(false) }
        });
        // What is complete stays so without it.
        let added = added.await?.unwrap_or_else(|error| {
            tracing::warn!(%error, "no further name");
            false
        });
        let note = if added {
            format!(" The Hub calls the repo {}: programs find it under both names.", own.id)
        } else {
            format!(" The Hub calls the repo {}, but programs find this only as {}.", own.id, asked.id)
        };
        Ok(Done { note, ..record.into() })
    }

    /// Brings what is missing, and makes the whole visible.
    async fn download(
        &self,
        hub: &Hub,
        token: Option<Token>,
        snapshot: Snapshot,
    ) -> Result<Record, FetchError> {
        let Snapshot { commit, files, bytes, .. } = snapshot;
        // One listing for all that follows: it may be long.
        let files: Arc<[RepoFile]> = files.into();
        let total_files = files.len() as u64;
        let target = Target { commit: commit.clone(), files: total_files, bytes };
        // Set once in a run: this is the only place.
        let _ = self.target.set(target);
        if let Some(record) = self.complete_here(Some(commit.clone())).await? {
            return Ok(record);
        }
        let context = Context {
            hub,
            dir: &self.dir,
            revision: &self.request.revision,
            commit: &commit,
            tokens: TokenProvider::new(&self.request.token, token),
            limits: &self.request.limits,
            progress: self.progress,
            rate_limit: self.rate_limit,
            guard: &self.guard,
            #[cfg(feature = "xet")]
            xet: self.in_xet(hub, &commit, &files).await?,
            connections: Semaphore::new(self.request.limits.connections.max(1)),
        };
        match self.fill(&context, &files).await {
            // Another program has removed files since the plan. It will hardly do so twice.
            Err(FetchError::Cache(error @ CacheError::Vanished { .. })) => {
                tracing::warn!(%error, "checking again which files are there");
                self.fill(&context, &files).await
            }
            other => other,
        }
    }

    /// The way to files in Xet, if there are any that may come so.
    #[cfg(feature = "xet")]
    async fn in_xet(
        &self,
        hub: &Hub,
        commit: &Commit,
        files: &[RepoFile],
    ) -> Result<Option<XetFiles>, FetchError> {
        if !self.request.xet || files.iter().all(|file| file.xet_hash.is_none()) {
            return Ok(None);
        }
        let dir = self.dir.clone();
        let scratch = spawn_blocking(move || Scratch::create(&dir)).await??;
        Ok(XetFiles::new(hub, &self.request.repo, commit, scratch))
    }

    /// Makes it complete, unless another run does that at this moment.
    async fn fill(&self, context: &Context<'_>, files: &Arc<[RepoFile]>) -> Result<Record, FetchError> {
        let links = self.prepare().await?;
        let single_flight =
            SingleFlight::wait(&self.dir, context.commit, &self.selection, self.request.limits.lock).await?;
        if single_flight.waited
            && let Some(record) = self.complete_here(Some(context.commit.clone())).await?
        {
            return Ok(record);
        }
        single_flight.run_with_heartbeat(self.complete(context, files, links)).await
    }

    /// Plans, downloads what is missing and publishes it.
    async fn complete(
        &self,
        context: &Context<'_>,
        files: &Arc<[RepoFile]>,
        links: Links,
    ) -> Result<Record, FetchError> {
        let commit = context.commit;
        let plan = plan(&self.dir, commit, files, context.limits.connections).await?;
        let total = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.size));
        self.progress.begin(total, files.len() as u64, plan.present_bytes, plan.present_files);
        self.make_room(&plan, links).await?;
        tracing::info!(
            repo = %self.request.repo, %commit, files = files.len(), size = units::size(total),
            missing = units::size(plan.bytes()), "downloading"
        );
        transfer(context, plan).await?;
        self.publish(commit.clone(), Arc::clone(files), links).await
    }

    /// Makes the folders, after all a writer that was killed may have left.
    async fn prepare(&self) -> Result<Links, FetchError> {
        let (dir, leftover, refs) = (self.dir.clone(), self.request.limits.leftover, self.refs());
        let links = spawn_blocking(move || {
            prepare(&dir)?;
            check_refs(&dir, &refs)?;
            sweep(&dir, leftover, None);
            Ok::<_, CacheError>(Links::of(&dir))
        });
        let found = links.await??;
        Ok(self.request.links.unwrap_or(found))
    }

    /// Refuses what does not fit. A leftover that might still be another's is only worth its place while there is some,
    /// and when it is all that is in the way, it is waited for until it is old enough to be nobody's.
    async fn make_room(&self, plan: &Plan<'_>, links: Links) -> Result<(), FetchError> {
        let wanted: Arc<HashSet<Digest>> = Arc::new(plan.digests());
        let quiet = self.request.limits.stall;
        let latest = Instant::now() + quiet + ROOM_PAUSE;
        loop {
            let (dir, wanted) = (self.dir.clone(), Arc::clone(&wanted));
            let there = {
                let dir = dir.clone();
                spawn_blocking(move || resumable(&dir)).await?
            };
            let needed = plan.needed(links, &there);
            let room = spawn_blocking(move || {
                require_space(&dir, needed).or_else(|_| {
                    sweep(&dir, quiet, Some(&|digest| wanted.contains(digest)));
                    require_space(&dir, needed).map_err(|error| (error, abandoned(&dir)))
                })
            });
            match room.await? {
                Ok(()) => return Ok(()),
                Err((CacheError::TooSmall { free, .. }, left))
                    if free.saturating_add(left) >= needed && Instant::now() < latest =>
                {
                    tracing::info!(
                        size = units::size(left),
                        "waiting for the space of an unfinished download"
                    );
                    sleep(ROOM_PAUSE).await;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    async fn publish(
        &self,
        commit: Commit,
        files: Arc<[RepoFile]>,
        links: Links,
    ) -> Result<Record, FetchError> {
        let (dir, selection, refs) = (self.dir.clone(), self.selection.clone(), self.refs());
        let guard = self.guard.clone();
        let published = spawn_blocking(move || {
            let _guard = guard;
            sync_volume(&dir)?;
            let publication =
                Publication { dir: &dir, commit: &commit, selection, files: &files, refs: &refs, links };
            publication.publish()
        });
        Ok(published.await??)
    }
}

/// The message of a failure, with what the volume says about it.
async fn explained(error: FetchError) -> String {
    let message = error.to_string();
    let FetchError::Cache(error) = error else { return message };
    spawn_blocking(move || diagnose(&error).to_string()).await.unwrap_or(message)
}

/// What stands in the way of an answer without a snapshot.
fn obstacle(answer: &Preflight) -> FetchError {
    let verdict = answer.obstacle().unwrap_or(&answer.resolved).clone();
    FetchError::Preflight { verdict, retry_after: answer.retry_after }
}

/// Brings all that is missing, some at once. The first failure ends the others.
async fn transfer(context: &Context<'_>, plan: Plan<'_>) -> Result<(), FetchError> {
    stream::iter(plan.missing)
        .map(|missing| async move { context.fetch_file(&missing).await })
        .buffer_unordered(context.limits.connections.max(1))
        .try_collect()
        .await
}
