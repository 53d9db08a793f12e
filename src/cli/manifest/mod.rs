//! Reads files with `ModelCache` objects and Secrets, as for `kubectl apply`.

mod node;
mod schema;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::Secret;
use node::{Node, Shape};
use schema::{Violation, violations};
use serde::de::DeserializeOwned;

use super::output::eprint_line;
use crate::{
    api::{self, GROUP, ModelCache, TokenSecretRef},
    files::{self, Unread},
    hub::TokenSource,
    reason::exit,
    text::of_path,
};

/// The longest file that is read, in bytes. The parser limits the depth to 64 and the number of values to 250,000.
const LONGEST: u64 = 16 << 20;
/// The most violations to report for a file.
const VIOLATIONS: usize = 100;

/// The relevant objects of the files.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    /// The caches, in the order of the files.
    pub(super) caches: Vec<ModelCache>,
    secrets: Vec<Secret>,
}

/// Invalid files. Their content is not repeated, since it may include Secrets.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    /// A file or folder cannot be read.
    #[error("cannot read {file}: {source}")]
    Unreadable { file: String, source: Unread },
    /// It is not YAML.
    #[error("{file}:{line}: this is not valid YAML")]
    Syntax { file: String, line: u64 },
    /// An object violates the schema of its kind.
    #[error("{}", lines_of(file, violations).join("; "))]
    Invalid { file: String, violations: Vec<Violation> },
    /// There is no ModelCache.
    #[error("no ModelCache in {0}")]
    Empty(String),
}

impl ManifestError {
    /// The error as lines, one for each violation.
    fn lines(&self) -> Vec<String> {
        match self {
            Self::Invalid { file, violations } => lines_of(file, violations),
            other => vec![other.to_string()],
        }
    }

    /// Prints the error and returns the exit code.
    pub(super) fn refuse(&self) -> u8 {
        for (number, line) in self.lines().iter().enumerate() {
            eprint_line(&format!("{}{line}", if number == 0 { "error: " } else { "" }));
        }
        exit::USAGE
    }
}

fn lines_of(file: &str, violations: &[Violation]) -> Vec<String> {
    let mut lines: Vec<_> = violations
        .iter()
        .take(VIOLATIONS)
        .map(|violation| format!("{file}:{}: {}", violation.line, violation.text))
        .collect();
    if violations.len() > VIOLATIONS {
        lines.push(format!("{file}: and {} more", violations.len() - VIOLATIONS));
    }
    lines
}

/// The result of resolving a reference to a Secret.
#[derive(Debug)]
pub(super) enum SecretLookup {
    /// The Secret has the key.
    Token(TokenSource),
    /// The Secret has only these other keys.
    OtherKeys(Vec<String>),
    /// The Secret is not in the files.
    NotInFiles,
}

impl Manifest {
    /// Reads files, folders (their `.yaml`, `.yml` and `.json` files), and `-` as the standard input.
    pub(super) fn read(given: &[PathBuf]) -> Result<Self, ManifestError> {
        let mut manifest = Self::default();
        for path in given {
            let unreadable = |file: String| move |source| ManifestError::Unreadable { file, source };
            if path == Path::new("-") {
                let text = files::bounded(io::stdin(), LONGEST).and_then(files::text);
                manifest.add("-", &text.map_err(unreadable("the standard input".to_owned()))?)?;
                continue;
            }
            // Pipes are accepted only as an explicit argument: anyone may have put one into a folder.
            let read = if path.is_dir() { files::read } else { files::read_given };
            for file in files_of(path)? {
                let name = of_path(&file);
                let text = read(&file, LONGEST).and_then(files::text).map_err(unreadable(name.clone()))?;
                manifest.add(&name, &text)?;
            }
        }
        if manifest.caches.is_empty() {
            let files: Vec<_> = given.iter().map(|path| of_path(path)).collect();
            return Err(ManifestError::Empty(files.join(", ")));
        }
        Ok(manifest)
    }

    fn add(&mut self, file: &str, text: &str) -> Result<(), ManifestError> {
        let documents: Vec<Option<Node>> = serde_saphyr::from_multiple(text).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            ManifestError::Syntax { file: file.to_owned(), line }
        })?;
        let mut objects: Vec<_> = documents.iter().flatten().collect();
        objects.reverse();
        while let Some(object) = objects.pop() {
            let word = |field| object.field(field).and_then(Node::text).unwrap_or_default();
            let violations = match (word("apiVersion"), word("kind")) {
                (_, "List") => {
                    if let Some(Shape::List(items)) = object.field("items").map(|items| &items.shape) {
                        objects.extend(items.iter().rev());
                    }
                    Vec::new()
                }
                ("v1", "Secret") => take(object, &mut self.secrets),
                (version, "ModelCache") if version.split('/').next() == Some(GROUP) => {
                    let violations = violations_of_cache(object, version);
                    if violations.is_empty() { take(object, &mut self.caches) } else { violations }
                }
                _ => Vec::new(),
            };
            if !violations.is_empty() {
                return Err(ManifestError::Invalid { file: file.to_owned(), violations });
            }
        }
        Ok(())
    }

    /// Resolves the token reference of a cache.
    pub(super) fn token(&self, cache: &ModelCache, wanted: &TokenSecretRef) -> SecretLookup {
        let namespace = cache.metadata.namespace.as_deref();
        let found = self.secrets.iter().find(|secret| {
            // If either has no namespace, `kubectl --namespace` would set it.
            let theirs = secret.metadata.namespace.as_deref();
            secret.metadata.name.as_ref() == Some(&wanted.name)
                && (theirs == namespace || theirs.is_none() || namespace.is_none())
        });
        let Some(secret) = found else { return SecretLookup::NotInFiles };
        // As in the API server, `stringData` takes precedence.
        let text = secret.string_data.as_ref().and_then(|data| data.get(&wanted.key));
        let bytes = secret.data.as_ref().and_then(|data| data.get(&wanted.key));
        match (text, bytes) {
            (Some(text), _) => SecretLookup::Token(TokenSource::fixed(text)),
            (None, Some(bytes)) => {
                SecretLookup::Token(TokenSource::fixed(&String::from_utf8_lossy(&bytes.0)))
            }
            (None, None) => {
                let text = secret.string_data.iter().flat_map(|data| data.keys());
                SecretLookup::OtherKeys(
                    secret.data.iter().flat_map(|data| data.keys()).chain(text).cloned().collect(),
                )
            }
        }
    }
}

/// The name of an object in messages.
pub(super) fn name_of(cache: &ModelCache) -> String {
    let name = cache.metadata.name.as_ref().or(cache.metadata.generate_name.as_ref());
    let name = name.map_or(cache.spec.source.repo.as_str(), String::as_str);
    let namespace = cache.metadata.namespace.iter().map(String::as_str);
    namespace.chain([name]).collect::<Vec<_>>().join("/")
}

/// Validates a ModelCache as the API server would.
fn violations_of_cache(object: &Node, version: &str) -> Vec<Violation> {
    let line = object.line;
    let crd = api::crd();
    let served = crd.spec.versions.iter().find(|served| version == format!("{GROUP}/{}", served.name));
    let schema = served.and_then(|served| served.schema.as_ref()?.open_api_v3_schema.as_ref());
    let Some(properties) = schema.and_then(|schema| schema.properties.as_ref()) else {
        let known: Vec<_> =
            crd.spec.versions.iter().map(|served| format!("{GROUP}/{}", served.name)).collect();
        return vec![Violation { line, text: format!("apiVersion must be {}", known.join(" or ")) }];
    };
    let Shape::Map(fields) = &object.shape else { return Vec::new() };
    let mut found = Vec::new();
    for (name, line, node) in fields {
        match (name.as_str(), properties.get(name)) {
            ("spec", Some(schema)) => found.extend(violations(node, schema, "spec")),
            ("apiVersion" | "kind" | "metadata" | "status", _) => {}
            _ => found.push(Violation { line: *line, text: format!("{name} is not a field") }),
        }
    }
    if object.field("spec").is_none() {
        found.push(Violation { line, text: "spec is missing".to_owned() });
    }
    found
}

fn take<T: DeserializeOwned>(object: &Node, into: &mut Vec<T>) -> Vec<Violation> {
    if let Ok(value) = serde_json::from_value(object.value()) {
        into.push(value);
        return Vec::new();
    }
    // The parser's error could repeat the object's content.
    let kind = object.field("kind").and_then(Node::text).unwrap_or_default();
    vec![Violation { line: object.line, text: format!("this is not a valid {kind}") }]
}

/// The files of a path: itself, or those in a folder that kubectl would read.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, ManifestError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries =
        entries.map_err(|error| ManifestError::Unreadable { file: of_path(path), source: error.into() })?;
    let mut files: Vec<_> = entries.iter().map(fs::DirEntry::path).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json"));
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    const FILE: &str = "\
# several documents
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
---
apiVersion: v1
kind: Secret
metadata: {name: plain, namespace: a}
stringData: {token: hf_text}
data: {token: aGZfYnl0ZXM=, other: eA==}
---
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Secret
    metadata: {name: coded}
    data: {key: aGZfYnl0ZXMK}
  - apiVersion: modelcache.internal/v1alpha1
    kind: ModelCache
    metadata: {name: one, namespace: a}
    spec: {source: {repo: org/one}}
---
";

    fn read(text: &str) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::default();
        manifest.add("m.yaml", text).map(|()| manifest)
    }

    #[test]
    fn tokens_are_read_from_secrets_in_the_files() {
        let manifest = read(FILE).unwrap();
        let [cache] = &manifest.caches[..] else { panic!("one cache") };
        assert_eq!(name_of(cache), "a/one");
        let token = |name: &str, key: &str| match manifest
            .token(cache, &TokenSecretRef { name: name.to_owned(), key: key.to_owned() })
        {
            SecretLookup::Token(token) => Ok(token),
            SecretLookup::OtherKeys(keys) => Err(keys.join(",")),
            SecretLookup::NotInFiles => Err("elsewhere".to_owned()),
        };
        assert_eq!(token("plain", "token"), Ok(TokenSource::fixed("hf_text")));
        assert_eq!(token("coded", "key"), Ok(TokenSource::fixed("hf_bytes")));
        assert_eq!(token("coded", "token"), Err("key".to_owned()));
        assert_eq!(token("missing", "token"), Err("elsewhere".to_owned()));
        let mut other = cache.clone();
        other.metadata.namespace = Some("b".to_owned());
        let wanted = TokenSecretRef { name: "plain".to_owned(), key: "token".to_owned() };
        assert!(matches!(manifest.token(&other, &wanted), SecretLookup::NotInFiles), "another namespace");
    }

    #[test]
    fn an_empty_field_is_unset() {
        let file = "apiVersion: modelcache.internal/v1alpha1\nkind: ModelCache\nmetadata: {name: one, labels: }\n\
                    spec: {source: {repo: org/one, revision: , include: ~}, storage: null}\n";
        let [cache] = &read(file).unwrap().caches[..] else { panic!("one cache") };
        assert_eq!((cache.spec.source.revision.as_str(), cache.claim_name().as_str()), ("main", "one"));
        let without = file.replace("repo: org/one", "repo: ~");
        assert!(read(&without).is_err());
    }

    #[test]
    fn mistakes_are_located_without_repeating_secrets() {
        let good = "apiVersion: modelcache.internal/v1alpha1\nkind: ModelCache\nmetadata: {name: x}\n";
        let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n";
        for (text, expected) in [
            (
                format!("{good}spec:\n  source: {{repo: a/b}}\n  sorce: 1\n"),
                "m.yaml:6: spec.sorce is not a field; did you mean source?",
            ),
            (format!("---\n{good}spec: {{source: {{}}}}\n"), "m.yaml:5: spec.source.repo is missing"),
            (good.to_owned(), "m.yaml:1: spec is missing"),
            (format!("{good}spec: {{source: {{repo: a}}}}\nextra: 1\n"), "m.yaml:5: extra is not a field"),
            (good.replace("v1alpha1", "v9"), "m.yaml:1: apiVersion must be modelcache.internal/v1alpha1"),
            (format!("{secret}stringData: {{token: [hf_verysecret}}\n"), "m.yaml:5: this is not valid YAML"),
            (format!("{secret}data: {{token: hf_verysecret!}}\n"), "m.yaml:2: this is not a valid Secret"),
            (format!("{secret}stringData: {{token: *hf_verysecret }}\n"), "m.yaml:5: this is not valid YAML"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert_eq!(error, expected, "{text}");
        }
    }
}
