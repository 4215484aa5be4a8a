//! The fence over stores that are filled by hand and an elector over an API server in memory, in virtual time.

use std::{collections::BTreeMap, time::Duration};

use http::Method;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Resource,
    api::ObjectMeta,
    runtime::{reflector, watcher},
};
use serde_json::json;
use shared::ledger::{PostgresLedger, PostgresLedgerSpec};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    election::{
        Elector, Settings, TTL_DEFAULT, identity,
        lease_server::{Fate, LeaseServer, TimerClock},
    },
    reign::stores::Followed,
};

/// Longer than anything here takes in virtual time; only a test that fails waits for it.
const LIMIT: Duration = Duration::from_mins(2);

/// The term under which the leader of these tests begins.
const TERM: Term = Term(7);

fn metadata(name: &str, stamp: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("prod".to_owned()),
        annotations: stamp.map(|stamp| BTreeMap::from([(names::STAMP.to_owned(), stamp.to_owned())])),
        ..ObjectMeta::default()
    }
}

fn pod(name: &str, stamp: Option<&str>) -> Pod {
    Pod {
        metadata: metadata(name, stamp),
        ..Pod::default()
    }
}

fn ledger(name: &str, stamp: Option<&str>, term_floor: u32) -> PostgresLedger {
    PostgresLedger {
        metadata: metadata(name, stamp),
        spec: PostgresLedgerSpec {
            term_floor: Term(term_floor),
            ..PostgresLedgerSpec::default()
        },
    }
}

fn followed<K>(objects: Vec<K>) -> Followed<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let (store, mut writer) = reflector::store();
    for object in objects {
        writer.apply_watcher_event(&watcher::Event::Apply(object));
    }
    Followed::new(store)
}

fn scope(pods: Vec<Pod>, ledgers: Vec<PostgresLedger>) -> Arc<Scope> {
    Arc::new(Scope {
        namespace: None,
        routes: followed(Vec::new()),
        ledgers: followed(ledgers),
        pods: followed(pods),
        services: followed(Vec::new()),
        slices: followed(Vec::new()),
    })
}

/// One pod that an earlier leader wrote under this term.
fn written_under(term: u32) -> [Arc<Scope>; 1] {
    [scope(vec![pod("a", Some(&format!("{term}.1.0badcafe")))], Vec::new())]
}

/// An elector that leads under [`TERM`].
struct Leader {
    server: LeaseServer,
    election: Handle,
    _tasks: JoinSet<()>,
}

impl Leader {
    async fn begins() -> Self {
        let server = LeaseServer::default();
        server.put(
            &json!({"holderIdentity": "", "leaseTransitions": TERM.0 - 1, "leaseDurationSeconds": 5,
                   "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:00.000000Z"}),
        );
        let settings = Settings::new("pgsteer", "pgsteer", identity("pgsteer", 1), TTL_DEFAULT).unwrap();
        let clock = Arc::new(TimerClock::at_percent(100));
        let (elector, election) = Elector::with_transport(server.clone(), LeaseServer::blind_client(), settings, clock);
        let mut tasks = JoinSet::new();
        tasks.spawn(elector.run(CancellationToken::new()));
        let mut leadership = election.leadership.clone();
        let began = leadership.wait_for(|now| now.reign().is_some());
        drop(timeout(LIMIT, began).await.expect("a reign begins").unwrap());
        server.requests();
        Self {
            server,
            election,
            _tasks: tasks,
        }
    }

    async fn outranks(&self, scopes: &[Arc<Scope>]) -> bool {
        timeout(LIMIT, outrank(&self.election, scopes)).await.expect("an end")
    }

    fn term(&self) -> Option<Term> {
        self.election.leadership.borrow().reign().map(|reign| reign.term)
    }

    fn writes(&self) -> usize {
        let requests = self.server.requests();
        requests.iter().filter(|(method, _)| *method != Method::GET).count()
    }
}

#[test]
fn the_floor_is_the_highest_term_on_any_pod_or_ledger() {
    let none = || pod("c", None);
    for (name, pods, ledgers, expected) in [
        ("nothing was ever written", vec![none()], vec![], None),
        (
            "a pod's stamp",
            vec![pod("a", Some("9.1.0badcafe")), none()],
            vec![],
            Some(9),
        ),
        (
            "a ledger's stamp",
            vec![none()],
            vec![ledger("db", Some("11.1.0badcafe"), 3)],
            Some(11),
        ),
        (
            "a ledger's floor, its stamp taken off",
            vec![none()],
            vec![ledger("db", None, 12)],
            Some(12),
        ),
        (
            "a ledger's floor, its stamp lowered by hand",
            vec![],
            vec![ledger("db", Some("2.1.0badcafe"), 12)],
            Some(12),
        ),
        (
            "10 is above 9",
            vec![pod("a", Some("10.1.0badcafe")), pod("b", Some("9.1.0badcafe"))],
            vec![],
            Some(10),
        ),
        (
            "what is not a stamp counts for nothing",
            vec![pod("a", Some("99")), pod("b", Some("3.1.0badcafe"))],
            vec![],
            Some(3),
        ),
    ] {
        assert_eq!(floor(&[scope(pods, ledgers)]), expected.map(Term), "{name}");
    }
    let scopes = [written_under(4), written_under(8), written_under(6)].concat();
    assert_eq!(floor(&scopes), Some(Term(8)), "every namespace counts");
    assert_eq!(floor(&[]), None);
}

#[tokio::test(start_paused = true)]
async fn a_reign_above_everything_that_was_written_goes_on_as_it_is() {
    let leader = Leader::begins().await;
    for scopes in [Vec::new(), written_under(TERM.0 - 1).to_vec()] {
        assert!(leader.outranks(&scopes).await);
    }
    assert_eq!((leader.term(), leader.writes()), (Some(TERM), 0));
}

#[tokio::test(start_paused = true)]
async fn a_reign_that_meets_its_own_or_a_higher_term_is_raised_above_it() {
    for met in [TERM.0, 40] {
        let leader = Leader::begins().await;
        assert!(leader.outranks(&written_under(met)).await);
        assert_eq!(leader.term(), Some(Term(met + 1)));
        assert_eq!(
            leader.server.term(),
            Some(i32::try_from(met).unwrap() + 1),
            "the Lease says so too"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_raise_that_is_not_answered_is_tried_again() {
    let leader = Leader::begins().await;
    leader.server.doom(Method::PATCH, Fate::Lost);
    assert!(leader.outranks(&written_under(40)).await);
    assert_eq!(leader.term(), Some(Term(41)));
}

#[tokio::test(start_paused = true)]
async fn a_reign_that_cannot_be_raised_must_not_write() {
    for beyond in [i32::MAX.unsigned_abs(), u32::MAX] {
        let leader = Leader::begins().await;
        assert!(
            !leader.outranks(&written_under(beyond)).await,
            "no Lease can hold a term above {beyond}"
        );
        assert_eq!(leader.term(), Some(TERM));
    }

    let leader = Leader::begins().await;
    leader.server.freeze(true);
    assert!(!leader.outranks(&written_under(40)).await, "nothing answers");
    assert_eq!(leader.term(), None);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_any_more_must_not_write() {
    let leader = Leader::begins().await;
    leader.server.freeze(true);
    let mut leadership = leader.election.leadership.clone();
    drop(
        timeout(LIMIT, leadership.wait_for(|now| now.reign().is_none()))
            .await
            .expect("the reign ends")
            .unwrap(),
    );
    assert!(!leader.outranks(&written_under(1)).await);
}

#[test]
fn a_reign_outranks_what_was_written_or_raises_its_term_above_it() {
    let highest = Term(i32::MAX as u32);
    for (own, floor, rank_is) in [
        (Term(5), Term(4), Rank::Above),
        // The same term may be another holder's.
        (Term(5), Term(5), Rank::Raise(Term(6))),
        (Term(5), Term(9), Rank::Raise(Term(10))),
        (highest, highest, Rank::Exhausted),
    ] {
        assert_eq!(rank(own, floor), rank_is, "{own} {floor}");
    }
}
