//! Serves `/livez`, `/readyz` and `/metrics`.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tracing::error;

use super::Metrics;

/// The content type of what `prometheus-client` writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Starts serving and returns. Ready means that the first list of the resources has come in.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>) -> std::io::Result<()> {
    let (ready, is_ready) = tokio::sync::watch::channel(false);
    let listener = tokio::net::TcpListener::bind(address).await?;
    let page = metrics.clone();
    let routes = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route(
            "/readyz",
            get(move || async move {
                if *is_ready.borrow() {
                    (StatusCode::OK, "ok")
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "the first list of ModelCaches has not come in")
                }
            }),
        )
        .route(
            "/metrics",
            get(move || async move {
                match page.render() {
                    Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
                    Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                }
            }),
        );
    tokio::spawn(async move {
        let known = metrics.wait_until_ready().await;
        ready.send_replace(known);
    });
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            error!(%error, "probes and metrics are no longer served");
        }
    });
    Ok(())
}
