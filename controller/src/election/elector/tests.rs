//! The elector over an API server in memory, in virtual time. Its candidates watch nothing, so each of them lives by its
//! own turns alone.

mod faults;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};

use super::*;
use crate::election::{
    StepDown,
    lease_server::{Fate, LeaseServer, TimerClock, pass},
    settings::{TTL_DEFAULT as TTL, identity},
};

/// Longer than anything here takes in virtual time; only a test that fails waits for it.
const LIMIT: Duration = Duration::from_mins(2);

struct Candidate {
    identity: String,
    clock: Arc<TimerClock>,
    handle: Handle,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

struct Fixture {
    clock: Arc<TimerClock>,
    server: LeaseServer,
}

// === impl Fixture ===

impl Fixture {
    fn new() -> Self {
        Self {
            clock: Arc::new(TimerClock::at_percent(100)),
            server: LeaseServer::default(),
        }
    }

    /// A server whose Lease nobody holds, so that the first candidate leads at once.
    fn with_free_lease() -> Self {
        let fixture = Self::new();
        fixture.server.put(&lease_of("", 6));
        fixture
    }

    fn candidate(&self, number: u32) -> Candidate {
        self.candidate_by(number, Arc::clone(&self.clock))
    }

    fn candidate_by(&self, number: u32, clock: Arc<TimerClock>) -> Candidate {
        let identity = identity("pgsteer", number);
        let settings = Settings::new("pgsteer", "pgsteer", identity.clone(), TTL).unwrap();
        let watch = LeaseServer::blind_client();
        let (elector, handle) =
            Elector::with_transport(self.server.clone(), watch, settings, Arc::<TimerClock>::clone(&clock));
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(elector.run(stop.clone()));
        Candidate {
            identity,
            clock,
            handle,
            stop,
            tasks,
        }
    }

    fn now(&self) -> Tick {
        self.clock.now()
    }

    fn requests_of(&self, method: &Method) -> usize {
        self.server.requests().iter().filter(|(each, _)| each == method).count()
    }
}

// === impl Candidate ===

impl Candidate {
    async fn leads(&self) -> Reign {
        self.reigns_beyond(0).await
    }

    /// Waits for a reign with a higher number.
    async fn reigns_beyond(&self, number: u64) -> Reign {
        let mut leadership = self.handle.leadership.clone();
        let begun = leadership.wait_for(|now| now.reign().is_some_and(|reign| reign.number > number));
        let begun = timeout(LIMIT, begun).await.expect("a reign begins").unwrap();
        begun.reign().unwrap().clone()
    }

    async fn follows(&self) {
        let mut leadership = self.handle.leadership.clone();
        let ended = leadership.wait_for(|now| now.reign().is_none());
        drop(timeout(LIMIT, ended).await.expect("the reign ends").unwrap());
    }

    fn may_write(&self) -> bool {
        permit(&self.handle.leadership.borrow(), self.clock.now()).is_ok()
    }

    fn reign(&self) -> Option<Reign> {
        self.handle.leadership.borrow().reign().cloned()
    }

    async fn stops(mut self) {
        self.stop.cancel();
        timeout(LIMIT, self.tasks.join_next()).await.expect("the elector stops");
    }
}

fn lease_of(holder: &str, transitions: i32) -> Value {
    json!({"holderIdentity": holder, "leaseTransitions": transitions, "leaseDurationSeconds": 5,
           "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:00.000000Z"})
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_lease_the_first_reign_begins_after_a_ttl() {
    let fixture = Fixture::new();
    let began = fixture.now();
    let reign = fixture.candidate(1).leads().await;
    assert_eq!(
        (reign.term, reign.number),
        (Term(2), 1),
        "one term for the probation, one for the reign"
    );
    assert!(reign.began.since(began) >= TTL && reign.began.since(began) < TTL + TTL / 5);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_holds_is_taken_at_once() {
    let fixture = Fixture::with_free_lease();
    let (began, candidate) = (fixture.now(), fixture.candidate(1));
    let reign = candidate.leads().await;
    assert_eq!(
        (reign.term, fixture.server.holder()),
        (Term(7), Some(candidate.identity.clone()))
    );
    assert!(reign.began.since(began) < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_lease_with_nothing_in_it_is_taken() {
    let fixture = Fixture::new();
    fixture.server.put(&json!({}));
    assert_eq!(fixture.candidate(1).leads().await.term, Term(1));
}

#[tokio::test(start_paused = true)]
async fn renewals_keep_one_reign_going_under_one_term() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    let first = candidate.leads().await;
    pass(TTL * 4).await;
    let later = candidate.reign().unwrap();
    assert_eq!(
        (later.number, later.term, later.began),
        (first.number, first.term, first.began)
    );
    assert!(later.until > first.until + TTL * 3 && !first.lost.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn renewals_are_not_announced() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    candidate.leads().await;
    let mut leadership = candidate.handle.leadership.clone();
    leadership.mark_unchanged();
    pass(TTL * 4).await;
    assert!(!leadership.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_reign_ends_on_its_tick_while_the_renewal_hangs() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    let reign = candidate.leads().await;
    pass(TTL).await;
    fixture.server.freeze(true);
    let until = candidate.reign().unwrap().until;
    timeout(LIMIT, reign.lost.cancelled()).await.expect("the reign ends");
    let late = fixture.now().since(until);
    assert!(
        fixture.now() >= until && late <= Duration::from_millis(2),
        "{late:?} late"
    );
    assert!(!candidate.may_write());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_after_the_time_ran_out_is_a_new_reign_under_a_higher_term() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    let first = candidate.leads().await;
    fixture.server.freeze(true);
    candidate.follows().await;
    fixture.server.freeze(false);
    let second = candidate.reigns_beyond(first.number).await;
    assert_eq!((second.number, second.term), (2, Term(8)));
    assert!(first.lost.is_cancelled() && !second.lost.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn failed_renewals_do_not_end_a_reign_before_its_time() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    let reign = candidate.leads().await;
    for fate in [
        Fate::Lost,
        Fate::Refused(StatusCode::INTERNAL_SERVER_ERROR),
        Fate::Unheard,
    ] {
        fixture.server.doom(Method::PATCH, fate);
    }
    pass(TTL * 2).await;
    assert_eq!(candidate.reign().map(|now| now.number), Some(reign.number));
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_whose_answer_was_lost_becomes_a_reign_under_a_higher_term() {
    let fixture = Fixture::with_free_lease();
    fixture.server.doom(Method::PATCH, Fate::Unheard);
    let candidate = fixture.candidate(1);
    assert_eq!(candidate.leads().await.term, Term(8));
}

#[tokio::test(start_paused = true)]
async fn a_slow_renewal_counts_from_when_it_was_asked_for() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    candidate.leads().await;
    fixture
        .server
        .doom(Method::PATCH, Fate::Slow(Duration::from_millis(900)));
    let before = candidate.reign().unwrap().until;
    while candidate.reign().unwrap().until == before {
        pass(Duration::from_millis(1)).await;
    }
    let left = candidate.reign().unwrap().until.since(fixture.now());
    let span = Settings::new("a", "a", &*candidate.identity, TTL).unwrap().reign_span();
    assert!(left + Duration::from_millis(899) <= span, "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_dies_is_replaced_after_a_ttl_and_not_before() {
    let fixture = Fixture::with_free_lease();
    let first = fixture.candidate(1);
    let lost = first.leads().await;
    let second = fixture.candidate(2);
    pass(TTL * 2).await;
    let until = first.reign().unwrap().until;
    let died = fixture.now();
    drop(first);
    let won = second.leads().await;
    assert!(won.began > until && won.term > lost.term);
    // Without a watch the renewal before the death may be seen a turn late.
    assert!(won.began.since(died) <= TTL + TTL / 5 + Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_without_a_word_leads_no_more() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    let reign = candidate.leads().await;
    let Candidate { handle, mut tasks, .. } = candidate;
    tasks.abort_all();
    tasks.join_next().await;
    assert!(reign.lost.is_cancelled() && handle.leadership.borrow().reign().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_gives_the_lease_back_after_its_reign_has_ended() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    let reign = candidate.leads().await;
    fixture.server.requests();
    let server = fixture.server.clone();
    let mut watching = JoinSet::new();
    watching.spawn(async move {
        reign.lost.cancelled().await;
        server.holder()
    });
    candidate.stops().await;
    assert!(
        watching.join_next().await.unwrap().unwrap().is_some(),
        "the Lease was still held when the reign ended"
    );
    assert_eq!((fixture.server.holder(), fixture.server.term()), (None, Some(7)));
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_stops_leaves_the_lease_alone() {
    let fixture = Fixture::new();
    fixture.server.put(&lease_of("other_00000009", 3));
    let candidate = fixture.candidate(1);
    let mut leadership = candidate.handle.leadership.clone();
    let seen = leadership.wait_for(|now| now.holder() == Some("other_00000009"));
    drop(timeout(LIMIT, seen).await.expect("the holder is named").unwrap());
    candidate.stops().await;
    assert_eq!(fixture.server.holder().as_deref(), Some("other_00000009"));
    assert_eq!(fixture.requests_of(&Method::PATCH), 0);
}

#[tokio::test(start_paused = true)]
async fn one_who_steps_down_blind_releases_the_lease_and_stays_away() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    let reign = candidate.leads().await;
    let pause = Duration::from_secs(30);
    candidate.handle.step_down(StepDown::Blind, pause).await;
    let gave_up = fixture.now();
    assert!(reign.lost.is_cancelled() && fixture.server.holder().is_none());
    let again = candidate.reigns_beyond(reign.number).await;
    assert!(again.began.since(gave_up) + Duration::from_millis(50) >= pause && again.term > reign.term);
}

#[tokio::test(start_paused = true)]
async fn a_zombie_stops_at_once_and_does_not_touch_the_lease() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    let reign = candidate.leads().await;
    fixture.server.freeze(true);
    // In the middle of a renewal that hangs.
    pass(TTL / 5 + Duration::from_millis(10)).await;
    fixture.server.requests();
    candidate
        .handle
        .step_down(StepDown::Zombie, Duration::from_secs(20))
        .await;
    assert!(reign.lost.is_cancelled() && !candidate.may_write());
    fixture.server.freeze(false);
    pass(Duration::from_secs(15)).await;
    assert_eq!(fixture.requests_of(&Method::PATCH), 0);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_was_under_way_does_not_revive_a_reign_that_was_given_up() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    let reign = candidate.leads().await;
    fixture
        .server
        .doom(Method::PATCH, Fate::Slow(Duration::from_millis(500)));
    pass(TTL / 5 + Duration::from_millis(100)).await;
    candidate.handle.step_down(StepDown::Zombie, Duration::ZERO).await;
    let next = candidate.reigns_beyond(reign.number).await;
    assert!(next.term > reign.term && next.number == 2);
}

#[tokio::test(start_paused = true)]
async fn a_raised_term_is_published_within_the_same_reign() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    let reign = candidate.leads().await;
    assert_eq!(candidate.handle.raise_term(Term(40)).await.unwrap(), Term(40));
    pass(TTL * 2 + TTL / 10).await;
    let raised = candidate.reign().unwrap();
    assert_eq!((raised.term, raised.number), (Term(40), reign.number));
    assert_eq!(fixture.server.term(), Some(40));
    fixture.server.requests();
    assert_eq!(candidate.handle.raise_term(Term(40)).await.unwrap(), Term(40));
    assert!(fixture.server.requests().is_empty(), "it is that high already");
}

#[tokio::test(start_paused = true)]
async fn a_term_is_not_raised_without_a_reign_or_beyond_what_a_lease_can_hold() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    let reign = candidate.leads().await;
    let beyond = Term(i32::MAX as u32 + 1);
    assert!(matches!(
        candidate.handle.raise_term(beyond).await,
        Err(RaiseError::TooHigh(_))
    ));
    assert!(!reign.lost.is_cancelled());
    candidate.handle.step_down(StepDown::Zombie, LIMIT).await;
    assert!(matches!(
        candidate.handle.raise_term(Term(9)).await,
        Err(RaiseError::NotLeader(_))
    ));
    let handle = candidate.handle.clone();
    candidate.stops().await;
    assert!(matches!(handle.raise_term(Term(9)).await, Err(RaiseError::Stopped)));
}

#[tokio::test(start_paused = true)]
async fn a_raise_that_is_refused_ends_the_reign() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    let reign = candidate.leads().await;
    fixture.server.put(&lease_of("other_00000009", 8));
    assert!(matches!(
        candidate.handle.raise_term(Term(40)).await,
        Err(RaiseError::Refused(Term(40)))
    ));
    assert!(reign.lost.is_cancelled());
    assert_eq!(
        (candidate.handle.leadership.borrow().holder(), fixture.server.term()),
        (Some("other_00000009"), Some(8))
    );
}

#[tokio::test(start_paused = true)]
async fn a_raise_outlives_somebodys_harmless_edit() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    let reign = candidate.leads().await;
    fixture.server.doom(Method::PATCH, Fate::Refused(StatusCode::CONFLICT));
    assert_eq!(candidate.handle.raise_term(Term(40)).await.unwrap(), Term(40));
    assert!(!reign.lost.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_raise_without_an_answer_that_was_carried_out_ends_the_reign_at_the_next_renewal() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    let reign = candidate.leads().await;
    fixture.server.doom(Method::PATCH, Fate::Unheard);
    assert!(matches!(
        candidate.handle.raise_term(Term(40)).await,
        Err(RaiseError::Unanswered(Term(40)))
    ));
    let next = candidate.reigns_beyond(reign.number).await;
    assert_eq!((next.term, next.number), (Term(41), 2));
}

#[tokio::test(start_paused = true)]
async fn a_lease_deleted_under_its_leader_is_made_anew_and_the_next_reign_waits_out_the_old_one() {
    let fixture = Fixture::with_free_lease();
    let (first, second) = (fixture.candidate(1), fixture.candidate(2));
    let reign = tokio::select! { reign = first.leads() => reign, reign = second.leads() => reign };
    fixture.server.delete();
    timeout(LIMIT, reign.lost.cancelled()).await.expect("the reign ends");
    let next = tokio::select! { next = first.leads() => next, next = second.leads() => next };
    assert!(next.term > reign.term && next.began >= reign.until);
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_while_on_probation_leaves_the_lease_to_expire() {
    let fixture = Fixture::new();
    let first = fixture.candidate(1);
    pass(TTL / 2).await;
    assert_eq!(fixture.server.holder().as_ref(), Some(&first.identity));
    let holder = first.identity.clone();
    first.stops().await;
    assert_eq!(fixture.server.holder(), Some(holder));
    let (began, second) = (fixture.now(), fixture.candidate(2));
    assert!(second.leads().await.began.since(began) >= TTL);
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_making_was_not_heard_of_is_on_probation_as_well() {
    let fixture = Fixture::new();
    fixture.server.doom(Method::POST, Fate::Unheard);
    let began = fixture.now();
    assert!(fixture.candidate(1).leads().await.began.since(began) >= TTL);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_else_took_ends_the_reign_at_the_next_renewal() {
    let fixture = Fixture::with_free_lease();
    let candidate = fixture.candidate(1);
    let reign = candidate.leads().await;
    fixture.server.put(&lease_of("other_00000009", 8));
    candidate.follows().await;
    assert!(reign.lost.is_cancelled() && fixture.now() < reign.until);
    assert_eq!(candidate.handle.leadership.borrow().holder(), Some("other_00000009"));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_refuses_is_not_asked_without_pause() {
    let fixture = Fixture::with_free_lease();
    for _ in 0..1000 {
        fixture.server.doom(Method::PATCH, Fate::Refused(StatusCode::FORBIDDEN));
    }
    let candidate = fixture.candidate(1);
    pass(Duration::from_secs(10)).await;
    let asked = fixture.requests_of(&Method::GET);
    assert!(
        (35..=42).contains(&asked),
        "{asked} attempts in ten seconds, four a second are meant"
    );
    assert!(candidate.reign().is_none());
}
