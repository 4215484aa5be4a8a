use super::*;

const OLD: &str = "10.0.0.1";
const NEW: &str = "10.0.0.2";

fn at(millis: u64) -> HostTime {
    HostTime(millis * 1_000_000)
}

fn side(pod: &str, address: &str) -> Side {
    Side {
        pod: pod.to_owned(),
        address: address.to_owned(),
    }
}

fn ready(addresses: &[&str]) -> BTreeSet<String> {
    addresses.iter().map(|&address| address.to_owned()).collect()
}

fn label(millis: u64, pod: &str, role: RoleEdit) -> LabelEdit {
    LabelEdit {
        answered: at(millis),
        pod: pod.to_owned(),
        role,
    }
}

fn slice(millis: u64, addresses: &[&str]) -> SliceEdit {
    SliceEdit {
        answered: at(millis),
        slice: "w-1".to_owned(),
        ready: ready(addresses),
    }
}

fn attempt(began: u64, ended: u64, by: Option<&str>) -> Attempt {
    Attempt {
        began: at(began),
        at: at(ended),
        by: by.map(str::to_owned),
        error: None,
    }
}

/// Killed at 1,000; promoted at 2,000.
fn killed() -> Heard {
    Heard {
        cut: at(1000),
        promoted: Some(at(2000)),
        is_beaten: false,
        old: side("a", OLD),
        new: side("b", NEW),
        slices: BTreeMap::from([("w-1".to_owned(), ready(&[OLD]))]),
        labels: vec![
            label(900, "b", RoleEdit::To("replica".to_owned())),
            label(1010, "a", RoleEdit::Off),
            label(1011, "a", RoleEdit::None),
            label(2015, "b", RoleEdit::To(PRIMARY.to_owned())),
        ],
        edits: vec![slice(1020, &[]), slice(2025, &[NEW])],
        attempts: vec![
            attempt(990, 999, Some(OLD)),
            attempt(1100, 1101, None),
            attempt(2030, 2041, Some(NEW)),
            attempt(2028, 2060, Some(NEW)),
        ],
    }
}

fn millis(phases: &Phases, phase: Phase) -> Option<i64> {
    phases.get(&phase).map(|micros| micros / 1000)
}

#[test]
fn a_kill_is_told_phase_by_phase() {
    let phases = killed().phases();
    let told = Phase::ALL.map(|phase| millis(&phases, phase));
    // Withdrawn, emptied, label, slice, write, exposure (20 with the dead one, 25 without anybody), no takeover.
    assert_eq!(told, [Some(10), Some(20), Some(15), Some(25), Some(41), Some(45), None]);
    assert_eq!(add_up(&phases, true, 0), Ok(()));
}

#[test]
fn a_primary_that_is_beaten_is_wrong_from_the_promotion_on() {
    let mut heard = killed();
    heard.is_beaten = true;
    heard.labels[1].answered = at(2030);
    heard.edits[0].answered = at(2035);
    heard.edits[1].answered = at(4100);
    heard.labels[3].answered = at(4050);
    heard.attempts = vec![attempt(2010, 2020, Some(OLD)), attempt(4105, 4120, Some(NEW))];
    let phases = heard.phases();
    let told = Phase::ALL.map(|phase| millis(&phases, phase));
    assert_eq!(
        told,
        [Some(30), Some(35), Some(2050), Some(2100), Some(2120), Some(2100), None]
    );
}

#[test]
fn a_standby_that_is_listed_before_its_promotion_is_wrong_until_then() {
    let mut heard = killed();
    heard.is_beaten = true;
    heard.labels[3].answered = at(1590);
    heard.edits = vec![slice(1500, &[]), slice(1600, &[NEW])];
    let phases = heard.phases();
    assert_eq!(millis(&phases, Phase::Label), Some(-410));
    assert_eq!(millis(&phases, Phase::Exposure), Some(400));
    assert_eq!(add_up(&phases, true, 0), Ok(()));
}

#[test]
fn nobody_is_right_between_death_and_promotion_and_two_never_are() {
    let mut heard = killed();
    // The dead one stays until long after the promotion, then both are listed for 10 ms.
    heard.edits = vec![slice(2500, &[OLD, NEW]), slice(2510, &[NEW])];
    let phases = heard.phases();
    assert_eq!(millis(&phases, Phase::Exposure), Some(1510));
    assert_eq!(millis(&phases, Phase::Slice), Some(500));
    assert_eq!(millis(&phases, Phase::Emptied), Some(1510));
}

#[test]
fn the_slices_of_a_service_count_together() {
    let mut heard = killed();
    heard.slices.insert("w-2".to_owned(), ready(&[OLD]));
    assert_eq!(
        millis(&heard.phases(), Phase::Emptied),
        None,
        "the other slice still lists it"
    );
    heard.edits.push(SliceEdit {
        slice: "w-2".to_owned(),
        ..slice(1500, &[])
    });
    assert_eq!(millis(&heard.phases(), Phase::Emptied), Some(500));
}

#[test]
fn without_a_promotion_only_the_withdrawal_is_told() {
    let heard = Heard {
        promoted: None,
        ..killed()
    };
    let told: Vec<Phase> = heard.phases().into_keys().collect();
    assert_eq!(told, [Phase::Withdrawn, Phase::Emptied]);
}

#[test]
fn phases_that_cannot_be_of_one_switch_are_refused() {
    let good = killed().phases();
    let with = |phase, micros| {
        let mut phases = good.clone();
        phases.insert(phase, micros);
        phases
    };
    let without = |phase| {
        let mut phases = good.clone();
        phases.remove(&phase);
        phases
    };
    let wrong = [
        (with(Phase::Write, 20_000), "before the slice"),
        (with(Phase::Exposure, 24_000), "not listed for"),
        (with(Phase::Label, 28_000), "before the label"),
        (without(Phase::Withdrawn), "label off"),
        (without(Phase::Label), "t0 to label"),
        (without(Phase::Write), "first write"),
    ];
    for (phases, expected) in wrong {
        let refused = add_up(&phases, true, 0).expect_err(expected);
        assert!(refused.contains(expected), "{refused}");
    }
    let label_last = with(Phase::Label, 28_000);
    assert_eq!(
        add_up(&label_last, false, 0),
        Ok(()),
        "the slice has a writer of its own"
    );
    assert_eq!(add_up(&label_last, true, 1_000), Ok(()), "the host made the stamp late");
}
