//! Loads with hf-hub 0.5. For each `TYPE REPO REVISION` it prints the mark that the repo has there, or why it cannot. It downloads where
//! nothing is in the cache, and reads no variable that forbids that.

use std::env;

use modelcache_loaders::{file_of, mark, row};
use old::{
    Repo, RepoType,
    api::sync::{ApiBuilder, ApiError},
};

fn main() {
    let words: Vec<_> = env::args().skip(1).collect();
    for case in words.chunks_exact(3) {
        println!("{}", row(load(&case[0], &case[1], &case[2])));
    }
}

fn load(kind: &str, id: &str, revision: &str) -> Result<String, ApiError> {
    let repo_type = if kind == "dataset" { RepoType::Dataset } else { RepoType::Model };
    let repo = match revision {
        "" => Repo::new(id.to_owned(), repo_type),
        revision => Repo::with_revision(id.to_owned(), repo_type, revision.to_owned()),
    };
    Ok(mark(&ApiBuilder::from_env().build()?.repo(repo).get(file_of(kind))?)?)
}
