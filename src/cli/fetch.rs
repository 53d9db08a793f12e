//! `modelcache fetch`: fills a cache. Jobs, init containers and users all run this command.

use std::{
    future::{Future, pending},
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt as _;
use serde::Serialize;
use tokio::select;

use super::{
    env::Env,
    output::{Output, eprint_line, print},
    signals::stopped,
    source::{FILES_HELP, FetchTarget, Source, SourceArgs},
    values::{connections, duration},
};
use crate::{
    activity,
    cache::{CacheDir, Links},
    fetch::{FetchRequest, Limits, Progress, Report, fetch, show},
    reason::{Reason, exit},
    sync::locked,
    terminal,
    text::{json, of_path, printable},
};

const EXAMPLES: &str = "Examples:\n  \
    modelcache fetch openai-community/gpt2\n  \
    modelcache fetch org/name --include '*.safetensors' --include '*.json'\n  \
    modelcache fetch org/data --type dataset --cache-dir /models\n  \
    modelcache fetch -f modelcache.yaml           # as in the cluster\n  \
    HF_HUB_OFFLINE=1 modelcache fetch org/name    # without contacting the Hub";

/// Download files of a repo into a cache, and verify them
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "modelcache fetch [OPTIONS] REPO\n       modelcache fetch [OPTIONS] -f FILE...",
    after_help = format!("{FILES_HELP}\n\n{EXAMPLES}")
)]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// Further ref to create for the commit in the cache; may be repeated
    #[arg(long = "alias", value_name = "REF", conflicts_with = "filename")]
    aliases: Vec<String>,
    /// Cache directory [default: `HF_HUB_CACHE`, or `hub` below `HF_HOME`]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    #[command(flatten)]
    transfer: TransferArgs,
    /// Write the report to this file, as JSON of less than 4 KiB
    #[arg(long, value_name = "FILE", conflicts_with = "filename")]
    report: Option<PathBuf>,
    /// Exit if nothing is downloaded, hashed or waited for during this time
    #[arg(long, value_name = "TIME", default_value = "30m", hide = true, value_parser = duration)]
    watchdog: Duration,
    /// Output format: the path of the snapshot, or the report
    #[arg(short, long, default_value = "text")]
    output: Output,
}

/// How files are downloaded.
#[derive(Debug, clap::Args)]
struct TransferArgs {
    /// Do not use the Xet protocol; download all files by ordinary HTTPS requests [env: `HF_HUB_DISABLE_XET`]
    #[arg(long)]
    no_xet: bool,
    /// Maximum number of concurrent connections, from 1 to 64
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = connections)]
    max_workers: usize,
}

/// The current download: the name of its ModelCache, and the report in case it hangs.
type Current = Arc<Mutex<Option<(Option<String>, Report)>>>;

/// A report with the name of its ModelCache.
#[derive(Debug, Serialize)]
struct Named<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(flatten)]
    report: &'a Report,
}

impl Args {
    /// Runs the command and returns the exit code.
    pub(super) async fn run(self) -> u8 {
        let env = Env::of_process();
        let cache = CacheDir::new(self.cache_dir.clone().unwrap_or_else(|| env.cache()));
        let targets = match self.source.targets(&env, &self.aliases) {
            Ok(targets) => targets,
            Err(error) => return error.refuse(),
        };
        let stop = stopped().shared();
        let args = Arc::new(self);
        let current = Arc::new(Mutex::new(None));
        if let Err(error) = args.watch(&cache, &current) {
            tracing::warn!(%error, "cannot start the watchdog: a hanging volume will not be detected");
        }
        let mut code = exit::OK;
        for target in targets {
            let name = target.name.clone();
            let begun = Report::new(
                &target.repo,
                target.kind,
                &target.revision,
                Reason::TransferStalled,
                String::new(),
            );
            *locked(&current) = Some((name.clone(), begun));
            let report = fill(target, &env, &cache, &args.transfer, stop.clone()).await;
            args.print_report(name.as_deref(), &cache, &report);
            if code == exit::OK {
                code = report.reason.exit_code();
            }
            if report.reason == Reason::Stopped {
                return Reason::Stopped.exit_code();
            }
        }
        code
    }

    /// Exits with a report when nothing progresses, even if all other threads hang.
    fn watch(self: &Arc<Self>, cache: &CacheDir, current: &Current) -> io::Result<()> {
        let (args, cache, current) = (Arc::clone(self), cache.clone(), Arc::clone(current));
        activity::watch(self.watchdog, move || {
            let begun = locked(&current).take();
            if let Some((name, report)) = begun {
                let message = format!(
                    "Nothing was downloaded, hashed or written for {} s: the volume or the network does not respond. The next \
                    run resumes the download.",
                    args.watchdog.as_secs()
                );
                args.print_report(name.as_deref(), &cache, &Report { message, ..report });
            }
            std::process::exit(Reason::TransferStalled.exit_code().into());
        })
    }

    fn print_report(&self, name: Option<&str>, cache: &CacheDir, report: &Report) {
        if let Some(path) = &self.report
            && let Err(error) = report.write(path)
        {
            tracing::error!(path = of_path(path), %error, "cannot write the report");
        }
        match (self.output, &report.path) {
            (Output::Json, _) if name.is_some() => print(&json(&Named { name, report })),
            (Output::Json, _) => print(&report.to_json()),
            (Output::Text, Some(path)) => print(&cache.root().join(path).display().to_string()),
            (Output::Text, None) => {}
        }
        let whose = name.map(|name| format!("{}: ", printable(name))).unwrap_or_default();
        eprint_line(&format!("{whose}{}: {}", report.reason, report.message));
    }
}

async fn fill(
    target: FetchTarget,
    env: &Env,
    cache: &CacheDir,
    transfer: &TransferArgs,
    stop: impl Future<Output = ()>,
) -> Report {
    match target.source {
        Ok(source) => with_progress(&request(source, env, cache.clone(), transfer), stop).await,
        Err(error) => {
            Report::new(&target.repo, target.kind, &target.revision, error.reason(), format!("{error}."))
        }
    }
}

fn request(source: Source, env: &Env, cache: CacheDir, transfer: &TransferArgs) -> FetchRequest {
    let Source { repo, revision, aliases, patterns, endpoint, token } = source;
    let limits = Limits::default().within(endpoint.timeouts());
    FetchRequest {
        repo,
        revision,
        aliases,
        patterns,
        cache,
        endpoint,
        token,
        offline: env.offline(),
        xet: !transfer.no_xet && !env.without_xet(),
        links: env.without_links().then_some(Links::Files),
        limits: Limits { connections: transfer.max_workers, ..limits },
    }
}

/// Progress bars on a terminal, lines of JSON otherwise.
async fn with_progress(request: &FetchRequest, stop: impl Future<Output = ()>) -> Report {
    let progress = Arc::new(Progress::default());
    let fetched = fetch(request, &progress, stop);
    if terminal::can_draw() {
        select! { report = fetched => report, () = show(&progress) => pending().await }
    } else {
        select! { report = fetched => report, () = progress.print_lines(print) => pending().await }
    }
}
