//! The commands to run on a volume.

use crate::program::Order;

pub const FETCH: Order = order(&["fetch", "acme/tiny"]);
pub const FETCH_OFFLINE: Order = offline(&["fetch", "acme/tiny"]);
pub const VERIFY: Order = order(&["verify"]);
pub const LIST: Order = order(&["list"]);
/// Removes everything that may ever be removed.
pub const PRUNE: Order = order(&["prune", "--min-age", "0s", "--all"]);
pub const PRUNE_DRY: Order = order(&["prune", "--min-age", "0s", "--all", "--dry-run"]);

/// Read-only commands.
pub const LOOKS: &[Order] = &[
    VERIFY,
    order(&["verify", "acme/tiny", "-o", "json"]),
    LIST,
    order(&["list", "acme/tiny", "-o", "json"]),
    PRUNE_DRY,
    FETCH_OFFLINE,
];

/// Commands with changes. Mostly fetches, since they do the most.
pub const CHANGES: &[Order] = &[
    FETCH,
    FETCH,
    FETCH,
    FETCH,
    order(&["fetch", "acme/tiny", "--alias", "refs/pr/1", "-o", "json"]),
    order(&["fetch", "acme/tiny", "--include", "*.json"]),
    WITHOUT_LINKS,
    offline(&["fetch", "acme/tiny", "--alias", "refs/pr/1"]),
    PRUNE,
    PRUNE,
    order(&["prune"]),
    order(&["prune", "--min-age", "0s"]),
    order(&["prune", "acme/tiny", "--min-age", "0s", "--all", "-o", "json"]),
];

/// As on a file system without links.
pub const WITHOUT_LINKS: Order =
    Order { arguments: &["fetch", "acme/tiny"], variables: &[("HF_HUB_DISABLE_SYMLINKS", "1")] };

pub const fn order(arguments: &'static [&'static str]) -> Order {
    Order { arguments, variables: &[] }
}

const fn offline(arguments: &'static [&'static str]) -> Order {
    Order { arguments, variables: &[("HF_HUB_OFFLINE", "1")] }
}
