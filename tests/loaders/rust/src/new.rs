//! Loads with hf-hub 1.0. For each `TYPE REPO REVISION` it prints the mark that the repo has there, or why it cannot. Only the program can
//! forbid the network, as this one does where its first argument is not `--online`.

use std::env;

use modelcache_loaders::{file_of, mark, row};
use new::{HFClientSync, HFRepositorySync, HFResult, RepoType};

fn main() {
    let mut words: Vec<_> = env::args().skip(1).collect();
    let local = words.first().is_none_or(|word| word != "--online");
    words.drain(..usize::from(!local));
    for case in words.chunks_exact(3) {
        println!("{}", row(load(&case[0], &case[1], &case[2], local)));
    }
}

fn load(kind: &str, id: &str, revision: &str, local: bool) -> HFResult<String> {
    // A name without an owner is one of the Hub's first.
    let (owner, name) = id.split_once('/').unwrap_or(("", id));
    let client = HFClientSync::new()?;
    if kind == "dataset" {
        load_from(&client.dataset(owner, name), kind, revision, local)
    } else {
        load_from(&client.model(owner, name), kind, revision, local)
    }
}

fn load_from<T: RepoType>(
    repo: &HFRepositorySync<T>,
    kind: &str,
    revision: &str,
    local: bool,
) -> HFResult<String> {
    let revision = Some(revision).filter(|revision| !revision.is_empty());
    let file = repo.download_file().filename(file_of(kind)).local_files_only(local);
    Ok(mark(&file.maybe_revision(revision).send()?)?)
}
