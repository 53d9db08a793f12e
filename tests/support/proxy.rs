//! A forward proxy, as companies have one: a tunnel for `https`, whole addresses for `http`. It keeps what it was asked for.

use std::{
    io::{self, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use crate::head;

/// A running proxy; its threads end with the test process.
pub struct ForwardProxy {
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    /// Listens at this address. `knows` resolves hosts with their ports; for others the proxy answers that it may not.
    pub fn start(at: IpAddr, knows: impl Fn(&str) -> Option<SocketAddr> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((at, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (knows, log) = (Arc::new(knows), asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (knows, log) = (knows.clone(), log.clone());
                // A client that hangs up in the middle is none of the proxy's business.
                thread::spawn(move || serve(stream, &*knows, &log));
            }
        });
        Self { url, asked }
    }

    /// The hosts that were asked for, each with its port.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    mut client: TcpStream,
    knows: &dyn Fn(&str) -> Option<SocketAddr>,
    log: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let head = head::read(&client)?;
    let mut words = head.split(' ');
    let (tunnel, target) = (words.next() == Some("CONNECT"), words.next().unwrap_or_default());
    let target = target.strip_prefix("http://").unwrap_or(target);
    let (host, path) = target.split_once('/').unwrap_or((target, ""));
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    log.lock().unwrap().push(host.clone());
    let Some(server) = knows(&host) else {
        return client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let mut server = TcpStream::connect(server)?;
    if tunnel {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        let (mut up, mut down) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut up, &mut down);
            let _ = down.shutdown(Shutdown::Write);
        });
    } else {
        let asked = head.replacen(&format!("http://{target}"), &format!("/{path}"), 1);
        server.write_all(head::closing(&asked).as_bytes())?;
    }
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)
}
