//! The paths used in a Rust file, without comments, strings and tests.

use std::collections::{BTreeMap, BTreeSet};

/// The paths of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// All paths of two or more segments, except for re-exports.
    pub named: BTreeSet<Vec<String>>,
    /// The names imported by `use`, with their paths: others may import them from here.
    pub uses: BTreeMap<String, Vec<String>>,
    /// Test-only modules.
    pub test_modules: BTreeSet<String>,
}

/// Reads a file.
pub fn paths(code: &str) -> Paths {
    let tokens = tokens(code);
    let mut paths = Paths::default();
    let mut at = 0;
    let mut exported = false;
    while at < tokens.len() {
        match test_module(&tokens[at..]) {
            Some(TestModule::File(name)) => _ = paths.test_modules.insert(name),
            // A module in the file itself is its last item.
            Some(TestModule::Inline) => break,
            None => {}
        }
        match tokens[at].as_str() {
            "pub" => exported = true,
            ";" | "}" | "{" | "fn" | "struct" | "enum" | "mod" | "const" => exported = false,
            "use" => {
                let mut found = Vec::new();
                at = tree(&tokens, at + 1, &[], &mut found);
                for (name, path) in found {
                    if !exported {
                        paths.named.insert(path.clone());
                    }
                    paths.uses.insert(name, path);
                }
                continue;
            }
            name if is_name(name) && tokens.get(at + 1).is_some_and(|next| next == "::") => {
                let end = (at..tokens.len())
                    .step_by(2)
                    .find(|at| tokens.get(at + 1).is_none_or(|next| next != "::"));
                let end = end.unwrap_or(tokens.len() - 1);
                let path = tokens[at..=end].iter().step_by(2).filter(|name| is_name(name)).cloned().collect();
                paths.named.insert(path);
                at = end + 1;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    paths
}

/// Parses a use tree, such as `a::{b, c as d}`, and returns the position after it.
fn tree(
    tokens: &[String],
    mut at: usize,
    before: &[String],
    found: &mut Vec<(String, Vec<String>)>,
) -> usize {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "::" => at += 1,
            "{" => {
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = tree(tokens, at + 1, &path, found);
                }
                return at + 1;
            }
            "as" => {
                found.push((tokens[at + 1].clone(), path));
                return at + 2;
            }
            name if is_name(name) => {
                if name != "self" || before.is_empty() {
                    path.push(token.clone());
                }
                at += 1;
            }
            "*" => at += 1,
            _ => break,
        }
    }
    if path.len() > before.len() || tokens.get(at - 1).is_some_and(|last| last == "self") {
        found.extend(path.last().cloned().map(|name| (name, path)));
    }
    at
}

/// A test-only module.
enum TestModule {
    /// In its own file, with this name.
    File(String),
    Inline,
}

/// The test module that begins here.
fn test_module(tokens: &[String]) -> Option<TestModule> {
    let behind = tokens.strip_prefix(&["#", "[", "cfg", "(", "test", ")", "]"].map(str::to_owned)[..])?;
    let keyword = behind
        .iter()
        .take_while(|token| !matches!(token.as_str(), ";" | "{"))
        .position(|token| token == "mod")?;
    let has_file = behind.get(keyword + 2).is_some_and(|end| end == ";");
    Some(if has_file { TestModule::File(behind[keyword + 1].clone()) } else { TestModule::Inline })
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Identifiers, `::` and single characters.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => end_of_text(rest),
            // A character literal, not a lifetime.
            '\'' if rest[1..].starts_with('\\') => rest[3..].find('\'').map_or(rest.len(), |end| end + 4),
            '\'' if rest.chars().nth(2) == Some('\'') => rest.chars().take(3).map(char::len_utf8).sum(),
            'r' if rest.starts_with("r#\"") => rest.find("\"#").map_or(rest.len(), |end| end + 2),
            _ if is_name(rest) => rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()),
            _ if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        if !token.trim().is_empty() && !token.starts_with("//") && !token.contains('"') {
            tokens.push(token.to_owned());
        }
        rest = behind;
    }
    tokens
}

fn end_of_text(text: &str) -> usize {
    let mut escaped = false;
    let closing = text.char_indices().skip(1).find(|(_, c)| {
        let closes = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        closes
    });
    closing.map_or(text.len(), |(end, _)| end + 1)
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    fn path(path: &str) -> Vec<String> {
        path.split("::").map(str::to_owned).collect()
    }

    #[test]
    fn paths_are_parsed() {
        let read = paths(
            r#"
//! Not crate::a::comment.
#[cfg(test)]
#[path = "x.rs"]
mod testing;
pub use run::fetch;
use super::{Limits, connection::{self, Transfer as T}};
fn f<'a>(x: &'a crate::hub::Body) -> char { let _ = "crate::text"; reqwest::get('\''); 'x' }
#[cfg(test)]
mod tests { use kube::Client; }
"#,
        );
        let named = [
            "super::Limits",
            "super::connection",
            "super::connection::Transfer",
            "crate::hub::Body",
            "reqwest::get",
        ];
        let uses = [
            ("fetch", "run::fetch"),
            ("Limits", "super::Limits"),
            ("connection", "super::connection"),
            ("T", "super::connection::Transfer"),
        ];
        let expected = Paths {
            named: named.map(path).into(),
            uses: uses.map(|(name, at)| (name.to_owned(), path(at))).into(),
            test_modules: ["testing".to_owned()].into(),
        };
        assert_eq!(read, expected);
    }
}
