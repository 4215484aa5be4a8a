//! Reads an experiment's status.

use serde_json::Value;

/// What Chaos Mesh says of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// It has chosen the pods.
    Selected,
    /// Every chosen pod is struck.
    AllInjected,
    /// It wants to strike nobody any more, and nobody is.
    AllRecovered,
}

impl Condition {
    fn name(self) -> &'static str {
        match self {
            Self::Selected => "Selected",
            Self::AllInjected => "AllInjected",
            Self::AllRecovered => "AllRecovered",
        }
    }
}

/// Whether a status says so. Before anything is injected nothing is left to recover either, so `AllRecovered` counts only once the
/// experiment is to stop.
pub(super) fn is(status: &Value, condition: Condition) -> bool {
    let stopping = status["experiment"]["desiredPhase"] == "Stop";
    said(status, condition.name()) == Some("True") && (condition != Condition::AllRecovered || stopping)
}

/// What a status says, in words.
pub(super) fn missing(status: &Value) -> String {
    let conditions: Vec<String> = [Condition::Selected, Condition::AllInjected, Condition::AllRecovered]
        .into_iter()
        .filter_map(|condition| Some(format!("{} is {}", condition.name(), said(status, condition.name())?)))
        .collect();
    let records = status["experiment"]["containerRecords"].as_array();
    let failed = records.into_iter().flatten().filter_map(|record| {
        let mut events = record["events"].as_array().into_iter().flatten();
        let last = events.rfind(|event| event["type"] == "Failed");
        last.map(|event| format!("{}: {}", text(&record["id"]), text(&event["message"])))
    });
    let told: Vec<String> = conditions.into_iter().chain(failed).collect();
    if told.is_empty() {
        "it has no status yet: no controller of Chaos Mesh has looked at it".to_owned()
    } else {
        told.join(", ")
    }
}

fn said<'a>(status: &'a Value, name: &str) -> Option<&'a str> {
    let conditions = status["conditions"].as_array()?;
    conditions.iter().find(|one| one["type"] == name)?["status"].as_str()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn recovered_counts_only_of_an_experiment_that_is_to_stop() {
        let status = |phase: &str| json!({"conditions": [{"type": "AllRecovered", "status": "True"}], "experiment": {"desiredPhase": phase}});
        assert!(!is(&status("Run"), Condition::AllRecovered));
        assert!(is(&status("Stop"), Condition::AllRecovered));
        assert!(!is(&status("Stop"), Condition::AllInjected));
    }

    #[test]
    fn what_is_missing_names_the_last_failure() {
        assert!(missing(&Value::Null).contains("no status yet"));
        let status = json!({
            "conditions": [{"type": "Selected", "status": "True"}, {"type": "AllInjected", "status": "False"}],
            "experiment": {"desiredPhase": "Run", "containerRecords": [{"id": "pg/a", "events": [
                {"type": "Failed", "message": "the first"}, {"type": "Failed", "message": "no daemon on the node"},
            ]}]},
        });
        assert_eq!(
            missing(&status),
            "Selected is True, AllInjected is False, pg/a: no daemon on the node"
        );
    }
}
