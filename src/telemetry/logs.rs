//! Logs to stderr: text on a terminal, JSON otherwise.

use std::{
    env, fmt,
    io::{self, IsTerminal as _},
};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing_subscriber::{
    EnvFilter,
    field::RecordFields,
    filter::LevelFilter,
    fmt::{FormatFields, format::Writer},
};

use crate::{terminal, text};

/// The environment variable with the log filter.
pub const VARIABLE: &str = "MODELCACHE_LOG";

/// Initializes logging, with the filter of `MODELCACHE_LOG` or `RUST_LOG`.
pub fn start() {
    let terminal = io::stderr().is_terminal();
    let given =
        [VARIABLE, "RUST_LOG"].into_iter().find_map(|name| env::var(name).ok().map(|value| (name, value)));
    // On a terminal, the progress bars show what happens.
    let usual = if terminal { "warn" } else { "info" };
    let requested = given.as_ref().map_or(usual, |(_, value)| value);
    let read = filter(requested);
    let is_invalid = read.is_none();
    let filter = read.unwrap_or_else(|| EnvFilter::new(with_default(usual)));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Stderr)
        // A failed write would be reported with `eprintln!`, which panics if stderr is closed.
        .log_internal_errors(false);
    if terminal {
        logs.fmt_fields(Fields).without_time().with_target(false).init();
    } else {
        logs.json().flatten_event(true).map_writer(|writer| move || Json(writer())).init();
    }
    if let Some((variable, _)) = given.filter(|_| is_invalid) {
        tracing::warn!(
            variable,
            used = usual,
            "invalid log filter: using the default. Valid are filters such as `info` or `modelcache=debug,warn`"
        );
    }
}

/// Parses a filter. `None` if it is invalid: the parser's error would repeat the text, which may be a misplaced secret.
fn filter(text: &str) -> Option<EnvFilter> {
    let mut directives = text.split(',').map(str::trim);
    if directives.clone().all(is_word) || directives.any(is_slip) {
        return None;
    }
    EnvFilter::builder().parse(with_default(text)).ok()
}

/// Whether it is a word that is not a level, such as `verbose`. Alone, it would be parsed as a crate name and silence all others.
fn is_word(directive: &str) -> bool {
    directive.parse::<LevelFilter>().is_err()
        && !directive.contains(['=', '['])
        && directive.split("::").next() != Some(env!("CARGO_CRATE_NAME"))
}

/// Whether a level is in place of a name, or a comma is missing: such a name matches no crate, which would silence everything.
fn is_slip(directive: &str) -> bool {
    let name = directive.find(['=', '[']).map(|end| directive[..end].trim());
    name.is_some_and(|name| {
        name.contains(char::is_whitespace) || name.parse::<LevelFilter>().is_ok_and(|_| !name.is_empty())
    })
}

/// Writes lines above the progress bars, if there are any.
struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        terminal::suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Formats the fields of a text line, each sanitized: `message name=value`. The surrounding colours are our own.
struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line { writer, space: "", result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    space: &'static str,
    result: fmt::Result,
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Omit the origin of lines from the `log` crate.
        if self.result.is_err() || field.name().starts_with("log.") {
            return;
        }
        let (space, value) = (self.space, text::line(&format!("{value:?}"), text::LINE));
        self.result = match field.name() {
            "message" => write!(self.writer, "{space}{value}"),
            name => write!(self.writer, "{space}{}={value}", name.trim_start_matches("r#")),
        };
        self.space = " ";
    }
}

/// Sanitizes whole lines of JSON by escaping, so that parsers still read the original text. Only overlong texts are truncated.
struct Json<W>(W);

impl<W: io::Write> io::Write for Json<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(format!("{}\n", shown(text.trim_end_matches('\n'))).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn shown(line: &str) -> String {
    if line.len() <= text::LINE {
        return text::escaped_json(line);
    }
    match serde_json::from_str(line) {
        Ok(mut value) => {
            shorten(&mut value);
            text::json(&value)
        }
        // Unreachable: the lines come from a serializer.
        Err(_) => text::json(&text::line(line, text::LINE)),
    }
}

/// Truncates each string of a value to the length of a line.
fn shorten(value: &mut Value) {
    match value {
        Value::String(long) => {
            if let Some((end, _)) = long.char_indices().nth(text::LINE - 1) {
                long.truncate(end);
                long.push('…');
            }
        }
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Adds defaults to a filter. The official Xet client is off by default: it logs each request, and sometimes addresses and
/// tokens. Its errors are logged by the caller.
///
/// The Kubernetes client logs every response that it cannot parse with its content, including Secrets, so it is always off.
/// Its errors are returned anyway.
fn with_default(filter: &str) -> String {
    format!("xet=off,{filter},kube_client::client=off")
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::text::testing::{assert_safe, nasty};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The output when several targets log with this filter.
    fn heard(filter: &str) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let filter = super::filter(filter).unwrap();
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || writer.clone());
        tracing::subscriber::with_default(logs.finish(), || {
            tracing::error!(target: "xet_client::cas_client", "official");
            tracing::error!(target: "xet::xet_session", "official");
            tracing::error!(target: "modelcache::hub::xet", "ours");
            tracing::warn!(target: "kube_client::client", "contents");
            tracing::trace!(target: "kube_client::client", "contents");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// The output when every text of an event and of its span is foreign.
    fn written(words: &str, json: bool) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let logs = tracing_subscriber::fmt().without_time();
        let subscriber: Box<dyn tracing::Subscriber + Send + Sync> = if json {
            Box::new(logs.json().flatten_event(true).with_writer(move || Json(writer.clone())).finish())
        } else {
            Box::new(logs.fmt_fields(Fields).with_ansi(false).with_writer(move || writer.clone()).finish())
        };
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("span", object = words, more = tracing::field::Empty);
            span.record("more", words);
            let _entered = span.enter();
            let error = io::Error::other(words.to_owned());
            tracing::warn!(text = words, shown = %words, debug = ?words, error = &error as &dyn std::error::Error, "{words}");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn hostile_text_is_one_safe_line_of_text() {
        for (case, words) in nasty(300) {
            let line = written(&words, false);
            assert_safe(line.strip_suffix('\n').unwrap(), 8 * text::LINE, case);
        }
        assert_eq!(
            written("größe 模型 🤗", false),
            " WARN span{object=\"größe 模型 🤗\" more=\"größe 模型 🤗\"}: modelcache::telemetry::logs::tests: größe 模型 🤗 \
             text=\"größe 模型 🤗\" shown=größe 模型 🤗 debug=\"größe 模型 🤗\" error=größe 模型 🤗\n"
        );
    }

    #[test]
    fn hostile_text_is_one_safe_line_of_json_and_round_trips() {
        for (case, words) in nasty(300) {
            let line = written(&words, true);
            assert_safe(line.strip_suffix('\n').unwrap(), 200 * text::LINE, case);
            let read: Value = serde_json::from_str(&line).unwrap();
            let field = read["text"].as_str().unwrap();
            let kept = field.strip_suffix('…').unwrap_or(field);
            assert!(words.starts_with(kept) && field.chars().count() <= words.chars().count(), "case {case}");
            assert!(field.chars().count() <= text::LINE);
        }
    }

    #[test]
    fn an_invalid_level_is_rejected() {
        for given in [
            "verbose",
            "information",
            "loud, louder",
            "level",
            "modelcaches",
            "info modelcache=debug",
            "debug=",
            "info,warn=modelcache",
        ] {
            assert!(filter(given).is_none(), "{given}");
        }
        for given in ["info", "WARN", "off", "3", "modelcache", "hyper=debug", "verbose,info", "[span]=trace"]
        {
            assert!(filter(given).is_some(), "{given}");
        }
    }

    #[test]
    fn the_xet_client_is_logged_only_on_request_and_object_contents_never() {
        for filter in ["info", "debug", "trace", "modelcache=debug,info"] {
            let heard = heard(filter);
            assert!(heard.contains("ours") && !heard.contains("official"), "{filter}: {heard}");
        }
        for filter in ["info", "trace", "kube_client=trace", "info,kube_client::client=trace"] {
            assert!(!heard(filter).contains("contents"), "{filter}");
        }
        assert_eq!(heard("info,xet_client=debug").matches("official").count(), 1);
    }
}
