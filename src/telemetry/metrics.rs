//! The metrics, named as controller dashboards expect. No label contains the name of an object.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::reflector::Store;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text::encode},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::Contacts;
use crate::{
    api::{ModelCache, condition},
    controller::{Circuit, Guarded, Prober},
    reason::{Answer, ConditionType, Reason, Remedy},
};

/// A metric, as registered and as documented.
#[derive(Debug)]
pub struct Described {
    /// Its name without the prefix `modelcache_`.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricType,
    /// Its labels with their values.
    pub labels: &'static str,
    /// Its description.
    pub help: &'static str,
}

const RESOURCES: Described = Described {
    name: "resources",
    kind: MetricType::Gauge,
    labels: "`ready` (`True`, `False`, `Unknown`), `reason`, `remedy` (`none`, `user-action`, `wait`, `retry`); before the first check `Unknown`, `NotChecked` and `wait`",
    help: "ModelCaches by the status and reason of their Ready condition, and by what resolves that reason; `user-action` while Stalled is True",
};
const RECONCILES: Described = Described {
    name: "reconcile_total",
    kind: MetricType::Counter,
    labels: "`result` (`success`, `error`); errors are between the operator and the API server, never refusals of the Hub",
    help: "Reconciliations of ModelCaches, by result",
};
const SECONDS: Described = Described {
    name: "reconcile_seconds",
    kind: MetricType::Histogram,
    labels: "",
    help: "Duration of a reconciliation in seconds, without requests to the Hub",
};
const ACTIVE: Described = Described {
    name: "active_workers",
    kind: MetricType::Gauge,
    labels: "",
    help: "Running reconciliations",
};

const WATCHES: Described = Described {
    name: "watch_connected",
    kind: MetricType::Gauge,
    labels: "`kind`: the plural of the watched kind, such as `modelcaches` or `secrets`",
    help: "1 while every watch of the kind is connected, 0 while any is not",
};

const UNMOUNTED: Described = Described {
    name: "pods_without_model",
    kind: MetricType::Gauge,
    labels: "",
    help: "Pods that request a model by label but run without it; checked every five minutes",
};

const CIRCUITS: Described = Described {
    name: "hub_circuit_breaker_state",
    kind: MetricType::Gauge,
    labels: "`endpoint`: its URL; `state` (`closed`, `open`, `half_open`)",
    help: "1 for the current state of an endpoint's circuit breaker, 0 for the others; while it is open, no requests are sent",
};

/// All metrics.
pub const DESCRIBED: [&Described; 7] =
    [&RESOURCES, &RECONCILES, &SECONDS, &ACTIVE, &WATCHES, &CIRCUITS, &UNMOUNTED];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// The controller's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Outcome, Counter>,
    seconds: Histogram,
    active: Gauge,
    unmounted: Gauge,
}

impl Metrics {
    /// Registers all metrics. Resources are counted on each scrape.
    #[must_use]
    pub fn new(caches: Vec<Store<Guarded<ModelCache>>>, contacts: Contacts, prober: Arc<Prober>) -> Self {
        let mut registry = Registry::with_prefix("modelcache");
        let reconciles = Family::<Outcome, Counter>::default();
        let seconds = Histogram::new(exponential_buckets(0.005, 2.0, 14));
        let active = Gauge::default();
        let unmounted = Gauge::default();
        // The format itself appends `_total` to the name of a counter.
        registry.register(RECONCILES.name.trim_end_matches("_total"), RECONCILES.help, reconciles.clone());
        registry.register(SECONDS.name, SECONDS.help, seconds.clone());
        registry.register(ACTIVE.name, ACTIVE.help, active.clone());
        registry.register(UNMOUNTED.name, UNMOUNTED.help, unmounted.clone());
        registry.register_collector(Box::new(Resources(caches)));
        registry.register_collector(Box::new(Watches(contacts)));
        registry.register_collector(Box::new(Circuits(prober)));
        Self { registry, reconciles, seconds, active, unmounted }
    }

    /// Starts measuring a reconciliation.
    #[must_use]
    pub fn reconcile_started(self: &Arc<Self>) -> Timer {
        self.active.inc();
        Timer { metrics: self.clone(), started: Instant::now() }
    }

    /// Updates the number of pods that run without their model, from `before` to `now` for some namespaces.
    pub fn pods_without_model(&self, before: usize, now: usize) {
        let count = |pods| i64::try_from(pods).unwrap_or(i64::MAX);
        self.unmounted.inc_by(count(now) - count(before));
    }

    /// Renders the metrics in the text format.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

/// Measures one reconciliation, even if it is cancelled.
#[derive(Debug)]
pub struct Timer {
    metrics: Arc<Metrics>,
    started: Instant,
}

impl Timer {
    /// Counts the result.
    pub fn ended(self, success: bool) {
        let result = if success { "success" } else { "error" };
        self.metrics.reconciles.get_or_create(&Outcome { result }).inc();
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.metrics.active.dec();
        self.metrics.seconds.observe(self.started.elapsed().as_secs_f64());
    }
}

/// Counts the resources in the stores by the reason of their Ready condition.
#[derive(Debug)]
struct Resources(Vec<Store<Guarded<ModelCache>>>);

impl Collector for Resources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut counts = BTreeMap::<(&str, &str, &str), i64>::new();
        for cache in self.0.iter().flat_map(Store::state) {
            let labels = match cache.get() {
                Ok(cache) => labels(cache.conditions()),
                Err(_) => (Answer::False.as_str(), Reason::InvalidSpec.as_str(), Remedy::UserAction.as_str()),
            };
            *counts.entry(labels).or_default() += 1;
        }
        let mut family = encoder.encode_descriptor(RESOURCES.name, RESOURCES.help, None, RESOURCES.kind)?;
        for ((ready, reason, remedy), count) in counts {
            let gauge = ConstGauge::new(count);
            gauge.encode(family.encode_family(&[
                ("ready", ready),
                ("reason", reason),
                ("remedy", remedy),
            ])?)?;
        }
        Ok(())
    }
}

/// The labels `ready`, `reason` and `remedy` of a resource. The remedy is `user-action` while it is Stalled, whatever the reason's usual
/// one.
pub(crate) fn labels(conditions: &[Condition]) -> (&'static str, &'static str, &'static str) {
    let Some(ready) = condition::verdict(conditions, ConditionType::Ready) else { return Default::default() };
    let remedy = match ready.reason.remedy() {
        _ if condition::holds(conditions, ConditionType::Stalled) => Remedy::UserAction,
        Remedy::UserAction => Remedy::Wait,
        remedy => remedy,
    };
    (ready.status.as_str(), ready.reason.as_str(), remedy.as_str())
}

/// Exports which watches are connected.
#[derive(Debug)]
struct Watches(Contacts);

impl Collector for Watches {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(WATCHES.name, WATCHES.help, None, WATCHES.kind)?;
        for (kind, lost) in self.0.lost() {
            let gauge = ConstGauge::new(i64::from(lost.any.is_zero()));
            gauge.encode(family.encode_family(&[("kind", kind.as_str())])?)?;
        }
        Ok(())
    }
}

/// Exports the states of the circuit breakers.
#[derive(Debug)]
struct Circuits(Arc<Prober>);

impl Collector for Circuits {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(CIRCUITS.name, CIRCUITS.help, None, CIRCUITS.kind)?;
        for (endpoint, now) in self.0.circuits() {
            for state in Circuit::ALL {
                let gauge = ConstGauge::new(i64::from(state == now));
                gauge.encode(family.encode_family(&[("endpoint", endpoint), ("state", state.as_str())])?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn every_metric_that_is_served_is_described() {
        let prober = Arc::new(Prober::start(&[]).unwrap());
        let metrics = Arc::new(Metrics::new(Vec::new(), Contacts::default(), prober));
        metrics.reconcile_started().ended(true);
        let page = metrics.render().unwrap();
        let served: BTreeSet<_> = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
            .map(|(name, kind)| {
                (if kind == "counter" { format!("{name}_total") } else { name.to_owned() }, kind)
            })
            .collect();
        let described: BTreeSet<_> =
            DESCRIBED.iter().map(|it| (format!("modelcache_{}", it.name), it.kind.as_str())).collect();
        assert_eq!(described, served);
    }
}
