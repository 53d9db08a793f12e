//! Serves `/livez`, `/readyz` and `/metrics`.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tracing::error;

use super::{
    Metrics,
    contact::{Contacts, TOLERATED},
};

/// The content type of what `prometheus-client` writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Starts serving and returns. To be called when the API server has answered a first list: from then on all is ready.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>, contacts: Contacts) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let page = move || async move {
        match metrics.render() {
            Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    };
    let routes = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(move || async move { ready(&contacts) }))
        .route("/metrics", get(page));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            error!(%error, "probes and metrics are no longer served");
        }
    });
    Ok(())
}

/// Not ready while changes of a watched kind are not seen: the body names the kinds.
fn ready(contacts: &Contacts) -> (StatusCode, String) {
    let lost = contacts.lost().into_iter().filter(|(_, lost)| *lost > TOLERATED);
    let lost: Vec<_> = lost.map(|(kind, lost)| format!("{kind} for {} s", lost.as_secs())).collect();
    if lost.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("the API server cannot be watched: {}\n", lost.join(", ")))
    }
}
