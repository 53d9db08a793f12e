//! What each request comes through: the tokens that are not taken, harm, and a list of what was asked.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, sleep_until},
};

/// No head of a request is larger.
const MAX_HEAD: usize = 64 * 1024;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `GET`, `POST`…
    pub method: String,
    /// Without the query.
    pub path: String,
    /// The token that came along.
    pub token: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// Whether its token was taken.
    pub let_in: bool,
}

impl Seen {
    /// Whether content was asked for, at an address that stands for a signed one.
    #[must_use]
    pub fn is_content(&self) -> bool {
        self.path.starts_with("/v1/fetch_term")
    }
}

#[derive(Debug)]
pub(crate) struct Door {
    server: SocketAddr,
    seen: Mutex<Vec<Seen>>,
    refused: Mutex<BTreeSet<String>>,
    /// Nothing more is handed out after so many bytes.
    stalls_at: Mutex<Option<u64>>,
    /// How many more requests for content are answered.
    answers_left: Mutex<Option<u32>>,
    /// Bytes in a second, for all connections together.
    rate: Mutex<Option<u32>>,
    /// When what was handed out last has gone over a line of that rate.
    sent_by: Mutex<Instant>,
    sent: watch::Sender<u64>,
    open: watch::Sender<usize>,
    alive: watch::Sender<bool>,
}

impl Door {
    pub(crate) fn before(server: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            server,
            seen: Mutex::default(),
            refused: Mutex::default(),
            stalls_at: Mutex::default(),
            answers_left: Mutex::default(),
            rate: Mutex::default(),
            sent_by: Mutex::new(Instant::now()),
            sent: watch::Sender::new(0),
            open: watch::Sender::new(0),
            alive: watch::Sender::new(true),
        })
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        locked(&self.seen).clone()
    }

    pub(crate) fn refuse(&self, token: &str) {
        locked(&self.refused).insert(token.to_owned());
    }

    pub(crate) fn stall_at(&self, bytes: u64) {
        *locked(&self.stalls_at) = Some(bytes);
    }

    pub(crate) fn stall_after(&self, answers: u32) {
        *locked(&self.answers_left) = Some(answers);
    }

    pub(crate) fn slow_down(&self, rate: u32) {
        *locked(&self.rate) = Some(rate);
    }

    pub(crate) fn die(&self) {
        self.alive.send_replace(false);
    }

    /// How many bytes were handed out, as it changes.
    pub(crate) fn sent(&self) -> watch::Receiver<u64> {
        self.sent.subscribe()
    }

    /// How many connections there are, as it changes.
    pub(crate) fn open(&self) -> watch::Receiver<usize> {
        self.open.subscribe()
    }

    /// Lets requests in until it dies.
    pub(crate) async fn stand(self: Arc<Self>, listener: TcpListener) {
        let mut alive = self.alive.subscribe();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = alive.wait_for(|alive| !alive) => return,
            };
            let Ok((client, _)) = accepted else { continue };
            let (door, mut alive) = (self.clone(), alive.clone());
            tokio::spawn(async move {
                door.open.send_modify(|open| *open += 1);
                tokio::select! {
                    // A client that goes away is its own affair.
                    _ = door.let_in(client) => {}
                    _ = alive.wait_for(|alive| !alive) => {}
                }
                door.open.send_modify(|open| *open -= 1);
            });
        }
    }

    /// One request for each connection, so that none goes by unseen.
    async fn let_in(&self, mut client: TcpStream) -> io::Result<()> {
        let (head, rest) = read_head(&mut client).await?;
        let seen = self.look_at(&head);
        let let_in = seen.let_in;
        let silent = seen.is_content() && !self.may_answer();
        locked(&self.seen).push(seen);
        if silent {
            return std::future::pending().await;
        }
        if !let_in {
            let answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            return client.write_all(answer.as_bytes()).await;
        }
        let mut server = TcpStream::connect(self.server).await?;
        let kept = head.lines().filter(|line| !line.is_empty() && header(line, "connection").is_none());
        let mut forwarded: String = kept.flat_map(|line| [line, "\r\n"]).collect();
        forwarded.push_str("Connection: close\r\n\r\n");
        server.write_all(forwarded.as_bytes()).await?;
        server.write_all(&rest).await?;
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let up = async {
            copy(&mut from_client, &mut to_server).await?;
            // The client went away.
            Ok(())
        };
        let down = async {
            let mut buffer = vec![0; 16 * 1024];
            loop {
                let read = from_server.read(&mut buffer).await?;
                if read == 0 {
                    return to_client.shutdown().await;
                }
                let stalls_at = *locked(&self.stalls_at);
                if stalls_at.is_some_and(|most| *self.sent.borrow() >= most) {
                    return std::future::pending().await;
                }
                self.keep_pace(read).await;
                to_client.write_all(buffer.get(..read).unwrap_or_default()).await?;
                self.sent.send_modify(|sent| *sent += read as u64);
            }
        };
        tokio::select! { done = up => done, done = down => done }
    }

    /// Takes one of the answers that are left, where they are numbered.
    fn may_answer(&self) -> bool {
        match &mut *locked(&self.answers_left) {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    /// Waits until a line of the chosen rate would have carried so many bytes more.
    async fn keep_pace(&self, bytes: usize) {
        let Some(rate) = *locked(&self.rate) else { return };
        let until = {
            let mut sent_by = locked(&self.sent_by);
            let takes = Duration::from_secs(1) * u32::try_from(bytes).unwrap_or(u32::MAX) / rate;
            *sent_by = (*sent_by).max(Instant::now()) + takes;
            *sent_by
        };
        sleep_until(until).await;
    }

    fn look_at(&self, head: &str) -> Seen {
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
        let value = |name| lines.clone().find_map(|line| header(line, name)).map(str::to_owned);
        let token = value("authorization").map(|value| value.trim_start_matches("Bearer ").to_owned());
        let mut seen = Seen { method, path, token, user_agent: value("user-agent"), let_in: true };
        let refused = locked(&self.refused);
        seen.let_in = seen.is_content() || seen.token.as_ref().is_some_and(|token| !refused.contains(token));
        seen
    }
}

/// The head of a request, and what came of its body with it.
async fn read_head(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        let read = client.read(&mut buffer).await?;
        if read == 0 || bytes.len() > MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
}

fn header<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (known, value) = line.split_once(':')?;
    known.eq_ignore_ascii_case(name).then(|| value.trim())
}

/// A test that panicked while it held the lock must not hide its own message behind a second one.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
