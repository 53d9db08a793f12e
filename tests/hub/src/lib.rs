//! A stand-in for the Hugging Face Hub: users, tokens, repos and gates as data, with a CDN of another origin, faults,
//! and a request log.
//!
//! ```
//! use standin_hub::{Class, Content, Fault, Gate, FaultKind, Repo, StandinHub, Token};
//!
//! # async fn story() {
//! let hub = StandinHub::start().await;
//! hub.user("alice").token("hf_alice").token(Token::expired("hf_old").called("laptop"));
//! hub.add(
//!     Repo::model("acme/tiny")
//!         .gated(Gate::Manual)
//!         .file("config.json", b"{}")
//!         .lfs("model.safetensors", Content::random(7, 5 << 20))
//!         .branch("main"),
//! );
//! hub.accept_terms("alice", "acme/tiny");
//! hub.fault(Fault::new(FaultKind::Cut(1000)).on(Class::Cdn).times(1));
//! // … a client works with hub.url() …
//! assert!(hub.requests().iter().all(|request| request.authorized || request.class == Class::Cdn));
//! # }
//! ```

mod account;
mod answer;
mod api;
mod cdn;
pub mod client;
pub mod config;
mod content;
pub mod control;
mod fault;
mod file;
mod listener;
mod log;
mod middleware;
mod name;
mod refusal;
mod repo;
mod resolve;
mod route;
mod server;
mod state;

pub use account::{Token, TokenSpec, TokenWord};
pub use content::Content;
pub use fault::{Class, Fault, FaultKind};
pub use log::Request;
pub use name::{Kind, RepoName};
pub use refusal::{Recorded, Situation, recorded};
pub use repo::{Access, Gate, Repo};
pub use server::{Account, Options, ServedFile, StandinHub};
pub use state::BadTokens;
