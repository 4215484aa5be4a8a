//! A person's word, given through the command line's own functions, to a leader that judges it.

use chaos::{postgres::Shutdown, wait::wait_for};
use controller::{
    cli::{
        accept::{self, Judgement, Outcome},
        pause,
        routes::ApiServer,
    },
    reign::RouteKey,
};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use shared::{ledger::Mark, names};

use super::{
    Pair,
    world::{LIMIT, World},
};

pub(crate) async fn a_word_is_refused_with_a_reason_or_carried_out(world: &World) {
    let Pair {
        scene, mut a, mut b, ..
    } = Pair::settled(world).await;
    let server = ApiServer::new(scene.client.clone(), scene.namespace.clone());
    let key = RouteKey {
        namespace: scene.namespace.clone(),
        name: "db".to_owned(),
    };
    assert!(pause::set(&server, &key, true, LIMIT).await.unwrap());
    assert!(pause::set(&server, &key, false, LIMIT).await.unwrap());
    // The command would refuse a standby itself: here the leader has to, and says so although no status changes.
    let looked = accept::look(&server, &key, "b").await.unwrap();
    assert!(matches!(looked, Judgement::Refused(_)), "{looked:?}");
    let uid = scene.api::<Pod>().get("b").await.unwrap().uid();
    annotate(&server, &key, uid.as_deref()).await;
    let note = scene.event("AcceptRefused").await;
    assert!(note.contains("b does not take writes"), "{note}");
    annotate(&server, &key, None).await;

    a.kill().await.unwrap();
    b.promote().await.unwrap();
    scene.roles(&[("a", None), ("b", Some("primary"))]).await;
    b.stop(Shutdown::Immediate).await.unwrap();
    a.start().await.unwrap();
    scene.roles(&[("a", Some("orphan")), ("b", None)]).await;
    let preview = wait_for(
        "the status to say that a takes writes",
        LIMIT,
        async || match accept::look(&server, &key, "a")
            .await
            .map_err(|error| error.to_string())?
        {
            Judgement::Ask(preview) if preview.others.is_empty() => Ok(preview),
            other => Err(format!("{other:?}")),
        },
    );
    let preview = preview.await.unwrap();
    let outcome = accept::accept(&server, &preview, LIMIT).await.unwrap();
    let done = |mark: &Mark| (mark.pod.as_str(), mark.timeline.0) == ("a", 1);
    assert!(matches!(&outcome, Outcome::Done(mark) if done(mark)), "{outcome:?}");
    scene.roles(&[("a", Some("primary")), ("b", None)]).await;
}

/// As a person with kubectl would: again and again, because the leader writes the same object.
async fn annotate(server: &ApiServer, key: &RouteKey, uid: Option<&str>) {
    let annotated = wait_for("the annotation to be taken", LIMIT, async || {
        let route = server.route(key).await.map_err(|error| error.to_string())?.route;
        let written = server.annotate(&route, names::ACCEPT, uid).await;
        written
            .map_err(|error| error.to_string())?
            .ok_or_else(|| "the route has changed".to_owned())
    });
    annotated.await.unwrap();
}
