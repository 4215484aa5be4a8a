use super::*;
use crate::cli::fixtures;

fn every_state() -> Vec<Known> {
    let states = [
        fixtures::settled(),
        fixtures::failover_under_way(),
        fixtures::stale_alone(),
        fixtures::split_brain(),
        fixtures::blind(),
        fixtures::refused(),
        fixtures::no_mark(),
        fixtures::paused(),
        fixtures::unknown(),
        fixtures::outdated(),
    ];
    states.into_iter().collect()
}

#[test]
fn every_state_has_its_rows_and_what_is_wrong_stands_below() {
    for (output, file) in [(Output::Table, "status.txt"), (Output::Wide, "status-wide.txt")] {
        let answer = print(&every_state(), None, output, fixtures::now()).unwrap();
        fixtures::assert_golden(file, &answer);
    }
}

#[test]
fn only_settled_routes_are_a_yes() {
    for (known, expected) in every_state()
        .into_iter()
        .zip([Exit::Yes].into_iter().chain(std::iter::repeat(Exit::No)))
    {
        assert_eq!(exit(std::slice::from_ref(&known)), expected, "{}", known.state());
    }
    assert_eq!(
        exit(&[fixtures::settled(), fixtures::blind()]),
        Exit::No,
        "one is enough"
    );
}

#[test]
fn programs_are_told_the_same_in_json_and_in_yaml() {
    let routes = [fixtures::stale_alone(), fixtures::unknown()];
    let json = print(&routes, None, Output::Json, fixtures::now()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    for (at, expected) in [
        ("/settled", serde_json::json!(false)),
        ("/routes/0/namespace", "shop".into()),
        ("/routes/0/name", "orders".into()),
        ("/routes/0/state", "NoPrimary".into()),
        ("/routes/0/members/0/role", "orphan".into()),
        ("/routes/0/members/1/evidence", "Down".into()),
        ("/routes/0/mark/lsn", "0/5000148".into()),
        ("/routes/0/lastSwitch/to", "db-1".into()),
        ("/routes/1/state", "Unknown".into()),
    ] {
        assert_eq!(json.pointer(at), Some(&expected), "{at}");
    }
    let yaml = print(&routes, None, Output::Yaml, fixtures::now()).unwrap();
    assert_eq!(serde_norway::from_str::<serde_json::Value>(&yaml).unwrap(), json);
}

#[test]
fn without_routes_or_a_leader_it_says_so() {
    let print = |warning, output| print(&[], warning, output, fixtures::now()).unwrap();
    assert_eq!(print(None, Output::Table), "there are no routes\n");
    let warned = "there are no routes\n\nnobody leads\n";
    assert_eq!(print(Some("nobody leads"), Output::Wide), warned);
    assert!(print(Some("nobody leads"), Output::Json).contains(r#""warning": "nobody leads""#));
}
