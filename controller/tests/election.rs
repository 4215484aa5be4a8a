//! Elections on a real API server: what the election library does by itself, and what ours makes of it.
//!
//! One API server serves all scenarios, each with a Lease of its own, at the same time. The last ones freeze it, alone.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what went wrong by failing there"
)]
#![expect(clippy::print_stdout, reason = "the figures that were measured are worth reading")]
#![expect(
    clippy::disallowed_methods,
    reason = "here the tests themselves are somebody else who writes Leases"
)]

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use chaos::{
    cluster::{ControlPlane, process::Process},
    wait::wait_for,
};
use controller::{
    clock::{BootClock, Clock as _, Tick},
    election::{Elector, Handle, Leadership, RaiseError, Reign, Settings, StepDown, identity, permit},
};
use futures::future::{join_all, select_all};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, Config,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use kube_leader_election::{LeaseLock, LeaseLockParams, LeaseLockResult};
use rustix::process::Signal;
use serde_json::{Value, json};
use shared::term::Term;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "default";

/// The shortest that is allowed: these tests wait for it often.
const TTL: Duration = Duration::from_secs(2);

/// With this one a candidate looks every four seconds by itself: whoever is faster was told by the watch.
const LONG_TTL: Duration = Duration::from_secs(20);

/// Far beyond what anything here takes, on a host that builds something else beside it.
const LIMIT: Duration = Duration::from_secs(30);

/// How much later than promised is still on time here: other tests have the same two cores.
const SLACK: Duration = Duration::from_secs(1);

/// Rounds of the race. The library alone elects two or more in nine of ten.
const RACES: usize = 20;

/// A Lease of a scenario's own, and the means to contend for it.
#[derive(Clone)]
struct Arena {
    config: Config,
    leases: Api<Lease>,
    name: String,
}

/// One replica.
struct Candidate {
    identity: String,
    handle: Handle,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

// === impl Arena ===

impl Arena {
    fn new(config: &Config, name: &str) -> Self {
        let client = Client::try_from(config.clone()).unwrap();
        Self {
            config: config.clone(),
            leases: Api::namespaced(client, NAMESPACE),
            name: name.to_owned(),
        }
    }

    fn candidate(&self, number: u32) -> Candidate {
        self.candidate_for(number, TTL)
    }

    fn candidate_for(&self, number: u32, ttl: Duration) -> Candidate {
        let identity = identity("pgsteer", number);
        let settings = Settings::new(NAMESPACE, &*self.name, &*identity, ttl).unwrap();
        let (elector, handle) = Elector::new(self.config.clone(), settings, Arc::new(BootClock)).unwrap();
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(elector.run(stop.clone()));
        Candidate {
            identity,
            handle,
            stop,
            tasks,
        }
    }

    /// Makes the Lease, with these fields in its spec.
    async fn make(&self, spec: Value) {
        let lease = json!({"metadata": {"name": &self.name}, "spec": spec});
        let lease = serde_json::from_value(lease).unwrap();
        self.leases.create(&PostParams::default(), &lease).await.unwrap();
    }

    /// Writes these fields of its spec, without looking, as a person would.
    async fn edit(&self, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.leases
            .patch(&self.name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    async fn delete(&self) {
        drop(self.leases.delete(&self.name, &DeleteParams::default()).await.unwrap());
    }

    async fn holder(&self) -> Option<String> {
        let lease = self.leases.get(&self.name).await.unwrap();
        lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
    }

    async fn term(&self) -> Option<i32> {
        self.leases.get(&self.name).await.unwrap().spec?.lease_transitions
    }

    /// One attempt of the library as it comes, without anything of ours: whether it believes that it leads.
    async fn bare_attempt(&self, number: usize) -> bool {
        let mut config = self.config.clone();
        config.default_retry = false;
        let params = LeaseLockParams {
            holder_id: format!("bare-{number}"),
            lease_name: self.name.clone(),
            lease_ttl: TTL,
        };
        let lock = LeaseLock::new(Client::try_from(config).unwrap(), NAMESPACE, params);
        matches!(lock.try_acquire_or_renew().await, Ok(LeaseLockResult::Acquired(_)))
    }
}

// === impl Candidate ===

impl Candidate {
    async fn leads(&self) -> Reign {
        self.reigns_beyond(0).await
    }

    async fn reigns_beyond(&self, number: u64) -> Reign {
        let begun = |now: &Leadership| now.reign().is_some_and(|reign| reign.number > number);
        self.sees("to reign", begun).await.reign().unwrap().clone()
    }

    /// Waits until it follows this one.
    async fn follows(&self, leader: &Self) {
        let holder = Some(&*leader.identity);
        self.sees("to follow", |now| now.reign().is_none() && now.holder() == holder)
            .await;
    }

    async fn sees(&self, what: &str, condition: impl Fn(&Leadership) -> bool) -> Leadership {
        let mut leadership = self.handle.leadership.clone();
        let seen = timeout(LIMIT, leadership.wait_for(|now| condition(now)))
            .await
            .map(|seen| seen.unwrap().clone());
        seen.unwrap_or_else(|_| panic!("{} waits {what}: {:?}", self.identity, self.handle.leadership.borrow()))
    }

    fn reign(&self) -> Option<Reign> {
        self.handle.leadership.borrow().reign().cloned()
    }

    fn may_write(&self) -> bool {
        permit(&self.handle.leadership.borrow(), BootClock.now()).is_ok()
    }

    /// Ends it as SIGTERM does.
    async fn terminates(mut self) {
        self.stop.cancel();
        timeout(LIMIT, self.tasks.join_next()).await.expect("the elector stops");
    }

    /// Ends it as SIGKILL does: nothing more is sent.
    async fn dies(mut self) -> Tick {
        self.tasks.abort_all();
        self.tasks.join_next().await;
        BootClock.now()
    }
}

/// The first of them to reign, and its reign.
async fn first_of(candidates: &[Candidate]) -> (usize, Reign) {
    let (reign, index, _) = select_all(candidates.iter().map(|each| Box::pin(each.leads()))).await;
    (index, reign)
}

fn free() -> Value {
    held_by("", 0, Timestamp::UNIX_EPOCH)
}

fn held_by(holder: &str, transitions: i32, renewed: Timestamp) -> Value {
    let renewed = format!("{renewed:.6}");
    json!({"holderIdentity": holder, "leaseTransitions": transitions, "leaseDurationSeconds": 1,
           "acquireTime": renewed, "renewTime": renewed})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elections_on_a_real_api_server_have_one_winner_in_time_and_with_a_rising_term() {
    let directory = tempfile::tempdir().unwrap();
    let control_plane = ControlPlane::start(directory.path())
        .await
        .unwrap_or_else(|error| panic!("{:#}", anyhow::Error::from(error)));
    let arena = |name| Arena::new(&control_plane.config(), name);
    let mut scenarios = JoinSet::new();
    scenarios.spawn(candidates_who_race_elect_exactly_one_and_the_bare_library_does_not(
        arena("race"),
    ));
    scenarios.spawn(an_hour_of_skew_neither_hurries_nor_delays_a_takeover(
        arena("ahead"),
        SignedDuration::from_hours(1),
    ));
    scenarios.spawn(an_hour_of_skew_neither_hurries_nor_delays_a_takeover(
        arena("behind"),
        -SignedDuration::from_hours(1),
    ));
    scenarios.spawn(a_leader_that_terminates_is_followed_at_once(arena("terminated")));
    scenarios.spawn(a_leader_that_is_killed_is_followed_after_a_ttl(arena("killed")));
    scenarios.spawn(a_deleted_lease_is_made_anew_and_nobody_reigns_beside_its_last_holder(
        arena("deleted"),
    ));
    scenarios.spawn(a_lease_with_missing_fields_is_taken(arena("bare")));
    scenarios.spawn(a_term_is_raised_and_never_falls_whatever_becomes_of_the_lease(arena(
        "term",
    )));
    scenarios.spawn(one_who_is_blind_hands_over_and_stays_away(arena("blind")));
    while let Some(ended) = scenarios.join_next().await {
        ended.unwrap();
    }
    nobody_writes_while_the_api_server_is_frozen_and_then_a_new_reign_begins(arena("frozen"), directory.path()).await;
}

async fn candidates_who_race_elect_exactly_one_and_the_bare_library_does_not(arena: Arena) {
    arena.make(free()).await;
    let mut doubles = 0;
    for _ in 0..RACES {
        arena.edit(free()).await;
        let won = join_all((0..3).map(|number| arena.bare_attempt(number))).await;
        doubles += usize::from(won.iter().filter(|won| **won).count() > 1);
    }
    assert!(
        doubles > 0,
        "the library has learnt to compare and swap: the layer may go"
    );
    for race in 0..RACES {
        let number = u32::try_from(race * 3).unwrap();
        arena.edit(free()).await;
        let candidates: Vec<Candidate> = (number..number + 3).map(|number| arena.candidate(number)).collect();
        let settled = |now: &Leadership| now.holder().is_some();
        let settled = join_all(candidates.iter().map(|each| each.sees("for a winner", settled))).await;
        let winners = settled.iter().filter(|each| each.reign().is_some()).count();
        let holders: Vec<_> = settled.iter().filter_map(Leadership::holder).collect();
        assert!(
            winners == 1 && holders.iter().all(|holder| *holder == holders[0]),
            "race {race}: {settled:?}"
        );
    }
}

async fn an_hour_of_skew_neither_hurries_nor_delays_a_takeover(arena: Arena, skew: SignedDuration) {
    let held = || held_by("gone_00000001", 3, Timestamp::now() + skew);
    arena.make(held()).await;
    // By itself the library robs a holder whose clock is slow of what it has just renewed, and lets one whose clock is fast hold on
    // for an hour after its death.
    assert_eq!(
        arena.bare_attempt(0).await,
        skew.is_negative(),
        "the library has learnt not to compare two hosts' clocks: the layer may go"
    );
    arena.edit(held()).await;
    let began = BootClock.now();
    let candidate = arena.candidate(1);
    let reign = candidate.leads().await;
    let waited = reign.began.since(began);
    assert!(waited >= TTL && waited <= TTL + SLACK, "taken over after {waited:?}");
    assert_eq!(reign.term, Term(4));
}

async fn a_leader_that_terminates_is_followed_at_once(arena: Arena) {
    arena.make(free()).await;
    let mut candidates: Vec<Candidate> = (0..3).map(|number| arena.candidate_for(number, LONG_TTL)).collect();
    let (mut gaps, mut before) = (Vec::new(), Term(0));
    for number in 3..13 {
        let (leader, reign) = first_of(&candidates).await;
        assert!(reign.term > before, "term {} after {before}", reign.term);
        before = reign.term;
        let leader = candidates.swap_remove(leader);
        join_all(candidates.iter().map(|each| each.follows(&leader))).await;
        let asked = BootClock.now();
        leader.terminates().await;
        let (_, next) = first_of(&candidates).await;
        gaps.push(next.began.since(asked));
        candidates.push(arena.candidate_for(number, LONG_TTL));
    }
    gaps.sort();
    println!("from SIGTERM to the next leader: {gaps:?}");
    assert!(
        gaps[gaps.len() / 2] <= Duration::from_millis(300),
        "half take longer than promised: {gaps:?}"
    );
    assert!(
        gaps[gaps.len() - 1] <= SLACK,
        "one takes far longer than promised: {gaps:?}"
    );
}

async fn a_leader_that_is_killed_is_followed_after_a_ttl(arena: Arena) {
    arena.make(free()).await;
    let mut candidates: Vec<Candidate> = (0..3).map(|number| arena.candidate(number)).collect();
    let mut gaps = Vec::new();
    for number in 3..5 {
        let (leader, _) = first_of(&candidates).await;
        let leader = candidates.swap_remove(leader);
        join_all(candidates.iter().map(|each| each.follows(&leader))).await;
        let until = leader.reign().unwrap().until;
        let killed = leader.dies().await;
        let (_, next) = first_of(&candidates).await;
        assert!(
            next.began >= until,
            "it reigns before the reign of the dead one is over"
        );
        gaps.push(next.began.since(killed));
        candidates.push(arena.candidate(number));
    }
    println!("from SIGKILL to the next leader, ttl {TTL:?}: {gaps:?}");
    assert!(gaps.iter().all(|gap| *gap <= TTL + SLACK), "{gaps:?}");
}

async fn a_deleted_lease_is_made_anew_and_nobody_reigns_beside_its_last_holder(arena: Arena) {
    let candidates = [arena.candidate(0), arena.candidate(1)];
    let (leader, reign) = first_of(&candidates).await;
    let (leader, other) = (&candidates[leader], &candidates[1 - leader]);
    other.follows(leader).await;
    let until = leader.reign().unwrap().until;
    arena.delete().await;
    timeout(LIMIT, reign.lost.cancelled()).await.expect("the reign ends");
    let (_, next) = first_of(&candidates).await;
    assert!(
        next.began >= until && next.term > reign.term,
        "{next:?} after {reign:?}"
    );
}

async fn a_lease_with_missing_fields_is_taken(arena: Arena) {
    arena.make(json!({})).await;
    let first = arena.candidate(1);
    assert_eq!(first.leads().await.term, Term(1));
    first.dies().await;
    let nothing_but_a_holder = json!({"holderIdentity": "gone", "acquireTime": null, "renewTime": null,
                                      "leaseDurationSeconds": null, "leaseTransitions": null});
    arena.edit(nothing_but_a_holder).await;
    assert_eq!(arena.candidate(2).leads().await.term, Term(1));
}

async fn a_term_is_raised_and_never_falls_whatever_becomes_of_the_lease(arena: Arena) {
    arena.make(free()).await;
    let (first, second) = (arena.candidate(1), arena.candidate(2));
    let candidates = [first, second];
    let (leader, reign) = first_of(&candidates).await;
    let (leader, other) = (&candidates[leader], &candidates[1 - leader]);
    assert_eq!(leader.handle.raise_term(Term(50)).await.unwrap(), Term(50));
    let raised = leader.reign().unwrap();
    assert_eq!(
        (raised.term, raised.number, arena.term().await),
        (Term(50), reign.number, Some(50))
    );
    assert!(!reign.lost.is_cancelled() && leader.may_write());

    // A hand lowers it: the reign ends, and the next one is above both.
    other.follows(leader).await;
    arena.edit(json!({"leaseTransitions": 2})).await;
    timeout(LIMIT, reign.lost.cancelled()).await.expect("the reign ends");
    let (again, higher) = first_of(&candidates).await;
    assert!(higher.term > Term(50), "{higher:?}");

    // Somebody else takes it: raising is refused, and ends the reign.
    let leader = &candidates[again];
    arena.edit(json!({"holderIdentity": "other_00000009"})).await;
    let refused = leader.handle.raise_term(Term(90)).await.unwrap_err();
    assert!(
        matches!(refused, RaiseError::Refused(_) | RaiseError::NotLeader(_)),
        "{refused:?}"
    );
    assert!(higher.lost.is_cancelled() && !leader.may_write());
    let (_, last) = first_of(&candidates).await;
    assert!(last.term > higher.term, "{last:?} after {higher:?}");
}

async fn one_who_is_blind_hands_over_and_stays_away(arena: Arena) {
    arena.make(free()).await;
    let candidates = [arena.candidate(1), arena.candidate(2)];
    let (leader, reign) = first_of(&candidates).await;
    let (leader, other) = (&candidates[leader], &candidates[1 - leader]);
    other.follows(leader).await;
    leader.handle.step_down(StepDown::Blind, LIMIT).await;
    assert!(reign.lost.is_cancelled());
    other.leads().await;
    leader.follows(other).await;
    assert_eq!(arena.holder().await.as_ref(), Some(&other.identity));
}

async fn nobody_writes_while_the_api_server_is_frozen_and_then_a_new_reign_begins(arena: Arena, directory: &Path) {
    arena.make(free()).await;
    let candidate = arena.candidate(1);
    let reign = candidate.leads().await;
    let api_server = process(directory, "kube-apiserver");
    assert!(api_server.signal(Signal::STOP).unwrap());
    let last = Mutex::new(reign.until);
    let over = wait_for("the reign to end", LIMIT, || async {
        match candidate.reign() {
            Some(reign) => {
                *last.lock().unwrap() = reign.until;
                Err(format!("it reigns until {:?}", reign.until))
            }
            None => Ok(BootClock.now()),
        }
    });
    let (over, until) = (over.await.unwrap(), *last.lock().unwrap());
    assert!(reign.lost.is_cancelled() && !candidate.may_write());
    assert!(
        over >= until && over.since(until) <= SLACK,
        "ended {:?} late",
        over.since(until)
    );
    assert!(api_server.signal(Signal::CONT).unwrap());
    let next = candidate.reigns_beyond(reign.number).await;
    assert!(next.number == 2 && next.term > reign.term, "{next:?} after {reign:?}");
}

/// The process that wrote itself down under this name.
fn process(directory: &Path, name: &str) -> Process {
    let stat = std::fs::read_to_string(directory.join("try-1/pid").join(name)).unwrap();
    Process::parse(&stat).unwrap()
}
