//! A server between the command and a stand-in Hub: it forwards or answers itself, and keeps what it heard. As a Hub with
//! TLS, as a CDN of another name, or as a company's proxy.

use std::{
    io::{self, BufRead as _, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use standin_hub::{Options, StandinHub};

/// What becomes of a request.
pub enum Fate {
    /// It goes on to this server.
    To(SocketAddr),
    /// It is answered with these bytes.
    Answer(String),
}

/// A port that is known before anybody answers there: a Hub behind it has to know how it is reached.
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

    /// Opens it. Its threads end with the test process.
    pub fn open(self, fate: impl Fn(&str) -> Fate + Send + Sync + 'static) -> Relay {
        let url = self.url();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (fate, log) = (Arc::new(fate), heads.clone());
        thread::spawn(move || {
            for stream in self.listener.incoming().flatten() {
                let (fate, log, tls) = (fate.clone(), log.clone(), self.tls.clone());
                // A client that hangs up in the middle is none of the relay's business.
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

    /// Opens it before a server.
    pub fn before(self, server: SocketAddr) -> Relay {
        self.open(move |_| Fate::To(server))
    }
}

/// An open door.
pub struct Relay {
    pub url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Relay {
    /// Request lines and headers, as they came.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// A Hub that tells its clients to come to it, and to its CDN, by these doors.
pub fn hub_behind(hub: Option<&Door>, cdn: Option<&Door>) -> StandinHub {
    hub_reached_at(hub.map(Door::url), cdn.map(Door::url))
}

/// A Hub that tells its clients these addresses.
pub fn hub_reached_at(public_url: Option<String>, public_cdn_url: Option<String>) -> StandinHub {
    StandinHub::start_with(Options { public_url, public_cdn_url, ..Options::default() }).unwrap()
}

/// One request, one connection: the end of the connection is the end of the answer.
fn serve(
    mut client: impl Read + Write,
    fate: &dyn Fn(&str) -> Fate,
    log: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let head = read_head(&mut client)?;
    log.lock().unwrap().push(head.clone());
    match fate(&head) {
        Fate::Answer(answer) => client.write_all(answer.as_bytes())?,
        Fate::To(server) => {
            let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
            let head = kept.collect::<Vec<_>>().join("\r\n");
            let mut server = TcpStream::connect(server)?;
            server.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes())?;
            io::copy(&mut server, &mut client)?;
        }
    }
    client.flush()
}

fn read_head(client: &mut impl Read) -> io::Result<String> {
    let mut head = String::new();
    // One byte at a time: nothing that follows may be swallowed.
    let mut reader = BufReader::with_capacity(1, client);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.trim().is_empty() {
            return Ok(head);
        }
        head.push_str(&line);
    }
}
