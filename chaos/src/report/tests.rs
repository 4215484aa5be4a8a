use super::*;
use crate::history::{Happening, History};
use crate::host_time::HostTime;
use crate::oracle::check;
use crate::oracle::fixtures::Story;

fn written(history: &History) -> String {
    page::page(&Facts::of(history), &check(history))
}

#[test]
fn the_page_shows_every_pod_the_outage_and_the_verdict_and_needs_nothing_from_elsewhere() {
    let page = written(&Story::sound().history());
    for expected in [
        ">PASS<",
        ">a</text>",
        ">b</text>",
        "no writes",
        "refused",
        "takes writes, timeline 2",
        "fault: struck",
        "write endpoints",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    for foreign in ["http://", "https://", "<script", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(
        !page.contains("NaN") && !page.contains("inf"),
        "a coordinate that is no number"
    );
}

#[test]
fn a_broken_rule_is_shown_with_its_moment_and_what_was_seen() {
    let mut story = Story::sound();
    story.label(20_000, "a", Some("primary"));
    let history = story.history();
    let page = written(&history);
    assert!(page.contains(">FAIL<") && page.contains(">BROKEN<"), "{page}");
    assert!(page.contains("<li>10.0 s: the watch saw 2 pods labelled primary: a, b</li>"));
    let summary = summary(&history, &check(&history));
    assert_eq!(summary.last().map(String::as_str), Some("FAIL"));
    assert!(
        summary
            .iter()
            .any(|line| line.contains("at    10.0 s  the watch saw 2 pods")),
        "{summary:#?}"
    );
}

#[test]
fn what_a_server_said_cannot_break_the_page() {
    let mut story = Story::sound();
    story.drop_where(|at, what| at == 10_001 && matches!(what, Happening::Standing(_)));
    let why = "<b>\"&".to_owned();
    story.state(10_001, "a", crate::history::State::Down { why });
    let page = written(&story.history());
    assert!(page.contains("down: &lt;b&gt;&quot;&amp;") && !page.contains("<b>"));
}

#[test]
fn an_empty_history_has_a_page_too() {
    let history = Story::empty().history();
    assert_eq!(Facts::of(&history).end, HostTime(0));
    assert!(written(&history).contains(">FAIL<"));
}
