//! The sequence of a fetch, from checking whether there is anything to do to the report.

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
        Commit, Digest, Hub, HubError, Preflight, PreflightRequest, Repo, RepoFile, RepoId, RequestTimeouts,
        Revision, Snapshot, Token, TokenStatusCache, messages, preflight,
    },
    reason::{ConditionType, Reason},
    units,
};

/// Preflight attempts while the Hub is unreachable. Fewer than for a file, since a user may be waiting.
const PREFLIGHT_ATTEMPTS: u32 = 3;

/// The interval between two checks of the free space.
const SPACE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long to wait at the end for writers that still use the disk: Kubernetes soon kills a pod that does not exit.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the fetch and reports its outcome. If `stop` completes first, temporary files are removed before it returns.
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
    // Wait until the last writer has removed its temporary file or put it in place. If the disk hangs, the next run
    // sweeps the leftovers.
    if timeout(SHUTDOWN_TIMEOUT, all_ended.recv()).await.is_err() {
        tracing::warn!("the volume does not respond: leaving a temporary file behind");
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
            // Some errors already end with a period.
            report.message = format!("{}.", explained(error).await.trim_end_matches('.'));
        }
    }
    report
}

/// What is to be downloaded, known once the Hub has answered.
#[derive(Debug)]
struct Target {
    commit: Commit,
    files: u64,
    bytes: u64,
}

/// A successful fetch.
struct Done {
    record: Record,
    /// The further names under which readers find it.
    names: Vec<RepoId>,
    /// An addition to the message.
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
    /// The whole fetch, in the folder that the requested name leads to.
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
        // A commit is immutable, so a complete one needs no request.
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

    /// The record of a commit, if it is complete. Points the refs to it.
    async fn complete_here(&self, commit: Option<Commit>) -> Result<Option<Record>, FetchError> {
        let Some(commit) = commit else { return Ok(None) };
        let (dir, selection, refs) = (self.dir.clone(), self.selection.clone(), self.refs());
        let found = spawn_blocking(move || {
            let record = Record::read(&dir, &commit, &selection).filter(|record| record.is_complete(&dir));
            let Some(record) = record.and_then(|record| record.confirmed(&dir)) else { return Ok(None) };
            // None is moved where another one cannot be.
            check_refs(&dir, &refs)?;
            write_refs(&dir, &commit, &refs).map(|()| Some(record))
        });
        Ok(found.await??)
    }

    /// Whether the commit that the revision last resolved to is complete.
    async fn is_cached(&self) -> Result<bool, FetchError> {
        Ok(self.complete_here(commit_of_ref(&self.dir, &self.request.revision)).await?.is_some())
    }

    fn refs(&self) -> Vec<Revision> {
        let FetchRequest { revision, aliases, .. } = self.request;
        [revision].into_iter().chain(aliases).filter(|name| name.as_commit().is_none()).cloned().collect()
    }

    /// Asks the Hub what to download, and whether access is granted.
    async fn ask(&self) -> Result<(Hub, Option<Token>, Snapshot), FetchError> {
        let FetchRequest { repo, revision, patterns, endpoint, token, limits, .. } = self.request;
        let token = token.read()?;
        let timeouts = RequestTimeouts {
            metadata: limits.metadata,
            first_byte: limits.first_byte,
            idle: limits.stall,
            ..RequestTimeouts::default()
        };
        let hub = Hub::with_timeouts(endpoint, timeouts).map_err(|error| self.hub_error(error))?;
        let record = TokenStatusCache::default();
        // No `confirm`: an unneeded token does not have to be valid.
        let question = PreflightRequest {
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
            if asked == PREFLIGHT_ATTEMPTS {
                return Err(error);
            }
            let wait = match error.reason() {
                Reason::HubUnreachable | Reason::InvalidResponse => Some(backoff(limits.pause, asked)),
                // A complete cache need not wait.
                Reason::RateLimited if self.is_cached().await? => None,
                Reason::RateLimited => error
                    .retry_after()
                    .filter(|wait| self.rate_limit.take(*wait, limits.rate_limit, Instant::now())),
                _ => None,
            };
            let Some(wait) = wait else { return Err(error) };
            tracing::warn!(%error, pause_seconds = wait.as_secs_f32(), "retrying the preflight");
            sleep(wait).await;
        }
    }

    fn hub_error(&self, error: HubError) -> FetchError {
        let FetchRequest { repo, revision, endpoint, .. } = self.request;
        let message = messages::explain(&error, &messages::Subject { repo, revision, endpoint });
        FetchError::Hub { error, message }
    }

    /// Uses a complete snapshot in the cache if the Hub is unavailable or the token was revoked.
    async fn fall_back_to_cache(&self, error: FetchError) -> Result<Done, FetchError> {
        let about_us = match &error {
            FetchError::Token(_) | FetchError::Hub { .. } => true,
            FetchError::Preflight { verdict, .. } => {
                verdict.topic != ConditionType::Resolved
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
            tracing::warn!(%error, "using the complete snapshot in the cache");
            return Ok(Done { note: format!(" The Hub did not confirm it: {error}"), ..record.into() });
        }
        Err(error)
    }

    /// If the Hub knows the repo under another name than requested, makes it available under both.
    async fn fetch_under_both_names(
        &self,
        hub: &Hub,
        token: Option<Token>,
        snapshot: Snapshot,
    ) -> Result<Done, FetchError> {
        let FetchRequest { repo: asked, cache, .. } = self.request.clone();
        let own = Repo { kind: asked.kind, id: snapshot.repo.clone().unwrap_or_else(|| asked.id.clone()) };
        // If snapshots must not contain links, neither must the cache.
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
        // The download is complete without it.
        let added = added.await?.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot add a further name");
            false
        });
        let note = if added {
            format!(" The Hub calls the repo {}: programs find it under both names.", own.id)
        } else {
            format!(" The Hub calls the repo {}, but programs find this only as {}.", own.id, asked.id)
        };
        Ok(Done { note, ..record.into() })
    }

    /// Downloads the missing files and publishes the snapshot.
    async fn download(
        &self,
        hub: &Hub,
        token: Option<Token>,
        snapshot: Snapshot,
    ) -> Result<Record, FetchError> {
        let Snapshot { commit, files, bytes, .. } = snapshot;
        // Shared by all steps: it may be long.
        let files: Arc<[RepoFile]> = files.into();
        let total_files = files.len() as u64;
        let target = Target { commit: commit.clone(), files: total_files, bytes };
        // Never set before: this is the only place.
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
            // Another program removed files after planning, which is unlikely to happen twice.
            Err(FetchError::Cache(error @ CacheError::Vanished { .. })) => {
                tracing::warn!(%error, "planning again");
                self.fill(&context, &files).await
            }
            other => other,
        }
    }

    /// Access to Xet, if it is enabled and any file is stored there.
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

    /// Completes the cache, or waits for another run that does.
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

    /// Plans, downloads the missing files and publishes the snapshot.
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

    /// Creates the folders and removes the leftovers of crashed writers.
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

    /// Fails if the download does not fit. If space is short, stale downloads are removed; if one whose writer may still be
    /// alive would make the difference, waits until it counts as stale.
    async fn make_room(&self, plan: &Plan<'_>, links: Links) -> Result<(), FetchError> {
        let wanted: Arc<HashSet<Digest>> = Arc::new(plan.digests());
        let idle = self.request.limits.stall;
        let deadline = Instant::now() + idle + SPACE_CHECK_INTERVAL;
        loop {
            let (dir, wanted) = (self.dir.clone(), Arc::clone(&wanted));
            let there = {
                let dir = dir.clone();
                spawn_blocking(move || resumable(&dir)).await?
            };
            let needed = plan.needed(links, &there);
            let room = spawn_blocking(move || {
                require_space(&dir, needed).or_else(|_| {
                    sweep(&dir, idle, Some(&|digest| wanted.contains(digest)));
                    require_space(&dir, needed).map_err(|error| (error, abandoned(&dir)))
                })
            });
            match room.await? {
                Ok(()) => return Ok(()),
                Err((CacheError::TooSmall { free, .. }, left))
                    if free.saturating_add(left) >= needed && Instant::now() < deadline =>
                {
                    tracing::info!(
                        size = units::size(left),
                        "waiting for the space of an unfinished download"
                    );
                    sleep(SPACE_CHECK_INTERVAL).await;
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

/// The message of an error, with the diagnosis of the volume.
async fn explained(error: FetchError) -> String {
    let message = error.to_string();
    let FetchError::Cache(error) = error else { return message };
    spawn_blocking(move || diagnose(&error).to_string()).await.unwrap_or(message)
}

/// The error of a preflight without a snapshot.
fn obstacle(answer: &Preflight) -> FetchError {
    let verdict = answer.obstacle().unwrap_or(&answer.resolved).clone();
    FetchError::Preflight { verdict, retry_after: answer.retry_after }
}

/// Downloads all missing blobs concurrently. The first failure cancels the others.
async fn transfer(context: &Context<'_>, plan: Plan<'_>) -> Result<(), FetchError> {
    stream::iter(plan.missing)
        .map(|missing| async move { context.fetch_file(&missing).await })
        .buffer_unordered(context.limits.connections.max(1))
        .try_collect()
        .await
}
