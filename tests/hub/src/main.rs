//! The stand-in Hub as a program: serves a state file, and accepts commands while it runs.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use standin_hub::{
    Options, StandinHub, config,
    control::{self, Order},
};
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for the Hugging Face Hub
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send a command to a running one
    Ctl {
        /// Its address for commands
        #[arg(long, default_value = "127.0.0.1:8082")]
        control: SocketAddr,
        #[command(subcommand)]
        order: Order,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// Address of the Hub
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of its CDN
    #[arg(long, default_value = "127.0.0.1:8081")]
    cdn_listen: SocketAddr,
    /// Address for commands, loopback only
    #[arg(long, default_value = "127.0.0.1:8082")]
    control: SocketAddr,
    /// Public address of the Hub, if it differs from the listen address
    #[arg(long)]
    public_url: Option<String>,
    /// Public address of the CDN, if it differs from the listen address
    #[arg(long)]
    public_cdn_url: Option<String>,
    /// A file with users, tokens and repos
    #[arg(long)]
    state: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Command::Ctl { control, order }) => ctl(control, order),
        None => serve(arguments.serve).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("standin-hub: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Serve) -> Result<(), String> {
    let Serve { listen, cdn_listen, control, public_url, public_cdn_url, state } = options;
    let options = Options { listen: Some(listen), cdn_listen: Some(cdn_listen), public_url, public_cdn_url };
    let hub = StandinHub::start_with(options).map_err(|error| format!("listen: {error}"))?;
    if let Some(state) = state {
        config::load(&hub, &state)?;
    }
    let orders =
        control::bind(control).await.map_err(|error| format!("listen for orders at {control}: {error}"))?;
    let control = orders.local_addr().map_err(|error| format!("listen for orders: {error}"))?;
    println!("hub={} cdn={} control={control}", hub.url(), hub.cdn_url());

    let hub = Arc::new(hub);
    let mut terminated =
        signal(SignalKind::terminate()).map_err(|error| format!("watch for signals: {error}"))?;
    tokio::select! {
        done = control::serve(hub.clone(), orders) => done.map_err(|error| format!("take orders: {error}"))?,
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    match hub.token_leaks().as_slice() {
        [] => Ok(()),
        leaks => {
            let leaks = leaks.join("\n");
            hub.clear_token_leaks();
            Err(format!("a token has leaked:\n{leaks}"))
        }
    }
}

fn ctl(address: SocketAddr, order: Order) -> Result<(), String> {
    match control::send(address, &here(order)?)? {
        Value::Null => {}
        Value::String(text) => println!("{text}"),
        // One line each, for shell tools.
        Value::Array(entries) => entries.iter().for_each(|entry| println!("{entry}")),
        other => println!("{other}"),
    }
    Ok(())
}

/// Resolves paths relative to the shell that sends the command.
fn here(order: Order) -> Result<Order, String> {
    let absolute =
        |path: PathBuf| path.canonicalize().map_err(|error| format!("find {}: {error}", path.display()));
    Ok(match order {
        Order::Load { state } => Order::Load { state: absolute(state)? },
        Order::Push { repo, folder, branch } => Order::Push { repo, folder: absolute(folder)?, branch },
        order => order,
    })
}
