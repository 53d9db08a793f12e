//! `modelcache check`: checks token, access and files without a download.

use serde::Serialize;

use super::{
    env::Env,
    output::{Output, eprint_line, print, show},
    source::{FILES_HELP, FetchTarget, Source, SourceArgs, SourceError},
    table,
};
use crate::{
    hub::{
        Commit, Hub, HubError, Preflight, PreflightRequest, RepoType, TokenStatusCache, messages, preflight,
    },
    reason::{Answer, ConditionType, Reason, Verdict, exit},
    text::json,
    text::printable,
    units,
};

const EXAMPLES: &str = "Examples:\n  \
    modelcache check meta-llama/Llama-3.1-8B --token-file token\n  \
    modelcache check org/data --type dataset --revision v1 -o json\n  \
    modelcache check -f models/                   # before a merge\n  \
    kustomize build . | modelcache check -f -";

/// Check the token, the access to a repo, and what a fetch would download, without downloading anything
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "modelcache check [OPTIONS] REPO\n       modelcache check [OPTIONS] -f FILE...",
    after_help = format!("{FILES_HELP}\n\n{EXAMPLES}")
)]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// Output format: a line for each check (with -f, a table), or a JSON object for each repo
    #[arg(short, long, default_value = "text")]
    output: Output,
}

/// The JSON output.
#[derive(Debug, Serialize)]
struct Found<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    repo: &'a str,
    #[serde(rename = "type")]
    kind: RepoType,
    revision: &'a str,
    commit: Option<&'a Commit>,
    files: Option<usize>,
    bytes: Option<u64>,
    conditions: [&'a Verdict; 3],
}

impl Args {
    /// Runs the command and returns the exit code.
    pub(super) async fn run(self) -> u8 {
        let targets = match self.source.targets(&Env::of_process(), &[]) {
            Ok(targets) => targets,
            Err(error) => return error.refuse(),
        };
        let mut answers = Vec::new();
        for target in &targets {
            let answer = match &target.source {
                Ok(source) => ask(source).await,
                Err(error) => refused(error),
            };
            if self.output == Output::Json {
                print(&json(&found(target, &answer)));
            }
            answers.push(answer);
        }
        let all: Vec<_> = targets.iter().zip(&answers).collect();
        if self.output == Output::Text {
            text(&all);
        }
        let mut code = exit::OK;
        for (target, answer) in all {
            let last = conclusion(answer);
            if target.name.is_none() || !answer.holds() {
                let whose =
                    target.name.as_ref().map(|name| format!("{}: ", printable(name))).unwrap_or_default();
                eprint_line(&format!("{whose}{}: {}", last.reason, last.message));
            }
            if code == exit::OK && !answer.holds() {
                code = last.reason.exit_code();
            }
        }
        code
    }
}

fn conclusion(answer: &Preflight) -> &Verdict {
    answer.obstacle().unwrap_or(&answer.resolved)
}

fn found<'a>(target: &'a FetchTarget, answer: &'a Preflight) -> Found<'a> {
    let snapshot = answer.snapshot.as_ref();
    Found {
        name: target.name.as_deref(),
        repo: &target.repo,
        kind: target.kind,
        revision: &target.revision,
        commit: snapshot.map(|snapshot| &snapshot.commit),
        files: snapshot.map(|snapshot| snapshot.count),
        bytes: snapshot.map(|snapshot| snapshot.bytes),
        conditions: answer.verdicts(),
    }
}

fn text(all: &[(&FetchTarget, &Preflight)]) {
    if let [(FetchTarget { name: None, .. }, answer)] = all {
        for verdict in answer.verdicts() {
            show(&line(verdict));
        }
        return;
    }
    let rows: Vec<_> = all.iter().map(|(target, answer)| row(target, answer)).collect();
    for line in table::lines(["NAME", "REPO", "REVISION", "COMMIT", "FILES", "SIZE", "REASON"], &rows) {
        show(&line);
    }
}

fn row(target: &FetchTarget, answer: &Preflight) -> [String; 7] {
    let snapshot = answer.snapshot.as_ref();
    let or_none = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    [
        or_none(target.name.clone()),
        target.repo.clone(),
        target.revision.clone(),
        or_none(snapshot.map(|snapshot| snapshot.commit.short().to_owned())),
        or_none(snapshot.map(|snapshot| snapshot.count.to_string())),
        or_none(snapshot.map(|snapshot| units::size(snapshot.bytes))),
        conclusion(answer).reason.to_string(),
    ]
}

async fn ask(source: &Source) -> Preflight {
    let Source { repo, revision, patterns, endpoint, token, .. } = source;
    let asked = async {
        let token = token.read()?;
        let hub = Hub::connect(endpoint)?;
        let token = token.as_ref();
        let record = TokenStatusCache::default();
        let request = PreflightRequest {
            repo,
            revision,
            patterns,
            pinned: None,
            followed: None,
            token,
            record: &record,
            known: None,
            files: false,
            confirm: true,
        };
        Ok::<_, HubError>(preflight(&hub, &request).await)
    };
    asked.await.unwrap_or_else(|error| {
        let message = messages::explain(&error, &messages::Subject { repo, revision, endpoint });
        stopped(error.reason(), message)
    })
}

fn refused(error: &SourceError) -> Preflight {
    stopped(error.reason(), format!("{error}."))
}

fn stopped(reason: Reason, message: String) -> Preflight {
    let topic = reason.topic().unwrap_or(ConditionType::Authenticated);
    Preflight::stopped_by(Verdict::no(topic, reason, message))
}

/// `✓ Authenticated TokenValid: The Hub accepts this token.`
fn line(verdict: &Verdict) -> String {
    let mark = match verdict.status {
        Answer::True => '✓',
        Answer::False => '✗',
        Answer::Unknown => '?',
    };
    let Verdict { topic, reason, message, .. } = verdict;
    format!("{mark} {:13} {reason}: {message}", topic.as_str())
}
