//! How a command that runs for long is told to end.

use std::future::pending;

use tokio::{
    select,
    signal::unix::{SignalKind, signal},
};

use crate::reason::exit;

/// Ends when Kubernetes or a person wants us to. Who wants it twice does not wait for the tidying up.
pub(super) async fn stopped() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return pending().await;
    };
    let mut asked = async move || select! { _ = terminate.recv() => (), _ = interrupt.recv() => () };
    asked().await;
    tokio::spawn(async move {
        asked().await;
        std::process::exit(exit::TERMINATED.into());
    });
}
