//! The judge: what a history shows of the rules that pgsteer promises to keep. Pure, so that a saved file is judged as the run was.
//!
//! ```text
//! History ──> a rule a file ──> Finding (held or broken, with every breach) ──> Verdict
//! ```

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
pub fn check(_history: &History) -> Verdict {
    Verdict { findings: Vec::new() }
}
