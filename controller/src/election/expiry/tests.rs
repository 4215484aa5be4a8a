use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::prelude::*;

use super::*;

const TTL: Duration = Duration::from_secs(5);
const ME: &str = "me";
const HOUR: i64 = 3600;

type Change = fn(&mut LeaseSpec);

fn tick(millis: u64) -> Tick {
    Tick::from_nanos(millis * 1_000_000)
}

fn micro(seconds: i64) -> MicroTime {
    MicroTime(Timestamp::new(seconds, 0).unwrap())
}

/// A Lease of `holder`, renewed at this second of its wall clock.
fn lease(holder: &str, renewed: i64) -> Lease {
    Lease {
        metadata: ObjectMeta {
            uid: Some("one".to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            acquire_time: Some(micro(1)),
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(5),
            lease_transitions: Some(3),
            renew_time: Some(micro(renewed)),
            ..LeaseSpec::default()
        }),
    }
}

fn with_spec(change: impl FnOnce(&mut LeaseSpec)) -> Lease {
    let mut lease = lease("other", 10);
    change(lease.spec.as_mut().unwrap());
    lease
}

fn seen(lease: &Lease, at: Tick) -> Expiry {
    let mut expiry = Expiry::new(ME.to_owned(), TTL);
    expiry.observe(lease, at);
    expiry
}

#[test]
fn nothing_is_taken_before_anything_was_seen() {
    let expiry = Expiry::new(ME.to_owned(), TTL);
    assert!(!expiry.is_takeable(tick(u32::MAX.into())) && expiry.takeable_at().is_none());
}

#[test]
fn a_lease_is_taken_when_it_stood_still_for_a_ttl_whatever_its_holders_wall_clock_says() {
    for skew in [-10 * HOUR, -HOUR, 0, HOUR, 10 * HOUR] {
        let lease = lease("other", 1_700_000_000 + skew);
        let mut expiry = seen(&lease, tick(1000));
        expiry.observe(&lease, tick(5999));
        assert!(!expiry.is_takeable(tick(5999)), "{skew}");
        expiry.observe(&lease, tick(6000));
        assert!(expiry.is_takeable(tick(6000)), "{skew}");
    }
}

#[test]
fn any_sign_of_life_starts_the_count_again() {
    let changes: [(&str, Change); 4] = [
        ("renewTime", |spec| spec.renew_time = Some(micro(11))),
        ("acquireTime", |spec| spec.acquire_time = Some(micro(11))),
        ("transitions", |spec| spec.lease_transitions = Some(4)),
        ("holder", |spec| spec.holder_identity = Some("third".to_owned())),
    ];
    for (what, change) in changes {
        let mut expiry = seen(&with_spec(|_| ()), tick(0));
        expiry.observe(&with_spec(change), tick(4000));
        assert_eq!(expiry.takeable_at(), Some(tick(9000)), "{what}");
    }
}

#[test]
fn a_lease_that_was_deleted_and_made_again_is_another_one() {
    let mut again = lease("other", 10);
    again.metadata.uid = Some("two".to_owned());
    let mut expiry = seen(&lease("other", 10), tick(0));
    expiry.observe(&again, tick(4000));
    assert_eq!(expiry.takeable_at(), Some(tick(9000)));
}

#[test]
fn a_change_that_is_no_sign_of_life_does_not_start_the_count_again() {
    let mut labelled = lease("other", 10);
    labelled.metadata.resource_version = Some("99".to_owned());
    let mut expiry = seen(&lease("other", 10), tick(0));
    expiry.observe(&labelled, tick(4000));
    assert_eq!(expiry.takeable_at(), Some(tick(5000)));
}

#[test]
fn an_empty_or_missing_holder_is_nobody_and_the_lease_may_be_taken_at_once() {
    let absent = with_spec(|spec| spec.holder_identity = None);
    let without_spec = Lease {
        spec: None,
        ..lease("", 0)
    };
    for lease in [lease("", 10), absent, without_spec] {
        let expiry = seen(&lease, tick(7));
        assert!(expiry.is_takeable(tick(7)) && expiry.holder().is_none(), "{lease:?}");
    }
}

#[test]
fn the_longer_of_both_ttls_counts_but_a_slip_of_the_hand_does_not_block_for_ever() {
    let spans = [
        (Some(1), 5),
        (None, 5),
        (Some(-7), 5),
        (Some(15), 15),
        (Some(i32::MAX), 600),
    ];
    for (duration, seconds) in spans {
        let lease = with_spec(|spec| spec.lease_duration_seconds = duration);
        assert_eq!(
            seen(&lease, tick(0)).takeable_at(),
            Some(tick(seconds * 1000)),
            "{duration:?}"
        );
    }
}

#[test]
fn a_missing_lease_may_be_made_anew_at_once() {
    let mut expiry = seen(&lease("other", 10), tick(0));
    expiry.observe_missing(tick(3000));
    assert!(expiry.is_takeable(tick(3000)) && expiry.holder().is_none());
}

#[test]
fn whoever_made_a_lease_anew_is_on_probation_for_a_ttl() {
    let mut expiry = seen(&lease("other", 10), tick(0));
    expiry.observe_missing(tick(3000));
    let mut mine = lease(ME, 20);
    mine.metadata.uid = Some("two".to_owned());
    expiry.observe(&mine, tick(4000));
    mine.spec.as_mut().unwrap().renew_time = Some(micro(21));
    expiry.observe(&mine, tick(5000));
    assert_eq!(expiry.probation(tick(8999)), Some(tick(9000)));
    assert_eq!(expiry.probation(tick(9000)), None);
}

#[test]
fn whoever_took_a_lease_over_is_not_on_probation() {
    let mut expiry = seen(&lease("", 10), tick(0));
    expiry.observe(&lease(ME, 20), tick(1));
    assert_eq!(expiry.probation(tick(1)), None);
}

#[test]
fn an_event_of_the_deleted_lease_only_makes_the_probation_longer() {
    let mut mine = lease(ME, 20);
    mine.metadata.uid = Some("two".to_owned());
    let mut expiry = seen(&mine, tick(0));
    expiry.observe(&lease("other", 10), tick(1000));
    expiry.observe(&mine, tick(2000));
    assert_eq!(expiry.probation(tick(5000)), Some(tick(7000)));
}

#[test]
fn the_highest_term_outlives_the_lease_and_ignores_what_is_not_a_term() {
    let mut expiry = seen(&with_spec(|spec| spec.lease_transitions = Some(41)), tick(0));
    expiry.observe_missing(tick(1));
    for transitions in [None, Some(0), Some(-1), Some(i32::MIN)] {
        expiry.observe(&with_spec(|spec| spec.lease_transitions = transitions), tick(2));
        assert_eq!(expiry.highest(), Term(41));
    }
}

#[test]
fn every_field_that_the_library_insists_on_is_shown() {
    for bare in [None, Some(LeaseSpec::default())] {
        let bare = Lease {
            spec: bare,
            ..lease("", 0)
        };
        let spec = seen(&bare, tick(0)).shown(bare, true, tick(0)).spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some(""));
        assert_eq!(
            (spec.lease_transitions, spec.lease_duration_seconds),
            (Some(0), Some(1))
        );
        assert!(spec.acquire_time.is_some() && spec.renew_time == Some(MicroTime(STALE)));
    }
}

#[test]
fn only_a_contender_is_shown_an_expired_lease_and_only_when_it_is() {
    let cases = [
        (true, 4999, FRESH),
        (true, 5000, STALE),
        (false, 5000, FRESH),
        (false, 0, FRESH),
    ];
    for (contend, at, renewed) in cases {
        let lease = lease("other", 10);
        let spec = seen(&lease, tick(0)).shown(lease, contend, tick(at)).spec.unwrap();
        assert_eq!(spec.renew_time, Some(MicroTime(renewed)), "{contend} {at}");
        assert_eq!(spec.holder_identity.as_deref(), Some("other"));
    }
}

#[test]
fn the_library_can_add_one_to_whatever_term_it_is_shown() {
    for transitions in [i32::MIN, -1, 0, i32::MAX] {
        let lease = with_spec(|spec| spec.lease_transitions = Some(transitions));
        let shown = seen(&lease, tick(0)).shown(lease, true, tick(0)).spec.unwrap();
        let shown = shown.lease_transitions.unwrap();
        assert!(shown >= 0 && shown.checked_add(1).is_some());
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Wait { millis: u64 },
    Renew,
    Read,
    LateEvent { back: usize },
    GoneEvent,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..3000).prop_map(|millis| Step::Wait { millis }),
        1 => Just(Step::Renew),
        3 => Just(Step::Read),
        1 => (0_usize..4).prop_map(|back| Step::LateEvent { back }),
        1 => Just(Step::GoneEvent),
    ]
}

proptest! {
    /// Whatever is read, and in whatever order old events come: what a fresh read shows as takeable was written at least a
    /// ttl ago.
    #[test]
    fn what_was_written_less_than_a_ttl_ago_is_never_taken(steps in prop::collection::vec(step(), 1..80)) {
        let mut expiry = Expiry::new(ME.to_owned(), TTL);
        let (mut now, mut written) = (tick(0), vec![tick(0)]);
        let record = |version: usize| lease("other", i64::try_from(version).unwrap());
        for step in steps {
            match step {
                Step::Wait { millis } => now = now + Duration::from_millis(millis),
                Step::Renew => written.push(now),
                Step::Read => {
                    expiry.observe(&record(written.len() - 1), now);
                    let age = now.since(*written.last().unwrap());
                    prop_assert!(!expiry.is_takeable(now) || age >= TTL, "taken at the age of {age:?}");
                }
                Step::LateEvent { back } => expiry.observe(&record(written.len().saturating_sub(1 + back)), now),
                Step::GoneEvent => expiry.observe_missing(now),
            }
        }
        // And it is not left alone for ever either.
        expiry.observe(&record(written.len() - 1), now);
        let later = now + TTL;
        expiry.observe(&record(written.len() - 1), later);
        prop_assert!(expiry.is_takeable(later));
    }
}
