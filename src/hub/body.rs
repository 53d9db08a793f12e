//! The body of a file download. Does not know where it is written to.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Response,
    header::{CONTENT_ENCODING, CONTENT_RANGE},
};

use super::{error::HubError, request::Answer, transport};

/// The content of a file from an offset on.
#[derive(Debug)]
pub struct Body {
    /// The offset of the first byte: the requested one, or 0 if the server does not support ranges.
    pub start: u64,
    /// The number of bytes that follow, if known.
    pub length: Option<u64>,
    transport: Transport,
}

/// How it is received.
#[derive(Debug)]
enum Transport {
    Http {
        host: String,
        response: Response,
        idle: Duration,
    },
    #[cfg(feature = "xet")]
    Xet(super::XetBody),
}

#[cfg(feature = "xet")]
impl From<super::XetBody> for Body {
    fn from(body: super::XetBody) -> Self {
        Self { start: body.start, length: Some(body.length), transport: Transport::Xet(body) }
    }
}

impl Body {
    /// The next bytes; `None` at the end. A connection that is closed early is an error.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, HubError> {
        match &mut self.transport {
            Transport::Http { host, response, idle } => {
                transport::within(*idle, host, response.chunk()).await
            }
            #[cfg(feature = "xet")]
            Transport::Xet(body) => body.next_chunk().await,
        }
    }

    /// Evaluates the response to a request for a file of `size` bytes from the offset `from` on, with the idle timeout
    /// `idle`. `None` if the server does not support that range, so that the whole file must be requested.
    pub(super) fn new(
        answer: Answer,
        from: u64,
        size: u64,
        idle: Duration,
    ) -> Result<Option<Self>, HubError> {
        let Answer { response, host, .. } = answer;
        let bad = |what: &str| Err(HubError::BadAnswer { host: host.clone(), what: what.to_owned() });
        let encoding = response.headers().get(CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return bad("the content is compressed, which was not requested");
        }
        let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let range = range.and_then(content_range);
        let length = response.content_length();
        let whole = match response.status().as_u16() {
            206 => range.and_then(|(_, total)| total),
            416 => None,
            _ => length,
        };
        if let Some(found) = whole.filter(|whole| *whole != size) {
            return Err(HubError::WrongSize { host, expected: size, found });
        }
        match response.status().as_u16() {
            206 => match range {
                Some((start, _)) if start == from => {
                    Ok(Some(Self { start, length, transport: Transport::Http { host, response, idle } }))
                }
                // Treated as no support for ranges: the whole file may still be available.
                _ if from > 0 => Ok(None),
                _ => bad("it sent another part of the file than requested"),
            },
            416 => Ok(None),
            _ => Ok(Some(Self { start: 0, length, transport: Transport::Http { host, response, idle } })),
        }
    }
}

/// The first byte of `bytes 5-9/10` (RFC 9110, 14.4), and the total size if known.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _end) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_parsed() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes", "items 5-9/10", "bytes -9/10", "bytes */10"] {
            assert_eq!(content_range(bad), None, "{bad:?}");
        }
    }
}
