//! The API server's audit log during one round: what was written on a namespace's pods and EndpointSlices, or under a new term, and when it
//! was answered.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde::Deserialize;
use serde_json::Value;

use super::phases::{LabelEdit, SliceEdit};
use crate::history::RoleEdit;
use crate::host_time::HostTime;
use crate::install::{ROLE, WRITES};
use crate::record::audit::{ObjectRef, ResponseStatus, Tail};

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// To a pod's role label.
    Label(LabelEdit),
    /// To a slice of the write Service.
    Slice(SliceEdit),
    /// Under a stamp: its term, and when it was answered.
    Stamped { term: u32, answered: HostTime },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    object_ref: Option<ObjectRef>,
    #[serde(default)]
    request_object: Value,
    response_status: Option<ResponseStatus>,
    stage_timestamp: MicroTime,
}

/// What has been added to the log that is about a namespace.
pub(super) fn take(tail: &mut Tail, namespace: &str) -> std::io::Result<Vec<Written>> {
    let mut written = Vec::new();
    tail.take(|line| {
        if let Ok(entry) = serde_json::from_slice::<Entry>(line) {
            written.extend(written_in(entry, namespace, HostTime::of_unix_micros));
        }
    })?;
    Ok(written)
}

/// What an entry says. Two things when a label is written under a stamp.
fn written_in(entry: Entry, namespace: &str, stamp: impl Fn(i64) -> HostTime) -> Vec<Written> {
    let Some(object) = entry.object_ref else {
        return Vec::new();
    };
    let is_accepted = entry
        .response_status
        .is_some_and(|status| (200..300).contains(&status.code));
    if object.namespace != namespace || !is_accepted || object.subresource.is_some() {
        return Vec::new();
    }
    let answered = stamp(entry.stage_timestamp.0.as_microsecond());
    let request = &entry.request_object;
    let mut written = Vec::new();
    let term = || {
        request
            .pointer("/metadata/annotations/pgsteer.io~1stamp")?
            .as_str()?
            .split('.')
            .next()?
            .parse()
            .ok()
    };
    if let Some(term) = term() {
        written.push(Written::Stamped { term, answered });
    }
    match object.resource.as_str() {
        "pods" => written.extend(role(request).map(|role| {
            Written::Label(LabelEdit {
                answered,
                pod: object.name,
                role,
            })
        })),
        "endpointslices" => {
            let name = Some(object.name)
                .filter(|name| !name.is_empty())
                .or_else(|| request.pointer("/metadata/name")?.as_str().map(str::to_owned));
            if let Some((slice, ready)) = name.filter(|name| name.starts_with(WRITES)).zip(ready(request)) {
                written.push(Written::Slice(SliceEdit { answered, slice, ready }));
            }
        }
        _ => {}
    }
    written
}

/// A whole object that lacks the label, or a patch that does not speak of it, tells nothing.
fn role(request: &Value) -> Option<RoleEdit> {
    match request.pointer(&format!("/metadata/labels/{ROLE}"))? {
        Value::String(role) => Some(RoleEdit::To(role.clone())),
        _ => Some(RoleEdit::Off),
    }
}

/// The addresses that kube-proxy takes for ready: an endpoint that says nothing of it is.
pub(super) fn ready(slice: &Value) -> Option<BTreeSet<String>> {
    let endpoints = slice.pointer("/endpoints")?;
    let is_ready = |endpoint: &&Value| endpoint.pointer("/conditions/ready").and_then(Value::as_bool) != Some(false);
    let addresses = |endpoint: &Value| {
        let addresses = endpoint
            .get("addresses")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        addresses
            .into_iter()
            .filter_map(|address| address.as_str().map(str::to_owned))
    };
    let none = Vec::new();
    // No endpoints are written as null, too.
    Some(
        endpoints
            .as_array()
            .unwrap_or(&none)
            .iter()
            .filter(is_ready)
            .flat_map(addresses)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(resource: &str, name: &str, code: u16, request: &Value) -> Vec<Written> {
        let entry = json!({
            "objectRef": {"resource": resource, "namespace": "pg", "name": name},
            "requestObject": request,
            "responseStatus": {"code": code},
            "stageTimestamp": "1970-01-01T00:00:01.000250Z",
        });
        let entry = serde_json::from_value(entry).expect("an entry");
        written_in(entry, "pg", |micros| HostTime(micros.unsigned_abs() * 1000))
    }

    const AT: HostTime = HostTime(1_000_250_000);

    #[test]
    fn labels_are_told_with_their_stamp() {
        let request =
            json!({"metadata": {"annotations": {"pgsteer.io/stamp": "3.1.0badcafe"}, "labels": {"role": null}}});
        let label = |role| {
            Written::Label(LabelEdit {
                answered: AT,
                pod: "pg-0".to_owned(),
                role,
            })
        };
        assert_eq!(
            of("pods", "pg-0", 200, &request),
            [Written::Stamped { term: 3, answered: AT }, label(RoleEdit::Off)]
        );
        let request = json!({"metadata": {"labels": {"role": "primary"}}});
        assert_eq!(
            of("pods", "pg-0", 200, &request),
            [label(RoleEdit::To("primary".to_owned()))]
        );
        assert_eq!(of("pods", "pg-0", 409, &request), [], "it was refused");
        assert_eq!(
            of("pods", "pg-0", 200, &json!({"metadata": {"labels": {"other": "1"}}})),
            []
        );
    }

    #[test]
    fn slices_are_told_with_those_who_are_ready() {
        let request = json!({"endpoints": [
            {"addresses": ["10.0.0.1"]},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
        ]});
        let told = |addresses: &[&str]| {
            vec![Written::Slice(SliceEdit {
                answered: AT,
                slice: "pg-service-primary-x".to_owned(),
                ready: addresses.iter().map(|&address| address.to_owned()).collect(),
            })]
        };
        assert_eq!(
            of("endpointslices", "pg-service-primary-x", 200, &request),
            told(&["10.0.0.1"])
        );
        assert_eq!(
            of(
                "endpointslices",
                "pg-service-primary-x",
                200,
                &json!({"endpoints": null})
            ),
            told(&[])
        );
        assert_eq!(of("endpointslices", "pg-service-replica-x", 200, &request), []);
        assert_eq!(
            of("endpointslices", "pg-service-primary-x", 200, &json!({"metadata": {}})),
            []
        );
    }
}
