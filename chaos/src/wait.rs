//! The one polling wait: look, and look again until the condition holds or the limit has passed.
//!
//! A condition says what is still missing, so that a time-out tells more than that time has passed.

use std::future::Future;
use std::time::Duration;

/// How long a wait rests between two looks. Short enough that a wait adds little to what it waits for, long enough that looking
/// (an API call or a few files read) does not load the host.
pub const PACE: Duration = Duration::from_millis(50);

/// A condition did not come true in time. The environment failed, or the thing that was waited for is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("waited {} for {what}: {missing}", humantime::format_duration(*limit))]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub limit: Duration,
    /// What the last look found missing.
    pub missing: String,
}

/// Waits until `condition` answers `Ok`, at most `limit`. `Err` is what is still missing, in words for a person.
///
/// A condition that can fail for good (a process that died) answers `Ok(Err(..))`, which ends the wait at once.
pub async fn wait_for<T, F, Look>(what: &str, limit: Duration, mut condition: F) -> Result<T, TimedOut>
where
    F: FnMut() -> Look,
    Look: Future<Output = Result<T, String>>,
{
    let mut missing = String::from("the first look has not ended");
    let looking = async {
        loop {
            match condition().await {
                Ok(found) => return found,
                Err(still) => missing = still,
            }
            rest().await;
        }
    };
    match tokio::time::timeout(limit, looking).await {
        Ok(found) => Ok(found),
        Err(_elapsed) => Err(TimedOut {
            what: what.to_owned(),
            limit,
            missing,
        }),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two looks at a condition; every wait of this crate ends here"
)]
async fn rest() {
    tokio::time::sleep(PACE).await;
}

/// Lets time pass: a fault that lasts, a promoter who takes his time. Nothing is awaited.
#[expect(clippy::disallowed_methods, reason = "time is what is asked for")]
pub(crate) async fn pass(span: Duration) {
    tokio::time::sleep(span).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_runs_out_tells_what_the_last_look_missed() {
        let mut looks = 0;
        let outcome: Result<(), TimedOut> = wait_for("three looks", PACE * 5 / 2, || {
            looks += 1;
            let found = format!("{looks} looks");
            async { Err(found) }
        })
        .await;
        let timed_out = outcome.expect_err("the condition never holds");
        assert_eq!(timed_out.missing, "3 looks");
        assert_eq!(timed_out.to_string(), "waited 125ms for three looks: 3 looks");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_what_the_condition_found() {
        let mut looks = 0;
        let found = wait_for("a second look", PACE * 10, || {
            looks += 1;
            let answer = if looks == 2 {
                Ok(looks)
            } else {
                Err("only one look".to_owned())
            };
            async { answer }
        })
        .await;
        assert_eq!(found, Ok(2));
    }
}
