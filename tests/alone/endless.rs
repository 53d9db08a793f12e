//! A Hub of endless repos: it makes up the page that it is asked for.

use std::{
    io::{BufRead as _, BufReader, BufWriter, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

/// Files of each repo: with a last page that is not full, as one that is cut off would be.
pub const FILES: usize = 198_999;
const PAGE: usize = 1_000;

/// Starts it. Its thread ends with the test process.
pub fn hub() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream, address));
        }
    });
    address
}

fn answer(mut stream: TcpStream, hub: SocketAddr) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let head = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    if path.contains("/revision/") {
        return revision(&stream, commit);
    }
    let (body, link) = if path.contains("/tree/") {
        let page: usize = path.rsplit_once("cursor=").map_or(0, |(_, page)| page.parse().unwrap_or(0));
        let next = page + 1;
        let link = (next * PAGE < FILES).then(|| {
            let path = path.split('?').next().unwrap_or_default();
            format!("Link: <http://{hub}{path}?recursive=true&cursor={next}>; rel=\"next\"\r\n")
        });
        (listing(page, commit), link.unwrap_or_default())
    } else {
        ("OK".to_owned(), String::new())
    };
    let length = body.len();
    write!(stream, "HTTP/1.1 200 OK\r\n{link}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// With all files of the commit, as the Hub does: more than a hundred megabytes.
fn revision(stream: &TcpStream, commit: &str) -> std::io::Result<()> {
    let mut out = BufWriter::new(stream);
    write!(out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{{\"sha\":\"{commit}\",\"siblings\":[")?;
    let folder = folder();
    for number in 0..FILES {
        let comma = if number == 0 { "" } else { "," };
        write!(out, r#"{comma}{{"rfilename":"{folder}/{number:090}.bin"}}"#)?;
    }
    write!(out, "]}}")
}

/// For paths of 600 bytes.
fn folder() -> String {
    format!("{}/{}", "a".repeat(250), "b".repeat(250))
}

fn listing(page: usize, commit: &str) -> String {
    let folder = folder();
    let entry =
        |number| format!(r#"{{"type":"file","path":"{folder}/{number:090}.bin","size":2,"oid":"{commit}"}}"#);
    let entries: Vec<_> = (page * PAGE..FILES.min((page + 1) * PAGE)).map(entry).collect();
    format!("[{}]", entries.join(","))
}
