use std::{future, sync::Mutex};

use shared::term::Term;

use super::*;
use crate::{
    clock::{ManualClock, Tick},
    health::Phase,
};

struct Stage {
    elector: watch::Sender<Leadership>,
    health: Arc<Health>,
    stop: CancellationToken,
}

fn stage() -> (Stage, Reigns) {
    let (elector, leadership) = watch::channel(Leadership::default());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    let health = Arc::new(Health::new(Arc::clone(&clock)));
    let stop = CancellationToken::new();
    let reigns = Reigns {
        leadership,
        clock,
        health: Arc::clone(&health),
        stop: stop.clone(),
    };
    (Stage { elector, health, stop }, reigns)
}

fn reign(number: u64) -> Reign {
    Reign {
        term: Term(7),
        holder: "pgsteer-0_0000002a".to_owned(),
        until: Tick::from_nanos(u64::MAX),
        began: Tick::default(),
        number,
        lost: CancellationToken::new(),
    }
}

impl Stage {
    /// Ends `reign` as the elector does.
    fn depose(&self, reign: &Reign) {
        self.elector.send_replace(Leadership::Follower {
            holder: Some("pgsteer-1_0000002b".to_owned()),
        });
        reign.lost.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn every_reign_is_led_once_and_the_loop_follows_in_between() {
    let (stage, reigns) = stage();
    let reigned = Mutex::new(Vec::new());
    let lead = |reign: Reign| {
        reigned.lock().unwrap().push(reign.number);
        async move { reign.lost.cancelled().await }
    };
    let script = async {
        for number in [1, 2] {
            let reign = reign(number);
            stage.elector.send_replace(Leadership::Leader(reign.clone()));
            while !reigned.lock().unwrap().contains(&number) {
                tokio::task::yield_now().await;
            }
            stage.depose(&reign);
            while !matches!(stage.health.phase(), Phase::Following { holder: Some(_) }) {
                tokio::task::yield_now().await;
            }
        }
        stage.stop.cancel();
    };
    let (outcome, ()) = tokio::join!(reigns.run(lead), script);
    outcome.unwrap();
    assert_eq!(*reigned.lock().unwrap(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_leaders_loop_and_begins_no_other_reign() {
    let (stage, reigns) = stage();
    let (stop, finished) = (stage.stop.clone(), CancellationToken::new());
    stage.elector.send_replace(Leadership::Leader(reign(1)));
    let lead = |_: Reign| finished.cancelled();
    let mut run = std::pin::pin!(reigns.run(lead));
    assert!(timeout(END_MAX, &mut run).await.is_err(), "it leads");
    stop.cancel();
    assert!(
        timeout(END_MAX, &mut run).await.is_err(),
        "it ended before its last write"
    );
    finished.cancel();
    run.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_ends_before_its_reign_ends_the_process() {
    let (stage, reigns) = stage();
    stage.elector.send_replace(Leadership::Leader(reign(3)));
    let error = reigns.run(|_| future::ready(())).await.unwrap_err();
    assert!(matches!(error, Error::Deserted { number: 3 }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_outlives_its_reign_ends_the_process() {
    let (stage, reigns) = stage();
    let reign = reign(3);
    stage.elector.send_replace(Leadership::Leader(reign.clone()));
    let lead = |_: Reign| {
        stage.depose(&reign);
        future::pending()
    };
    let error = reigns.run(lead).await.unwrap_err();
    assert!(matches!(error, Error::Overstayed { number: 3 }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_elector_that_is_gone_ends_the_process() {
    let (Stage { elector, .. }, reigns) = stage();
    drop(elector);
    let error = reigns.run(|_| future::ready(())).await.unwrap_err();
    assert!(matches!(error, Error::NoElector), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_follower_beats_though_nothing_happens() {
    let (elector, leadership) = watch::channel(Leadership::default());
    let clock = Arc::new(ManualClock::default());
    let health = Arc::new(Health::new(Arc::clone(&clock) as Arc<dyn Clock>));
    let reigns = Reigns {
        leadership,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        health: Arc::clone(&health),
        stop: CancellationToken::new(),
    };
    clock.advance(crate::health::HEARTBEAT_AGE_MAX * 2);
    assert!(health.live().is_err());
    assert!(
        timeout(BEAT_EVERY * 2, reigns.run(|_| future::ready(())))
            .await
            .is_err(),
        "it goes on for ever"
    );
    assert_eq!(health.live(), Ok(()));
    drop(elector);
}
