//! Serves `/livez`, `/readyz` and `/metrics` to anyone in the cluster, with bounded resources.
//!
//! `axum::serve` limits neither the number of connections nor their duration.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::{sleep, timeout},
};
use tracing::warn;

use super::{
    Metrics,
    contact::{Contacts, TOLERATED},
};

/// The content type of the output of `prometheus-client`.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The most concurrent connections. One more closes the oldest, so that a flood does not delay probes, which are answered
/// immediately.
const CONNECTIONS: usize = 64;
/// The time limit of a connection, from the first byte of the request to the last of the response.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest request head, in bytes: the minimum that the parser supports.
const HEAD: usize = 8 * 1024;
/// The pause after a failed `accept`, such as without free file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Starts serving and returns. Call it once the API server has answered the first list: the operator is ready from then on.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>, contacts: Contacts) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
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
    tokio::spawn(accept(listener, routes));
    Ok(())
}

/// Not ready while all watches of a kind are disconnected. The body names the kinds.
fn ready(contacts: &Contacts) -> (StatusCode, String) {
    let lost = contacts.lost().into_iter().filter(|(_, lost)| lost.every > TOLERATED);
    let lost: Vec<_> = lost.map(|(kind, lost)| format!("{kind} for {} s", lost.every.as_secs())).collect();
    if lost.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("the API server cannot be watched: {}\n", lost.join(", ")))
    }
}

/// Accepts connections until the process ends.
async fn accept(listener: TcpListener, routes: Router) {
    let mut open = VecDeque::<AbortHandle>::with_capacity(CONNECTIONS);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a connection for probes and metrics");
                sleep(PAUSE).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        open.push_back(tokio::spawn(timeout(TIMEOUT, answer(stream, routes.clone()))).abort_handle());
    }
}

/// Answers one request without reading its body, and closes the connection.
async fn answer(stream: TcpStream, routes: Router) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .header_read_timeout(None)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // Malformed requests and closed connections are the client's problem.
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures::future::join_all;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn start() -> SocketAddr {
        // Each connection of the flood takes a file descriptor at both ends.
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new()
            .route("/livez", get(|| async { "ok" }))
            .route("/metrics", get(|| async { "long ".repeat(1 << 20) }));
        tokio::spawn(accept(listener, routes));
        address
    }

    async fn send(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Waits until the server closes it.
    async fn ended(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        // A connection closed with unread bytes is reset.
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn incomplete_requests_and_slow_readers_do_not_delay_probes_and_are_closed() {
        let address = start().await;
        let mut flood = Vec::new();
        for number in 0..1_500 {
            flood.push(send(address, "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ").await);
            if number % 10 == 0 {
                flood.push(send(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await);
            }
            if number % 250 == 0 {
                let asked = Instant::now();
                let text = ended(send(address, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await).await;
                assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("ok"), "{text}");
                assert!(asked.elapsed() < TIMEOUT, "{:?}: until others have ended", asked.elapsed());
            }
        }
        // The last connections are still open.
        let asked = Instant::now();
        assert!(ended(send(address, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await).await.ends_with("ok"));
        assert!(asked.elapsed() < TIMEOUT, "{:?}: until others have ended", asked.elapsed());
        // On a busy machine, the last ones take a while.
        timeout(TIMEOUT * 12, join_all(flood.into_iter().map(ended))).await.expect("all are ended");
    }

    #[tokio::test]
    async fn large_heads_and_bodies_are_not_read() {
        let address = start().await;
        let large = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "a".repeat(HEAD));
        assert!(!ended(send(address, &large).await).await.contains(" 200 "));
        let body = "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\nabc";
        let asked = Instant::now();
        assert!(ended(send(address, body).await).await.starts_with("HTTP/1.1 405"));
        assert!(asked.elapsed() < TIMEOUT, "{:?}", asked.elapsed());
    }
}
