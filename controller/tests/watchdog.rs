//! A process whose runtime is blocked is ended by its watchdog, and one whose loop turns is not.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use chaos::wait::wait_for;
use controller::{
    clock::{BootClock, Clock},
    health::Health,
    watchdog::{self, EXIT_STUCK},
};

/// What the child is told by.
const CHILD: &str = "PGSTEER_TEST_STUCK_CHILD";

/// How long the child's loop may stand still.
const STUCK_MAX: Duration = Duration::from_secs(1);

/// Beats are this many before the child's loop blocks.
const BEATS: u32 = 20;

/// Far beyond what it takes, on a host that builds something else beside it.
const LIMIT: Duration = Duration::from_mins(1);

/// What the child does: turns for a while longer than it may stand still, says so, and blocks every thread of its runtime.
#[tokio::test]
#[ignore = "the child of the other test"]
async fn child() {
    if std::env::vars().all(|(name, _)| name != CHILD) {
        return;
    }
    let clock: Arc<dyn Clock> = Arc::new(BootClock);
    let health = Arc::new(Health::new(Arc::clone(&clock)));
    watchdog::start(Arc::clone(&health), clock, STUCK_MAX).unwrap();
    let mut turns = tokio::time::interval(STUCK_MAX / 10);
    for _ in 0..BEATS {
        turns.tick().await;
        health.beat();
    }
    println!("turned");
    loop {
        std::thread::park();
    }
}

#[tokio::test]
async fn a_process_whose_runtime_is_blocked_is_ended_and_not_before() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = wait_for("the child to be ended", LIMIT, || {
        let status = child.try_wait().unwrap();
        async move { status.ok_or_else(|| "it runs".to_owned()) }
    });
    let status = ended.await.unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut said).unwrap();
    assert_eq!(status.code(), Some(EXIT_STUCK), "{said}");
    assert!(said.contains("turned"), "it was ended while it turned: {said}");
}
