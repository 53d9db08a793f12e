//! Serves `/livez`, `/readyz` and `/metrics`: to anybody in the cluster, so at a bounded price.
//!
//! `axum::serve` has no limit on connections, nor on the time of one.

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

/// The content type of what `prometheus-client` writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Connections at one time. One more ends the oldest: a flood of them keeps no probe waiting, which is answered as soon as it
/// has come.
const CONNECTIONS: usize = 64;
/// The time for a connection, from the first byte of the request to the last one of the answer.
const LIFE: Duration = Duration::from_secs(5);
/// The largest head of a request, in bytes: the least that the parser takes.
const HEAD: usize = 8 * 1024;
/// The pause after a connection that could not be accepted, as where no file descriptor is left.
const PAUSE: Duration = Duration::from_millis(100);

/// Starts serving and returns. To be called when the API server has answered a first list: from then on all is ready.
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

/// Not ready while changes of a watched kind are seen nowhere: the body names the kinds.
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
        open.push_back(tokio::spawn(timeout(LIFE, answer(stream, routes.clone()))).abort_handle());
    }
}

/// Answers one request. A body is never read: the connection ends after the answer.
async fn answer(stream: TcpStream, routes: Router) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .header_read_timeout(None)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // Who asks nonsense, or hangs up, is none of the operator's business.
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
        // Each connection of the flood is a file descriptor at both ends.
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

    /// Waits until the server ends it.
    async fn ended(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        // A connection that is ended with bytes unread is reset.
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn half_requests_and_slow_readers_keep_no_probe_waiting_and_all_are_ended() {
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
                assert!(asked.elapsed() < LIFE, "{:?}: until others have ended", asked.elapsed());
            }
        }
        // The last ones are there still, and answer nobody.
        let asked = Instant::now();
        assert!(ended(send(address, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await).await.ends_with("ok"));
        assert!(asked.elapsed() < LIFE, "{:?}: until others have ended", asked.elapsed());
        // None says anything more. On a machine that is busy with other things the last ones are long in coming.
        timeout(LIFE * 12, join_all(flood.into_iter().map(ended))).await.expect("all are ended");
    }

    #[tokio::test]
    async fn a_large_head_and_a_body_are_not_waited_for() {
        let address = start().await;
        let large = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "a".repeat(HEAD));
        assert!(!ended(send(address, &large).await).await.contains(" 200 "));
        let body = "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\nabc";
        let asked = Instant::now();
        assert!(ended(send(address, body).await).await.starts_with("HTTP/1.1 405"));
        assert!(asked.elapsed() < LIFE, "{:?}", asked.elapsed());
    }
}
