//! Commands to a running Hub, from tests in other processes, over a separate listener.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::post,
};
use clap::{Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    account::TokenSpec,
    client, config,
    fault::Fault,
    name::RepoName,
    repo::{Access, Gate},
    server::StandinHub,
    state::BadTokens,
};

/// A command. Repos are named as in an address: `acme/tiny`, `datasets/acme/words`.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum Order {
    /// The user accepts the terms, and has access from now on
    AcceptTerms {
        /// The account
        #[arg(long)]
        user: String,
        /// The gated repo
        #[arg(long)]
        repo: String,
    },
    /// Set the access of a user to a gated repo
    SetAccess {
        /// The account
        #[arg(long)]
        user: String,
        /// The gated repo
        #[arg(long)]
        repo: String,
        /// The access
        access: Access,
    },
    /// Set or remove the gate of a repo
    SetGate {
        /// The repo
        #[arg(long)]
        repo: String,
        /// The gate
        gate: GateWord,
    },
    /// Give a user a token
    AddToken {
        /// The account
        #[arg(long)]
        user: String,
        /// The token
        #[command(flatten)]
        #[serde(flatten)]
        token: TokenSpec,
    },
    /// Remove a token, so that it becomes unknown
    RemoveToken {
        /// The token itself
        #[arg(long)]
        token: String,
    },
    /// Set how invalid tokens are treated on public repos
    BadTokens {
        /// The treatment
        treatment: BadTokens,
    },
    /// Load a state file
    Load {
        /// The file, on the Hub's machine
        state: PathBuf,
    },
    /// Commit a folder's files to a branch of a repo
    Push {
        /// The repo
        #[arg(long)]
        repo: String,
        /// The folder, on the Hub's machine
        #[arg(long)]
        folder: PathBuf,
        /// The branch
        #[arg(long, default_value = "main")]
        branch: String,
    },
    /// Let a user read a private repo
    AddMember {
        /// The account
        #[arg(long)]
        user: String,
        /// The repo
        #[arg(long)]
        repo: String,
    },
    /// Make a repo private, or public again
    SetPrivate {
        /// The repo
        #[arg(long)]
        repo: String,
        /// true or false
        #[arg(action = clap::ArgAction::Set)]
        private: bool,
    },
    /// Disable a repo, or enable it again
    SetDisabled {
        /// The repo
        #[arg(long)]
        repo: String,
        /// true or false
        #[arg(action = clap::ArgAction::Set)]
        disabled: bool,
    },
    /// Give a repo another name; the old one redirects
    Rename {
        /// Its name
        old: String,
        /// Its new name
        new: String,
    },
    /// Remove a repo
    Remove {
        /// The repo
        #[arg(long)]
        repo: String,
    },
    /// Print the commit of a revision
    Commit {
        /// The repo
        #[arg(long)]
        repo: String,
        /// Branch, tag or commit
        #[arg(long, default_value = "main")]
        revision: String,
    },
    /// Set a fault
    Fault(Fault),
    /// Remove all faults
    ClearFaults,
    /// Refuse connections
    Off,
    /// Listen again
    On,
    /// Print the requests so far
    Requests,
    /// Forget the requests so far
    ClearRequests,
    /// Print the bytes of all bodies so far
    ServedBytes,
    /// Print the requests that leaked a token
    TokenLeaks,
    /// Forget the leaks
    ClearTokenLeaks,
}

/// A gate, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateWord {
    /// Access is granted automatically.
    Auto,
    /// The owner decides on each request.
    Manual,
    /// Not gated.
    None,
}

/// Executes a command, and returns its result.
pub async fn obey(hub: &StandinHub, order: Order) -> Result<Value, String> {
    let update =
        |repo: &str, change: &dyn Fn(crate::Repo) -> crate::Repo| hub.state().update(&repo.into(), change);
    match order {
        Order::AcceptTerms { user, repo } => update(&repo, &|it| it.access(&user, Access::Accepted))?,
        Order::SetAccess { user, repo, access } => update(&repo, &|it| it.access(&user, access))?,
        Order::SetGate { repo, gate } => update(&repo, &|it| match gate {
            GateWord::Auto => it.gated(Gate::Auto),
            GateWord::Manual => it.gated(Gate::Manual),
            GateWord::None => it.ungated(),
        })?,
        Order::AddToken { user, token } => hub.state().add_token(&user, token.into()),
        Order::RemoveToken { token } => hub.state().remove_token(&token)?,
        Order::BadTokens { treatment } => hub.bad_tokens(treatment),
        Order::Load { state } => config::load(hub, &state)?,
        Order::Push { repo, folder, branch } => update(&repo, &|it| it.folder(&folder).branch(&branch))?,
        Order::AddMember { user, repo } => update(&repo, &|it| it.member(&user))?,
        Order::SetPrivate { repo, private } => update(&repo, &|it| it.private(private))?,
        Order::SetDisabled { repo, disabled } => update(&repo, &|it| it.disabled(disabled))?,
        Order::Rename { old, new } => hub.state().rename(&RepoName::from(&old), &RepoName::from(&new))?,
        Order::Remove { repo } => hub.state().remove(&RepoName::from(&repo))?,
        Order::Commit { repo, revision } => {
            let state = hub.state();
            let commit = state.repo(&RepoName::from(&repo))?.resolve(&revision);
            return commit
                .map(|commit| json!(commit))
                .ok_or_else(|| format!("{repo} has no revision {revision}"));
        }
        Order::Fault(fault) => hub.fault(fault),
        Order::ClearFaults => hub.clear_faults(),
        Order::Off => hub.off().await,
        Order::On => hub.on(),
        Order::Requests => return Ok(json!(hub.requests())),
        Order::ClearRequests => hub.clear_requests(),
        Order::ServedBytes => return Ok(json!(hub.served_bytes())),
        Order::TokenLeaks => return Ok(json!(hub.token_leaks())),
        Order::ClearTokenLeaks => hub.clear_token_leaks(),
    }
    Ok(Value::Null)
}

/// Binds the listener for commands, on a loopback address only: they give full control of the Hub.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_loopback() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "only loopback addresses are allowed"));
    }
    TcpListener::bind(address).await
}

/// Serves commands for a Hub.
pub async fn serve(hub: Arc<StandinHub>, listener: TcpListener) -> io::Result<()> {
    axum::serve(listener, Router::new().route("/", post(answer)).with_state(hub)).await
}

async fn answer(State(hub): State<Arc<StandinHub>>, Json(order): Json<Order>) -> Response {
    match obey(&hub, order).await {
        Ok(value) => Json(value).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, error).into_response(),
    }
}

/// Sends a command to a running Hub.
pub fn send(address: SocketAddr, order: &Order) -> Result<Value, String> {
    let body = serde_json::to_string(order).map_err(|error| format!("write the order: {error}"))?;
    let headers = [("Content-Type", "application/json")];
    let reply = client::request("POST", &format!("http://{address}/"), &headers, &body)
        .map_err(|error| format!("reach the stand-in Hub at {address}: {error}"))?;
    if reply.status != 200 {
        return Err(format!("the stand-in Hub refuses: {}", reply.text()));
    }
    serde_json::from_slice(&reply.body).map_err(|error| format!("read the answer: {error}"))
}
