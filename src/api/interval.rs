//! A duration as Go and the rest of Kubernetes write it: `1h`, `90m`, `1h30m`.

use std::{borrow::Cow, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// How often to ask the Hub again, as it was written.
///
/// Kept as text, and never refused when read: one object that the schema should not have let in must not end the
/// watch of all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Interval(String);

impl Interval {
    /// The shortest pause between two checks; the schema refuses less.
    pub const MIN: Duration = Duration::from_secs(60);

    /// What holds where nothing is said.
    const DEFAULT: (&str, Duration) = ("1h", Duration::from_secs(3600));

    /// The pause, at least [`Interval::MIN`]; an hour where the text is not a duration.
    #[must_use]
    pub fn duration(&self) -> Duration {
        parse(&self.0).map_or(Self::DEFAULT.1, |pause| pause.max(Self::MIN))
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Interval {
    fn default() -> Self {
        Self(Self::DEFAULT.0.to_owned())
    }
}

impl From<&str> for Interval {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for Interval {
    fn schema_name() -> Cow<'static, str> {
        "Interval".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 32 })
    }
}

/// Whole hours, minutes and seconds, in this order, each at most once.
fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds: u64 = 0;
    for (unit, factor) in [('h', 3600), ('m', 60), ('s', 1)] {
        if let Some((number, after)) = rest.split_once(unit) {
            if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
            rest = after;
        }
    }
    (rest.is_empty() && !text.is_empty()).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, seconds) in
            [("1h", 3600), ("90m", 5400), ("1h30m", 5400), ("3600s", 3600), ("1h0m0s", 3600), ("24h", 86400)]
        {
            assert_eq!(Interval::from(text).duration(), Duration::from_secs(seconds), "{text}");
        }
    }

    #[test]
    fn what_the_schema_refuses_still_gives_a_sane_pause() {
        for (text, seconds) in [("5s", 60), ("0h", 60)] {
            assert_eq!(Interval::from(text).duration(), Duration::from_secs(seconds), "{text}");
        }
        for text in ["", "h", "1", "1d", "-1h", "+1h", "30m1h", "1h1h", "99999999999999999999h", "1.5h"] {
            assert_eq!(Interval::from(text).duration(), Duration::from_secs(3600), "{text}");
        }
    }
}
