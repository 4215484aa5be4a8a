//! The custom resources: the committed files are what the program prints, and a real API server takes them, fills in what
//! is left out, and refuses what cannot be.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what went wrong by failing there"
)]
#![expect(clippy::disallowed_methods, reason = "here the test is the user who writes objects")]

use std::{fs, path::Path};

use chaos::cluster::ControlPlane;
use controller::cli::crd::Kind;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject as Untyped},
};
use serde_json::{Value, json};
use shared::{
    ledger::PostgresLedger,
    route::{PostgresRoute, TlsMode},
};

const FILES: [(Kind, &str); 2] = [
    (Kind::Routes, "pgsteer.io_postgresroutes.yaml"),
    (Kind::Ledgers, "pgsteer.io_postgresledgers.yaml"),
];

#[test]
fn the_committed_definitions_are_what_the_program_prints() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    for (kind, file) in FILES {
        for folder in ["crd", "chart/pgsteer/crds"] {
            let path = deploy.join(folder).join(file);
            let committed = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let printed = kind.yaml().unwrap();
            assert!(
                committed == printed,
                "{} is not what `pgsteer crd` prints: run deploy/crds.sh",
                path.display()
            );
        }
    }
}

#[tokio::test]
async fn an_api_server_takes_what_is_right_and_refuses_what_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let control_plane = ControlPlane::start(directory.path())
        .await
        .unwrap_or_else(|error| panic!("{:#}", anyhow::Error::from(error)));
    let client = control_plane.client();
    control_plane
        .define_resources()
        .await
        .unwrap_or_else(|error| panic!("{:#}", anyhow::Error::from(error)));
    what_is_left_out_is_filled_in(&client).await;
    what_is_right_is_taken(&client).await;
    what_is_wrong_is_refused_with_its_reason(&client).await;
    a_ledger_keeps_what_it_is_given(&client).await;
}

/// What every route must say.
fn least() -> Value {
    json!({
        "podSelector": {"matchLabels": {"app": "pg"}},
        "services": {"primary": "pg-rw", "replica": "pg-ro"},
        "connection": {"user": "pgsteer"},
    })
}

/// The least, with one thing changed: `at` is a JSON pointer, whose last part may be new.
fn least_with(at: &str, value: Value) -> Value {
    let mut spec = least();
    let mut place = &mut spec;
    for part in at.split('/').skip(1) {
        place = &mut place[part];
    }
    *place = value;
    spec
}

/// Asks the API server what it would make of a route with this spec.
async fn offer(client: &Client, spec: Value) -> kube::Result<Untyped> {
    let kind = ApiResource::erase::<PostgresRoute>(&());
    let routes: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &kind);
    let route = DynamicObject::new("offered", &kind).data(json!({"spec": spec}));
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    routes.create(&dry_run, &route).await
}

async fn what_is_left_out_is_filled_in(client: &Client) {
    let taken = offer(client, least()).await.unwrap();
    let spec = &taken.data["spec"];
    for (at, value) in [
        ("/port", json!(5432)),
        ("/roleLabel", json!("pgsteer.io/role")),
        ("/connection/database", json!("postgres")),
        ("/connection/tls/mode", json!("Require")),
        (
            "/probe",
            json!({"interval": "100ms", "timeout": "500ms", "silentAfter": "3s"}),
        ),
        (
            "/splitBrain",
            json!({"policy": "HighestTimeline", "maxBehind": "16MiB", "beatenGap": "2s"}),
        ),
        ("/routing", json!("Labels")),
        ("/promotion/mode", json!("External")),
        ("/sessions/onSwitch", json!("Keep")),
    ] {
        assert_eq!(spec.pointer(at), Some(&value), "{at} of {spec}");
    }
    // What the API server fills in and what the program takes for left out must be the same.
    let by_server: PostgresRoute = taken.try_parse().unwrap();
    let by_program: PostgresRoute =
        serde_json::from_value(json!({"metadata": {"name": "offered"}, "spec": least()})).unwrap();
    assert_eq!(by_server.spec, by_program.spec);
}

async fn what_is_right_is_taken(client: &Client) {
    let verified = json!({"mode": "VerifyFull", "caSecret": {"name": "ca"}, "serverName": "pg.pg.svc"});
    for (at, value) in [
        ("/connection/tls", verified),
        (
            "/connection/tls",
            json!({"mode": "VerifyFull", "caSecret": {"name": "ca"}}),
        ),
        ("/connection/tls", json!({"mode": "Disable"})),
        ("/connection/passwordSecret", json!({"name": "pgsteer-probe"})),
        ("/container", json!("postgres")),
        ("/roleLabel", json!("role")),
        (
            "/probe",
            json!({"interval": "10ms", "timeout": "50ms", "silentAfter": "1s"}),
        ),
        (
            "/probe",
            json!({"interval": "10s", "timeout": "9999ms", "silentAfter": "10m"}),
        ),
        ("/probe", json!({"silentAfter": "5s"})),
        ("/splitBrain", json!({"policy": "Freeze"})),
        ("/splitBrain", json!({"policy": "DropAll"})),
        ("/splitBrain", json!({"beatenGap": "0s", "maxBehind": "1GiB"})),
        ("/splitBrain", json!({"maxBehind": "16Mi"})),
        (
            "/promotion",
            json!({"waitForReturn": "1m", "maxLostBytes": "0B", "evidence": "Refused"}),
        ),
        ("/routing", json!("EndpointSlices")),
    ] {
        let taken = offer(client, least_with(at, value.clone())).await;
        let taken = taken.unwrap_or_else(|error| panic!("{at} {value}: {error}"));
        let route: PostgresRoute = taken
            .try_parse()
            .unwrap_or_else(|error| panic!("{at} {value}: {error}"));
        if value["mode"] == "VerifyFull" {
            assert_eq!(route.spec.connection.tls.mode, TlsMode::VerifyFull);
            assert_eq!(
                route.spec.connection.tls.ca_secret.unwrap().key,
                "ca.crt",
                "filled in below a field that is given"
            );
        }
    }
}

async fn what_is_wrong_is_refused_with_its_reason(client: &Client) {
    for (at, value, reason) in [not_available(), wrong_names(), wrong_connections(), wrong_quantities()].concat() {
        match offer(client, least_with(at, value.clone())).await {
            Err(kube::Error::Api(status)) if status.code == 422 => {
                assert!(status.message.contains(reason), "{at} {value}: {}", status.message);
            }
            other => panic!("{at} {value}: {other:?}"),
        }
    }
}

/// A place in the spec, what is put there, and what the API server says.
type Wrong = (&'static str, Value, &'static str);

#[rustfmt::skip]
fn not_available() -> Vec<Wrong> {
    vec![
        ("/promotion", json!({"mode": "Automatic"}), "promotion.mode Automatic is not available in this version"),
        ("/sessions", json!({"onSwitch": "Terminate"}), "sessions.onSwitch Terminate is not available in this version"),
    ]
}

#[rustfmt::skip]
fn wrong_names() -> Vec<Wrong> {
    let label_in_selector = json!({"matchLabels": {"app": "pg", "pgsteer.io/role": "primary"}});
    vec![
        ("/services", json!({"primary": "pg", "replica": "pg"}), "must be two Services"),
        ("/services", json!({"primary": "pg"}), "spec.services.replica: Required value"),
        ("/podSelector", label_in_selector, "podSelector must not name roleLabel"),
        ("/podSelector", json!({"matchLabels": {}}), "should have at least 1 properties"),
        ("/splitBrain", json!({"policy": "Guess"}), "Unsupported value"),
    ]
}

#[rustfmt::skip]
fn wrong_connections() -> Vec<Wrong> {
    vec![
        ("/connection/tls", json!({"mode": "VerifyFull"}), "tls.mode VerifyFull needs tls.caSecret"),
        ("/connection/tls", json!({"mode": "VerifyFull", "caSecret": null}), "tls.mode VerifyFull needs tls.caSecret"),
        ("/connection/tls", json!({"caSecret": {"name": "ca"}}), "only looked at with tls.mode VerifyFull"),
        ("/connection/tls", json!({"serverName": "pg"}), "only looked at with tls.mode VerifyFull"),
        ("/connection/tls", json!({"mode": "Prefer"}), "Unsupported value"),
        ("/connection", json!({}), "spec.connection.user: Required value"),
        ("/connection/user", json!(""), "at least 1 chars long"),
        ("/port", json!(0), "greater than or equal to 1"),
        ("/port", json!(70_000), "less than or equal to 65535"),
    ]
}

#[rustfmt::skip]
fn wrong_quantities() -> Vec<Wrong> {
    vec![
        ("/probe", json!({"interval": "5ms"}), "probe.interval must be between 10ms and 10s"),
        ("/probe", json!({"interval": "11s", "silentAfter": "1m"}), "probe.interval must be between 10ms and 10s"),
        ("/probe", json!({"timeout": "10ms"}), "probe.timeout must be at least 50ms"),
        ("/probe", json!({"timeout": "3s"}), "must be shorter than probe.silentAfter"),
        ("/probe", json!({"interval": "4s"}), "must be shorter than probe.silentAfter"),
        ("/probe", json!({"silentAfter": "900ms"}), "probe.silentAfter must be between 1s and 10m"),
        ("/probe", json!({"silentAfter": "11m"}), "probe.silentAfter must be between 1s and 10m"),
        ("/probe", json!({"interval": "fast"}), "spec.probe.interval"),
        ("/probe", json!({"interval": "1.5s"}), "spec.probe.interval"),
        ("/probe", json!({"interval": "1000000000s"}), "spec.probe.interval"),
        ("/splitBrain", json!({"beatenGap": "2m"}), "splitBrain.beatenGap must be at most 1m"),
        ("/splitBrain", json!({"maxBehind": "16MB"}), "spec.splitBrain.maxBehind"),
    ]
}

async fn a_ledger_keeps_what_it_is_given(client: &Client) {
    let ledgers: Api<PostgresLedger> = Api::namespaced(client.clone(), "default");
    let ledger: PostgresLedger = serde_json::from_value(json!({
        "metadata": {"name": "pg-ha"},
        "spec": {
            "mark": {
                "systemIdentifier": "18446744073709551615", "timeline": 4_294_967_295_u32, "lsn": "FFFFFFFF/FFFFFFFF",
                "data": {"kind": "PersistentVolumeClaim", "name": "pg-node1"}, "pod": "pg-node1-0",
            },
            "termFloor": i32::MAX,
            "switches": [{"at": "2026-01-02T03:04:05Z", "to": "pg-node1-0", "timeline": 1}],
        },
    }))
    .unwrap();
    let kept = ledgers.create(&PostParams::default(), &ledger).await.unwrap();
    assert_eq!(kept.spec, ledger.spec);
    // A mark that is none would be an error in every leader: nobody gets it in.
    for damage in [
        json!({"timeline": "3"}),
        json!({"lsn": "?"}),
        json!({"systemIdentifier": null}),
    ] {
        let patch = json!({"spec": {"mark": damage}});
        let answer = ledgers
            .patch("pg-ha", &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        assert!(
            matches!(&answer, Err(kube::Error::Api(status)) if status.code == 422),
            "{patch}: {answer:?}"
        );
    }
}
