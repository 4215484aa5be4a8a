//! What people are told of decisions: each trouble once, when it begins, and once more when it is over.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use shared::{
    role::Role,
    route::PostgresRoute,
    status::{
        Member,
        Reason::{self, AsExpected, PersonMustChoose, SeveralWritable},
    },
};

use super::fixtures::{TERM, World, seconds};
use crate::reign::record::{Outcome, Told, status};

pub(super) fn route() -> PostgresRoute {
    serde_json::from_value(json!({
        "metadata": {"name": "pg-ha", "namespace": "default"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "postgres"}},
            "services": {"primary": "pg-service-primary", "replica": "pg-service-replica"},
            "connection": {"user": "pgsteer"},
        },
    }))
    .unwrap()
}

/// What is told after a turn: whether it is a warning, and its reason. The status is written, as it is after every turn.
fn told(world: &World, route: &mut PostgresRoute) -> Vec<(bool, Reason)> {
    let plan = world.plan();
    let outcome = Outcome::Decided {
        observed: &world.observed,
        plan: &plan,
        refused: None,
        last_switch: None,
    };
    let told = Told {
        route,
        term: TERM,
        now: Time(Timestamp::UNIX_EPOCH),
        services: &[],
        outcome,
    };
    let (written, notices) = status(&told);
    route.status = Some(written);
    notices
        .into_iter()
        .map(|notice| (notice.warning, notice.reason))
        .collect()
}

#[test]
fn two_servers_that_take_writes_are_told_of_loudly_once_and_not_once_a_turn() {
    let mut route = route();
    assert_eq!(
        told(&World::pair(), &mut route),
        [],
        "there is nothing to tell of peace"
    );
    let mut two = World::pair().pod("b", |pod| pod.labelled(Role::Replica).writable(2, "0/5000000"));
    assert!(told(&two, &mut route).contains(&(true, SeveralWritable)));
    for _turn in 0..100 {
        two = two.later(seconds(1));
        assert_eq!(told(&two, &mut route), [], "it was told");
    }
    let mut tie = two.pod("c", |pod| pod.labelled(Role::Replica).writable(2, "0/5000000"));
    assert!(
        told(&tie, &mut route).contains(&(true, PersonMustChoose)),
        "that a person has to choose is news"
    );
    for _turn in 0..100 {
        tie = tie.later(seconds(1));
        assert_eq!(told(&tie, &mut route), [], "it was told");
    }
    assert!(
        told(&World::pair(), &mut route).contains(&(false, AsExpected)),
        "its end is told"
    );
}

#[test]
fn a_new_leader_that_has_seen_nothing_yet_keeps_what_was_found() {
    let mut route = route();
    let found = |route: &PostgresRoute| route.status.as_ref().unwrap().members.clone();
    told(&World::pair(), &mut route);
    let before = found(&route);
    assert!(before.iter().all(|member| member.since.is_some()), "{before:?}");
    let unseen = ["a", "b"].into_iter().fold(World::pair(), |world, name| {
        world.edit_pod(name, |pod| pod.sightings = crate::sighting::Sightings::default())
    });
    told(&unseen, &mut route);
    let parts = |members: &[Member]| -> Vec<_> {
        let parts = members
            .iter()
            .map(|member| (member.evidence.clone(), member.timeline, member.since.clone()));
        parts.collect()
    };
    assert_eq!(parts(&found(&route)), parts(&before));
    // What it has seen since outweighs what was found before.
    let lost = World::pair().pod("a", |pod| pod.labelled(Role::Primary).down());
    told(&lost, &mut route);
    assert_eq!(found(&route)[0].evidence, "Down");
}
