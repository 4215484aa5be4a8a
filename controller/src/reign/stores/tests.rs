use kube::runtime::reflector::store::Writer;
use serde_json::json;

use super::*;

fn pod(version: &str, role: Option<&str>) -> Pod {
    let labels: BTreeMap<&str, &str> = role.into_iter().map(|role| ("role", role)).collect();
    let pod = json!({
        "metadata": { "name": "a", "namespace": "pg", "uid": "1", "resourceVersion": version, "labels": labels },
    });
    serde_json::from_value(pod).unwrap()
}

/// A store that has listed one pod, and the way that watch events come in.
fn listed(first: Pod) -> (Followed<Pod>, impl FnMut(watcher::Event<Pod>)) {
    let (store, mut writer): (_, Writer<Pod>) = reflector::store();
    for event in [
        watcher::Event::Init,
        watcher::Event::InitApply(first),
        watcher::Event::InitDone,
    ] {
        writer.apply_watcher_event(&event);
    }
    let followed = Followed::new(store);
    followed.listed();
    (followed, move |event| writer.apply_watcher_event(&event))
}

fn versions(followed: &Followed<Pod>) -> Vec<u64> {
    let pods = followed.list("pg", |_| true);
    pods.iter().map(|pod| version(pod.as_ref())).collect()
}

#[test]
fn what_was_written_stays_known_until_the_watch_brings_something_newer() {
    let (followed, mut watch) = listed(pod("5", None));
    followed.show(pod("7", Some("primary")));
    assert_eq!(versions(&followed), [7], "the watch lags behind");
    let older = pod("6", None);
    watch(watcher::Event::Apply(older.clone()));
    followed.brought(&older);
    assert_eq!(versions(&followed), [7], "an older state is not news");
    let newer = pod("8", Some("replica"));
    watch(watcher::Event::Apply(newer.clone()));
    followed.brought(&newer);
    assert_eq!(versions(&followed), [8]);
}

#[test]
fn what_was_seen_once_is_not_unseen_by_an_event_that_comes_late() {
    let (followed, mut watch) = listed(pod("7", Some("primary")));
    let late = pod("5", None);
    watch(watcher::Event::Apply(late.clone()));
    followed.brought(&late);
    assert_eq!(versions(&followed), [7]);
    followed.forget(&pod("6", None));
    assert_eq!(versions(&followed), [7], "the deletion of one before");
    followed.forget(&pod("9", None));
    assert_eq!(versions(&followed), [0; 0]);
}

#[test]
fn what_a_new_list_does_not_have_is_gone() {
    let (followed, mut watch) = listed(pod("7", None));
    watch(watcher::Event::Init);
    watch(watcher::Event::InitDone);
    followed.listed();
    assert_eq!(versions(&followed), [0; 0]);
}
