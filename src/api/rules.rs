//! The rules that a schema alone cannot say, in CEL, each with a sentence for the person whose object is refused.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

/// A rule on one place of the schema.
pub(super) struct Rule {
    /// The place: property names from the root, `[]` for the items of a list.
    pub at: &'static str,
    /// What must be true there, in CEL.
    must: &'static str,
    /// What is said otherwise. It names the field and says what is allowed.
    otherwise: &'static str,
    /// The field to blame below `at`, as `.name`; `at` itself where empty.
    blame: &'static str,
}

impl From<&Rule> for ValidationRule {
    fn from(rule: &Rule) -> Self {
        Self {
            // One line each, however the source is broken.
            rule: rule.must.lines().map(str::trim).collect::<Vec<_>>().join(" "),
            message: Some(rule.otherwise.to_owned()),
            field_path: (!rule.blame.is_empty()).then(|| rule.blame.to_owned()),
            ..Self::default()
        }
    }
}

const fn rule(at: &'static str, must: &'static str, otherwise: &'static str) -> Rule {
    Rule { at, must, otherwise, blame: "" }
}

/// A field that keeps its value. It is compared on the parent: a rule on the field itself is not asked when the field
/// comes or goes. With `has()`: for optional values the API server cannot bound the cost and refuses the rule.
const fn fixed(at: &'static str, blame: &'static str, must: &'static str, otherwise: &'static str) -> Rule {
    Rule { at, must, otherwise, blame }
}

macro_rules! names {
    ($( $at:literal ),+ $(,)?) => {
        [$( rule(
            $at,
            "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
            concat!($at, " must be the name of an object: lower-case letters, digits, `-` and `.`, with a letter or digit \
                at both ends of each part"),
        ) ),+]
    };
}

macro_rules! revision {
    ($at:literal) => {
        rule(
            $at,
            r"self.matches('^[^\\x00-\\x20\\x7f~^:?*\\[\\\\]+$') && !self.contains('..') && !self.contains('@{')
                && self != '@' && !self.startsWith('-')
                && self.split('/').all(part, part != '' && !part.startsWith('.') && !part.endsWith('.') && !part.endsWith('.lock'))",
            concat!($at, " must be a branch, tag or commit as git allows it: no white space, none of ~^:?*[\\, no `..` or `@{`, \
                no `-` at the beginning, no part that is empty, begins or ends with `.`, or ends with `.lock`"),
        )
    };
}

macro_rules! together {
    ($at:literal, $texts:literal) => {
        rule(
            $at,
            concat!($texts, ".sum() <= 4096"),
            concat!($at, " must have at most 4096 characters in total, over all entries"),
        )
    };
}

macro_rules! own_keys {
    ($at:literal) => {
        rule(
            $at,
            "self.all(key, !key.startsWith('modelcache.internal/'))",
            concat!(
                $at,
                " must have no key that begins with `modelcache.internal/`: those are the operator's own"
            ),
        )
    };
}

/// The rules on the whole object and on `spec.source`.
const SOURCE: [Rule; 11] = [
    rule(
        "",
        "self.metadata.name.size() <= 63",
        "metadata.name must have at most 63 characters: it is also the value of a label",
    ),
    fixed(
        "spec.source",
        ".repo",
        "self.repo == oldSelf.repo",
        "spec.source.repo cannot be changed: what is on the volume belongs to it. Make another ModelCache",
    ),
    fixed(
        "spec.source",
        ".type",
        "self.type == oldSelf.type",
        "spec.source.type cannot be changed: what is on the volume belongs to it. Make another ModelCache",
    ),
    // The same as `hub::RepoId`.
    rule(
        "spec.source.repo",
        "self.matches('^[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?(/[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?)?$')
            && !self.contains('--') && !self.contains('..') && !self.lowerAscii().endsWith('.git')",
        "spec.source.repo must be `name` or `namespace/name`: letters, digits, `-`, `_` and `.`, no part that begins or \
            ends with `-` or `.`, no `--` or `..`, and no `.git` at the end",
    ),
    // The same as `hub::Revision`.
    revision!("spec.source.revision"),
    revision!("spec.source.aliases[]"),
    together!("spec.source.include", "self.map(text, text.size())"),
    together!("spec.source.exclude", "self.map(text, text.size())"),
    rule(
        "spec.source.endpoint",
        r"isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''
            && !self.matches('[@?#\\s]')",
        "spec.source.endpoint must be an address such as https://huggingface.co: http or https, with a host, without user, \
            query or fragment",
    ),
    rule(
        "spec.tokenSecretRef.key",
        "self.matches('^[-A-Za-z0-9_.]+$') && self != '.' && !self.startsWith('..')",
        "spec.tokenSecretRef.key must be a key of a Secret: letters, digits, `-`, `_` and `.`",
    ),
    rule(
        "spec.interval",
        "self.matches('^([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$') && self != '' && duration(self) >= duration('1m')",
        "spec.interval must be hours, minutes and seconds such as `1h`, `90m` or `1h30m`, and at least 1m",
    ),
];

/// The rules on `spec.storage`.
const STORAGE: [Rule; 9] = [
    Rule {
        at: "spec.storage",
        must: "!(has(self.claim) && has(self.existingClaim))",
        otherwise: "spec.storage must have at most one of claim and existingClaim",
        blame: "",
    },
    fixed(
        "spec.storage",
        ".existingClaim",
        "has(self.existingClaim)
            ? has(oldSelf.existingClaim) && self.existingClaim == oldSelf.existingClaim
            : !has(oldSelf.existingClaim)",
        "spec.storage.existingClaim cannot be set, changed or removed later: the model is on the claim that it has. Make \
            another ModelCache",
    ),
    fixed(
        "spec.storage",
        ".subPath",
        "has(self.subPath)
            ? has(oldSelf.subPath) && self.subPath == oldSelf.subPath
            : !has(oldSelf.subPath)",
        "spec.storage.subPath cannot be set, changed or removed later: the model is in the folder that it has. Make another \
            ModelCache",
    ),
    fixed(
        "spec.storage",
        ".claim",
        "has(self.claim) && has(self.claim.storageClassName)
            ? has(oldSelf.claim) && has(oldSelf.claim.storageClassName)
                && self.claim.storageClassName == oldSelf.claim.storageClassName
            : !has(oldSelf.claim) || !has(oldSelf.claim.storageClassName)",
        "spec.storage.claim.storageClassName cannot be set, changed or removed later, as on any claim. Make another ModelCache",
    ),
    // No claim in the spec means one with the default mode.
    fixed(
        "spec.storage",
        ".claim",
        "(has(self.claim) ? self.claim.accessModes : ['ReadWriteOnce'])
            == (has(oldSelf.claim) ? oldSelf.claim.accessModes : ['ReadWriteOnce'])",
        "spec.storage.claim.accessModes cannot be changed later, as on any claim. Make another ModelCache",
    ),
    rule(
        "spec.storage.subPath",
        "self.matches('^[-A-Za-z0-9_.]+(/[-A-Za-z0-9_.]+)*$') && self.split('/').all(part, part != '.' && part != '..')",
        "spec.storage.subPath must be a relative path such as `hub` or `models/hub`: letters, digits, `-`, `_` and `.` between \
            single slashes, no part `.` or `..`",
    ),
    rule(
        "spec.storage.claim.accessModes",
        "self.exists(mode, mode != 'ReadOnlyMany')",
        "spec.storage.claim.accessModes must have a mode that can be written: ReadWriteOnce, ReadWriteMany or ReadWriteOncePod",
    ),
    rule(
        "spec.storage.claim.accessModes",
        "!('ReadWriteOncePod' in self) || self.size() == 1",
        "spec.storage.claim.accessModes must have ReadWriteOncePod alone or not at all",
    ),
    rule(
        "spec.storage.claim.size",
        "isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('1Mi')) >= 0",
        "spec.storage.claim.size must be a quantity of at least 1Mi, such as 40Gi",
    ),
];

/// The rules on `spec.job`.
const JOB: [Rule; 3] = [
    own_keys!("spec.job.labels"),
    own_keys!("spec.job.annotations"),
    together!("spec.job.annotations", "self.map(key, self[key].size())"),
];

/// The fields that name another object.
const NAMES: [Rule; 6] = names![
    "spec.tokenSecretRef.name",
    "spec.storage.existingClaim",
    "spec.job.priorityClassName",
    "spec.job.runtimeClassName",
    "spec.job.serviceAccountName",
    "spec.job.imagePullSecrets[].name",
];

/// The storage class may also be empty, which means: none.
const CLASS: Rule = rule(
    "spec.storage.claim.storageClassName",
    "self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
    "spec.storage.claim.storageClassName must be the name of a storage class, or empty for a volume without class",
);

/// All rules.
pub(super) fn all() -> impl Iterator<Item = &'static Rule> {
    SOURCE.iter().chain(&STORAGE).chain([&CLASS]).chain(&JOB).chain(&NAMES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_names_its_field_and_fits_the_api() {
        for rule in all() {
            assert!(rule.otherwise.len() <= 2048 && !rule.otherwise.contains('\n'), "{}", rule.otherwise);
            let field = format!("{}{}", rule.at, rule.blame);
            let named = rule.otherwise.split(' ').next().unwrap();
            assert!(rule.at.is_empty() || named.starts_with(&field), "{named} does not name {field}");
        }
    }
}
