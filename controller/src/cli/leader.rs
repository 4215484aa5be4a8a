//! Whether somebody leads: without a leader nobody keeps what the routes' status says up to date. Pure.

use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::ResourceExt as _;

/// How far the clock here may be from the leader's, on top of the lease itself, before a Lease is called expired.
const SKEW_SECONDS_MAX: i64 = 60;

/// What to say when nobody leads. `leases` are all that bear the election's name: one for each release of pgsteer. Without any
/// there is nothing to say: they may be named otherwise, or not be for this person to see.
pub(super) fn warning(leases: &[Lease], now: Timestamp) -> Option<String> {
    let silent_for = |lease: &Lease| {
        let spec = lease.spec.as_ref()?;
        spec.holder_identity.as_ref().filter(|holder| !holder.is_empty())?;
        let silent = now.duration_since(spec.renew_time.as_ref()?.0).as_secs();
        Some((silent, i64::from(spec.lease_duration_seconds.unwrap_or_default())))
    };
    let led = |lease: &Lease| silent_for(lease).is_some_and(|(silent, ttl)| silent <= ttl + SKEW_SECONDS_MAX);
    if leases.is_empty() || leases.iter().any(led) {
        return None;
    }
    let tell = |lease: &Lease| {
        let place = format!("Lease {}/{}", lease.namespace().unwrap_or_default(), lease.name_any());
        match silent_for(lease) {
            Some((silent, _)) => format!("{place} was last renewed {silent}s ago"),
            None => format!("{place} has no holder"),
        }
    };
    let leases: Vec<String> = leases.iter().map(tell).collect();
    Some(format!(
        "WARNING: no pgsteer leads ({}): nothing is kept right, and what is shown may be out of date",
        leases.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn lease(spec: &Value) -> Lease {
        let metadata = json!({ "namespace": "pgsteer-system", "name": "pgsteer" });
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
    }

    fn renewed(at: &str) -> Lease {
        lease(&json!({ "holderIdentity": "pgsteer-0_0000002a", "renewTime": at, "leaseDurationSeconds": 5 }))
    }

    #[test]
    fn a_lease_that_nobody_renews_is_warned_of_and_a_skewed_clock_is_not() {
        let now: Timestamp = "2026-01-10T00:05:00Z".parse().unwrap();
        let (fresh, ahead) = (
            renewed("2026-01-10T00:04:58.000000Z"),
            renewed("2026-01-10T00:06:00.000000Z"),
        );
        let (skewed, old) = (
            renewed("2026-01-10T00:03:55.000000Z"),
            renewed("2026-01-10T00:03:54.000000Z"),
        );
        let released = lease(&json!({ "holderIdentity": "", "renewTime": "2026-01-10T00:04:58.000000Z" }));
        for silent in [
            vec![],
            vec![fresh.clone()],
            vec![ahead],
            vec![skewed],
            vec![old.clone(), fresh],
        ] {
            assert_eq!(warning(&silent, now), None, "{silent:?}");
        }
        for (leases, expected) in [
            (vec![old], "Lease pgsteer-system/pgsteer was last renewed 66s ago"),
            (vec![released], "Lease pgsteer-system/pgsteer has no holder"),
        ] {
            let text = warning(&leases, now).unwrap();
            assert!(text.contains(expected), "{text}");
        }
    }
}
