//! The judge: what a history shows of the rules that pgsteer promises to keep. Pure, so that a saved file is judged as the run was.
//!
//! ```text
//! History ──> Facts (who was what, when) ──> a rule a file ──> Finding (held, or every breach) ──> Verdict
//! ```
//!
//! It knows the promises (docs/architecture.md, docs/invariants.md), never the code that is to keep them.

mod answers;
mod endpoints;
mod exposure;
mod facts;
#[cfg(test)]
pub(crate) mod fixtures;
mod labels;
mod losses;
mod outages;
mod reads;
mod recorded;
mod reigns;
mod roles;
mod steady;
#[cfg(test)]
mod tests;
mod track;
mod writes;

pub use facts::{Facts, Strike};
pub use losses::{Cause, Loss};
pub use outages::Outage;
pub use track::Track;

use crate::history::History;
use crate::host_time::HostTime;

/// One moment at which a rule was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// When.
    pub at: HostTime,
    /// What was seen.
    pub seen: String,
}

/// What a history shows of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule, in a few words with hyphens, such as `one-primary-label`.
    pub rule: &'static str,
    /// The rule as a person reads it.
    pub text: &'static str,
    /// What was seen of it: figures that are worth telling also when it held.
    pub seen: String,
    /// Where it was broken. Empty: it held.
    pub breaches: Vec<Breach>,
}

/// What a history shows of all rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// A finding a rule.
    pub findings: Vec<Finding>,
    /// When new connections through a Service's name were not served.
    pub outages: Vec<Outage>,
    /// The acknowledged writes that the last primary does not have.
    pub losses: Vec<Loss>,
}

impl Verdict {
    /// Whether every rule held.
    pub fn passed(&self) -> bool {
        self.findings.iter().all(|finding| finding.breaches.is_empty())
    }

    /// The rules that were broken.
    pub fn broken(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !finding.breaches.is_empty())
    }
}

/// Judges a history.
pub fn check(history: &History) -> Verdict {
    let facts = Facts::of(history);
    let losses = losses::losses(&facts);
    Verdict {
        findings: vec![
            labels::check(&facts),
            endpoints::one(&facts),
            endpoints::none_stale(&facts),
            exposure::check(&facts),
            writes::check(&facts),
            reads::check(&facts),
            reigns::check(&facts),
            roles::check(&facts),
            steady::check(&facts),
            losses::check(&facts, &losses),
            recorded::check(&facts),
        ],
        outages: outages::outages(&facts),
        losses,
    }
}
