//! Responses with file content: whole, or the requested range.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures::stream;

use crate::{content::Content, refusal::text};

/// A part of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    start: u64,
    end: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part(Part),
    Unsatisfiable,
}

/// A response with this content, or the part in the request's `Range`, unless `If-Range` has another `ETag`.
pub(crate) fn content(content: &Content, etag: &str, request: &HeaderMap) -> Response {
    let size = content.size();
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT_RANGES, text("bytes"));
    headers.insert(header::ETAG, text(&format!("\"{etag}\"")));
    let (status, part) = match wanted(request, etag, size) {
        Wanted::All => (StatusCode::OK, Part { start: 0, end: size }),
        Wanted::Part(part) => {
            let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            headers.insert(header::CONTENT_RANGE, text(&range));
            (StatusCode::PARTIAL_CONTENT, part)
        }
        Wanted::Unsatisfiable => {
            headers.insert(header::CONTENT_RANGE, text(&format!("bytes */{size}")));
            return (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response();
        }
    };
    headers.insert(header::CONTENT_TYPE, text("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, (part.end - part.start).into());
    (status, headers, body(content.clone(), part)).into_response()
}

fn body(content: Content, part: Part) -> Body {
    Body::from_stream(stream::try_unfold(part.start, move |offset| {
        let chunk: std::io::Result<Option<(Bytes, u64)>> = if offset < part.end {
            content.chunk(offset, part.end).map(|chunk| {
                let next = offset + chunk.len() as u64;
                Some((chunk, next))
            })
        } else {
            Ok(None)
        };
        async { chunk }
    }))
}

fn wanted(request: &HeaderMap, etag: &str, size: u64) -> Wanted {
    let value = |name| request.get(name).and_then(|value| value.to_str().ok());
    let Some(range) = value(header::RANGE) else { return Wanted::All };
    if value(header::IF_RANGE).is_some_and(|known| known.trim_matches('"') != etag) {
        return Wanted::All;
    }
    // Multiple ranges are answered with the whole content, as servers may do.
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|spec| spec.split_once('-')) else {
        return Wanted::All;
    };
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(start), Ok(last)) => (start, size.min(last.saturating_add(1))),
        (Ok(start), Err(_)) if last.is_empty() => (start, size),
        (Err(_), Ok(length)) if first.is_empty() => (size.saturating_sub(length), size),
        _ => return Wanted::All,
    };
    if start < end { Wanted::Part(Part { start, end }) } else { Wanted::Unsatisfiable }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(range: &'static str) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, text(range));
        wanted(&headers, "e", 100)
    }

    #[test]
    fn ranges_are_parsed_as_in_rfc_9110() {
        assert_eq!(asked("bytes=10-19"), Wanted::Part(Part { start: 10, end: 20 }));
        assert_eq!(asked("bytes=90-"), Wanted::Part(Part { start: 90, end: 100 }));
        assert_eq!(asked("bytes=-5"), Wanted::Part(Part { start: 95, end: 100 }));
        assert_eq!(asked("bytes=0-999"), Wanted::Part(Part { start: 0, end: 100 }));
        assert_eq!(asked("bytes=100-"), Wanted::Unsatisfiable);
        assert_eq!(asked("bytes=1-2,5-6"), Wanted::All);
        assert_eq!(asked("lines=1-2"), Wanted::All);
    }

    #[test]
    fn a_range_with_another_etag_is_ignored() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, text("bytes=1-2"));
        headers.insert(header::IF_RANGE, text("\"other\""));
        assert_eq!(wanted(&headers, "e", 100), Wanted::All);
        headers.insert(header::IF_RANGE, text("\"e\""));
        assert_eq!(wanted(&headers, "e", 100), Wanted::Part(Part { start: 1, end: 3 }));
    }
}
