//! What a run looked like, for people: one self-contained HTML file, and a summary for the terminal.
//!
//! ```text
//! History, Verdict ──> Facts ──> lanes (what each row of the picture shows) ──> SVG ─┐
//!                        └─────> tables: faults, outages, rules, losses ─────────────┴──> page
//! ```

mod chart;
mod lanes;
mod page;
mod summary;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

pub use summary::summary;

use crate::history::History;
use crate::host_time::HostTime;
use crate::oracle::{Facts, Verdict};

/// Writes the HTML file, and its directory where there is none.
pub fn write(history: &History, verdict: &Verdict, path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, page::page(&Facts::of(history), verdict))
}

/// The moment that times are counted from: the first fault or promotion, else the beginning.
fn zero(facts: &Facts<'_>) -> HostTime {
    let strikes = facts.strikes.iter().map(|strike| strike.from);
    let asked = facts.asked.iter().map(|(at, _)| *at);
    strikes.chain(asked).min().unwrap_or(facts.history.header.began)
}

/// Milliseconds as a person reads them.
fn span(millis: i64) -> String {
    if millis.abs() < 10_000 {
        format!("{millis} ms")
    } else {
        format!("{}.{} s", millis / 1000, (millis.abs() % 1000) / 100)
    }
}
