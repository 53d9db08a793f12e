//! A server between the command and a stand-in Hub that forwards or answers requests and records them. Serves as a Hub with TLS,
//! a CDN under another name, or a company's proxy.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use standin_hub::{Options, StandinHub};

use crate::head;

/// What to do with a request.
pub enum Fate {
    /// Forward it to this server.
    To(SocketAddr),
    /// Answer it with these bytes.
    Answer(String),
}

/// A reserved port: a Hub behind it has to know its address before the relay starts.
pub struct Door {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

impl Door {
    pub fn plain() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap(), tls: None }
    }

    /// With a certificate for `localhost`.
    pub fn tls() -> Self {
        Self { tls: Some(crate::tls::server()), ..Self::plain() }
    }

    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.listener.local_addr().unwrap().port())
    }

    /// Starts the relay. Its threads end with the test process.
    pub fn open(self, fate: impl Fn(&str) -> Fate + Send + Sync + 'static) -> Relay {
        let url = self.url();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (fate, log) = (Arc::new(fate), heads.clone());
        thread::spawn(move || {
            for stream in self.listener.incoming().flatten() {
                let (fate, log, tls) = (fate.clone(), log.clone(), self.tls.clone());
                // Ignore clients that close the connection early.
                thread::spawn(move || match tls {
                    None => serve(stream, &*fate, &log),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
                        let mut stream = StreamOwned::new(connection, stream);
                        serve(&mut stream, &*fate, &log)?;
                        stream.conn.send_close_notify();
                        stream.flush()
                    }
                });
            }
        });
        Relay { url, heads }
    }

    /// Starts a relay that forwards everything to a server.
    pub fn before(self, server: SocketAddr) -> Relay {
        self.open(move |_| Fate::To(server))
    }
}

/// A running relay.
pub struct Relay {
    pub url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Relay {
    /// Request lines and headers, as received.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// A Hub whose own and CDN addresses are those of these relays.
pub fn hub_behind(hub: Option<&Door>, cdn: Option<&Door>) -> StandinHub {
    hub_reached_at(hub.map(Door::url), cdn.map(Door::url))
}

/// A Hub with these public addresses.
pub fn hub_reached_at(public_url: Option<String>, public_cdn_url: Option<String>) -> StandinHub {
    StandinHub::start_with(Options { public_url, public_cdn_url, ..Options::default() }).unwrap()
}

/// One request per connection: the response ends with the connection.
fn serve(
    mut client: impl Read + Write,
    fate: &dyn Fn(&str) -> Fate,
    log: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let head = head::read(&mut client)?;
    log.lock().unwrap().push(head.clone());
    match fate(&head) {
        Fate::Answer(answer) => client.write_all(answer.as_bytes())?,
        Fate::To(server) => {
            let mut server = TcpStream::connect(server)?;
            server.write_all(head::closing(&head).as_bytes())?;
            io::copy(&mut server, &mut client)?;
        }
    }
    client.flush()
}
