//! A relay of connections that can be cut, as a network or a server that goes away for a while.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
};

/// A running relay; its threads end with the test process.
pub struct Cut {
    pub address: SocketAddr,
    away: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cut {
    /// Forwards every connection to a server.
    pub fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (away, open) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<TcpStream>>>::default());
        let (cut, all) = (away.clone(), open.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that hangs up is none of the relay's business.
                if !cut.load(SeqCst)
                    && let Ok(server) = TcpStream::connect(server)
                {
                    let _ = forward(&client, &server, &all);
                }
            }
        });
        Self { address, away, open }
    }

    /// Ends all connections, and every new one at once.
    pub fn cut(&self) {
        self.away.store(true, SeqCst);
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Forwards again.
    pub fn mend(&self) {
        self.away.store(false, SeqCst);
    }
}

fn forward(client: &TcpStream, server: &TcpStream, all: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    all.lock().unwrap().extend([client.try_clone()?, server.try_clone()?]);
    for (from, to) in [(client, server), (server, client)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}
