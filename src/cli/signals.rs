//! The signals that terminate a long-running command.

use std::future::pending;

use tokio::{
    select,
    signal::unix::{SignalKind, signal},
};

use crate::reason::exit;

/// Resolves at SIGTERM or SIGINT. A second signal exits without cleaning up.
pub(super) async fn stopped() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return pending().await;
    };
    let mut received = async move || select! { _ = terminate.recv() => (), _ = interrupt.recv() => () };
    received().await;
    tokio::spawn(async move {
        received().await;
        std::process::exit(exit::TERMINATED.into());
    });
}
