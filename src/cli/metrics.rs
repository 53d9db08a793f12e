//! The reference of metrics, in Markdown, generated from the registered ones.

use std::fmt::Write as _;

use crate::telemetry::DESCRIBED;

/// Renders the page.
pub(super) fn page() -> String {
    let mut text = String::from(
        "<!-- Generated from src/telemetry/metrics.rs by `make generate`: change it there. -->\n\n# Metrics\n\n\
         `GET /metrics` on the operator's port (8080) returns them in the OpenMetrics text format. No label contains the name of an \
         object. Reasons have their own [reference](reasons.md).\n\n\
         | name | type | description | labels |\n|---|---|---|---|\n",
    );
    for metric in DESCRIBED {
        let _ = writeln!(
            text,
            "| `modelcache_{}` | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            metric.help,
            metric.labels
        );
    }
    text.push_str(
        "\nModelCaches that require user action: `sum by (reason) (modelcache_resources{remedy=\"person\"})`. The chart has alerts \
        (`metrics.rules.enabled`) for required user action, an unreachable Hub, and a failing, disconnected or missing operator.\n",
    );
    text
}
