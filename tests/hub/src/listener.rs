//! A listener that can be switched off and on: while off, connections are refused, and open ones are closed.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, extract::Request};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Handle,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::{
    log::locked,
    middleware::{Host, World},
};

const BACKLOG: u32 = 256;
/// The longest wait for a port that somebody else has got.
const RECLAIM: Duration = Duration::from_secs(10);

/// A port and its handler.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    router: Router,
    runtime: Handle,
    state: Mutex<Use>,
}

#[derive(Debug)]
enum Use {
    Listening(JoinHandle<()>),
    /// Bound but not listening, so that the port stays reserved.
    Reserved(TcpSocket),
    Lost,
}

impl Port {
    /// Listens at an address for a host of this world.
    pub(crate) fn open(address: SocketAddr, host: Host, world: Arc<World>) -> io::Result<Self> {
        let router = Router::new().fallback(move |request: Request| {
            let world = world.clone();
            async move { world.enter(host, request).await }
        });
        let listener = bound(address)?.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(serve(listener, router.clone()));
        Ok(Self { address, router, runtime: Handle::current(), state: Mutex::new(Use::Listening(task)) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections, and refuses new ones once this returns.
    pub(crate) async fn off(&self) -> io::Result<()> {
        let before = std::mem::replace(&mut *locked(&self.state), Use::Lost);
        let reserved = match before {
            Use::Listening(task) => {
                task.abort();
                let _ = task.await; // it is cancelled, which is what was wanted
                bound_again(self.address).await?
            }
            Use::Reserved(socket) => socket,
            Use::Lost => bound_again(self.address).await?,
        };
        *locked(&self.state) = Use::Reserved(reserved);
        Ok(())
    }

    /// Listens again.
    pub(crate) fn on(&self) -> io::Result<()> {
        let _inside = self.runtime.enter();
        let mut state = locked(&self.state);
        if let Use::Listening(_) = *state {
            return Ok(());
        }
        let socket = match std::mem::replace(&mut *state, Use::Lost) {
            Use::Reserved(socket) => socket,
            _ => bound(self.address)?,
        };
        *state = Use::Listening(tokio::spawn(serve(socket.listen(BACKLOG)?, self.router.clone())));
        Ok(())
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Binds a port that was ours a moment ago. The kernel may have given it to an outgoing connection since, which gives it back.
async fn bound_again(address: SocketAddr) -> io::Result<TcpSocket> {
    let deadline = Instant::now() + RECLAIM;
    loop {
        match bound(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                sleep(Duration::from_millis(10)).await;
            }
            bound => return bound,
        }
    }
}

/// Owns its connections: dropping this future closes them.
async fn serve(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true); // slower without, nothing worse
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
