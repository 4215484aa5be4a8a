//! What is explored, and the planted defects that have to be found.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kube::client::ClientBuilder;
use kube_leader_election::{LeaseLock, LeaseLockParams};
use serde_json::json;
use stateright::{Checker as _, Expectation, HasDiscoveries, Path};

use super::{
    super::{expiry::Expiry, lease_server::LeaseServer, settings::TTL_MIN},
    contest::library,
    world::{LeaseChange, identity_of, tick},
    *,
};
use crate::stamp::Holder;

/// Threads that explore: as many as the smallest host that runs the tests has.
const THREADS: usize = 2;

/// So many states at least are explored by `make check`.
const STATES_MIN: usize = 1_000_000;

/// Elections are explored up to this many steps from the start: each of the planted defects of the election is found in twelve at most.
const ELECTION_STEPS: usize = 12;

/// Elections in which everything may happen branch so much that fewer steps have to do.
const FAULTY_ELECTION_STEPS: usize = 10;

const PERMIT: &str = "at most one process has a permit";
const PRIMARY: &str = "at most one pod is labelled primary";
const TERM: &str = "the term on an object never falls";

/// Elections by one clock.
fn election(limits: Spent, reached: &'static [Reached]) -> Scope {
    Scope {
        processes: 2,
        starts: &[Start::Blank, Start::Released],
        clocks: Clocks::Alike,
        whole_attempts: false,
        governs: false,
        limits,
        steps: Some(ELECTION_STEPS),
        reached,
        planted: None,
        plans: Plans::default(),
    }
}

/// Leaders that write, by clocks that go as they like: everything that can come of it, however many steps that takes.
fn fence(limits: Spent, reached: &'static [Reached]) -> Scope {
    Scope {
        starts: &[Start::Settled, Start::Alone],
        clocks: Clocks::Apart,
        whole_attempts: true,
        governs: true,
        steps: None,
        ..election(limits, reached)
    }
}

/// Nothing happens that is not named; the Lease may be written as often as anybody likes.
const NOTHING: Spent = Spent {
    steps: 0,
    crashes: 0,
    deletions: 0,
    losses: 0,
    repeats: 0,
    releases: 0,
    promotions: 0,
    lease_writes: u8::MAX,
};

/// One takeover and two promotions.
const TAKEOVER: Spent = Spent {
    steps: 1,
    promotions: 2,
    ..NOTHING
};

/// Explores everything within the scope, and says how much that was.
fn explore(name: &str, scope: Scope) -> usize {
    let builder = scope.checker().threads(THREADS);
    let checker = builder.spawn_bfs().join();
    let discoveries: BTreeMap<_, _> = checker.discoveries().into_iter().collect();
    for (property, path) in discoveries {
        let sought = checker.model().property(property).expectation == Expectation::Sometimes;
        assert!(sought, "{name}: not so: {property}: {:#?}", path.into_actions());
    }
    checker.assert_properties();
    let states = checker.unique_state_count();
    let steps = checker.model().steps.unwrap_or(checker.max_depth() - 1);
    let bound = if checker.model().steps.is_some() {
        "explored up to"
    } else {
        "none is farther than"
    };
    println!("{name}: {states} states; {bound} {steps} steps from the start");
    states
}

/// Explores until `property` fails; after how many steps it does.
fn counterexample(planted: Planted, property: &'static str, scope: Scope) -> usize {
    let sought = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let scope = Scope {
        planted: Some(planted),
        ..scope
    };
    let checker = scope.checker().threads(THREADS).finish_when(sought).spawn_bfs().join();
    let found = checker.discovery(property).map(Path::into_actions);
    found.unwrap_or_else(|| panic!("{planted:?} goes unnoticed")).len()
}

/// One order of steps that ends in the defect is not luck: the model finds the shortest there is.
#[test]
fn i1_i2_each_planted_defect_is_found() {
    let elections = |steps, deletions| Spent {
        steps,
        deletions,
        lease_writes: 3,
        ..NOTHING
    };
    let unanswered = Spent {
        losses: 1,
        promotions: 2,
        ..NOTHING
    };
    let found = [
        (Planted::NoCompareAndSwap, PERMIT, election(elections(1, 0), &[])),
        (Planted::UntilFromTheAnswer, PERMIT, election(elections(2, 0), &[])),
        (Planted::NoProbation, PERMIT, election(elections(1, 1), &[])),
        (Planted::NoPrecondition, PRIMARY, fence(TAKEOVER, &[])),
        (Planted::GrantBeforeStamp, PRIMARY, fence(TAKEOVER, &[])),
        (Planted::ZombieGoesOn, TERM, fence(TAKEOVER, &[])),
        (Planted::UnknownForgotten, PRIMARY, fence(unanswered, &[])),
        (Planted::StampsWithoutNumber, PRIMARY, fence(unanswered, &[])),
    ];
    for (planted, property, scope) in found {
        let steps = counterexample(planted, property, scope);
        println!("{planted:?}: not {property:?} after {steps} steps");
    }
}

#[test]
fn i1_the_fence_holds_when_requests_come_late_or_twice_or_unanswered() {
    let unanswered = Spent { losses: 1, ..TAKEOVER };
    let repeated = Spent { repeats: 1, ..TAKEOVER };
    let reached = &[Reached::TakenOver, Reached::LateWriteRefused, Reached::SteppedDown];
    explore("one takeover, a request unanswered", fence(unanswered, reached));
    explore("one takeover, a request repeated", fence(repeated, reached));
}

#[test]
#[ignore = "explores millions of states: `make check` does it by itself"]
fn i1_i2_elector_and_fence_hold_against_everything_within_bounds() {
    let calm = Spent {
        steps: 3,
        lease_writes: 3,
        ..NOTHING
    };
    let all = Spent {
        steps: 4,
        crashes: 1,
        deletions: 1,
        repeats: 1,
        releases: 1,
        lease_writes: 4,
        ..NOTHING
    };
    let back_and_forth = Spent { steps: 2, ..TAKEOVER };
    let forgotten = Spent {
        crashes: 1,
        deletions: 1,
        promotions: 1,
        lease_writes: 12,
        ..TAKEOVER
    };
    let reached = &[
        Reached::TakenOver,
        Reached::LateWriteRefused,
        Reached::SteppedDown,
        Reached::Raised,
    ];
    let states = [
        explore("elections, in time and late", election(calm, &[Reached::SecondReign])),
        explore(
            "elections, with every fault",
            Scope {
                steps: Some(FAULTY_ELECTION_STEPS),
                ..election(all, &[Reached::Probation])
            },
        ),
        explore(
            "leadership goes back and forth",
            Scope {
                starts: &[Start::Settled],
                ..fence(back_and_forth, reached)
            },
        ),
        explore(
            "the Lease and its history are lost",
            Scope {
                starts: &[Start::Settled],
                ..fence(forgotten, reached)
            },
        ),
    ];
    let states: usize = states.into_iter().sum();
    println!("{states} states in all");
    assert!(states >= STATES_MIN, "{states} states say too little");
}

#[tokio::test]
async fn the_librarys_choice_is_copied_rightly() {
    let (me, another) = (Holder(1), Holder(2));
    for holder in [Some(me), Some(another), None] {
        for (intent, waited) in [(true, Duration::ZERO), (true, TTL_MIN), (false, TTL_MIN)] {
            let lease = HeldLease {
                uid: 1,
                version: 1,
                holder,
                term: shared::term::Term(4),
            };
            let mut expiry = Expiry::new(identity_of(me), TTL_MIN);
            expiry.observe(&lease.object(), tick(0));
            let shown = expiry.shown(lease.object(), intent, tick(0) + waited);

            let server = LeaseServer::default();
            server.put(&json!(shown.spec));
            let params = LeaseLockParams {
                lease_name: "pgsteer".to_owned(),
                holder_id: identity_of(me),
                lease_ttl: TTL_MIN,
            };
            let client = ClientBuilder::new(server.clone(), "pgsteer").build();
            LeaseLock::new(client, "pgsteer", params)
                .try_acquire_or_renew()
                .await
                .unwrap();

            let sent = server
                .requests()
                .into_iter()
                .find(|(method, _)| *method == http::Method::PATCH);
            let chosen = sent.map(|(_, body)| match body["spec"].get("holderIdentity") {
                Some(_) => LeaseChange::Hold,
                None => LeaseChange::Renew,
            });
            assert_eq!(
                library(&shown, &identity_of(me)),
                chosen,
                "{holder:?} {intent} {waited:?}"
            );
        }
    }
}
