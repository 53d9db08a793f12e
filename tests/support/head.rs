//! The head of an HTTP request, as servers in between read it and pass it on.

use std::io::{self, BufRead as _, BufReader, Read};

/// Reads up to the empty line. One byte at a time, so that nothing after the head is consumed.
pub(crate) fn read(client: impl Read) -> io::Result<String> {
    let mut head = String::new();
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

/// The head as it is sent on: for one request on its connection.
pub(crate) fn closing(head: &str) -> String {
    let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head = kept.collect::<Vec<_>>().join("\r\n");
    format!("{head}\r\nconnection: close\r\n\r\n")
}
