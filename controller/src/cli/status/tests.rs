use super::*;
use crate::cli::fixtures;

/// What a person sees who may not reach the leader.
fn unreached(routes: Vec<Known>) -> Look {
    Look {
        routes,
        warning: None,
        figures: Figures {
            overviews: Vec::new(),
            missing: vec!["you may not reach leader pgsteer-system/pgsteer-6d-x2".to_owned()],
        },
    }
}

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
        let answer = print(&unreached(every_state()), output, fixtures::now()).unwrap();
        fixtures::assert_golden(file, &answer);
    }
}

#[test]
fn what_the_leader_says_right_now_is_in_the_table() {
    let figures = fixtures::figures();
    let mut known = fixtures::settled();
    known.freshen(&figures);
    let look = Look {
        routes: vec![known],
        warning: None,
        figures,
    };
    for (output, file) in [
        (Output::Table, "status-live.txt"),
        (Output::Wide, "status-live-wide.txt"),
    ] {
        fixtures::assert_golden(file, &print(&look, output, fixtures::now()).unwrap());
    }
    let json: serde_json::Value = serde_json::from_str(&print(&look, Output::Json, fixtures::now()).unwrap()).unwrap();
    assert_eq!(
        json.pointer("/routes/0/live/members/0/lagBytes"),
        Some(&1_600_000.into())
    );
}

#[test]
fn what_hurts_somebody_is_red_and_what_is_right_is_green() {
    let painted = |known| print(&unreached(vec![known]), Output::Table, fixtures::now()).unwrap();
    assert!(painted(fixtures::settled()).contains("\u{1b}[32mSettled"));
    assert!(painted(fixtures::stale_alone()).contains("\u{1b}[31mNoPrimary"));
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
    let look = unreached(vec![fixtures::stale_alone(), fixtures::unknown()]);
    let json = print(&look, Output::Json, fixtures::now()).unwrap();
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
    let yaml = print(&look, Output::Yaml, fixtures::now()).unwrap();
    assert_eq!(serde_norway::from_str::<serde_json::Value>(&yaml).unwrap(), json);
}

#[test]
fn without_routes_or_a_leader_it_says_so() {
    let print = |warning: Option<&str>, output| {
        let look = Look {
            routes: Vec::new(),
            warning: warning.map(str::to_owned),
            figures: Figures::default(),
        };
        print(&look, output, fixtures::now()).unwrap()
    };
    assert_eq!(print(None, Output::Table), "there are no routes\n");
    let warned = "there are no routes\n\nnobody leads\n";
    assert_eq!(print(Some("nobody leads"), Output::Wide), warned);
    assert!(print(Some("nobody leads"), Output::Json).contains(r#""warning": "nobody leads""#));
}
