use tower::ServiceExt as _;

use super::*;
use crate::{
    clock::ManualClock,
    election::lease_server::{Fate, LeaseServer},
};
use serde_json::json;

const TTL: Duration = Duration::from_secs(5);

struct Fixture {
    clock: Arc<ManualClock>,
    server: LeaseServer,
    cas: LeaseCas,
}

impl Fixture {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let cas = LeaseCas::new("me".to_owned(), TTL, Arc::<ManualClock>::clone(&clock));
        Self {
            clock,
            server: LeaseServer::default(),
            cas,
        }
    }

    async fn send(&self, method: Method, body: &Value) -> Result<(StatusCode, Value), BoxError> {
        let body = if method == Method::GET {
            Body::empty()
        } else {
            Body::from(serde_json::to_vec(body)?)
        };
        let request = Request::builder().method(method).uri("/lease").body(body)?;
        let (parts, body) = self.cas.layer(self.server.clone()).oneshot(request).await?.into_parts();
        Ok((parts.status, serde_json::from_slice(&body.collect().await?.to_bytes())?))
    }

    async fn get(&self) -> Value {
        self.send(Method::GET, &Value::Null).await.unwrap().1
    }

    /// The library's own patches, as far as they matter here.
    async fn patch(&self) -> Result<(StatusCode, Value), BoxError> {
        self.send(
            Method::PATCH,
            &json!({"metadata": {"name": "pgsteer"}, "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}),
        )
        .await
    }

    async fn post(&self) -> Result<(StatusCode, Value), BoxError> {
        let spec = json!({"holderIdentity": "me", "leaseTransitions": 0, "leaseDurationSeconds": 5});
        self.send(Method::POST, &json!({"metadata": {"name": "pgsteer"}, "spec": spec}))
            .await
    }
}

fn held_by(holder: &str, transitions: i32) -> Value {
    json!({"holderIdentity": holder, "leaseTransitions": transitions, "leaseDurationSeconds": 5,
           "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:00.000000Z"})
}

fn refused_with(error: &BoxError) -> Option<&CasError> {
    error.downcast_ref()
}

#[tokio::test]
async fn a_patch_carries_uid_and_resource_version_of_the_read_before_it() {
    let fixture = Fixture::new();
    fixture.server.put(&held_by("me", 3));
    let read = fixture.get().await;
    assert_eq!(fixture.patch().await.unwrap().0, StatusCode::OK);
    let (method, sent) = fixture.server.requests().pop().unwrap();
    assert_eq!(method, Method::PATCH);
    assert_eq!(sent["metadata"]["uid"], read["metadata"]["uid"]);
    assert_eq!(sent["metadata"]["resourceVersion"], read["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_patch_without_a_read_or_after_another_patch_is_not_sent() {
    let fixture = Fixture::new();
    fixture.server.put(&held_by("me", 3));
    for _ in 0..2 {
        let error = fixture.patch().await.unwrap_err();
        assert!(matches!(refused_with(&error), Some(CasError::NotRead)));
        fixture.get().await;
        fixture.patch().await.unwrap();
    }
    fixture.get().await;
    fixture.cas.intend(Intent::Renew);
    assert!(
        fixture.patch().await.is_err(),
        "what was read for another purpose is not a precondition"
    );
    let patches = fixture
        .server
        .requests()
        .into_iter()
        .filter(|(method, _)| *method == Method::PATCH);
    assert_eq!(patches.count(), 2);
}

#[tokio::test]
async fn of_two_who_read_the_same_lease_only_one_can_write() {
    let (first, mut second) = (Fixture::new(), Fixture::new());
    second.server = first.server.clone();
    first.server.put(&held_by("", 3));
    first.get().await;
    second.get().await;
    assert_eq!(first.patch().await.unwrap().0, StatusCode::OK);
    assert_eq!(second.patch().await.unwrap().0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_lease_made_anew_refuses_the_patch_meant_for_the_old_one() {
    let fixture = Fixture::new();
    fixture.server.put(&held_by("me", 3));
    fixture.get().await;
    fixture.server.delete();
    fixture.server.put(&held_by("me", 3));
    assert_eq!(fixture.patch().await.unwrap().0, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn the_term_that_is_written_follows_from_the_intent() {
    let cases = [
        (Intent::Contend, 8),
        (Intent::Renew, 7),
        (Intent::Raise(Term(20)), 20),
        (Intent::Raise(Term(2)), 7),
        (Intent::Release, 7),
    ];
    for (intent, term) in cases {
        let fixture = Fixture::new();
        fixture.server.put(&held_by("me", 7));
        fixture.cas.intend(intent);
        fixture.get().await;
        fixture.patch().await.unwrap();
        assert_eq!(fixture.server.term(), Some(term), "{intent:?}");
    }
}

#[tokio::test]
async fn a_term_that_a_hand_has_lowered_rises_above_the_highest_ever_seen() {
    let fixture = Fixture::new();
    fixture.server.put(&held_by("me", 41));
    fixture.get().await;
    fixture.server.put(&held_by("me", 0));
    fixture.get().await;
    fixture.patch().await.unwrap();
    assert_eq!(fixture.server.term(), Some(42));
}

#[tokio::test]
async fn when_the_terms_are_used_up_nothing_is_written() {
    let fixture = Fixture::new();
    fixture.server.put(&held_by("", i32::MAX));
    fixture.get().await;
    let error = fixture.patch().await.unwrap_err();
    assert!(
        matches!(refused_with(&error), Some(CasError::TermsExhausted)),
        "{error}"
    );
    assert_eq!(fixture.server.term(), Some(i32::MAX));
}

#[tokio::test]
async fn a_lease_is_made_anew_under_the_next_term_and_begins_with_a_probation() {
    for intent in [Intent::Contend, Intent::Renew] {
        let fixture = Fixture::new();
        fixture.cas.intend(intent);
        fixture.server.put(&held_by("other", 41));
        fixture.get().await;
        fixture.server.delete();
        fixture.get().await;
        assert_eq!(fixture.post().await.unwrap().0, StatusCode::CREATED);
        assert_eq!(fixture.server.term(), Some(42), "{intent:?}");
        assert_eq!(fixture.cas.probation(), Some(Tick::default() + TTL), "{intent:?}");
        fixture.clock.advance(TTL);
        assert_eq!(fixture.cas.probation(), None, "{intent:?}");
    }
}

#[tokio::test]
async fn a_lease_that_is_gone_is_not_made_anew_to_raise_its_term_or_to_release_it() {
    for intent in [Intent::Raise(Term(9)), Intent::Release] {
        let fixture = Fixture::new();
        fixture.cas.intend(intent);
        fixture.get().await;
        let error = fixture.post().await.unwrap_err();
        assert!(
            matches!(refused_with(&error), Some(CasError::Gone)),
            "{intent:?}: {error}"
        );
        assert!(fixture.server.lease().is_none(), "{intent:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_no_part_of_an_election_is_not_sent() {
    let fixture = Fixture::new();
    fixture.server.put(&held_by("me", 3));
    for method in [Method::PUT, Method::DELETE] {
        let error = fixture.send(method.clone(), &json!({})).await.unwrap_err();
        assert!(
            matches!(refused_with(&error), Some(CasError::Unforeseen(_))),
            "{method}: {error}"
        );
    }
    assert!(fixture.server.requests().is_empty());
}

#[tokio::test]
async fn a_read_that_fails_is_passed_on_and_is_no_precondition() {
    let fixture = Fixture::new();
    fixture.server.put(&held_by("me", 3));
    fixture.server.doom(Method::GET, Fate::Refused(StatusCode::FORBIDDEN));
    let (status, body) = fixture.send(Method::GET, &Value::Null).await.unwrap();
    assert_eq!((status, &body["reason"]), (StatusCode::FORBIDDEN, &json!("Forbidden")));
    assert!(fixture.patch().await.is_err() && fixture.cas.takeable_at().is_none());
}

#[tokio::test]
async fn what_a_watch_shows_dates_the_lease_and_wakes_the_candidate() {
    let fixture = Fixture::new();
    fixture.server.put(&held_by("other", 3));
    fixture.cas.see(fixture.server.lease().as_ref());
    fixture.cas.changed().await;
    assert_eq!(fixture.cas.holder().as_deref(), Some("other"));
    fixture.clock.advance(Duration::from_secs(3));
    fixture.get().await;
    assert_eq!(
        fixture.cas.takeable_at(),
        Some(Tick::default() + TTL),
        "counted from the event on, not from the read"
    );
}
