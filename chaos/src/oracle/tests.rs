//! Doctored histories: each breaks one rule, and that rule's finding says so. What is allowed beside each is shown to be allowed.

use super::fixtures::{SYSTEM, Story, address, standby, writable};
use super::*;
use crate::history::{Event, Happening, Heard, Part, RoleEdit, ServiceOf, State};
use crate::host_time::HostTime;
use crate::workload::{Kind, SessionKind};

/// The rules that a doctored story breaks.
fn broken(doctor: impl FnOnce(&mut Story)) -> Vec<&'static str> {
    let mut story = Story::sound();
    doctor(&mut story);
    check(&story.history()).broken().map(|finding| finding.rule).collect()
}

fn is_label_of(what: &Happening, wanted: &str) -> bool {
    matches!(what, Happening::Pod(pod) if pod.pod == wanted)
}

fn is_standing(what: &Happening) -> bool {
    matches!(what, Happening::Standing(_))
}

/// The primary is beaten while it runs: it is withdrawn after so many milliseconds, saying this meanwhile.
fn beaten(story: &mut Story, exposure: u64, state: State) {
    story.drop_where(|at, what| (10_000..16_300).contains(&at) && !matches!(what, Happening::Client { .. }));
    story.state(10_290, "a", state);
    story.state(10_300, "b", writable(2));
    story.label(10_301, "b", None);
    let withdrawn = 10_300 + exposure;
    story.label(withdrawn, "a", Some("orphan"));
    story.endpoints(withdrawn + 20, ServiceOf::Writes, &[]);
    story.endpoints(withdrawn + 20, ServiceOf::Reads, &[]);
    story.mark(withdrawn + 30, SYSTEM, 2, "b");
    story.label(withdrawn + 40, "b", Some("primary"));
    story.endpoints(withdrawn + 60, ServiceOf::Writes, &["b"]);
    story.drop_where(|at, what| (10_300..18_000).contains(&at) && matches!(what, Happening::Client { .. }));
    story.state(17_000, "a", standby(2));
    story.label(17_050, "a", Some("replica"));
    story.endpoints(17_100, ServiceOf::Reads, &["a"]);
}

#[test]
fn the_sound_history_breaks_no_rule_and_every_rule_was_looked_at() {
    let verdict = check(&Story::sound().history());
    let broken: Vec<&Finding> = verdict.broken().collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!(verdict.findings.len(), 11);
    assert_eq!(verdict.outages.len(), 1);
    assert_eq!(verdict.outages[0].failed, 1);
    assert!(verdict.losses.is_empty());
}

#[test]
fn two_primaries_are_caught_on_the_watch_and_in_the_answers() {
    let watched = broken(|story| {
        story.drop_where(|at, what| at == 10_020 && is_label_of(what, "a"));
        story.label(10_345, "a", None);
    });
    assert_eq!(watched, ["one-primary-label"]);
    // The watch was broken and saw neither; the API server accepted both.
    let answered = broken(|story| story.drop_where(|at, what| at == 10_015 && matches!(what, Happening::Write(_))));
    assert_eq!(answered, ["one-primary-label"]);
}

#[test]
fn two_write_endpoints_are_caught_however_short() {
    let rules = broken(|story| {
        story.endpoints(20_000, ServiceOf::Writes, &["a", "b"]);
        story.endpoints(20_001, ServiceOf::Writes, &["b"]);
    });
    assert_eq!(rules, ["one-write-endpoint"]);
}

#[test]
fn a_server_below_the_mark_may_be_an_endpoint_for_a_second_and_no_longer() {
    let listed_until = |until: u64, part: Option<Part>| {
        broken(|story| {
            story.drop_where(|at, what| [10_050, 10_400].contains(&at) && matches!(what, Happening::Endpoints { .. }));
            story
                .drop_where(|at, what| (10_400..until + 100).contains(&at) && matches!(what, Happening::Client { .. }));
            if let Some(part) = part {
                story.struck(9000, 12_000, part, "it");
            }
            story.endpoints(until, ServiceOf::Writes, &["b"]);
        })
    };
    assert_eq!(listed_until(11_300, None), [""; 0]);
    assert_eq!(listed_until(11_400, None), ["no-stale-write-endpoint"]);
    // While the controller-manager is away nobody copies labels; it is given its second from the heal.
    assert_eq!(listed_until(12_900, Some(Part::ControllerManager)), [""; 0]);
    assert_eq!(
        listed_until(13_100, Some(Part::ControllerManager)),
        ["no-stale-write-endpoint"]
    );
    assert_eq!(listed_until(12_900, Some(Part::Dns)), ["no-stale-write-endpoint"]);
}

#[test]
fn an_endpoint_whose_label_is_off_may_wait_for_an_informer_that_lost_its_api_server() {
    let listed_until = |until: u64, part: Part, is_withdrawn: bool| {
        broken(|story| {
            story.drop_where(|at, what| {
                let is_label = [10_015, 10_020, 10_335, 10_340].contains(&at) && !is_withdrawn;
                let is_listed = [10_050, 10_400].contains(&at) && matches!(what, Happening::Endpoints { .. });
                // The first server comes back in no form.
                is_label || is_listed || [16_000, 16_100, 16_200].contains(&at)
            });
            story.drop_where(|at, what| (10_400..70_000).contains(&at) && matches!(what, Happening::Client { .. }));
            story.drop_where(|_, what| matches!(what, Happening::End));
            story.struck(5000, 8000, part, "it");
            story.endpoints(until, ServiceOf::Writes, &["b"]);
            story.add(80_000, Happening::End);
        })
    };
    let stale = "no-stale-write-endpoint";
    assert!(!listed_until(68_900, Part::ApiServer, true).contains(&stale));
    assert!(listed_until(69_100, Part::ApiServer, true).contains(&stale));
    assert!(listed_until(12_000, Part::ControllerManager, true).contains(&stale));
    assert!(listed_until(12_000, Part::ApiServer, false).contains(&stale));
}

#[test]
fn a_server_that_the_observer_did_not_hear_in_time_is_not_taken_for_stale() {
    let rules = broken(|story| {
        story.drop_where(|at, what| at == 10_300 && is_standing(what));
        story.state(10_200, "b", State::Silent);
        story.state(13_000, "b", writable(2));
    });
    assert_eq!(rules, [""; 0]);
}

#[test]
fn a_wiped_server_is_below_the_mark_whatever_its_timeline() {
    let rules = broken(|story| {
        let (system, timeline) = ("8".to_owned(), 9);
        story.state(25_000, "b", State::Writable { system, timeline });
    });
    assert!(rules.contains(&"no-stale-write-endpoint"), "{rules:?}");
    assert!(rules.contains(&"roles-right-after-the-heal"), "{rules:?}");
}

#[test]
fn exposure_is_bounded_by_a_second_and_by_silence_for_who_does_not_answer() {
    let rules = |exposure, state: State| broken(|story| beaten(story, exposure, state));
    assert_eq!(rules(900, writable(1)), [""; 0]);
    assert_eq!(rules(1100, writable(1)), ["exposure"]);
    assert_eq!(rules(3900, State::Silent), [""; 0]);
    assert_eq!(rules(4100, State::Silent), ["exposure"]);
}

#[test]
fn a_new_leader_is_given_the_time_to_hear_every_server() {
    // The second one is who led before, and had lost the Lease meanwhile.
    for holder in ["pgsteer-1_12345678", "pgsteer-0_0badcafe"] {
        let rules = |exposure| {
            broken(|story| {
                beaten(story, exposure, writable(1));
                story.struck(10_000, 10_000, Part::ApiServer, "etcd");
                story.lease(11_000, holder, 4);
            })
        };
        assert_eq!(rules(4600), [""; 0], "{holder}");
        assert_eq!(rules(4800), ["exposure"], "{holder}");
    }
}

#[test]
fn a_write_on_a_connection_that_the_name_did_not_make_is_caught() {
    // `a` was out of the slice at 10050: kube-proxy's rules may lead there until 11350.
    let begun = |began: u64| broken(|story| story.wrote_over(began + 50, began, SessionKind::Fresh, "a", 1));
    assert_eq!(begun(11_340), [""; 0]);
    assert_eq!(begun(11_360), ["writes-routed-right"]);
}

#[test]
fn a_port_that_led_to_a_server_may_lead_there_again_for_two_minutes() {
    let begun = |earlier: u64, port: u16, began: u64| {
        broken(|story| {
            story.drop_where(|_, what| matches!(what, Happening::End));
            story.failed(earlier, Kind::Write);
            story.over_port(4000);
            story.wrote_over(began + 50, began, SessionKind::Fresh, "a", 1);
            story.over_port(port);
            story.add(150_000, Happening::End);
        })
    };
    let astray = "writes-routed-right";
    // The name led to `a` until 10050; kube-proxy's rules may have until 11350.
    assert!(!begun(9000, 4000, 128_900).contains(&astray));
    assert!(begun(9000, 4000, 129_100).contains(&astray), "forgotten");
    assert!(begun(9000, 4001, 20_000).contains(&astray), "another port");
    assert!(
        begun(12_000, 4000, 20_000).contains(&astray),
        "it did not lead there any more"
    );
}

#[test]
fn the_lag_of_the_rules_is_counted_from_the_heal_of_what_holds_them() {
    let begun = |began: u64, part, name: &str| {
        broken(|story| {
            story.struck(9000, 14_000, part, name);
            story.wrote_over(began + 50, began, SessionKind::Fresh, "a", 1);
        })
    };
    assert_eq!(begun(15_200, Part::KubeProxy, "n3"), [""; 0]);
    assert_eq!(begun(15_400, Part::KubeProxy, "n3"), ["writes-routed-right"]);
    assert_eq!(begun(13_000, Part::Node, "n3"), [""; 0]);
    assert_eq!(begun(13_000, Part::Node, "n1"), ["writes-routed-right"]);
}

#[test]
fn a_session_that_outlived_the_switch_is_counted_and_not_condemned() {
    let mut story = Story::sound();
    story.wrote_over(13_000, 5000, SessionKind::Kept, "a", 1);
    let verdict = check(&story.history());
    assert!(verdict.passed(), "{:?}", verdict.broken().collect::<Vec<_>>());
    let writes = verdict
        .findings
        .iter()
        .find(|finding| finding.rule == "writes-routed-right");
    let seen = &writes.expect("a finding").seen;
    assert!(seen.contains("1 of these over sessions that outlived"), "{seen}");
}

#[test]
fn a_read_served_by_an_orphan_is_caught() {
    let orphaned = |story: &mut Story| {
        story.label(26_000, "a", Some("orphan"));
        story.state(25_999, "a", writable(1));
    };
    let listed = broken(|story| {
        orphaned(story);
        story.drop_where(|at, what| at > 26_000 && matches!(what, Happening::Client { kind: Kind::Read, .. }));
    });
    assert!(listed.contains(&"reads-never-by-an-orphan"), "{listed:?}");
    let served = broken(|story| {
        orphaned(story);
        story.endpoints(26_100, ServiceOf::Reads, &[]);
        story.drop_where(|at, what| at > 27_400 && matches!(what, Happening::Client { kind: Kind::Read, .. }));
        story.read(28_000, "a");
    });
    assert!(served.contains(&"reads-never-by-an-orphan"), "{served:?}");
}

#[test]
fn a_write_of_an_ended_reign_is_caught_where_it_is_accepted() {
    let late = |stamp: &'static str, code: u16| {
        broken(|story| {
            story.edited(20_000, "b", RoleEdit::None, "4.1.12345678");
            story.edited(21_000, "b", RoleEdit::None, stamp);
            if let Some(Happening::Write(write)) = story.events.last_mut().map(|event| &mut event.what) {
                write.code = code;
            }
        })
    };
    assert_eq!(late("3.9.0badcafe", 200), ["no-write-of-an-ended-reign"]);
    assert_eq!(late("3.9.0badcafe", 409), [""; 0]);
    assert_eq!(late("4.2.12345678", 200), [""; 0]);
    // Two processes under one term.
    assert_eq!(late("4.2.87654321", 200), ["no-write-of-an-ended-reign"]);
}

#[test]
fn a_write_to_an_object_that_the_new_reign_has_not_touched_is_late_once_it_has_granted() {
    let rules = broken(|story| {
        story.edited(20_000, "b", RoleEdit::To("primary".to_owned()), "4.1.12345678");
        story.edited(21_000, "a", RoleEdit::None, "3.9.0badcafe");
    });
    assert_eq!(rules, ["no-write-of-an-ended-reign"]);
}

#[test]
fn roles_have_to_be_right_in_time_and_to_stay_so() {
    let labelled = |at: u64| {
        broken(|story| {
            story.drop_where(|at, what| at == 16_100 && is_label_of(what, "a"));
            story.drop_where(|at, what| at >= 16_200 && matches!(what, Happening::Endpoints { .. }));
            story.drop_where(|at, what| at > 16_200 && matches!(what, Happening::Client { kind: Kind::Read, .. }));
            story.label(at, "a", Some("replica"));
            story.endpoints(at, ServiceOf::Reads, &["a"]);
        })
    };
    assert_eq!(labelled(20_200), [""; 0]);
    assert_eq!(labelled(20_400), ["roles-right-after-the-heal"]);
    let lost = broken(|story| story.label(17_000, "b", None));
    assert_eq!(lost, ["roles-right-after-the-heal"]);
    let unlisted = broken(|story| story.endpoints(17_000, ServiceOf::Writes, &[]));
    assert!(unlisted.contains(&"roles-right-after-the-heal"), "{unlisted:?}");
}

#[test]
fn a_primary_that_pauses_keeps_its_role_and_one_that_is_silent_does_not() {
    let silent = |from: u64| broken(|story| story.state(from, "b", State::Silent));
    assert_eq!(silent(37_500), [""; 0]);
    assert_eq!(silent(36_500), ["roles-right-after-the-heal"]);
}

#[test]
fn a_label_that_changes_without_a_cause_is_caught() {
    let wavering = |at: u64| {
        broken(|story| {
            story.label(at, "a", None);
            story.label(at + 1, "a", Some("replica"));
        })
    };
    assert_eq!(wavering(9_500), [""; 0], "the servers were first heard of 10 s before");
    assert!(wavering(30_000).contains(&"steady-labels"));
}

#[test]
fn a_lost_write_is_laid_at_the_right_door() {
    let told = [
        (
            "before the promotion",
            10_250,
            10_245,
            SessionKind::Fresh,
            Cause::Failover,
        ),
        (
            "by the rules that lagged",
            10_950,
            10_945,
            SessionKind::Fresh,
            Cause::Exposure,
        ),
        (
            "over an old session",
            15_050,
            5000,
            SessionKind::Kept,
            Cause::StaleSession,
        ),
        (
            "by a name that led astray",
            15_050,
            15_045,
            SessionKind::Fresh,
            Cause::Routing,
        ),
    ];
    for (name, at, began, session, cause) in told {
        let mut story = Story::sound();
        story.wrote_over(at, began, session, "a", 1);
        for event in &mut story.events {
            if let Happening::Rows(rows) = &mut event.what {
                rows.ids = vec![0..=at - 1, at + 1..=100_000];
            }
        }
        let verdict = check(&story.history());
        let causes: Vec<Cause> = verdict.losses.iter().map(|loss| loss.cause).collect();
        assert_eq!(causes, [cause], "{name}");
        let is_broken = verdict
            .broken()
            .any(|finding| finding.rule == "no-write-lost-by-routing");
        assert_eq!(is_broken, cause == Cause::Routing, "{name}");
    }
}

#[test]
fn a_row_that_was_acknowledged_after_the_rows_were_asked_for_is_not_lost() {
    for (asked, lost) in [(39_000, 0), (39_500, 1)] {
        let mut story = Story::sound();
        for event in &mut story.events {
            if let Happening::Rows(rows) = &mut event.what {
                rows.asked = Some(super::fixtures::ms(asked));
                rows.ids = vec![0..=39_399, 39_401..=100_000];
            }
        }
        assert_eq!(check(&story.history()).losses.len(), lost, "asked at {asked} ms");
    }
}

#[test]
fn a_history_with_holes_shows_nothing() {
    let cut_off = broken(|story| story.drop_where(|_, what| *what == Happening::End));
    assert_eq!(cut_off, ["recorded"]);
    let unobserved = broken(|story| story.drop_where(|_, what| is_standing(what)));
    assert!(unobserved.contains(&"recorded"), "{unobserved:?}");
    let deaf = broken(|story| story.drop_where(|_, what| matches!(what, Happening::Client { kind: Kind::Write, .. })));
    assert_eq!(deaf, ["recorded"]);
    let gap = |of, part| {
        broken(|story| {
            story.struck(9000, 9500, part, "n3");
            story.add(
                20_000,
                Happening::Gap {
                    of,
                    since: HostTime(1),
                    why: "lost".to_owned(),
                },
            );
        })
    };
    assert_eq!(gap(Heard::Client, Part::Dns), ["recorded"]);
    assert_eq!(gap(Heard::Client, Part::Node), [""; 0]);
    assert_eq!(gap(Heard::Watch, Part::Dns), [""; 0]);
}

#[test]
fn an_address_that_is_ending_is_used_while_none_is_ready() {
    let mut story = Story::sound();
    let (service, ending) = (ServiceOf::Writes, [address("a")]);
    story.drop_where(|at, what| at == 10_050 && matches!(what, Happening::Endpoints { .. }));
    story.add(
        10_050,
        Happening::Endpoints {
            service,
            ready: [].into(),
            terminating: ending.into(),
        },
    );
    story.wrote_over(11_400, 11_395, SessionKind::Fresh, "a", 1);
    let history = story.history();
    let verdict = check(&history);
    assert!(verdict.passed(), "{:?}", verdict.broken().collect::<Vec<_>>());
    let is_sorted = |events: &[Event]| events.is_sorted_by_key(|event| event.at);
    assert!(is_sorted(&history.events));
}
