use super::*;

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

#[test]
fn a_role_that_changes_and_a_pod_that_goes_leave_no_series_behind() {
    let metrics = Metrics::new();
    metrics.show_route(
        "pg",
        "ha",
        SETTLED,
        [("node1", Some(Role::Primary)), ("node2", Some(Role::Replica))],
    );
    metrics.show_route("pg", "ha", SETTLED, [("node2", Some(Role::Primary)), ("node3", None)]);
    let series = |pod, role| format!(r#"pgsteer_pod_role{{namespace="pg",route="ha",pod="{pod}",role="{role}"}} 1"#);
    assert_eq!(
        lines(&metrics, "pgsteer_pod_role{"),
        [series("node2", "primary"), series("node3", "none")]
    );
}

#[test]
fn a_route_is_in_exactly_one_state() {
    let metrics = Metrics::new();
    metrics.show_route("pg", "ha", SETTLED, []);
    metrics.show_route("pg", "ha", RouteState::Refused, []);
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
        metrics.show_route("pg", route, SETTLED, [("node1", Some(Role::Primary))]);
        metrics.switched("pg", route);
    }
    metrics.forget_route("pg", "gone");
    metrics.forget_route("pg", "never-was");
    assert_eq!(metrics.encode().unwrap().matches(r#"route="gone""#).count(), 0);
    assert_eq!(lines(&metrics, "pgsteer_pod_role{").len(), 1);
    let switches = [r#"pgsteer_switches_total{namespace="pg",route="stays"} 1"#];
    assert_eq!(lines(&metrics, "pgsteer_switches_total"), switches);
}

#[test]
fn a_follower_shows_no_route() {
    let metrics = Metrics::new();
    metrics.leads(Term(7));
    metrics.show_route("pg", "ha", SETTLED, [("node1", Some(Role::Primary))]);
    assert_eq!(lines(&metrics, "pgsteer_leader "), ["pgsteer_leader 1"]);
    metrics.follows();
    let text = metrics.encode().unwrap();
    assert!(!text.contains("route=\"ha\""), "{text}");
    assert_eq!(lines(&metrics, "pgsteer_leader "), ["pgsteer_leader 0"]);
    assert_eq!(lines(&metrics, "pgsteer_term "), ["pgsteer_term 7"]);
}

#[test]
fn writes_probes_and_turns_are_counted_under_their_documented_names() {
    let metrics = Metrics::new();
    metrics.wrote(Write::Grant, WriteOutcome::Conflict);
    metrics.probed(Evidence::InRecovery, Duration::from_millis(3));
    metrics.turned(Duration::from_millis(12));
    let text = metrics.encode().unwrap();
    for expected in [
        concat!(r#"pgsteer_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
        r#"pgsteer_writes_total{action="grant",outcome="conflict"} 1"#,
        r#"pgsteer_probes_total{outcome="in_recovery"} 1"#,
        r#"pgsteer_probe_seconds_bucket{le="0.002",outcome="in_recovery"} 0"#,
        r#"pgsteer_probe_seconds_bucket{le="0.004",outcome="in_recovery"} 1"#,
        "pgsteer_turn_seconds_count 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
    }
}
