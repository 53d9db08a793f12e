//! `modelcache check`: may this token read this repo, and what would a fetch bring? Downloads nothing.

use serde::Serialize;

use super::{
    Output,
    env::Env,
    json, print,
    source::{Source, SourceArgs, SourceError},
    tell,
};
use crate::{
    hub::{Commit, Hub, HubError, Preflight, Question, RepoType, advice, preflight, topic_of},
    reason::{Answer, Reason, Topic, Verdict, exit},
};

/// Ask the Hub whether a repo may be read, and what there is to fetch. Downloads nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    modelcache check meta-llama/Llama-3.1-8B --token-file token\n  \
    modelcache check org/data --type dataset --revision v1 -o json")]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// What is printed: a line for each answer, or one JSON object
    #[arg(short, long, default_value = "text")]
    output: Output,
}

/// What `check` prints for a program.
#[derive(Debug, Serialize)]
struct Found<'a> {
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
    /// Does it, and gives the exit code.
    pub(super) async fn run(self) -> u8 {
        let answer = match self.source.read(&Env::of_process()) {
            Ok(source) => ask(&source).await,
            Err(error) => refused(&error),
        };
        match self.output {
            Output::Text => {
                for verdict in answer.verdicts() {
                    print(&line(verdict));
                }
            }
            Output::Json => {
                let snapshot = answer.snapshot.as_ref();
                print(&json(&Found {
                    repo: &self.source.repo,
                    kind: self.source.kind.kind,
                    revision: &self.source.revision,
                    commit: snapshot.map(|snapshot| &snapshot.commit),
                    files: snapshot.map(|snapshot| snapshot.files.len()),
                    bytes: snapshot.map(|snapshot| snapshot.bytes),
                    conditions: answer.verdicts(),
                }));
            }
        }
        let last = answer.obstacle().unwrap_or(&answer.resolved);
        tell(&format!("{}: {}", last.reason, last.message));
        answer.obstacle().map_or(exit::OK, |verdict| verdict.reason.exit_code())
    }
}

async fn ask(source: &Source) -> Preflight {
    let Source { repo, revision, patterns, endpoint, token } = source;
    let asked = async {
        let token = token.read()?;
        let hub = Hub::connect(endpoint)?;
        let token = token.as_ref();
        let question = Question { repo, revision, patterns, pinned: None, token, token_known_good: false };
        Ok::<_, HubError>(preflight(&hub, &question).await)
    };
    asked.await.unwrap_or_else(|error| {
        let message = advice::explain(&error, &advice::Subject { repo, revision, endpoint });
        stopped(error.reason(), message)
    })
}

fn refused(error: &SourceError) -> Preflight {
    stopped(error.reason(), format!("{error}."))
}

fn stopped(reason: Reason, message: String) -> Preflight {
    let topic = topic_of(reason).unwrap_or(Topic::Authenticated);
    Preflight::stopped_by(Verdict::no(topic, reason, message))
}

/// `✓ Authenticated  TokenValid  The Hub knows this token.`
fn line(verdict: &Verdict) -> String {
    let mark = match verdict.status {
        Answer::True => '✓',
        Answer::False => '✗',
        Answer::Unknown => '?',
    };
    let Verdict { topic, reason, message, .. } = verdict;
    format!("{mark} {:13} {reason}: {message}", topic.as_str())
}
