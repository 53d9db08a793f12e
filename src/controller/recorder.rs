//! Writes events of ModelCaches, and of the pods that ask for them. A repeated one is counted, and one with another text is another
//! one: `kube`'s own recorder counts by the reason alone, so that the first text stays and later ones are lost.

use std::{collections::HashMap, sync::Mutex};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event as Written, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    runtime::events::{Event, EventType, Reporter},
};
use serde_json::json;

use crate::sync::locked;

/// What is repeated within this time is counted, as Kubernetes' own programs do.
const SERIES: SignedDuration = SignedDuration::from_mins(6);
/// Series that are remembered, as many as Kubernetes' own programs do: the words of others make any number of texts.
const KNOWN: usize = 4096;
/// So much of an object's name leaves room for a time in the 253 characters of a name.
const NAME: usize = 200;

/// The object, the reason and the text of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    uid: Option<String>,
    reason: String,
    note: Option<String>,
}

/// What was written, and how often it was so.
#[derive(Clone, Debug)]
struct Series {
    name: String,
    count: i32,
    last: Timestamp,
}

/// Writes events, and counts repeated ones. What it remembers is lost with the process, which costs one event each.
pub struct Recorder {
    client: Client,
    reporter: Reporter,
    series: Mutex<HashMap<Key, Series>>,
}

impl Recorder {
    /// With nothing written yet.
    pub fn new(client: Client, reporter: Reporter) -> Self {
        Self { client, reporter, series: Mutex::default() }
    }

    /// Writes an event about an object.
    pub async fn publish(&self, event: &Event, about: &ObjectReference) -> Result<(), kube::Error> {
        let now = Timestamp::now();
        let key = Key { uid: about.uid.clone(), reason: event.reason.clone(), note: event.note.clone() };
        let namespace = about.namespace.as_deref().unwrap_or("default");
        let events: Api<Written> = Api::namespaced(self.client.clone(), namespace);
        let series = if let Some(known) = self.recent(&key, now) {
            let series = EventSeries { count: known.count + 1, last_observed_time: MicroTime(now) };
            let patch = Patch::Merge(json!({ "series": series }));
            match events.patch(&known.name, &PatchParams::default(), &patch).await {
                Ok(_) => Series { count: known.count + 1, last: now, ..known },
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    self.create(&events, event, about, now).await?
                }
                Err(error) => return Err(error),
            }
        } else {
            self.create(&events, event, about, now).await?
        };
        self.remember(key, series);
        Ok(())
    }

    /// The oldest one makes room: it costs one event where it is repeated.
    fn remember(&self, key: Key, series: Series) {
        let mut all = locked(&self.series);
        if all.len() >= KNOWN && !all.contains_key(&key) {
            let oldest = all.iter().min_by_key(|(_, series)| series.last).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        all.insert(key, series);
    }

    /// The series that the event belongs to, after those that are over were dropped.
    fn recent(&self, key: &Key, now: Timestamp) -> Option<Series> {
        let mut all = locked(&self.series);
        all.retain(|_, series| now.duration_since(series.last) < SERIES);
        all.get(key).cloned()
    }

    async fn create(
        &self,
        events: &Api<Written>,
        event: &Event,
        about: &ObjectReference,
        now: Timestamp,
    ) -> Result<Series, kube::Error> {
        let name = event_name(about.name.as_deref().unwrap_or_default(), now);
        let Reporter { controller, instance } = &self.reporter;
        let written = Written {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: about.namespace.clone(),
                ..ObjectMeta::default()
            },
            action: Some(event.action.clone()),
            event_time: Some(MicroTime(now)),
            note: event.note.clone(),
            reason: Some(event.reason.clone()),
            regarding: Some(about.clone()),
            reporting_controller: Some(controller.clone()),
            reporting_instance: Some(instance.clone().unwrap_or_else(|| controller.clone())),
            type_: Some(match event.type_ {
                EventType::Normal => "Normal".to_owned(),
                EventType::Warning => "Warning".to_owned(),
            }),
            ..Written::default()
        };
        events.create(&PostParams::default(), &written).await?;
        Ok(Series { name, count: 1, last: now })
    }
}

/// What a name is cut at may be no end of one.
fn event_name(object: &str, now: Timestamp) -> String {
    let beginning: String = object.chars().take(NAME).collect();
    format!("{}.{:x}", beginning.trim_end_matches(['.', '-']), now.as_nanosecond())
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use axum::http::{Method, Request, Response};
    use kube::client::Body;
    use pretty_assertions::assert_eq;
    use serde_json::Value;

    use super::*;

    fn recorder(client: Client) -> Recorder {
        let reporter = Reporter { controller: "modelcache.internal/controller".to_owned(), instance: None };
        Recorder::new(client, reporter)
    }

    /// A pod's name may have 253 characters, of any of which the last one that fits may be a dot or a dash.
    #[test]
    fn the_name_of_an_event_is_one() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_nanos(255);
        assert_eq!(event_name("server-0", now), "server-0.ff");
        let long = format!("{}-.-{}", "a".repeat(NAME - 2), "b".repeat(50));
        assert_eq!(event_name(&long, now), format!("{}.ff", "a".repeat(NAME - 2)));
    }

    #[tokio::test]
    async fn a_flood_of_texts_is_forgotten_from_its_beginning() {
        let server =
            tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
        let recorder = recorder(Client::new(server, "default"));
        let now = Timestamp::now();
        for number in 0..KNOWN + 10 {
            let last = now + SignedDuration::from_micros(i64::try_from(number).unwrap());
            let key = Key { uid: None, reason: String::new(), note: Some(number.to_string()) };
            recorder.remember(key, Series { name: String::new(), count: 1, last });
        }
        let known = recorder.series.lock().unwrap();
        let oldest = known.values().map(|series| series.last).min();
        assert_eq!((known.len(), oldest), (KNOWN, Some(now + SignedDuration::from_micros(10))));
    }

    #[tokio::test]
    async fn a_repeated_event_is_counted_and_another_text_is_another_event() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let server = tower::service_fn({
            let asked = Arc::clone(&asked);
            move |request: Request<Body>| {
                let asked = Arc::clone(&asked);
                async move {
                    let (head, body) = request.into_parts();
                    let body = axum::body::to_bytes(axum::body::Body::new(body), usize::MAX).await.unwrap();
                    let sent: Value = serde_json::from_slice(&body).unwrap();
                    let what = match head.method {
                        Method::POST => sent["note"].clone(),
                        _ => sent["series"]["count"].clone(),
                    };
                    asked.lock().unwrap().push((head.method.to_string(), what));
                    let answer = json!({ "metadata": { "name": "it" }, "eventTime": null });
                    Ok::<_, Infallible>(Response::new(Body::from(answer.to_string().into_bytes())))
                }
            }
        });
        let recorder = recorder(Client::new(server, "default"));
        let about = ObjectReference { name: Some("tiny".to_owned()), ..ObjectReference::default() };
        for note in ["not scheduled", "not scheduled", "no image", "not scheduled"] {
            let event = Event {
                type_: EventType::Normal,
                reason: "JobPending".to_owned(),
                note: Some(note.to_owned()),
                action: "Download".to_owned(),
                secondary: None,
            };
            recorder.publish(&event, &about).await.unwrap();
        }
        let reported = asked.lock().unwrap().clone();
        let expected = [
            ("POST", json!("not scheduled")),
            ("PATCH", json!(2)),
            ("POST", json!("no image")),
            ("PATCH", json!(3)),
        ];
        assert_eq!(reported, expected.map(|(method, what)| (method.to_owned(), what)));
    }
}
