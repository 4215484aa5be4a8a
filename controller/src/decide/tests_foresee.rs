//! What is foreseen, and what is told of it, is what the turns then do.

use jiff::Timestamp;
use shared::role::Role;

use super::{
    fixtures::{World, told},
    tests_told::route,
};
use crate::{
    foresee::foresee,
    live::{self, LiveRoute},
};

/// `b` has been promoted while `a` still takes writes.
fn beaten() -> World {
    World::pair().pod("b", |pod| pod.labelled(Role::Replica).writable(2, "0/5000000"))
}

fn shown(world: &World) -> LiveRoute {
    let plan = world.plan();
    live::route(&route(), ("pg", "db"), &world.observed, &plan, None, |_| {
        Timestamp::UNIX_EPOCH
    })
}

#[test]
fn what_is_foreseen_is_what_the_turns_do() {
    for world in [beaten(), World::pair(), World::pair().without("a")] {
        let foreseen = foresee(&world.observed, &world.policy);
        let foreseen: Vec<_> = foreseen.turns.iter().map(told).collect();
        let mut real = world.clone();
        let mut done = real.settle();
        // The pause before a beaten server's heir gets the role is taken as over.
        real.wait_out();
        done.extend(real.settle());
        let done: Vec<_> = done.iter().map(told).collect();
        assert_eq!(foreseen, done);
    }
}

#[test]
fn a_route_at_rest_has_nothing_ahead_and_a_paused_one_what_it_would_do() {
    let rest = shown(&World::pair()).next;
    assert_eq!(
        (rest.turns.len(), rest.then.as_deref(), rest.if_resumed),
        (0, Some("Settled"), false)
    );
    let paused = shown(&beaten().paused());
    assert_eq!((paused.state.as_str(), paused.next.if_resumed), ("Paused", true));
    let writes: Vec<_> = paused.next.turns.iter().flat_map(|turn| &turn.writes).collect();
    let last = writes.last().map(|write| write.as_str());
    assert_eq!(last, Some("grant the primary role to b"), "{writes:?}");
    assert!(
        writes
            .iter()
            .any(|write| write.starts_with("withdraw the primary role from a")),
        "{writes:?}"
    );
}

#[test]
fn a_standby_shows_how_far_it_is_behind_and_the_primary_shows_nothing() {
    let route = shown(&World::pair());
    let lags: Vec<_> = route
        .members
        .iter()
        .map(|member| (member.pod.as_str(), member.lag_bytes.is_some()))
        .collect();
    assert_eq!(lags, [("a", false), ("b", true)]);
    assert_eq!(route.primary.as_deref(), Some("a"));
    assert!(
        route.members.iter().all(|member| member.probe_micros == Some(1_000)),
        "{route:?}"
    );
}
