use proptest::prelude::*;

use super::*;

fn tick(millis: u64) -> Tick {
    Tick::from_nanos(millis * 1_000_000)
}

fn reign(number: u64, until: u64) -> Reign {
    Reign {
        term: Term(7),
        holder: "pod_0000002a".to_owned(),
        until: tick(until),
        began: tick(0),
        number,
        lost: CancellationToken::new(),
    }
}

#[test]
fn i2_a_permit_lasts_until_the_reign_does_and_not_a_nanosecond_longer() {
    let leadership = Leadership::Leader(reign(1, 10));
    let before = Tick::from_nanos(9_999_999);
    let leave = permit(&leadership, before).unwrap();
    assert_eq!(
        (leave.term(), leave.holder(), leave.reign(), leave.until()),
        (Term(7), "pod_0000002a", 1, tick(10))
    );
    assert_eq!(leave.remaining(before), Duration::from_nanos(1));
    assert_eq!(leave.remaining(tick(10)), Duration::ZERO);
    assert_eq!(
        permit(&leadership, tick(10)).unwrap_err(),
        NotLeader::Over {
            term: Term(7),
            number: 1
        }
    );
}

#[test]
fn a_follower_gets_no_permit_and_is_told_who_leads() {
    let follower = Leadership::Follower {
        holder: Some("other_00000001".to_owned()),
    };
    let refusal = permit(&follower, tick(0)).unwrap_err();
    assert_eq!(refusal.to_string(), "this replica does not lead, other_00000001 does");
}

#[test]
fn a_copy_of_a_reign_that_was_ended_gives_no_permit() {
    let mut leadership = Leadership::Leader(reign(1, 10));
    let copy = leadership.clone();
    let leave = permit(&copy, tick(1)).unwrap();
    assert!(leadership.end(None));
    assert_eq!(leave.remaining(tick(1)), Duration::ZERO);
    assert!(permit(&copy, tick(1)).is_err());
}

#[test]
fn a_renewal_that_comes_at_the_last_moment_counts_and_one_that_comes_at_the_end_does_not() {
    let mut leadership = Leadership::Leader(reign(1, 10));
    assert_eq!(leadership.extend(1, tick(20), tick(9)), Extension::Extended);
    assert_eq!(leadership.reign().unwrap().until, tick(20));
    assert_eq!(leadership.extend(1, tick(30), tick(20)), Extension::TooLate);
    assert_eq!(leadership.reign().unwrap().until, tick(20));
}

#[test]
fn a_renewal_of_another_reign_changes_nothing() {
    let mut leadership = Leadership::Leader(reign(2, 10));
    assert_eq!(leadership.extend(1, tick(20), tick(1)), Extension::TooLate);
    assert_eq!(leadership.raise(1, Term(9), tick(20), tick(1)), Extension::TooLate);
    let reign = leadership.reign().unwrap();
    assert_eq!((reign.until, reign.term), (tick(10), Term(7)));
}

#[test]
fn an_older_renewal_never_shortens_a_reign() {
    let mut leadership = Leadership::Leader(reign(1, 10));
    assert_eq!(leadership.extend(1, tick(5), tick(1)), Extension::Extended);
    assert_eq!(leadership.reign().unwrap().until, tick(10));
}

#[test]
fn a_raised_term_stays_in_the_same_reign_and_never_falls() {
    let mut leadership = Leadership::Leader(reign(1, 10));
    assert_eq!(leadership.raise(1, Term(9), tick(12), tick(1)), Extension::Extended);
    assert_eq!(leadership.raise(1, Term(8), tick(12), tick(1)), Extension::Extended);
    let reign = leadership.reign().unwrap();
    assert_eq!((reign.number, reign.term, reign.until), (1, Term(9), tick(12)));
    assert!(!reign.lost.is_cancelled());
}

#[test]
fn a_reign_whose_time_has_run_out_ends_and_says_so() {
    let first = reign(1, 10);
    let lost = first.lost.clone();
    let mut leadership = Leadership::Leader(first);
    assert!(!leadership.expire(tick(9)) && !lost.is_cancelled());
    assert!(leadership.expire(tick(10)) && lost.is_cancelled());
    assert!(leadership.reign().is_none() && !leadership.expire(tick(11)));
}

#[test]
fn the_next_reign_ends_the_one_before_it() {
    let (first, second) = (reign(1, 10), reign(2, 20));
    let lost = first.lost.clone();
    let mut leadership = Leadership::Leader(first);
    leadership.begin(second);
    assert!(lost.is_cancelled() && leadership.reign().unwrap().number == 2);
}

#[test]
fn followers_hear_of_a_new_holder_once() {
    let mut leadership = Leadership::default();
    assert!(leadership.end(Some("a_00000001".to_owned())));
    assert!(!leadership.end(Some("a_00000001".to_owned())));
    assert_eq!(leadership.holder(), Some("a_00000001"));
}

#[derive(Debug, Clone)]
enum Step {
    Begin { span: u64 },
    Extend { number: u64, span: u64 },
    Raise { number: u64, term: u32, span: u64 },
    Expire,
    End,
    Wait { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..20).prop_map(|span| Step::Begin { span }),
        (0_u64..6, 0_u64..20).prop_map(|(number, span)| Step::Extend { number, span }),
        (0_u64..6, 0_u32..40, 0_u64..20).prop_map(|(number, term, span)| Step::Raise { number, term, span }),
        Just(Step::Expire),
        Just(Step::End),
        (0_u64..15).prop_map(|millis| Step::Wait { millis }),
    ]
}

proptest! {
    /// A copy that was taken at any time before never allows what the published value refuses within the same reign, a
    /// reign that is over never comes back, and a term never falls.
    #[test]
    fn a_reign_that_is_over_never_gives_a_permit_again(steps in prop::collection::vec(step(), 1..60)) {
        let mut leadership = Leadership::default();
        let mut copies: Vec<Leadership> = Vec::new();
        let (mut now, mut reigns, mut over) = (tick(0), 0, 0);
        for step in steps {
            match step {
                Step::Begin { span } => {
                    reigns += 1;
                    leadership.begin(Reign { until: now + Duration::from_millis(span), ..reign(reigns, 0) });
                }
                Step::Extend { number, span } => {
                    leadership.extend(number, now + Duration::from_millis(span), now);
                }
                Step::Raise { number, term, span } => {
                    leadership.raise(number, Term(term), now + Duration::from_millis(span), now);
                }
                Step::Expire => { leadership.expire(now); }
                Step::End => { leadership.end(None); }
                Step::Wait { millis } => now = now + Duration::from_millis(millis),
            }
            match leadership.reign() {
                Some(reign) if !reign.stands_at(now) => over = over.max(reign.number),
                Some(reign) => over = over.max(reign.number - 1),
                None => over = reigns,
            }
            copies.push(leadership.clone());
            for copy in &copies {
                if let Ok(leave) = permit(copy, now) {
                    prop_assert!(leave.reign() > over);
                    prop_assert!(leave.until() > now && leave.remaining(now) > Duration::ZERO);
                    prop_assert!(permit(&leadership, now).is_ok());
                    prop_assert!(leave.term() <= leadership.reign().map_or(leave.term(), |reign| reign.term));
                }
            }
        }
    }
}
