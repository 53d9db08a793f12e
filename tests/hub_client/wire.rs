//! A server with exact responses, byte for byte, for behaviour that no Hub shows intentionally.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use modelcache::hub::Endpoint;
use rustls::{ServerConnection, StreamOwned};

use crate::tls::{self, AUTHORITY};

/// The response to a request, after which the connection is closed. `None`: no response, with the connection left open.
pub type Reply = Option<Vec<u8>>;

/// A running server; its thread ends with the test process.
pub struct Wire {
    pub address: SocketAddr,
    scheme: &'static str,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Wire {
    pub fn start(reply: impl FnMut(&str) -> Reply + Send + 'static) -> Self {
        Self::run("http", reply, |stream| Some(Box::new(stream)))
    }

    /// With a certificate for `localhost`, signed by [`AUTHORITY`].
    pub fn tls(reply: impl FnMut(&str) -> Reply + Send + 'static) -> Self {
        let config = tls::server();
        Self::run("https", reply, move |stream| {
            let connection = ServerConnection::new(config.clone()).ok()?;
            Some(Box::new(StreamOwned::new(connection, stream)))
        })
    }

    fn run(
        scheme: &'static str,
        mut reply: impl FnMut(&str) -> Reply + Send + 'static,
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let log = heads.clone();
        thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                let Some(mut stream) = stream.ok().and_then(&wrap) else { continue };
                let Some(head) = read_head(&mut stream) else { continue };
                log.lock().unwrap().push(head.clone());
                match reply(&head) {
                    // A client may close the connection before the end of the response.
                    Some(answer) => drop(stream.write_all(&answer).and_then(|()| stream.flush())),
                    None => silent.push(stream),
                }
            }
        });
        Self { address, scheme, heads }
    }

    pub fn url(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.address.port())
    }

    pub fn endpoint(&self) -> Endpoint {
        let endpoint: Endpoint = self.url().parse().unwrap();
        if self.scheme == "https" { endpoint.with_ca_bundle(AUTHORITY.parse().unwrap()) } else { endpoint }
    }

    /// The heads of all requests so far, in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = String::new();
    let mut reader = BufReader::with_capacity(1, stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            return Some(head);
        }
        head.push_str(&line.to_ascii_lowercase());
    }
}

/// A response with headers (each terminated by `\r\n`) and a body with its length.
#[allow(clippy::unnecessary_wraps)] // so that it can stand where silence could
pub fn answer(status: u16, headers: &str, body: &str) -> Reply {
    let length = body.len();
    Some(
        format!(
            "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .into_bytes(),
    )
}

/// A JSON response.
pub fn ok(body: &str) -> Reply {
    answer(200, "Content-Type: application/json\r\n", body)
}

/// A redirect.
pub fn redirect(status: u16, location: &str) -> Reply {
    answer(status, &format!("Location: {location}\r\n"), "")
}
