//! `modelcache fetch`: fills a cache. The Job, the init container and the person run the same.

use std::{
    future::pending,
    io::{self, IsTerminal as _},
    path::PathBuf,
    sync::Arc,
};

use tokio::{
    select,
    signal::unix::{SignalKind, signal},
};

use super::{
    Output,
    env::Env,
    print,
    source::{SourceArgs, SourceError},
    tell,
};
use crate::{
    cache::{CacheDir, Links},
    fetch::{FetchRequest, Limits, Progress, Report, fetch, show},
    hub::printable,
    reason::exit,
};

/// Fill a cache with files of a repo, complete and verified
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    modelcache fetch openai-community/gpt2\n  \
    modelcache fetch org/name --include '*.safetensors' --include '*.json' --cache-dir /models\n  \
    HF_HUB_OFFLINE=1 modelcache fetch org/name    # is it complete? Asks no Hub")]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// Further ref that shall name the commit in the cache; may be repeated
    #[arg(long = "alias", value_name = "REF")]
    aliases: Vec<String>,
    /// The cache. Else `HF_HUB_CACHE`, or `hub` below `HF_HOME`
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Write how it ended to this file, as JSON of less than 4 KiB
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// What is printed in the end: the path of the snapshot, or the report
    #[arg(short, long, default_value = "text")]
    output: Output,
}

impl Args {
    /// Does it, and gives the exit code.
    pub(super) async fn run(self) -> u8 {
        let env = Env::of_process();
        let cache = CacheDir::new(self.cache_dir.clone().unwrap_or_else(|| env.cache()));
        let report = match self.request(&env, cache.clone()) {
            Ok(request) => with_progress(&request).await,
            Err(error) => {
                // What is wrong may also be endless, and a report must stay short.
                let SourceArgs { repo, kind, revision, .. } = &self.source;
                let (repo, revision) = (printable(repo), printable(revision));
                Report::new(&repo, kind.kind, &revision, error.reason(), format!("{error}."))
            }
        };
        if let Some(path) = &self.report
            && let Err(error) = report.write(path)
        {
            tracing::error!(path = %path.display(), %error, "cannot write the report");
        }
        match (self.output, &report.path) {
            (Output::Json, _) => print(&report.to_json()),
            (Output::Text, Some(path)) => print(&cache.root().join(path).display().to_string()),
            (Output::Text, None) => {}
        }
        tell(&format!("{}: {}", report.reason, report.message));
        report.reason.exit_code()
    }

    fn request(&self, env: &Env, cache: CacheDir) -> Result<FetchRequest, SourceError> {
        let source = self.source.read(env)?;
        let aliases = self.aliases.iter().map(|alias| alias.parse()).collect::<Result<_, _>>()?;
        Ok(FetchRequest {
            repo: source.repo,
            revision: source.revision,
            aliases,
            patterns: source.patterns,
            cache,
            endpoint: source.endpoint,
            token: source.token,
            offline: env.offline(),
            links: env.without_links().then_some(Links::Files),
            limits: Limits::default(),
        })
    }
}

/// Bars at a terminal, lines of JSON for everything else.
async fn with_progress(request: &FetchRequest) -> Report {
    let progress = Arc::new(Progress::default());
    let fetched = fetch(request, &progress, stopped());
    if io::stderr().is_terminal() {
        select! { report = fetched => report, () = show(&progress) => pending().await }
    } else {
        select! { report = fetched => report, () = progress.print_lines(print) => pending().await }
    }
}

/// Ends when Kubernetes or a person wants us to. Who wants it twice does not wait for the tidying up.
async fn stopped() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return pending().await;
    };
    let mut asked = async move || select! { _ = terminate.recv() => (), _ = interrupt.recv() => () };
    asked().await;
    tokio::spawn(async move {
        asked().await;
        std::process::exit(exit::TERMINATED.into());
    });
}
