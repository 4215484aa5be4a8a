//! Three candidates, and an API server that loses, delays and refuses as it likes. The clock of one
//! runs four percent slow, and that of another four percent fast: within the margin of a tenth.

use std::collections::BTreeMap;

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use super::*;

/// Each is a minute of virtual time and about forty milliseconds of real time.
const SEEDS: u64 = 60;

#[test]
fn whatever_the_api_server_does_there_is_never_a_second_leader() {
    let mut reigns = 0;
    for seed in 0..SEEDS {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        reigns += runtime.block_on(a_minute_of_faults(seed));
    }
    assert!(reigns > 120, "only {reigns} reigns: the faults leave nothing to test");
}

async fn a_minute_of_faults(seed: u64) -> usize {
    let mut random = SmallRng::seed_from_u64(seed);
    let fixture = Fixture::with_free_lease();
    let mut candidates: Vec<Candidate> = [96, 100, 104]
        .into_iter()
        .map(|percent| fixture.candidate_by(percent, Arc::new(TimerClock::at_percent(percent))))
        .collect();
    let mut terms: BTreeMap<Term, (String, u64)> = BTreeMap::new();
    // Without the Lease a candidate knows only the terms that it saw itself; the stamps on the objects know the others.
    let mut deleted = false;
    for step in 0..6000 {
        pass(Duration::from_millis(10)).await;
        let leaders: Vec<&Candidate> = candidates.iter().filter(|each| each.may_write()).collect();
        assert!(
            leaders.len() <= 1,
            "seed {seed}, step {step}: {} leaders",
            leaders.len()
        );
        for reign in candidates.iter().filter_map(Candidate::reign) {
            let this = (reign.holder.clone(), reign.number);
            let known = terms.entry(reign.term).or_insert_with(|| this.clone());
            assert!(
                deleted || *known == this,
                "seed {seed}, step {step}: two reigns under term {}",
                reign.term
            );
        }
        let span = Duration::from_millis(random.random_range(1..4000));
        let method = if random.random_bool(0.5) {
            Method::PATCH
        } else {
            Method::GET
        };
        match random.random_range(0..600) {
            0 => fixture.server.freeze(true),
            1..5 => fixture.server.freeze(false),
            5 => fixture.server.doom(method, Fate::Lost),
            6 => fixture.server.doom(method, Fate::Slow(span)),
            7 => fixture.server.doom(Method::PATCH, Fate::Late(span)),
            8 => fixture.server.doom(Method::PATCH, Fate::Unheard),
            9 => fixture
                .server
                .doom(method, Fate::Refused(StatusCode::SERVICE_UNAVAILABLE)),
            10 if seed.is_multiple_of(3) => {
                fixture.server.delete();
                deleted = true;
            }
            11 | 12 => {
                let chosen = random.random_range(0..candidates.len());
                let clock = Arc::clone(&candidates[chosen].clock);
                candidates[chosen] = fixture.candidate_by(1000 + step, clock);
            }
            13 => {
                let handle = candidates[random.random_range(0..candidates.len())].handle.clone();
                drop(timeout(TTL, handle.step_down(StepDown::Blind, span)).await);
            }
            _ => (),
        }
    }
    terms.len()
}
