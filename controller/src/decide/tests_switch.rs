//! Switches as [`crate::switch::Course`] follows them through whole stories: what is told, and which times it has.

use std::time::Duration;

use probe::Evidence;
use shared::role::Role;

use super::{
    LabelState,
    fixtures::{Pod, Saw, World, key, lsn, seconds},
};
use crate::{
    clock::Tick,
    switch::{Cause, Course, Ended, Outcome, Step},
};

/// Turns after which a story should long have come to rest.
const TURNS_BOUND: usize = 12;

/// How long a write takes in these stories, and the endpoints to follow it.
const WRITE: Duration = Duration::from_millis(10);
const FOLLOW: Duration = Duration::from_millis(30);

/// A route, and the course that looks on.
struct Story {
    world: World,
    course: Course,
    steps: Vec<Step>,
    follows: bool,
    start: Tick,
}

impl Story {
    /// A route at rest, as a reign found it a while ago.
    fn of(world: World) -> Self {
        let start = world.observed.at;
        let mut story = Self {
            world,
            course: Course::default(),
            steps: Vec::new(),
            follows: true,
            start,
        };
        story.endpoints();
        story
    }

    fn settled() -> Self {
        let mut story = Self::of(World::pair());
        story.turns();
        assert_eq!(story.steps, [], "a route at rest has no switch");
        story
    }

    /// A while later.
    fn later(mut self, span: Duration) -> Self {
        self.world = self.world.later(span);
        self
    }

    fn see(mut self, pod: &str, saw: Saw) -> Self {
        self.world = self.world.see(pod, saw);
        self
    }

    /// The EndpointSlice controller does its work.
    fn endpoints(&mut self) {
        let now = self.world.observed.at;
        for pod in self.world.observed.pods.values_mut() {
            let primary = pod.label == LabelState::Known(Role::Primary);
            pod.out_of_write_since = (!primary).then(|| pod.out_of_write_since.unwrap_or(now));
        }
    }

    /// Turns until nothing is written any more, and one more once the endpoints have followed.
    fn turns(&mut self) {
        for _turn in 0..TURNS_BOUND {
            let plan = self.world.plan();
            self.steps.extend(self.course.looked(&self.world.observed, &plan));
            if plan.actions.is_empty() {
                break;
            }
            self.world = self.world.clone().later(WRITE);
            let before = self.world.clone();
            for action in &plan.actions {
                self.world.apply(action);
                self.course.wrote(action, self.world.observed.at);
            }
            // The write alone moves no endpoint.
            for (key, pod) in &mut self.world.observed.pods {
                pod.out_of_write_since = before.observed.pods[key].out_of_write_since;
            }
        }
        if self.follows {
            self.world = self.world.clone().later(FOLLOW);
            self.endpoints();
            self.steps
                .extend(self.course.looked(&self.world.observed, &self.world.plan()));
        }
    }

    /// Turns, and gives what was told.
    fn told(&mut self) -> Vec<Step> {
        self.turns();
        std::mem::take(&mut self.steps)
    }

    fn ended(&mut self) -> Ended {
        let steps = self.told();
        let ended = steps.iter().find_map(|step| {
            let Step::Ended(ended) = step else { return None };
            Some(ended.clone())
        });
        ended.unwrap_or_else(|| panic!("it goes on: {steps:#?}"))
    }

    fn at(&self, millis: u64) -> Tick {
        self.start + FOLLOW + Duration::from_millis(millis)
    }
}

fn began(steps: &[Step]) -> (Tick, Cause, Option<&str>) {
    let Some(Step::Began { at, cause, from }) = steps.first() else {
        panic!("no switch began: {steps:#?}")
    };
    (*at, *cause, from.as_deref())
}

fn sighted(steps: &[Step]) -> Vec<(&str, Evidence, Tick)> {
    let seen = steps.iter().filter_map(|step| {
        let Step::Sighted(seen) = step else { return None };
        Some((seen.pod.as_str(), seen.evidence, seen.at))
    });
    seen.collect()
}

#[test]
fn a_failover_begins_with_the_first_sighting_and_ends_when_the_endpoints_have_followed() {
    let mut story = Story::settled().later(seconds(10)).see("a", Saw::Down);
    let steps = story.told();
    assert_eq!(began(&steps), (story.at(10_000), Cause::Down, Some("a")));
    assert_eq!(sighted(&steps), [("a", Evidence::Down, story.at(10_000))]);
    assert!(
        !steps.iter().any(|step| matches!(step, Step::Ended(_))),
        "nobody is primary: {steps:#?}"
    );
    let mut story = story
        .later(Duration::from_millis(960))
        .see("b", Saw::Writable(2, lsn("0/5000000")));
    let steps = story.told();
    let heir = ("b", Evidence::Writable, story.at(11_000));
    assert_eq!(sighted(&steps), [heir]);
    let granted = story.at(11_020);
    assert!(steps.contains(&Step::Followed { since: granted }), "{steps:#?}");
    let expected = Ended {
        cause: Cause::Down,
        outcome: Outcome::Settled,
        from: Some("a".to_owned()),
        to: Some("b".to_owned()),
        began: story.at(10_000),
        withdrawn: Some(story.at(10_010)),
        granted: Some(granted),
        followed: Some(granted + FOLLOW),
        ended: granted + FOLLOW,
        unwritable_since: Some(story.at(10_000)),
    };
    assert_eq!(expected.write_outage(), Some(Duration::from_millis(1_050)));
    assert_eq!(steps.last(), Some(&Step::Ended(expected)));
    assert!(!story.course.is_open());
}

#[test]
fn a_standby_that_comes_and_goes_is_no_switch() {
    let mut story = Story::settled().later(seconds(1)).see("b", Saw::Down);
    assert_eq!(story.told(), []);
    let mut story = story.later(seconds(1)).see("b", Saw::InRecovery(1, lsn("0/5000000")));
    assert_eq!(story.told(), []);
    assert_eq!(story.world.label("b"), Some(&LabelState::Known(Role::Replica)));
}

#[test]
fn a_server_beaten_while_it_takes_writes_is_missed_from_its_withdrawal_on() {
    let mut story = Story::settled()
        .later(seconds(1))
        .see("b", Saw::Writable(2, lsn("0/5000000")));
    let steps = story.told();
    assert_eq!(began(&steps), (story.at(1_000), Cause::Promoted, Some("a")));
    let mut story = story.later(seconds(3));
    let ended = story.ended();
    assert_eq!((ended.from.as_deref(), ended.to.as_deref()), (Some("a"), Some("b")));
    assert_eq!(ended.unwritable_since, ended.withdrawn);
    assert!(ended.withdrawn.is_some_and(|withdrawn| withdrawn > ended.began));
    assert!(
        ended.write_outage().is_some_and(|outage| outage >= seconds(2)),
        "{ended:#?}"
    );
}

#[test]
fn silence_counts_from_the_first_answer_that_did_not_come() {
    let story = Story::settled().later(seconds(1)).see("a", Saw::Silent);
    let mut story = story.later(seconds(4));
    let steps = story.told();
    let (at, cause, _) = began(&steps);
    assert_eq!((at, cause), (story.at(1_000), Cause::Silent));
}

#[test]
fn a_label_that_somebody_else_set_is_repaired_and_no_primary_changed() {
    let mut story = Story::settled().later(seconds(1));
    story.world = story
        .world
        .edit_pod("b", |pod| pod.label = LabelState::Known(Role::Primary));
    let ended = story.ended();
    assert_eq!(
        (ended.cause, ended.granted, ended.write_outage()),
        (Cause::Repaired, None, None)
    );
    assert_eq!(ended.to.as_deref(), Some("a"));
}

#[test]
fn a_role_that_somebody_else_took_off_counts_from_the_turn_that_missed_it() {
    let mut story = Story::settled().later(seconds(1));
    story.world = story.world.edit_pod("a", |pod| pod.label = LabelState::Absent);
    let missed = story.world.observed.at;
    let ended = story.ended();
    assert_eq!(
        (ended.cause, ended.began, ended.to.as_deref()),
        (Cause::Repaired, missed, Some("a"))
    );
    assert_eq!(ended.unwritable_since, Some(missed));
}

#[test]
fn a_pod_that_is_gone_from_one_turn_to_the_next_is_missed_at_once() {
    let mut story = Story::settled().later(seconds(1));
    story.world = story.world.without("a");
    let steps = story.told();
    assert_eq!(began(&steps), (story.at(1_000), Cause::Gone, Some("a")));
}

#[test]
fn the_first_primary_of_a_route_ends_no_outage() {
    let mut story = Story::of(World::new().pod("a", |pod| pod.writable(1, "0/5000000")));
    let ended = story.ended();
    assert_eq!(
        (ended.cause, ended.from.as_deref(), ended.to.as_deref()),
        (Cause::First, None, Some("a"))
    );
    assert_eq!(ended.write_outage(), None);
}

#[test]
fn a_second_switch_before_the_endpoints_followed_supersedes_the_first() {
    let mut story = Story::settled().later(seconds(1)).see("a", Saw::Down);
    story.follows = false;
    story.told();
    let mut story = story.later(seconds(1)).see("b", Saw::Writable(2, lsn("0/5000000")));
    story.told();
    assert!(story.course.is_open(), "the endpoints have not followed");
    let mut story = story.later(seconds(1)).see("b", Saw::Down);
    let steps = story.told();
    let Some(Step::Ended(first)) = steps.first() else {
        panic!("{steps:#?}")
    };
    assert_eq!(
        (first.outcome, first.to.as_deref(), first.write_outage()),
        (Outcome::Superseded, Some("b"), None)
    );
    assert_eq!(began(&steps[1..]), (story.at(3_030), Cause::Down, Some("b")));
}

#[test]
fn endpoints_that_never_follow_do_not_keep_a_switch_open() {
    let mut story = Story::settled().later(seconds(1)).see("a", Saw::Down);
    story.follows = false;
    story.told();
    let mut story = story.later(seconds(1)).see("b", Saw::Writable(2, lsn("0/5000000")));
    story.told();
    let mut story = story.later(seconds(20));
    let ended = story.ended();
    assert_eq!((ended.outcome, ended.followed), (Outcome::NotFollowed, None));
    assert_eq!(
        ended.ended.since(ended.granted.unwrap()),
        Duration::ZERO,
        "waiting in vain is not counted"
    );
}

#[test]
fn a_reign_that_finds_nobody_primary_says_so() {
    let world = World::new()
        .mark("a", 1, "0/5000000")
        .pod("a", Pod::down)
        .pod("b", |pod| pod.writable(2, "0/5000000"));
    let mut story = Story::of(world);
    let ended = story.ended();
    assert_eq!(
        (ended.cause, ended.from.as_deref(), ended.to.as_deref()),
        (Cause::Vacant, Some("a"), Some("b"))
    );
    assert_eq!(ended.write_outage(), None);
    assert!(story.world.label(&key("b").name).is_some());
}
