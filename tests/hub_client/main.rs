//! The calls to the Hub and the preflight, over real HTTP.
#![allow(clippy::unwrap_used, clippy::panic)]

mod mirrors;
mod network;
mod redirects;
mod stories;
mod wire;

use modelcache::hub::{Commit, Repo, RepoPath, RepoType, Token};
use test_support::tls;

const SHA1: &str = "0123456789abcdef0123456789abcdef01234567";

fn model() -> Repo {
    Repo { kind: RepoType::Model, id: "org/x".parse().unwrap() }
}

fn commit() -> Commit {
    SHA1.parse().unwrap()
}

fn path(path: &str) -> RepoPath {
    path.parse().unwrap()
}

fn token() -> Token {
    Token::parse("hf_good").unwrap()
}
