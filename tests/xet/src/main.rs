//! The store as a program, for benchmarks and for a look by hand.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
};

use clap::Parser;
use xet_store::Store;

/// Holds the official chunk store of Xet with some files in it, until its input ends
#[derive(Parser)]
struct Arguments {
    /// Where to listen; a free port of 127.0.0.1 by default
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Files to put in
    files: Vec<PathBuf>,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let store = Store::start(arguments.listen)?;
    let files: Vec<_> = arguments.files.iter().map(PathBuf::as_path).collect();
    let mut out = io::stdout();
    writeln!(out, "{}", store.url())?;
    for (path, stored) in files.iter().zip(store.upload(&files)) {
        writeln!(out, "{} {} {}", stored.hash, stored.size, path.display())?;
    }
    out.flush()?;
    io::copy(&mut io::stdin(), &mut io::sink()).map(|_| ())
}
