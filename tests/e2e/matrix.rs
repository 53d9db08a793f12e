//! Every state of Hub and Secret that keeps a model from being read: told on the resource, in an event, with its remedy, and
//! healed by nothing but that remedy.

use std::{net::TcpListener, sync::OnceLock, thread};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use modelcache::{
    api::{ModelCache, condition},
    reason::ConditionType,
};
use rustls::ServerConnection;
use serde_json::{Value, json};
use standin_hub::{Access, BadTokens, Class, Fault, FaultKind, Repo, StandinHub, Token};

use crate::{
    cluster::{Cluster, Team, eventually, message, show},
    tls,
    world::{
        NAMELESS, TOKEN, USER, address, endpoint, gated, hub, hub_at, model, not_tls, place, team, with,
    },
};

/// Tokens of this test alone; no text that a person can read may hold one.
const UNKNOWN: &str = "hf_matrixUnknown0123456789abcdefghij";
const EXPIRED: &str = "hf_matrixExpired0123456789abcdefghij";
const REVOKED: &str = "hf_matrixRevoked0123456789abcdefghij";
const NARROW: &str = "hf_matrixNarrow0123456789abcdefghijk";
const TWO: &str = "hf_matrixOne0123456789 hf_matrixTwo0123456789";

/// What carries out the remedy.
enum Remedy {
    /// The Secret gets the good token.
    Secret,
    /// Somebody does something at the Hub.
    Hub(fn(&str)),
    /// The message asks for another spec.
    Spec(Value),
    /// It passes.
    Time,
}

struct Row {
    name: &'static str,
    /// The repo as it is at first; none where there is none.
    repo: Option<fn(&str) -> Repo>,
    /// What else is so at the Hub.
    given: fn(&str),
    /// Key and value in the Secret of the row's name; none where there is no Secret.
    secret: Option<(&'static str, &'static str)>,
    /// Further fields of the spec.
    spec: Value,
    /// Status and reason of Authenticated, Authorized and Resolved.
    told: [(&'static str, &'static str); 3],
    /// Parts of the message of the first that is not True, with ` … ` between them.
    says: &'static str,
    remedy: Remedy,
}

const WAITS: (&str, &str) = ("Unknown", "NotChecked");
const KNOWN: (&str, &str) = ("True", "TokenValid");
const ANONYMOUS: (&str, &str) = ("True", "Anonymous");
const MAY: (&str, &str) = ("True", "AccessGranted");
const GOOD: Option<(&str, &str)> = Some(("token", TOKEN));

/// What the Hub says of a repo that it lets nobody read, with something that must not be passed on.
const POLICY: &str = "Not from 203.0.113.9 by the policy of acme: https://acme.example/policy?ticket=hf_matrixTicket0123456789abcdefgh";

/// Hubs of this test alone. They stay until the process ends.
static STRICT: OnceLock<StandinHub> = OnceLock::new();
static CLOSED: OnceLock<StandinHub> = OnceLock::new();

fn strict() -> &'static StandinHub {
    STRICT.get_or_init(|| hub_at(place::STRICT))
}

/// A server whose certificate is of an authority that no system knows.
fn listen_untrusted() {
    let listener = TcpListener::bind(address(place::UNTRUSTED)).expect("the port is free");
    let config = tls::server();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // The client hangs up once it has seen the certificate.
            let _ = ServerConnection::new(config.clone()).unwrap().complete_io(&mut stream);
        }
    });
}

/// A server that takes connections and says nothing, for as long as what is given back is held.
fn listen_silently() -> TcpListener {
    TcpListener::bind(address(place::SILENT)).expect("the port is free")
}

/// A gated repo whose terms are accepted, with the good token: each row differs from it in one thing or two.
fn row(
    name: &'static str,
    told: [(&'static str, &'static str); 3],
    says: &'static str,
    remedy: Remedy,
) -> Row {
    let repo = Some((|id| gated(id).access(USER, Access::Accepted)) as fn(&str) -> Repo);
    Row { name, repo, given: |_| {}, secret: GOOD, spec: json!({}), told, says, remedy }
}

fn bad_token(name: &'static str, reason: &'static str, says: &'static str) -> Row {
    row(name, [("False", reason), WAITS, WAITS], says, Remedy::Secret)
}

fn no_access(name: &'static str, reason: &'static str, says: &'static str, remedy: fn(&str)) -> Row {
    row(name, [KNOWN, ("False", reason), WAITS], says, Remedy::Hub(remedy))
}

/// An endpoint that gives no answer; another one in the spec is the remedy.
fn unreachable(name: &'static str, endpoint: &str, says: &'static str) -> Row {
    Row {
        spec: json!({ "source": { "endpoint": endpoint } }),
        ..row(
            name,
            [("Unknown", "HubUnreachable"), WAITS, WAITS],
            says,
            Remedy::Spec(json!({ "source": { "endpoint": null } })),
        )
    }
}

fn gate(access: Access) -> fn(&str) -> Repo {
    match access {
        Access::Pending => |id| gated(id).access(USER, Access::Pending),
        Access::Rejected => |id| gated(id).access(USER, Access::Rejected),
        Access::Reset => |id| gated(id).access(USER, Access::Reset),
        _ => gated,
    }
}

fn accept(id: &str) {
    hub().accept_terms(USER, id);
}

#[allow(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Row> {
    vec![
        Row {
            secret: None,
            ..bad_token("no-secret", "SecretNotFound", "kubectl create secret generic no-secret -n ")
        },
        Row {
            secret: Some(("other", TOKEN)),
            ..bad_token("no-key", "SecretKeyNotFound", "kubectl describe secret no-key")
        },
        Row { secret: Some(("token", TWO)), ..bad_token("malformed", "TokenMalformed", "holds no token") },
        Row { secret: Some(("token", UNKNOWN)), ..bad_token("unknown", "TokenInvalid", "/settings/tokens") },
        Row {
            repo: Some(model),
            secret: Some(("token", UNKNOWN)),
            ..bad_token("ignored", "TokenInvalid", "/settings/tokens")
        },
        Row {
            repo: None,
            given: |id| strict().add(model(id)),
            secret: Some(("token", UNKNOWN)),
            spec: json!({ "source": { "endpoint": endpoint("http", place::STRICT) } }),
            ..bad_token("refused", "TokenInvalid", "/settings/tokens")
        },
        Row { secret: Some(("token", EXPIRED)), ..bad_token("expired", "TokenInvalid", "is expired") },
        Row {
            secret: Some(("token", REVOKED)),
            told: [KNOWN, ("False", "TokenLacksPermission"), WAITS],
            ..bad_token("revoked", "TokenLacksPermission", "revoked by the organization")
        },
        Row {
            secret: Some(("token", NARROW)),
            told: [KNOWN, ("False", "TokenLacksPermission"), WAITS],
            ..bad_token("narrow", "TokenLacksPermission", "enable access to public gated repositories")
        },
        Row {
            told: [ANONYMOUS, ("False", "TokenRequired"), WAITS],
            remedy: Remedy::Spec(json!({ "tokenSecretRef": { "name": "nobody-gated" } })),
            ..bad_token("nobody-gated", "TokenRequired", "is gated, and no token is configured")
        },
        Row {
            repo: Some(|id| model(id).private(true).member(USER)),
            told: [ANONYMOUS, ("False", "TokenRequired"), WAITS],
            remedy: Remedy::Spec(json!({ "tokenSecretRef": { "name": "nobody-private" } })),
            ..bad_token("nobody-private", "TokenRequired", "it is private, or it does not exist")
        },
        Row {
            repo: None,
            told: [ANONYMOUS, ("False", "TokenRequired"), WAITS],
            ..no_access("nobody-missing", "TokenRequired", "Check its name and type", |id| {
                hub().add(model(id));
            })
        },
        Row {
            repo: Some(gated),
            ..no_access("terms", "TermsNotAccepted", "has not accepted the terms", accept)
        },
        Row {
            repo: Some(gate(Access::Pending)),
            ..no_access("pending", "AccessPending", "not yet decided", accept)
        },
        Row {
            repo: Some(gate(Access::Rejected)),
            ..no_access("rejected", "AccessRejected", "Contact them", accept)
        },
        Row {
            repo: Some(gate(Access::Reset)),
            ..no_access("reset", "TermsNotAccepted", "request access again", accept)
        },
        Row {
            repo: Some(|id| model(id).private(true)),
            ..no_access("private", "RepoNotFoundOrPrivate", "does not exist, or it is private", |id| {
                hub().update(id, |repo| repo.member(USER));
            })
        },
        Row {
            repo: None,
            ..no_access("missing", "RepoNotFoundOrPrivate", "Check its name and type", |id| {
                hub().add(model(id));
            })
        },
        Row {
            repo: Some(|id| model(id).disabled(true)),
            ..no_access("disabled", "RepoDisabled", "has disabled", |id| {
                hub().update(id, |repo| repo.disabled(false));
            })
        },
        Row {
            spec: json!({ "source": { "endpoint": "https://example.com" } }),
            told: [WAITS, ("False", "EndpointNotAllowed"), WAITS],
            remedy: Remedy::Spec(json!({ "source": { "endpoint": null } })),
            ..no_access("elsewhere", "EndpointNotAllowed", "Use one of its endpoints", |_| {})
        },
        Row {
            spec: json!({ "source": { "revision": "v9" } }),
            told: [KNOWN, MAY, ("False", "RevisionNotFound")],
            ..no_access("no-revision", "RevisionNotFound", "no branch, tag or commit `v9`", |id| {
                hub().update(id, |repo| repo.tag("v9"));
            })
        },
        Row {
            spec: json!({ "source": { "include": ["*.gguf"] } }),
            told: [KNOWN, MAY, ("False", "NoMatchingFiles")],
            ..no_access("no-files", "NoMatchingFiles", "such as `config.json`", |id| {
                hub().update(id, |repo| repo.file("model.gguf", "x").branch("main"));
            })
        },
        Row {
            repo: Some(|id| model(id).refused(POLICY)),
            ..no_access(
                "policy",
                "AccessDenied",
                "The Hub says: Not from 203.0.113.9 by the policy of acme: https://acme.example/policy. … with the account",
                |id| hub().update(id, Repo::allowed),
            )
        },
        Row {
            // A whole look: the access probe alone has no last word.
            given: |id| hub().fault(Fault::new(FaultKind::Status(403)).on(Class::Api).path(id).times(2)),
            remedy: Remedy::Time,
            ..no_access("proxy", "AccessDenied", "a proxy or firewall in between", |_| {})
        },
        Row {
            given: |id| hub().fault(Fault::new(FaultKind::Status(500)).on(Class::Api).path(id).times(4)),
            told: [("Unknown", "HubUnreachable"), WAITS, WAITS],
            remedy: Remedy::Time,
            ..no_access("down", "HubUnreachable", "server error, HTTP 500 … This may be temporary", |_| {})
        },
        Row {
            // The access probe and the revision.
            given: |id| hub().fault(Fault::new(FaultKind::ErrorPage).on(Class::Api).path(id).times(2)),
            told: [("Unknown", "InvalidResponse"), WAITS, WAITS],
            remedy: Remedy::Time,
            ..no_access("garbled", "InvalidResponse", "cannot be used … The next attempt is at", |_| {})
        },
        unreachable(
            "nameless",
            NAMELESS,
            "hub.invalid cannot be reached: its name does not resolve … Check the name, and the DNS where this runs",
        ),
        Row {
            remedy: Remedy::Hub(|id| {
                let hub = CLOSED.get_or_init(|| hub_at(place::CLOSED));
                hub.add(gated(id).access(USER, Access::Accepted));
            }),
            ..unreachable(
                "closed",
                &endpoint("http", place::CLOSED),
                "no connection … efused … Check whether a firewall or network policy blocks it",
            )
        },
        unreachable(
            "untrusted",
            &endpoint("https", place::UNTRUSTED),
            "the TLS certificate is not trusted … UnknownIssuer … needs a CA bundle",
        ),
        unreachable("no-tls", &not_tls(), "the TLS handshake failed … check whether that address speaks TLS"),
        unreachable(
            "silent",
            &endpoint("http", place::SILENT),
            "no response in time … This may be temporary",
        ),
        Row {
            given: |id| hub().fault(Fault::new(FaultKind::RateLimit(1)).on(Class::Api).path(id).times(1)),
            told: [("Unknown", "RateLimited"), WAITS, WAITS],
            remedy: Remedy::Time,
            ..no_access("limited", "RateLimited", "The next attempt is at", |_| {})
        },
    ]
}

impl Row {
    fn id(&self) -> String {
        format!("matrix/{}", self.name)
    }

    async fn secret(&self, team: &Team, key: &str, value: &str) {
        let secret: Secret = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": self.name }, "stringData": { key: value },
        }))
        .unwrap();
        let params = PatchParams::apply("matrix").force();
        team.api::<Secret>().patch(self.name, &params, &Patch::Apply(&secret)).await.unwrap();
    }

    async fn play(&self, team: &Team) {
        let id = self.id();
        if let Some(repo) = self.repo {
            hub().add(repo(&id));
        }
        (self.given)(&id);
        if let Some((key, value)) = self.secret {
            self.secret(team, key, value).await;
        }
        let mut spec = with(json!({ "source": { "repo": id } }), self.spec.clone());
        if self.told[0] != ANONYMOUS {
            spec = with(spec, json!({ "tokenSecretRef": { "name": self.name } }));
        }
        let made = team.cache(self.name, spec).await;

        let (topic, (_, word)) = self.first();
        let cache = team.reason(self.name, word).await;
        for (topic, (status, word)) in self.topics() {
            let found = condition::find(&cache.status.as_ref().unwrap().conditions, topic).unwrap();
            assert_eq!((&*found.status, &*found.reason), (status, word), "{}: {}", self.name, show(&cache));
        }
        for part in self.says.split(" … ") {
            assert!(message(&cache, topic).contains(part), "{}: {}", self.name, show(&cache));
        }
        let helps_itself = matches!(word, "HubUnreachable" | "InvalidResponse" | "RateLimited");
        let (there, other) = if helps_itself {
            (ConditionType::Reconciling, ConditionType::Stalled)
        } else {
            (ConditionType::Stalled, ConditionType::Reconciling)
        };
        assert_eq!((message(&cache, there), message(&cache, other)), (message(&cache, topic), String::new()));
        self.assert_event(team, &cache, word, &message(&cache, topic)).await;

        let generation = match &self.remedy {
            Remedy::Secret => {
                // As it comes out of an editor: white space around it is no part of it.
                self.secret(team, "token", &format!("\n  {TOKEN} \n")).await;
                made.metadata.generation
            }
            Remedy::Hub(act) => {
                act(&id);
                made.metadata.generation
            }
            Remedy::Time => made.metadata.generation,
            Remedy::Spec(change) => {
                let patch = Patch::Merge(json!({ "spec": change }));
                let caches = team.api::<ModelCache>();
                caches.patch(self.name, &PatchParams::default(), &patch).await.unwrap().metadata.generation
            }
        };
        let healed = team.ready(self.name).await;
        assert_eq!(healed.metadata.generation, generation, "{}: the object was touched", self.name);
        assert!(condition::holds(&healed.status.unwrap().conditions, topic));
    }

    fn topics(&self) -> impl Iterator<Item = (ConditionType, (&'static str, &'static str))> {
        [ConditionType::Authenticated, ConditionType::Authorized, ConditionType::Resolved]
            .into_iter()
            .zip(self.told)
    }

    /// What is told first: the first that is not True and not just waiting.
    fn first(&self) -> (ConditionType, (&'static str, &'static str)) {
        self.topics().find(|(_, told)| told.0 != "True" && *told != WAITS).unwrap()
    }

    async fn assert_event(&self, team: &Team, cache: &ModelCache, word: &str, message: &str) {
        let events = team.api::<Event>();
        let of_it = ListParams::default().fields(&format!("involvedObject.name={}", self.name));
        eventually(&format!("an event {word} of {}", self.name), || async {
            let all = events.list(&of_it).await.unwrap();
            let told = |event: &&Event| {
                event.involved_object.uid == cache.metadata.uid && event.reason.as_deref() == Some(word)
            };
            let event = all.iter().find(told)?;
            let kind = if word == "RateLimited" { "Normal" } else { "Warning" };
            assert_eq!((event.type_.as_deref(), event.message.as_deref()), (Some(kind), Some(message)));
            Some(())
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test"]
async fn each_cause_has_its_word_and_heals_by_its_remedy() {
    let (cluster, team) = team("matrix").await;
    hub()
        .user(USER)
        .token(Token::revoked_by("matrix", REVOKED))
        .token(Token::fine_grained_without_gated(NARROW));
    hub().user("matt").token(Token::expired(EXPIRED));
    // Both ways of the Hub with a bad token end in the same words.
    hub().bad_tokens(BadTokens::Ignored);
    listen_untrusted();
    let _silence = listen_silently();
    join_all(rows().iter().map(|row| row.play(&team))).await;
    hub().bad_tokens(BadTokens::Refused);
    assert_no_secret(&cluster, &team).await;
}

/// Nothing that a person or a program can read holds a token.
async fn assert_no_secret(cluster: &Cluster, team: &Team) {
    let metrics = cluster.metrics().await;
    assert!(metrics.contains("modelcache_resources"), "{metrics}");
    let text = team.everything_readable().await + &cluster.operator_log().await + &metrics;
    for token in [TOKEN, UNKNOWN, EXPIRED, REVOKED, NARROW, "hf_matrixOne", "hf_matrixTwo", "hf_matrixTicket"]
    {
        assert!(!text.contains(token), "{token} can be read");
    }
    let jobs: Api<k8s_openapi::api::batch::v1::Job> = team.api();
    assert!(
        !jobs.list(&ListParams::default()).await.unwrap().items.is_empty(),
        "there was something to look through"
    );
}
