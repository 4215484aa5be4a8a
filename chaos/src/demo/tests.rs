use std::collections::BTreeSet;

use super::verdict::{Absence, Run, Succession, judge};
use crate::ground::Skipped;
use crate::host_time::HostTime;
use crate::timeline::{Cut, Entry, Happening, Server, Switch};
use crate::workload::{Answerer, Kind, Line, Outcome, SessionKind};

fn server(name: &str) -> Server {
    Server {
        pod: name.to_owned(),
        address: name.to_owned(),
    }
}

fn switch(old: &str, new: &str, old_timeline: u32) -> Switch {
    let cut = Cut {
        began: HostTime(1),
        asked: HostTime(2),
        promoted: HostTime(3),
        old: server(old),
        new: server(new),
        old_timeline,
    };
    let at = Some(HostTime(4));
    Switch {
        cut,
        withdrawn: at,
        removed: at,
        granted: at,
        listed: at,
        first_write: at,
        rejoined: at,
        first_read: at,
        last_stale_write: None,
    }
}

fn written(id: u64, address: &str, timeline: u32) -> Entry {
    let by = Answerer {
        system: "7".to_owned(),
        timeline,
        address: address.to_owned(),
        in_recovery: false,
    };
    let line = Line {
        n: id,
        at: HostTime(3),
        began: HostTime(2),
        opened: Some(HostTime(2)),
        session: SessionKind::Fresh,
        outcome: Outcome::Written { id, by },
    };
    Entry {
        at: HostTime(5),
        what: Happening::Client {
            kind: Kind::Write,
            line,
        },
    }
}

fn run(history: &[Entry]) -> Run<'_> {
    Run {
        history,
        complete: true,
        failover: switch("a", "b", 1),
        succession: Succession {
            deleted: HostTime(1),
            old: "x".to_owned(),
            new: "y".to_owned(),
            led: HostTime(2),
            unlabelled: HostTime(3),
            repaired: HostTime(4),
        },
        switchover: switch("b", "a", 2),
        pod_events: 0,
        // One write, below, is within it.
        absence: Ok(Absence {
            stopped: HostTime(2),
            back: HostTime(4),
            edited: "a".to_owned(),
            unlabelled: HostTime(6),
            repaired: HostTime(8),
        }),
        is_translated: false,
        present: BTreeSet::from([1]),
    }
}

#[test]
fn a_run_in_which_everything_held_passes_even_if_the_killed_primary_took_a_write_along() {
    let history = [written(1, "a", 1), written(2, "a", 1)];
    let verdict = judge(&run(&history));
    assert!(verdict.passed(), "{:#?}", verdict.checks);
    assert_eq!(verdict.lines().last().map(String::as_str), Some("PASS"));
}

type Break = fn(&mut Run<'_>);

#[test]
fn each_broken_rule_fails_the_run() {
    let history = [written(1, "a", 1)];
    let breaks: [(&str, Break); 5] = [
        ("a switch is incomplete", |run| run.failover.first_read = None),
        ("nobody new leads", |run| {
            run.succession.new = run.succession.old.clone();
        }),
        ("a container was restarted", |run| run.pod_events = 1),
        ("a write of the last timeline is gone", |run| {
            run.switchover.cut.old_timeline = 9;
        }),
        ("the history ran over", |run| run.complete = false),
    ];
    for (name, broken) in breaks {
        let history = [history.to_vec(), vec![written(2, "b", 2)]].concat();
        let mut run = run(&history);
        run.present = BTreeSet::from([1, 2]);
        assert!(judge(&run).passed(), "before: {name}");
        if name.contains("is gone") {
            run.present = BTreeSet::from([1]);
        }
        broken(&mut run);
        let verdict = judge(&run);
        assert!(!verdict.passed(), "{name}");
        assert_eq!(verdict.lines().last().map(String::as_str), Some("FAIL"), "{name}");
    }
}

#[test]
fn a_run_without_one_acknowledged_write_shows_nothing() {
    assert!(!judge(&run(&[])).passed());
}

fn relabelled(at: u64, pod: &str) -> Entry {
    let (pod, role) = (pod.to_owned(), Some("replica".to_owned()));
    Entry {
        at: HostTime(at),
        what: Happening::Role { pod, role },
    }
}

#[test]
fn i8_a_label_that_changes_while_the_api_server_is_away_fails_the_run() {
    let cases = [
        ("before it went away", relabelled(1, "a"), true),
        ("when it came back", relabelled(5, "a"), false),
        ("by hand, and put back", relabelled(7, "a"), true),
        ("another one meanwhile", relabelled(7, "b"), false),
    ];
    for (name, changed, passes) in cases {
        let history = [written(1, "a", 1), changed];
        assert_eq!(judge(&run(&history)).passed(), passes, "{name}");
    }
}

#[test]
fn a_new_connection_that_is_refused_while_the_api_server_is_away_fails_the_run() {
    let mut refused = written(1, "a", 1);
    if let Happening::Client { line, .. } = &mut refused.what {
        line.outcome = Outcome::Failed {
            error: "refused".to_owned(),
        };
    }
    let history = [written(1, "a", 1), refused];
    assert!(!judge(&run(&history)).passed());
}

#[test]
fn a_fault_that_was_skipped_is_told_by_name_and_checked_by_nobody() {
    let history = [written(1, "a", 1)];
    let mut run = run(&history);
    let with_it = judge(&run).checks.len();
    run.absence = Err(Skipped {
        fault: "kube-apiserver frozen".to_owned(),
    });
    let verdict = judge(&run);
    assert!(
        verdict.passed() && verdict.checks.len() < with_it,
        "{:#?}",
        verdict.checks
    );
    let told = verdict.lines().join("\n");
    assert!(told.contains("skipped: kube-apiserver frozen"), "{told}");
}
