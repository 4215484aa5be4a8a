//! Routes in the states that matter, as a leader would have written them; and answers that are compared with files.

use std::{fs, path::Path};

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use serde_json::{Value, json};

use super::{reach::Figures, routes::Known};
use crate::live::LiveRoute;

/// The moment at which answers are printed.
pub(super) fn now() -> Timestamp {
    "2026-01-10T00:05:00Z".parse().unwrap()
}

/// A pod of the route, as the status lists it.
fn member(pod: &str, evidence: &str, role: Option<&str>, timeline: Option<u32>, why: &str) -> Value {
    let node = pod.replace("db", "node");
    let mut member = json!({ "pod": pod, "node": node, "evidence": evidence, "why": why });
    if let Some(role) = role {
        member["role"] = role.into();
    }
    if let Some(timeline) = timeline {
        member["timeline"] = timeline.into();
    }
    member
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-10T00:03:00Z",
    })
}

/// A route in this state, with a ledger whose mark is `db-1`'s on timeline 2.
fn route(state: &str, members: &[Value], conditions: &[Value]) -> Known {
    let primary = members.iter().find(|member| member["role"] == "primary");
    let route = json!({
        "metadata": { "name": "orders", "namespace": "shop", "uid": "route-uid", "generation": 3 },
        "spec": {
            "podSelector": { "matchLabels": { "app": "orders-db" } },
            "services": { "primary": "orders-rw", "replica": "orders-ro" },
            "connection": { "user": "pgsteer" },
        },
        "status": {
            "observedGeneration": 3, "term": 7, "state": state, "members": members, "conditions": conditions,
            "primary": primary.map(|member| member["pod"].clone()), "replicas": 0,
        },
    });
    let ledger = json!({
        "metadata": { "name": "orders", "namespace": "shop" },
        "spec": {
            "termFloor": 7,
            "mark": {
                "systemIdentifier": "7400000000000000001", "timeline": 2, "lsn": "0/5000148", "pod": "db-1",
                "data": { "kind": "PersistentVolumeClaim", "name": "data-db-1" },
            },
            "switches": [
                { "at": "2026-01-09T23:00:00Z", "from": "db-0", "to": "db-1", "timeline": 2 },
                { "at": "2026-01-01T00:00:00Z", "to": "db-0", "timeline": 1 },
            ],
        },
    });
    Known {
        route: serde_json::from_value(route).unwrap(),
        ledger: Some(serde_json::from_value(ledger).unwrap()),
        live: None,
    }
}

const CHOSEN: &str = "it takes writes and is the chosen one";
const STANDBY: &str = "it is a standby of this cluster";

pub(super) fn settled() -> Known {
    let members = [
        member("db-0", "InRecovery", Some("replica"), Some(2), STANDBY),
        member("db-1", "Writable", Some("primary"), Some(2), CHOSEN),
    ];
    let conditions = [
        condition("Accepted", "True", "AsExpected", ""),
        condition("Settled", "True", "AsExpected", ""),
        condition("NoMark", "False", "AsExpected", ""),
    ];
    route("Settled", &members, &conditions)
}

/// The primary is gone, and nobody has promoted the standby yet.
pub(super) fn failover_under_way() -> Known {
    let down = "its server is down: connection refused";
    let members = [
        member("db-0", "InRecovery", Some("replica"), Some(2), STANDBY),
        member("db-1", "Down", None, None, down),
    ];
    let whys = format!("db-0: {STANDBY}; db-1: {down}");
    let conditions = [
        condition("Settled", "False", "NoEligibleServer", ""),
        condition("PrimaryAvailable", "False", "NoEligibleServer", &whys),
    ];
    route("NoPrimary", &members, &conditions)
}

/// The last primary is gone, and the one before it has come back as it was.
pub(super) fn stale_alone() -> Known {
    let stale = "it takes writes, but it is stale: timeline 1, the last primary was on timeline 2";
    let members = [
        member("db-0", "Writable", Some("orphan"), Some(1), stale),
        member("db-1", "Down", None, None, "its server is down: connection refused"),
    ];
    let foreign = "db-0: it is stale: timeline 1, the last primary was on timeline 2; if this server is the right one, annotate \
                   the route with pgsteer.io/accept=<pod uid>";
    let conditions = [
        condition("Settled", "False", "NoEligibleServer", ""),
        condition(
            "PrimaryAvailable",
            "False",
            "NoEligibleServer",
            &format!("db-0: {stale}"),
        ),
        condition("ForeignServer", "True", "OtherHistory", foreign),
    ];
    route("NoPrimary", &members, &conditions)
}

/// Two take writes, the newer one is primary.
pub(super) fn split_brain() -> Known {
    let members = [
        member(
            "db-0",
            "Writable",
            Some("orphan"),
            Some(1),
            "it takes writes, but db-1 is the chosen one",
        ),
        member("db-1", "Writable", Some("primary"), Some(2), CHOSEN),
    ];
    let text = "db-0, db-1 take writes; all but the primary are orphans: stop them, their writes will be lost";
    let conditions = [
        condition("Settled", "False", "SeveralWritable", ""),
        condition("SplitBrain", "True", "SeveralWritable", text),
    ];
    route("SplitBrain", &members, &conditions)
}

pub(super) fn blind() -> Known {
    let why = "no usable answer (no answer in time), and too few servers reply to judge by";
    let members = [
        member("db-0", "Silent", Some("replica"), Some(2), why),
        member("db-1", "Silent", Some("primary"), Some(2), why),
    ];
    let conditions = [
        condition("Settled", "False", "NoReply", "no server replies; labels are held"),
        condition("Blind", "True", "NoReply", "no server replies; labels are held"),
    ];
    route("Blind", &members, &conditions)
}

/// It cannot be served as it is written.
pub(super) fn refused() -> Known {
    let text =
        "pod db-0 is also selected by the older route carts: change one podSelector so that each pod has one route";
    let conditions = [
        condition("Accepted", "False", "PodClaimedTwice", text),
        condition("Settled", "False", "PodClaimedTwice", "the route is not served"),
    ];
    route("Refused", &[], &conditions)
}

/// A new route, two of whose servers take writes.
pub(super) fn no_mark() -> Known {
    let why = "it takes writes, but there is no mark yet: 2 servers take writes";
    let members = [
        member("db-0", "Writable", None, Some(1), why),
        member("db-1", "Writable", None, Some(1), why),
    ];
    let conditions = [
        condition("Settled", "False", "NoEligibleServer", ""),
        condition("NoMark", "True", "FirstPrimaryUnclear", "2 servers take writes"),
    ];
    Known {
        ledger: None,
        ..route("NoPrimary", &members, &conditions)
    }
}

pub(super) fn paused() -> Known {
    let mut known = settled();
    let mut status = known.route.status.take().unwrap();
    status.state = "Paused".to_owned();
    let text = "paused by the annotation pgsteer.io/paused";
    status.conditions = vec![serde_json::from_value(condition("Settled", "False", "Paused", text)).unwrap()];
    known.route.status = Some(status);
    annotate(known, "pgsteer.io/paused", "true")
}

/// No leader has looked at it yet.
pub(super) fn unknown() -> Known {
    let mut known = Known {
        ledger: None,
        ..settled()
    };
    known.route.status = None;
    known
}

/// Its spec has changed since.
pub(super) fn outdated() -> Known {
    let mut known = settled();
    known.route.metadata.generation = Some(4);
    known
}

pub(super) fn annotate(mut known: Known, annotation: &str, value: &str) -> Known {
    let annotations = known.route.metadata.annotations.get_or_insert_default();
    annotations.insert(annotation.to_owned(), value.to_owned());
    known
}

/// A pod of the route.
pub(super) fn pod(name: &str) -> Pod {
    let metadata =
        json!({ "name": name, "namespace": "shop", "uid": format!("{name}-uid"), "labels": { "app": "orders-db" } });
    serde_json::from_value(json!({ "metadata": metadata })).unwrap()
}

/// What the leader says of [`settled`] right now.
pub(crate) fn live() -> LiveRoute {
    serde_json::from_value(json!({
        "namespace": "shop", "name": "orders", "state": "Settled",
        "services": { "primary": "orders-rw", "replica": "orders-ro" }, "primary": "db-1", "timeline": 2,
        "members": [
            {
                "pod": "db-0", "node": "node-0", "ip": "10.0.0.7", "evidence": "InRecovery", "since": "2026-01-09T23:04:00Z",
                "role": "replica", "desired": "replica", "timeline": 2, "lsn": "0/5000100", "lagBytes": 1_600_000,
                "probeMicros": 850, "answeredMillisAgo": 41, "amongWriteEndpoints": false, "why": STANDBY,
            },
            {
                "pod": "db-1", "node": "node-1", "ip": "10.0.0.8", "evidence": "Writable", "since": "2026-01-09T23:00:00Z",
                "role": "primary", "desired": "primary", "timeline": 2, "lsn": "0/5186B00", "probeMicros": 1_200,
                "answeredMillisAgo": 12, "amongWriteEndpoints": true, "why": CHOSEN,
            },
        ],
        "conditions": [], "switches": [], "next": { "turns": [], "then": "Settled" }, "seenAt": "2026-01-10T00:05:00Z",
    }))
    .unwrap()
}

/// What the leader of [`live`] answers.
pub(super) fn figures() -> Figures {
    let overview = json!({
        "apiVersion": "pgsteer.io/v1alpha1", "kind": "RouteOverview", "leader": "pgsteer-6d-x2_0000002a", "term": 7,
        "version": "0.1.0", "now": "2026-01-10T00:05:00Z", "routes": [live()],
    });
    Figures {
        overviews: vec![serde_json::from_value(overview).unwrap()],
        missing: Vec::new(),
    }
}

/// An answer as it is printed where there is no colour.
pub(super) fn plain(answer: &str) -> String {
    anstream::adapter::strip_str(answer).to_string()
}

/// Compares an answer with the file of this name beside these tests; where they differ, the answer is left under `target`.
pub(super) fn assert_golden(name: &str, answer: &str) {
    let answer = plain(answer);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = here.join("src/cli/golden").join(name);
    let expected = fs::read_to_string(&file).unwrap_or_default();
    if answer != expected {
        let left = here.join("../target/golden").join(name);
        fs::create_dir_all(left.parent().unwrap()).unwrap();
        fs::write(&left, &answer).unwrap();
        panic!(
            "the answer is not {}: if it is right, copy {} there\n{answer}",
            file.display(),
            left.display()
        );
    }
}
