use super::*;
use crate::cli::fixtures;

fn preview(known: &Known, pod: &str) -> Preview {
    match judge(known, &fixtures::pod(pod)) {
        Judgement::Ask(preview) => *preview,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_would_be_given_up_is_shown() {
    let mut lost_volume = fixtures::stale_alone();
    let member = &mut lost_volume.route.status.as_mut().unwrap().members[0];
    member.timeline = Some(Timeline(2));
    member.why = "it takes writes, but on this timeline the primary was data-db-1, this is data-db-0".to_owned();
    let mut promoted_late = fixtures::stale_alone();
    let member = &mut promoted_late.route.status.as_mut().unwrap().members[0];
    member.timeline = Some(Timeline(10));
    member.why = "it takes writes, but it was promoted too far behind: it is at 0/3000000".to_owned();
    for (name, known) in [
        ("accept-down.txt", fixtures::stale_alone()),
        ("accept-other-data.txt", lost_volume),
        ("accept-up.txt", promoted_late),
        ("accept-no-mark.txt", fixtures::no_mark()),
    ] {
        fixtures::assert_golden(name, &preview(&known, "db-0").to_string());
    }
}

#[test]
fn what_cannot_be_accepted_is_refused_before_anything_is_written() {
    let refused = |known: Known, pod: &Pod, reason: &str| match judge(&known, pod) {
        Judgement::Refused(why) => assert!(why.contains(reason), "{why}"),
        other => panic!("{reason}: {other:?}"),
    };
    let (mut foreign, mut excluded) = (fixtures::pod("db-0"), fixtures::pod("db-0"));
    foreign.metadata.labels = None;
    let annotations = excluded.metadata.annotations.get_or_insert_default();
    annotations.insert(names::EXCLUDE.to_owned(), "true".to_owned());
    refused(fixtures::stale_alone(), &foreign, "its podSelector does not pick it");
    refused(fixtures::stale_alone(), &excluded, "a person excluded db-0");
    let paused = fixtures::annotate(fixtures::stale_alone(), names::PAUSED, "true");
    for (known, pod, reason) in [
        (fixtures::stale_alone(), "db-7", "no leader has looked at db-7 yet"),
        (
            fixtures::stale_alone(),
            "db-1",
            "db-1 does not take writes, its server is down",
        ),
        (fixtures::unknown(), "db-0", "no leader has looked at db-0 yet"),
        (
            fixtures::split_brain(),
            "db-0",
            "db-1 takes writes on timeline 2, db-0 on timeline 1",
        ),
        (paused, "db-0", "pgsteer resume shop/orders"),
    ] {
        refused(known, &fixtures::pod(pod), reason);
    }
}

#[test]
fn the_primary_whose_mark_it_is_needs_no_word() {
    assert_eq!(judge(&fixtures::settled(), &fixtures::pod("db-1")), Judgement::Already);
}

#[test]
fn a_yes_holds_while_only_positions_and_words_move() {
    let shown = preview(&fixtures::stale_alone(), "db-0");
    let change = |change: fn(&mut Preview)| {
        let mut other = shown.clone();
        change(&mut other);
        shown.means_the_same(&other)
    };
    assert!(change(|preview| preview.member.why = "another word".to_owned()));
    assert!(change(|preview| preview.mark.as_mut().unwrap().lsn.0 += 1));
    assert!(!change(|preview| preview.uid = "a later pod".to_owned()));
    assert!(!change(|preview| preview.member.timeline = Some(Timeline(3))));
    assert!(!change(|preview| preview.mark.as_mut().unwrap().timeline = Timeline(3)));
    assert!(!change(|preview| preview.others.push("db-2".to_owned())));
}
