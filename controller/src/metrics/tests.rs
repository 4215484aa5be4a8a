use super::*;
use crate::{clock::Tick, decide::Verdict, switch::Outcome};
use shared::role::Role;

const SETTLED: RouteState = RouteState::Decided(Verdict::Settled);

fn lines(metrics: &Metrics, start: &str) -> Vec<String> {
    let text = metrics.encode().unwrap();
    let mut lines: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with(start))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

fn view<const N: usize>(state: RouteState, pods: [(&str, Option<Role>); N]) -> RouteView {
    let pod = |role| PodView {
        role,
        standing: Evidence::InRecovery,
        lag: Some(512),
    };
    RouteView {
        state,
        writable: 1,
        mark_behind: Some(4096),
        mark_written: Some(1_700_000_000.5),
        pods: pods
            .into_iter()
            .map(|(name, role)| (name.to_owned(), pod(role)))
            .collect(),
    }
}

fn ended(granted: Option<Tick>) -> Ended {
    let second = |count: u64| Tick::from_nanos(count * 1_000_000_000);
    Ended {
        cause: Cause::Down,
        outcome: Outcome::Settled,
        from: None,
        to: None,
        began: second(10),
        withdrawn: None,
        granted,
        followed: Some(second(12)),
        ended: second(13),
        unwritable_since: Some(second(10)),
    }
}

#[test]
fn a_role_that_changes_and_a_pod_that_goes_leave_no_series_behind() {
    let metrics = Metrics::new();
    let before = [("node1", Some(Role::Primary)), ("node2", Some(Role::Replica))];
    metrics.show_route("pg", "ha", view(SETTLED, before));
    for pod in ["node1", "node2"] {
        metrics.probed("pg", "ha", pod, Evidence::Writable, Duration::from_millis(1));
    }
    metrics.show_route(
        "pg",
        "ha",
        view(SETTLED, [("node2", Some(Role::Primary)), ("node3", None)]),
    );
    let series = |pod, role| format!(r#"pgsteer_pod_role{{namespace="pg",route="ha",pod="{pod}",role="{role}"}} 1"#);
    assert_eq!(
        lines(&metrics, "pgsteer_pod_role{"),
        [series("node2", "primary"), series("node3", "none")]
    );
    // A probe that comes late brings nothing back.
    metrics.probed("pg", "ha", "node1", Evidence::Down, Duration::from_millis(1));
    let text = metrics.encode().unwrap();
    assert!(!text.contains("node1") && text.contains("node2"), "{text}");
}

#[test]
fn a_route_is_in_exactly_one_state() {
    let metrics = Metrics::new();
    metrics.show_route("pg", "ha", view(SETTLED, []));
    metrics.show_route("pg", "ha", view(RouteState::Refused, []));
    let states = lines(&metrics, "pgsteer_route_state{");
    assert_eq!(states.len(), 7);
    let present: Vec<_> = states.iter().filter(|line| line.ends_with(" 1")).collect();
    assert_eq!(
        present,
        [r#"pgsteer_route_state{namespace="pg",route="ha",state="Refused"} 1"#]
    );
}

#[test]
fn a_route_that_is_gone_takes_its_series_along_and_no_others() {
    let metrics = Metrics::new();
    for route in ["gone", "stays"] {
        metrics.show_route("pg", route, view(SETTLED, [("node1", Some(Role::Primary))]));
        metrics.show_conditions("pg", route, BTreeMap::from([("Blind".to_owned(), false)]));
        metrics.switched("pg", route, Cause::Gone);
        metrics.switch_ended("pg", route, &ended(Some(Tick::default())), None, SystemTime::UNIX_EPOCH);
        metrics.probed("pg", route, "node1", Evidence::Writable, Duration::from_millis(1));
    }
    metrics.forget_route("pg", "gone");
    metrics.forget_route("pg", "never-was");
    assert_eq!(metrics.encode().unwrap().matches(r#"route="gone""#).count(), 0);
    assert_eq!(lines(&metrics, "pgsteer_pod_role{").len(), 1);
    let counted = |line: &String| line.ends_with(" 1");
    let switches: Vec<_> = lines(&metrics, "pgsteer_switches_total")
        .into_iter()
        .filter(counted)
        .collect();
    assert_eq!(
        switches,
        [r#"pgsteer_switches_total{namespace="pg",route="stays",cause="gone"} 1"#]
    );
}

#[test]
fn a_follower_shows_no_route() {
    let metrics = Metrics::new();
    metrics.leads(Term(7));
    metrics.show_route("pg", "ha", view(SETTLED, [("node1", Some(Role::Primary))]));
    assert_eq!(lines(&metrics, "pgsteer_leader "), ["pgsteer_leader 1"]);
    metrics.follows();
    let text = metrics.encode().unwrap();
    assert!(!text.contains("route=\"ha\""), "{text}");
    assert_eq!(lines(&metrics, "pgsteer_leader "), ["pgsteer_leader 0"]);
    assert_eq!(lines(&metrics, "pgsteer_term "), ["pgsteer_term 7"]);
}

#[test]
fn a_switch_is_measured_once_it_granted_and_its_trace_is_named() {
    let metrics = Metrics::new();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let end = |granted| {
        metrics.switch_ended(
            "pg",
            "ha",
            &ended(granted),
            Some(trace.to_owned()),
            SystemTime::UNIX_EPOCH,
        );
    };
    end(None);
    assert!(
        lines(&metrics, "pgsteer_switch_seconds_count").is_empty(),
        "a repair is no switch"
    );
    end(Some(Tick::from_nanos(11_000_000_000)));
    let labels = r#"{namespace="pg",route="ha"}"#;
    assert_eq!(
        lines(&metrics, "pgsteer_switch_seconds_sum"),
        [format!("pgsteer_switch_seconds_sum{labels} 3.0")]
    );
    let outage = format!("pgsteer_write_outage_seconds_sum{labels} 2.0");
    assert_eq!(lines(&metrics, "pgsteer_write_outage_seconds_sum"), [outage]);
    let named = |line: &String| line.contains(&format!(r#"# {{trace_id="{trace}"}} "#));
    for family in ["pgsteer_switch_seconds_bucket", "pgsteer_write_outage_seconds_bucket"] {
        assert_eq!(lines(&metrics, family).into_iter().filter(named).count(), 1, "{family}");
    }
}

#[test]
fn everything_is_shown_under_its_documented_name() {
    let metrics = Metrics::new();
    metrics.show_route("pg", "ha", view(SETTLED, [("node1", None)]));
    metrics.show_conditions("pg", "ha", BTreeMap::from([("Settled".to_owned(), true)]));
    metrics.wrote(Write::Grant, WriteOutcome::Conflict);
    metrics.called("PATCH", "pods", Duration::from_millis(3));
    metrics.probed("pg", "ha", "node1", Evidence::InRecovery, Duration::from_millis(3));
    metrics.turned(Duration::from_millis(12));
    metrics.waits(Queue::Sightings, 5);
    metrics.holds("pods", 7);
    let text = metrics.encode().unwrap();
    for expected in [
        concat!(r#"pgsteer_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
        r#"pgsteer_writes_total{action="grant",outcome="conflict"} 1"#,
        r#"pgsteer_api_request_seconds_count{method="PATCH",resource="pods"} 1"#,
        r#"pgsteer_probes_total{namespace="pg",route="ha",pod="node1",outcome="in_recovery"} 1"#,
        r#"pgsteer_probe_seconds_bucket{le="0.002",namespace="pg",route="ha"} 0"#,
        r#"pgsteer_probe_seconds_bucket{le="0.004",namespace="pg",route="ha"} 1"#,
        r#"pgsteer_route_condition{namespace="pg",route="ha",condition="Settled"} 1"#,
        r#"pgsteer_route_writable_servers{namespace="pg",route="ha"} 1"#,
        r#"pgsteer_route_mark_behind_bytes{namespace="pg",route="ha"} 4096.0"#,
        r#"pgsteer_route_mark_written_timestamp_seconds{namespace="pg",route="ha"} 1700000000.5"#,
        r#"pgsteer_pod_standing{namespace="pg",route="ha",pod="node1",standing="in_recovery"} 1"#,
        r#"pgsteer_pod_lag_bytes{namespace="pg",route="ha",pod="node1"} 512.0"#,
        r#"pgsteer_queue_length{queue="sightings"} 5"#,
        r#"pgsteer_store_objects{kind="pods"} 7"#,
        "pgsteer_turn_seconds_count 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
    }
}
