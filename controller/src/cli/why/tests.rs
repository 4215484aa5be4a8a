use super::*;
use crate::cli::fixtures;

#[test]
fn every_state_is_explained_in_words() {
    for (name, known) in [
        ("settled", fixtures::settled()),
        ("failover-under-way", fixtures::failover_under_way()),
        ("stale-alone", fixtures::stale_alone()),
        ("split-brain", fixtures::split_brain()),
        ("blind", fixtures::blind()),
        ("refused", fixtures::refused()),
        ("no-mark", fixtures::no_mark()),
        ("paused", fixtures::paused()),
        ("unknown", fixtures::unknown()),
    ] {
        fixtures::assert_golden(&format!("why-{name}.txt"), &explain(&known, None, fixtures::now()));
    }
}

#[test]
fn one_pod_is_explained_without_the_others() {
    let answer = explain(&fixtures::stale_alone(), Some("db-0"), fixtures::now());
    fixtures::assert_golden("why-pod.txt", &answer);
}

#[test]
fn what_the_leader_has_not_seen_yet_is_said() {
    let says = |known: &Known| explain(known, None, fixtures::now());
    assert!(says(&fixtures::outdated()).contains("no leader has looked at it since"));
    let accepted = fixtures::annotate(fixtures::stale_alone(), "pgsteer.io/accept", "db-0-uid");
    assert!(says(&accepted).contains("accepted the pod with uid db-0-uid"));
    let paused = fixtures::annotate(fixtures::settled(), "pgsteer.io/paused", "true");
    assert!(says(&paused).contains("It is to be paused"));
    assert!(!says(&fixtures::paused()).contains("It is to be paused"));
}

#[test]
fn accepting_is_offered_only_for_servers_that_take_writes_and_are_not_primary() {
    for (known, offered) in [
        (fixtures::settled(), vec![]),
        (fixtures::failover_under_way(), vec![]),
        (fixtures::stale_alone(), vec!["db-0"]),
        (fixtures::split_brain(), vec!["db-0"]),
        (fixtures::no_mark(), vec!["db-0", "db-1"]),
    ] {
        let answer = explain(&known, None, fixtures::now());
        for pod in ["db-0", "db-1"] {
            let command = format!("pgsteer accept shop/orders {pod}\n");
            assert_eq!(answer.contains(&command), offered.contains(&pod), "{pod}: {answer}");
        }
    }
}
