use std::path::PathBuf;

use super::switch::{Cut, Switch};
use super::verdict::{Absence, Run, Succession, Verdict};
use crate::console::Server;
use crate::ground::Skipped;
use crate::history::{Happening, Rows};
use crate::judge::Judged;
use crate::oracle::fixtures::{SYSTEM, Story, ms};
use crate::workload::Kind;

fn switch(old: &str, new: &str) -> Switch {
    let server = |name: &str| Server {
        pod: name.to_owned(),
        address: name.to_owned(),
    };
    let cut = Cut {
        began: ms(10_000),
        asked: ms(10_280),
        promoted: ms(10_300),
        old: server(old),
        new: server(new),
        old_timeline: 1,
    };
    let at = Some(ms(10_600));
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

/// What was done beside the story's history; the API server was away from 20 s to 28 s.
fn run() -> Run {
    Run {
        failover: switch("a", "b"),
        succession: Succession {
            deleted: ms(1),
            old: "x".to_owned(),
            new: "y".to_owned(),
            led: ms(2),
            unlabelled: ms(3),
            repaired: ms(4),
        },
        switchover: switch("b", "a"),
        pod_events: 0,
        absence: Ok(Absence {
            stopped: ms(20_000),
            back: ms(28_000),
            edited: "a".to_owned(),
            unlabelled: ms(29_000),
            repaired: ms(31_000),
        }),
        is_translated: false,
    }
}

fn verdict(run: &Run, story: Story) -> Verdict {
    Verdict::of(run, Judged::of(PathBuf::from("demo.jsonl"), story.history()))
}

fn last(verdict: &Verdict) -> Option<String> {
    verdict.lines().last().cloned()
}

#[test]
fn a_run_in_which_everything_held_passes_even_if_the_killed_primary_took_a_write_along() {
    let mut story = Story::sound();
    story.drop_where(|_, what| matches!(what, Happening::Rows(_)));
    story.add(
        39_990,
        Happening::Rows(Rows {
            pod: "b".to_owned(),
            system: SYSTEM.to_owned(),
            timeline: 2,
            asked: None,
            ids: vec![0..=9_850, 10_000..=100_000],
        }),
    );
    let verdict = verdict(&run(), story);
    assert!(verdict.passed(), "{:#?}", verdict.lines());
    assert_eq!(last(&verdict).as_deref(), Some("PASS"));
    let told = verdict.lines().join("\n");
    let lost = "1      with the failover itself (asynchronous replication); of the killed primary's, acknowledged -100 to -100 ms after the kill";
    assert!(told.contains(lost), "{told}");
}

type Break = fn(&mut Run, &mut Story);

#[test]
fn each_broken_rule_fails_the_run() {
    let breaks: [(&str, Break); 5] = [
        ("failover-complete", |run, _| run.failover.first_read = None),
        ("switchover-complete", |run, _| run.switchover.granted = None),
        ("leader-moves", |run, _| run.succession.new = run.succession.old.clone()),
        ("no-pod-event", |run, _| run.pod_events = 1),
        ("one-primary-label", |_, story| {
            story.label(20_000, "a", Some("primary"));
        }),
    ];
    for (rule, broken) in breaks {
        let (mut run, mut story) = (run(), Story::sound());
        broken(&mut run, &mut story);
        let verdict = verdict(&run, story);
        let mut found = verdict.judged.verdict.broken();
        assert!(
            found.any(|finding| finding.rule == rule),
            "{rule}: {:#?}",
            verdict.lines()
        );
        assert_eq!(last(&verdict).as_deref(), Some("FAIL"), "{rule}");
    }
}

#[test]
fn i8_a_label_that_changes_while_the_api_server_is_away_fails_the_run() {
    let cases = [
        ("before it went away", 19_000, "a", 0),
        ("while it was away", 25_000, "a", 2),
        ("by hand, and put back", 29_500, "a", 0),
        ("another one meanwhile", 29_500, "b", 2),
    ];
    for (name, at, pod, changes) in cases {
        let mut story = Story::sound();
        let role = if pod == "a" { "replica" } else { "primary" };
        story.label(at, pod, None);
        story.label(at + 100, pod, Some(role));
        let verdict = verdict(&run(), story);
        let findings = &verdict.judged.verdict.findings;
        let mut away = findings
            .iter()
            .filter(|finding| finding.rule == "no-role-changes-without-the-api-server");
        assert_eq!(
            away.next().map(|finding| finding.breaches.len()),
            Some(changes),
            "{name}"
        );
    }
}

#[test]
fn new_connections_that_are_refused_while_the_api_server_is_away_fail_the_run() {
    let mut story = Story::sound();
    for at in (20_050..28_000).step_by(1_000) {
        story.failed(at, Kind::Write);
    }
    assert!(!verdict(&run(), story).passed());
}

#[test]
fn a_fault_that_was_skipped_is_told_by_name_and_checked_by_nobody() {
    let mut run = run();
    let with_it = verdict(&run, Story::sound()).judged.verdict.findings.len();
    run.absence = Err(Skipped {
        fault: "kube-apiserver frozen".to_owned(),
    });
    let verdict = verdict(&run, Story::sound());
    assert!(
        verdict.passed() && verdict.judged.verdict.findings.len() < with_it,
        "{:#?}",
        verdict.lines()
    );
    let told = verdict.lines().join("\n");
    assert!(told.contains("skipped: kube-apiserver frozen"), "{told}");
}
