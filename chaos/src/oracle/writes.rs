//! Writes through the name: only over connections that the name was right to make. A session that was opened before a switch and
//! outlived it is cut by no Service; what it writes is counted. So is what goes over a connection that the node's connection tracking led
//! where an earlier one from the same port had gone.

use super::facts::RULES_LAG;
use super::{Breach, Facts, Finding};
use crate::history::ServiceOf;
use crate::workload::{Answerer, Kind, Line, Outcome};

pub(super) fn check(facts: &Facts<'_>) -> Finding {
    let (mut acknowledged, mut stale, mut remembered) = (0, 0, 0);
    let mut breaches = Vec::new();
    for (client, line) in facts.attempts(Kind::Write) {
        let Outcome::Written { id, by } = &line.outcome else {
            continue;
        };
        acknowledged += 1;
        match route(facts, ServiceOf::Writes, client, line, by) {
            Route::Entitled => {}
            Route::Outlived => stale += 1,
            Route::Remembered => remembered += 1,
            Route::Astray => breaches.push(Breach {
                at: line.at,
                seen: format!(
                    "row {id} written to {} on timeline {}, over a connection begun {} ms earlier, when the write Service did not lead there",
                    by.address,
                    by.timeline,
                    line.at.millis_since(line.began)
                ),
            }),
        }
    }
    Finding {
        rule: "writes-routed-right",
        text: "no write on a connection to a server that was no endpoint of the write Service within 1.3 s before it was begun",
        seen: format!(
            "{acknowledged} acknowledged; {stale} of these over sessions that outlived a switch (stale session), {remembered} from ports that the node still led where they had led before (connection tracking)"
        ),
        breaches,
    }
}

/// What a connection was, measured by the Service's endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// The name led there when it was opened, and did so still when the answer came.
    Entitled,
    /// The name led there when it was opened, and no more when the answer came.
    Outlived,
    /// The name did not lead there, and the client's node did: a connection from the same port had led there a moment before.
    Remembered,
    /// The name did not lead there.
    Astray,
}

/// What the connection of an answered line was.
pub(super) fn route(facts: &Facts<'_>, service: ServiceOf, client: &str, line: &Line, by: &Answerer) -> Route {
    let opened = line.opened.unwrap_or(line.at);
    if !facts.entitled(service, &by.address, line.began, opened) {
        if facts.is_remembered(service, &by.address, client, line) {
            Route::Remembered
        } else {
            Route::Astray
        }
    } else if facts.was_usable(service, &by.address, line.at.before(RULES_LAG), line.at) {
        Route::Entitled
    } else {
        Route::Outlived
    }
}
