use super::*;
use crate::history::{PodSeen, RoleEdit};

const BEGAN: HostTime = HostTime(1_000);

fn roles() -> Roles {
    Roles {
        primary: "pg-a".to_owned(),
        standby: "pg-b".to_owned(),
        holder: "pgsteer-1-x_00000001".to_owned(),
        began: BEGAN,
    }
}

fn event(at: u64, what: Happening) -> Event {
    Event { at: HostTime(at), what }
}

fn labelled(at: u64, pod: &str, role: Option<&str>) -> Event {
    let seen = PodSeen {
        pod: pod.to_owned(),
        uid: pod.to_owned(),
        address: None,
        node: None,
        role: role.map(str::to_owned),
        is_ready: true,
        is_terminating: false,
    };
    event(at, Happening::Pod(seen))
}

fn leads(at: u64, holder: &str) -> Event {
    let lease = Happening::Lease {
        holder: Some(holder.to_owned()),
        transitions: 2,
    };
    event(at, lease)
}

fn written(received: u64, from_pod: &str, stamp: &str, code: u16) -> Event {
    let write = AuditedWrite {
        received: HostTime(received),
        verb: "patch".to_owned(),
        resource: "pods".to_owned(),
        subresource: None,
        name: "pg-a-1-x".to_owned(),
        user: "controller".to_owned(),
        from_pod: Some(from_pod.to_owned()),
        stamp: Some(stamp.to_owned()),
        role: RoleEdit::Off,
        endpoints: None,
        code,
    };
    event(received, Happening::Write(write))
}

fn holds(expect: Expect, events: &[Event]) -> bool {
    let roles = roles();
    let seen = Seen {
        roles: &roles,
        events,
        rows: None,
    };
    expect.check(&seen).breaches.is_empty()
}

#[test]
fn a_label_that_was_so_before_the_round_has_not_changed_in_it() {
    let before = labelled(10, "pg-a-1-x", Some("primary"));
    let again = labelled(2_000, "pg-a-1-x", Some("primary"));
    assert!(holds(Expect::NoRoleChanges, &[before.clone(), again]));
    let off = labelled(2_000, "pg-a-1-x", None);
    assert!(!holds(Expect::NoRoleChanges, &[before, off]));
}

#[test]
fn a_beaten_server_must_not_be_granted_again_but_may_be_a_replica() {
    let story = |last: &str| {
        vec![
            labelled(10, "pg-a-1-x", Some("primary")),
            labelled(2_000, "pg-a-1-x", Some("orphan")),
            labelled(2_100, "pg-b-1-x", Some("primary")),
            labelled(3_000, "pg-a-1-x", Some(last)),
        ]
    };
    assert!(holds(Expect::NeverAgain(Who::Primary), &story("replica")));
    assert!(!holds(Expect::NeverAgain(Who::Primary), &story("primary")));
    assert!(holds(Expect::EndsPrimary(Who::Standby), &story("replica")));
    assert!(!holds(Expect::EndsPrimary(Who::Primary), &story("replica")));
}

#[test]
fn only_a_write_of_the_one_who_led_after_another_leads_is_late() {
    let another = leads(2_000, "pgsteer-1-y_00000002");
    let accepted_before = written(1_500, "pgsteer-1-x", "1.1.00000001", 200);
    let of_the_next = written(2_500, "pgsteer-1-y", "2.1.00000002", 200);
    let refused = written(3_000, "pgsteer-1-x", "1.2.00000001", 409);
    let accepted = written(3_000, "pgsteer-1-x", "1.2.00000001", 200);
    let leads_again = written(3_000, "pgsteer-1-x", "3.1.00000001", 200);
    let story = |late: Event| vec![accepted_before.clone(), another.clone(), of_the_next.clone(), late];
    assert!(holds(Expect::LateRequestsRefused, &story(refused)));
    assert!(!holds(Expect::LateRequestsRefused, &story(accepted)));
    assert!(holds(Expect::LateRequestsRefused, &story(leads_again)));
}

#[test]
fn a_leader_that_renews_has_not_moved() {
    let same = leads(2_000, "pgsteer-1-x_00000001");
    let next = leads(2_000, "pgsteer-1-x_00000002");
    assert!(holds(Expect::LeaderStays, std::slice::from_ref(&same)));
    assert!(!holds(Expect::LeaderMoves, &[same]));
    assert!(holds(Expect::LeaderMoves, &[next]), "a restart is another holder");
}

#[test]
fn a_row_that_was_acknowledged_and_is_gone_is_lost() {
    use crate::history::Rows;
    use crate::workload::{Answerer, Kind, Line, SessionKind};
    let by = Answerer {
        system: "1".to_owned(),
        timeline: 1,
        address: "10.0.0.1".to_owned(),
        in_recovery: false,
    };
    let line = |id: u64| Line {
        n: id,
        at: HostTime(2_000),
        began: HostTime(1_900),
        port: None,
        opened: Some(HostTime(1_950)),
        session: SessionKind::Fresh,
        outcome: Outcome::Written { id, by: by.clone() },
    };
    let acknowledged = |id: u64| {
        let client = Happening::Client {
            client: "w".to_owned(),
            kind: Kind::Write,
            line: line(id),
        };
        event(2_000, client)
    };
    let rows = Rows {
        pod: "pg-b-1-x".to_owned(),
        system: "1".to_owned(),
        timeline: 2,
        asked: None,
        ids: vec![1..=5],
    };
    let (roles, events) = (roles(), [acknowledged(5), acknowledged(6)]);
    let seen = |until: usize| Seen {
        roles: &roles,
        events: &events[..until],
        rows: Some(&rows),
    };
    assert!(Expect::NothingLost.check(&seen(1)).breaches.is_empty());
    assert_eq!(Expect::NothingLost.check(&seen(2)).breaches.len(), 1);
}
