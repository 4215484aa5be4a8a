//! What to do about what is wrong with a route. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use shared::status::{ConditionType, Reason};

use crate::reign::RouteKey;

/// The conditions of which False means trouble; of the others True does.
const GOOD: [ConditionType; 5] = [
    ConditionType::Accepted,
    ConditionType::Settled,
    ConditionType::PrimaryAvailable,
    ConditionType::ServicesCorrect,
    ConditionType::CredentialsValid,
];

/// Whether the condition is bad news.
pub(super) fn is_trouble(condition: &Condition) -> bool {
    let good = GOOD.iter().any(|kind| kind.to_string() == condition.type_);
    (condition.status == "True") != good
}

/// What to do, where the condition's own message does not say it.
pub(super) fn advice(reason: &str, key: &RouteKey) -> Option<String> {
    let known = REASONS.into_iter().find(|known| known.to_string() == reason)?;
    Some(match known {
        Reason::NoEligibleServer => format!(
            "bring the last primary back, or promote a standby of it; if a server that takes writes has the right data, \
             pgsteer accept {key} POD"
        ),
        Reason::SeveralWritable => "stop the orphans, then rebuild them as standbys (pg_rewind, pg_basebackup): what they \
                                    accepted is not in the primary"
            .to_owned(),
        Reason::PersonMustChoose => format!("compare their data, stop all but one, or pgsteer accept {key} POD"),
        Reason::NoReply => "see whether the servers run, and whether the controller's pod reaches their port (network \
                            policies, nodes)"
            .to_owned(),
        Reason::Paused => format!("when the work is done: pgsteer resume {key}"),
        Reason::ProbeBarred => "correct the Secret, the role in PostgreSQL, pg_hba.conf or TLS; `pgsteer probe HOST:PORT` asks \
                                the same question"
            .to_owned(),
        Reason::FirstPrimaryUnclear => {
            format!("see that every server answers and one takes writes, or pgsteer accept {key} POD")
        }
        Reason::OtherHistory => format!(
            "rebuild it as a standby of the primary (pg_rewind, pg_basebackup); if it takes writes and has the right data, \
             pgsteer accept {key} POD"
        ),
        Reason::WriteRefused => {
            "look for the admission webhook or policy that refuses, and at the rights of the controller's service account"
                .to_owned()
        }
        _ => return None,
    })
}

/// The reasons for which there is advice. The messages of the others say themselves what to do.
const REASONS: [Reason; 9] = [
    Reason::NoEligibleServer,
    Reason::SeveralWritable,
    Reason::PersonMustChoose,
    Reason::NoReply,
    Reason::Paused,
    Reason::ProbeBarred,
    Reason::FirstPrimaryUnclear,
    Reason::OtherHistory,
    Reason::WriteRefused,
];

/// A state in a sentence.
pub(super) fn state(state: &str) -> &'static str {
    match state {
        "Settled" => "Every label is as it should be.",
        "Moving" => "Something is being changed, or is about to be.",
        "NoPrimary" => "No server can be primary: the write Service leads nowhere.",
        "SplitBrain" => "Several servers take writes.",
        "Blind" => "No server replies, and it may be the controller that cannot see: labels stay as they are.",
        "Paused" => "A person paused it: labels and the mark stay as they are.",
        "Refused" => "It cannot be served as it is written: nobody is asked, nothing is changed.",
        _ => {
            "No leader has looked at it yet. See whether pgsteer runs and serves this namespace: `kubectl get lease -A` names \
             the leader."
        }
    }
}

/// What a server was found to be, to follow "its server".
pub(super) fn evidence(evidence: &str) -> &str {
    match evidence {
        "Writable" => "takes writes",
        "InRecovery" => "is a standby",
        "Down" => "is down",
        "Starting" => "is starting, stopping or recovering",
        "Silent" => "gives no answer",
        "Barred" => "is alive and does not let the probe look",
        "Unclear" => "gives answers that say nothing",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

    use super::*;

    fn condition(kind: ConditionType, status: &str) -> Condition {
        Condition {
            type_: kind.to_string(),
            status: status.to_owned(),
            reason: String::new(),
            message: String::new(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        }
    }

    #[test]
    fn true_is_good_news_for_some_conditions_and_bad_for_others() {
        for (kind, status, trouble) in [
            (ConditionType::Settled, "True", false),
            (ConditionType::Settled, "False", true),
            (ConditionType::CredentialsValid, "False", true),
            (ConditionType::SplitBrain, "False", false),
            (ConditionType::SplitBrain, "True", true),
            (ConditionType::NoMark, "True", true),
        ] {
            assert_eq!(is_trouble(&condition(kind, status)), trouble, "{kind} {status}");
        }
    }

    #[test]
    fn advice_names_commands_that_can_be_copied() {
        let key = RouteKey {
            namespace: "shop".to_owned(),
            name: "orders".to_owned(),
        };
        for reason in REASONS {
            assert!(advice(&reason.to_string(), &key).is_some(), "{reason}");
        }
        assert_eq!(
            advice("Paused", &key).as_deref(),
            Some("when the work is done: pgsteer resume shop/orders")
        );
        assert_eq!(advice("AsExpected", &key), None);
        assert_eq!(advice("SomethingNew", &key), None);
    }
}
