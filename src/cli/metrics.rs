//! The reference of metrics, in Markdown, made of what is registered.

use std::fmt::Write as _;

use crate::telemetry::DESCRIBED;

/// The page.
pub(super) fn page() -> String {
    let mut text = String::from(
        "<!-- Generated from src/telemetry/metrics.rs by `make generate`: change it there. -->\n\n# Metrics\n\n\
         `GET /metrics` on the operator's port (8080) answers in the OpenMetrics text format. No label ever has the name of an \
         object. Reasons have a [reference](reasons.md) of their own.\n\n\
         | name | type | what it counts | labels |\n|---|---|---|---|\n",
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
        "\nHow many ModelCaches need a person: `sum by (reason) (modelcache_resources{remedy=\"person\"})`. The chart has alerts \
         (`metrics.rules.enabled`): a person is needed, the Hub is away, the operator fails, sees nothing, or is down.\n",
    );
    text
}
