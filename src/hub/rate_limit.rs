//! Parses the delay that the Hub requests from response headers. Pure.
//!
//! The Hub sends `RateLimit: "api";r=0;t=55` (an IETF draft; read as `huggingface_hub.utils.parse_ratelimit_headers`
//! does), others only `Retry-After` (RFC 9110).

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};
use modelcache_wire::header::RATE_LIMIT;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// If no header specifies a delay: the Hub counts in windows of five minutes, so a minute is a fair guess.
const DEFAULT: Duration = Duration::from_secs(60);
/// The shortest delay.
const MIN: Duration = Duration::from_secs(1);
/// The longest delay that is believed.
const MAX: Duration = Duration::from_secs(3600);

/// The delay before the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    pub length: Duration,
    /// Whether a header specified it.
    pub named: bool,
}

/// The delay requested by the headers of a 429 or 503.
pub(super) fn pause(headers: &HeaderMap, now: Timestamp) -> Pause {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let requested = text(RATE_LIMIT)
        .and_then(reset)
        // One more second, so that the window has certainly passed.
        .map(|seconds| Duration::from_secs(seconds.saturating_add(1)))
        .or_else(|| text(RETRY_AFTER.as_str()).and_then(|value| retry_after(value, now)));
    Pause { length: requested.unwrap_or(DEFAULT).clamp(MIN, MAX), named: requested.is_some() }
}

/// The `t` of the exhausted window; of several, the longest.
fn reset(value: &str) -> Option<u64> {
    let windows = value.split(',').filter_map(|window| {
        let number = |name: &str| {
            window.split(';').filter_map(|part| part.trim().split_once('=')).find_map(|(key, number)| {
                (key.trim() == name).then(|| number.trim().parse::<u64>().ok()).flatten()
            })
        };
        Some((number("r"), number("t")?))
    });
    // Exhausted windows take precedence.
    windows.max_by_key(|(left, reset)| (*left == Some(0), *reset)).map(|(_, reset)| reset)
}

/// Seconds, or a date.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(until.duration_since(now).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_header_is_parsed() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        for (headers, seconds) in [
            (&[("ratelimit", r#""api";r=0;t=55"#)][..], 56),
            (&[("ratelimit", r#""api";r=0;t=55"#), ("retry-after", "7")], 56),
            (&[("ratelimit", r#""api";r=12;t=200, "resolvers"; r=0; t=9"#)], 10),
            (&[("retry-after", "7")], 7),
            (&[("retry-after", "Sun, 22 Nov 2026 10:01:30 GMT")], 90),
            (&[("retry-after", "Sun, 22 Nov 2026 09:00:00 GMT")], 1),
            (&[("retry-after", "0")], 1),
            (&[("ratelimit", "nonsense"), ("retry-after", "soon")], 60),
            (&[("ratelimit", r#""api";r=0;t=18446744073709551615"#)], 3600),
            (&[], 60),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            assert_eq!(pause(&map, now).length, Duration::from_secs(seconds), "{headers:?}");
        }
    }
}
