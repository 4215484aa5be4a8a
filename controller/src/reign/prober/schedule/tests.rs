use super::*;

const INTERVAL: Duration = Duration::from_millis(100);

/// Takes the whole limit, or none of it.
#[derive(Debug)]
struct Always {
    whole: bool,
}

impl Chance for Always {
    fn up_to(&self, limit: Duration) -> Duration {
        if self.whole { limit } else { Duration::ZERO }
    }
}

const NO_JITTER: Always = Always { whole: false };
const FULL_JITTER: Always = Always { whole: true };

fn at(millis: u64) -> Tick {
    Tick::default() + Duration::from_millis(millis)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A server that was logged in to at 0 and keeps a session.
fn settled() -> Schedule {
    let mut schedule = Schedule::new(INTERVAL, at(0));
    schedule.met(at(0), Evidence::InRecovery, Pace::Steady, &NO_JITTER);
    schedule.session_answered(at(0), Question::Full);
    schedule
}

/// What happened to a settled server.
type Story = fn(&mut Schedule);

fn answered(schedule: &mut Schedule, millis: u64) {
    schedule.session_answered(at(millis), Question::Pulse);
}

fn met(schedule: &mut Schedule, millis: u64, evidence: Evidence) {
    schedule.met(at(millis), evidence, Pace::Steady, &NO_JITTER);
}

#[test]
fn a_knock_stands_in_for_a_login_only_while_a_kept_session_answers() {
    use Depth::{Knock, Login};
    use Pace::{Hurried, Steady, Terminating};
    let cases: [(&str, u64, Pace, Depth, Story); 8] = [
        ("the session has just answered", 1_000, Steady, Knock, |s| {
            answered(s, 900);
        }),
        ("it misses one interval", 1_000, Hurried, Knock, |s| {
            answered(s, 800);
        }),
        ("it has fallen silent", 1_000, Steady, Login, |s| {
            answered(s, 799);
        }),
        ("it ended", 1_000, Steady, Login, |s| {
            answered(s, 950);
            s.session_ended(at(960));
        }),
        ("the pod is being deleted", 1_000, Terminating, Login, |s| {
            answered(s, 950);
        }),
        ("the last login is long ago", 30_000, Steady, Login, |s| {
            answered(s, 29_950);
        }),
        ("the door was shut", 1_000, Steady, Login, |s| {
            answered(s, 950);
            met(s, 950, Evidence::Silent);
        }),
        ("it was full", 1_000, Steady, Login, |s| {
            answered(s, 950);
            met(s, 950, Evidence::Barred);
        }),
    ];
    for (name, now, pace, expected, story) in cases {
        let mut schedule = settled();
        story(&mut schedule);
        assert_eq!(schedule.depth(at(now), pace), expected, "{name}");
    }
    let unknown = Schedule::new(INTERVAL, at(0));
    assert_eq!(unknown.depth(at(0), Steady), Login, "nothing is known yet");
}

#[test]
fn the_next_fresh_connection_comes_by_what_the_last_one_met() {
    use Evidence::{Barred, Down, InRecovery, Silent, Starting, Unclear, Writable};
    for (evidence, pace, soonest, latest) in [
        (Writable, Pace::Steady, 900, 1_000),
        (InRecovery, Pace::Hurried, 900, 1_000),
        (Barred, Pace::Steady, 900, 1_000),
        (Writable, Pace::Terminating, 100, 100),
        (Down, Pace::Steady, 100, 100),
        (Starting, Pace::Steady, 100, 100),
        (Silent, Pace::Steady, 100, 100),
        (Unclear, Pace::Steady, 100, 100),
    ] {
        for (chance, expected) in [(&FULL_JITTER, soonest), (&NO_JITTER, latest)] {
            let mut schedule = settled();
            schedule.met(at(500), evidence, pace, chance);
            let due = at(500 + expected);
            assert!(schedule.is_fresh_due(due), "{evidence:?} {pace:?} {chance:?}");
            assert!(
                !schedule.is_fresh_due(at(500 + expected - 1)),
                "{evidence:?} {pace:?} {chance:?}"
            );
        }
    }
}

#[test]
fn what_goes_on_talking_nonsense_is_asked_less_and_less_often() {
    let mut schedule = settled();
    for expected in [100, 200, 400, 800, 1_000, 1_000] {
        schedule.met(at(0), Evidence::Unclear, Pace::Steady, &NO_JITTER);
        let pause = schedule.pause(at(0), Pace::Steady, KeptState::None, false, &NO_JITTER);
        assert_eq!(pause, millis(expected));
    }
    schedule.met(at(0), Evidence::Down, Pace::Steady, &NO_JITTER);
    let pause = schedule.pause(at(0), Pace::Steady, KeptState::None, false, &NO_JITTER);
    assert_eq!(pause, INTERVAL, "it may be back any moment");
}

#[test]
fn the_pause_ends_with_whatever_is_due_first() {
    for (name, now, pace, kept, fresh_runs, chance, expected) in [
        ("a pulse", 100, Pace::Steady, KeptState::Idle, false, &NO_JITTER, 100),
        (
            "a pulse, spread",
            100,
            Pace::Steady,
            KeptState::Idle,
            false,
            &FULL_JITTER,
            90,
        ),
        (
            "a hurried pulse",
            100,
            Pace::Hurried,
            KeptState::Idle,
            false,
            &NO_JITTER,
            10,
        ),
        (
            "a full answer",
            970,
            Pace::Steady,
            KeptState::Idle,
            true,
            &NO_JITTER,
            30,
        ),
        (
            "a fresh connection",
            970,
            Pace::Steady,
            KeptState::Asking,
            false,
            &NO_JITTER,
            30,
        ),
        ("its end", 970, Pace::Steady, KeptState::Asking, true, &NO_JITTER, 1_000),
        (
            "what is overdue",
            5_000,
            Pace::Steady,
            KeptState::Idle,
            false,
            &NO_JITTER,
            1,
        ),
    ] {
        let pause = settled().pause(at(now), pace, kept, fresh_runs, chance);
        assert_eq!(pause, millis(expected), "{name}");
    }
}

#[test]
fn a_pulse_is_asked_until_a_full_answer_is_due() {
    let mut schedule = settled();
    assert_eq!(schedule.question(at(999)), Question::Pulse);
    assert_eq!(schedule.question(at(1_000)), Question::Full);
    schedule.session_answered(at(1_000), Question::Pulse);
    assert_eq!(
        schedule.question(at(1_001)),
        Question::Full,
        "a pulse is no full answer"
    );
    schedule.session_answered(at(1_005), Question::Full);
    assert_eq!(schedule.question(at(2_004)), Question::Pulse);
}

#[test]
fn a_session_that_ends_makes_a_fresh_connection_due_at_once_whatever_a_knock_brings() {
    let mut schedule = settled();
    assert!(!schedule.is_fresh_due(at(1)));
    schedule.session_ended(at(1));
    assert!(schedule.is_fresh_due(at(1)));
    schedule.knocked(at(2), &NO_JITTER);
    assert!(schedule.is_fresh_due(at(2)), "a knock tells nothing of the standing");
    schedule.session_answered(at(3), Question::Full);
    schedule.knocked(at(4), &NO_JITTER);
    assert!(!schedule.is_fresh_due(at(1_003)) && schedule.is_fresh_due(at(1_004)));
}

#[test]
fn logins_of_pods_that_were_met_together_are_spread_over_half_their_interval() {
    for (chance, last_knock) in [(&NO_JITTER, 29_999), (&FULL_JITTER, 14_999)] {
        let mut schedule = settled();
        schedule.met(at(0), Evidence::Writable, Pace::Steady, chance);
        for (now, expected) in [(last_knock, Depth::Knock), (last_knock + 1, Depth::Login)] {
            schedule.session_answered(at(now), Question::Pulse);
            assert_eq!(schedule.depth(at(now), Pace::Steady), expected, "{now} {chance:?}");
        }
    }
}
