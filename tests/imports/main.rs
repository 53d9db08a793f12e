//! The allowed dependencies between the modules of `src`, and the absence of import cycles.
#![allow(clippy::unwrap_used, reason = "tests fail by it")]

mod graph;
mod paths;

use std::{collections::BTreeSet, path::Path};

use graph::Graph;
use pretty_assertions::assert_eq;

fn src() -> Graph {
    Graph::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

#[test]
fn there_are_no_import_cycles() {
    assert_eq!(src().cycles(), BTreeSet::new());
}

#[test]
fn modules_know_only_what_they_need() {
    let src = src();
    let network = ["reqwest", "hyper", "axum"];
    let kubernetes = ["kube", "k8s_openapi"];
    for (room, forbidden) in [
        ("api", &network[..]),
        ("cache", &network),
        ("cache", &kubernetes),
        ("hub", &kubernetes),
        ("fetch", &kubernetes),
    ] {
        assert_eq!(src.trespasses(room, forbidden), BTreeSet::new(), "{room} reaches one of {forbidden:?}");
    }
    assert!(!src.trespasses("hub", &network).is_empty(), "the hub is asked over HTTP");
    assert_eq!(src.rooms_that_name("modelcache_wire"), BTreeSet::from(["hub".to_owned()]));
    for (room, others) in [
        ("api", &["cache", "fetch", "controller", "cli", "telemetry"][..]),
        ("cache", &["fetch", "controller", "api", "cli", "telemetry"]),
        ("hub", &["cache", "fetch", "controller", "api", "cli", "telemetry"]),
        ("fetch", &["controller", "api", "cli", "telemetry"]),
        ("telemetry", &["fetch", "cache", "cli"]),
        ("controller", &["cli"]),
    ] {
        for other in others {
            assert_eq!(src.uses(room, other), BTreeSet::new(), "{room} names {other}");
        }
    }
}
