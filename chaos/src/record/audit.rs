//! The API server's audit log, read as it grows.
//!
//! Its stamps are of the wall clock; they are carried over to the monotonic one by the difference between the two at the moment of
//! reading, so a host whose wall clock is set while a run goes on gives wrong stamps for the moment of the jump, and no longer.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde::Deserialize;
use serde_json::Value;

use super::{Journal, watch};
use crate::history::{AuditedWrite, Happening, Heard, RoleEdit};
use crate::host_time::HostTime;
use crate::install::{CONTROLLER, NAMESPACE, ROLE, SYSTEM};

/// How often the file is looked at. Nobody waits for what is in it, and every line carries its own stamp.
const LOOKED_EVERY: Duration = Duration::from_millis(100);

/// Where a token's pod is named.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

/// Reads what is added to the log, until it is dropped.
pub(super) async fn follow(path: PathBuf, journal: Journal) {
    let since = HostTime::now();
    let mut tail = match Tail::at_end(&path) {
        Ok(tail) => tail,
        Err(error) => return gap(&journal, since, &error.to_string()),
    };
    let mut pace = tokio::time::interval(LOOKED_EVERY);
    loop {
        pace.tick().await;
        if let Err(error) = tail.take(|line| hear(line, &journal)) {
            return gap(&journal, since, &error.to_string());
        }
    }
}

fn gap(journal: &Journal, since: HostTime, why: &str) {
    journal.record(Happening::Gap {
        of: Heard::AuditLog,
        since,
        why: why.to_owned(),
    });
}

fn hear(line: &[u8], journal: &Journal) {
    match serde_json::from_slice::<Entry>(line) {
        Ok(entry) => {
            if let Some((at, write)) = write_of(entry, HostTime::of_unix_micros) {
                journal.record_at(at, Happening::Write(write));
            }
        }
        Err(error) => gap(journal, HostTime::now(), &format!("a line that is none: {error}")),
    }
}

/// A file that grows.
pub(crate) struct Tail {
    file: File,
    /// What has been read of a line that is not complete yet.
    rest: Vec<u8>,
}

impl Tail {
    pub(crate) fn at_end(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, rest: Vec::new() })
    }

    /// Reads what has been added, line by line.
    pub(crate) fn take(&mut self, mut line: impl FnMut(&[u8])) -> io::Result<()> {
        self.file.read_to_end(&mut self.rest)?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(());
        };
        let rest = self.rest.split_off(end + 1);
        for text in self.rest[..end].split(|byte| *byte == b'\n') {
            line(text);
        }
        self.rest = rest;
        Ok(())
    }
}

/// An event of the log, as far as it matters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    verb: String,
    user: User,
    object_ref: Option<ObjectRef>,
    #[serde(default)]
    request_object: Value,
    response_status: Option<ResponseStatus>,
    request_received_timestamp: MicroTime,
    stage_timestamp: MicroTime,
}

#[derive(Debug, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

/// What an event is about.
#[derive(Debug, Deserialize)]
pub(crate) struct ObjectRef {
    pub(crate) resource: String,
    pub(crate) subresource: Option<String>,
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default)]
    pub(crate) name: String,
}

/// How it was answered.
#[derive(Debug, Deserialize)]
pub(crate) struct ResponseStatus {
    #[serde(default)]
    pub(crate) code: u16,
}

/// What an entry says of the route's objects or of the controllers' Lease. `None`: it is about something else.
fn write_of(entry: Entry, stamp: impl Fn(i64) -> HostTime) -> Option<(HostTime, AuditedWrite)> {
    let Entry {
        verb,
        mut user,
        object_ref,
        request_object,
        response_status,
        request_received_timestamp,
        stage_timestamp,
    } = entry;
    let object = object_ref?;
    let is_lease = object.namespace == SYSTEM && object.resource == "leases" && object.name == CONTROLLER;
    if object.namespace != NAMESPACE && !is_lease {
        return None;
    }
    let text = |pointer: &str| request_object.pointer(pointer)?.as_str().map(str::to_owned);
    let role = match request_object.pointer(&format!("/metadata/labels/{ROLE}")) {
        None => RoleEdit::None,
        Some(Value::String(role)) => RoleEdit::To(role.clone()),
        Some(_) => RoleEdit::Off,
    };
    let endpoints = (object.resource == "endpointslices")
        .then(|| serde_json::from_value(request_object.clone()).ok())
        .flatten()
        .and_then(|slice| watch::written(&slice));
    let write = AuditedWrite {
        received: stamp(request_received_timestamp.0.as_microsecond()),
        verb,
        resource: object.resource,
        subresource: object.subresource,
        // A creation is audited without the name in its path.
        name: Some(object.name)
            .filter(|name| !name.is_empty())
            .or_else(|| text("/metadata/name"))
            .unwrap_or_default(),
        user: user.username,
        from_pod: user.extra.remove(POD_NAME).and_then(|names| names.into_iter().next()),
        stamp: text("/metadata/annotations/pgsteer.io~1stamp"),
        role,
        endpoints,
        code: response_status.map_or(0, |status| status.code),
    };
    Some((stamp(stage_timestamp.0.as_microsecond()), write))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::json;

    use super::*;
    use crate::history::ServiceOf;
    use crate::install::WRITES;

    fn entry(object: &Value, request: &Value) -> Entry {
        let entry = json!({
            "verb": "patch",
            "user": {"username": "system:serviceaccount:pgsteer-system:pgsteer", "extra": {POD_NAME: ["pgsteer-0"]}},
            "objectRef": object,
            "requestObject": request,
            "responseStatus": {"code": 200},
            "requestReceivedTimestamp": "1970-01-01T00:00:01.000000Z",
            "stageTimestamp": "1970-01-01T00:00:01.000250Z",
        });
        serde_json::from_value(entry).expect("an entry")
    }

    fn at(micros: i64) -> HostTime {
        HostTime(micros.unsigned_abs() * 1000)
    }

    #[test]
    fn a_patch_tells_who_wrote_what_under_which_stamp_and_when() {
        let request =
            json!({"metadata": {"annotations": {"pgsteer.io/stamp": "3.1.0badcafe"}, "labels": {"role": null}}});
        let object = json!({"resource": "pods", "namespace": NAMESPACE, "name": "pg-0"});
        let (answered, write) = write_of(entry(&object, &request), at).expect("one of the route's pods");
        assert_eq!(
            (answered, write.received),
            (HostTime(1_000_250_000), HostTime(1_000_000_000))
        );
        assert_eq!(write.from_pod.as_deref(), Some("pgsteer-0"));
        assert_eq!(write.stamp.as_deref(), Some("3.1.0badcafe"));
        assert_eq!((write.role, write.code), (RoleEdit::Off, 200));
    }

    #[test]
    fn what_is_written_into_a_slice_is_told_with_its_service() {
        let labels = json!({"kubernetes.io/service-name": WRITES});
        let request = json!({
            "metadata": {"labels": labels},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            ],
        });
        let object = json!({"resource": "endpointslices", "namespace": NAMESPACE, "name": "w"});
        let (_, write) = write_of(entry(&object, &request), at).expect("one of the route's slices");
        let written = write.endpoints.expect("endpoints");
        assert_eq!(written.service, ServiceOf::Writes);
        assert_eq!(written.ready.into_iter().collect::<Vec<_>>(), ["10.0.0.1"]);
    }

    #[test]
    fn only_the_routes_objects_and_the_controllers_lease_count() {
        let cases = [
            ("pods", NAMESPACE, "pg-0", true),
            ("pods", "elsewhere", "pg-0", false),
            ("leases", SYSTEM, CONTROLLER, true),
            ("leases", SYSTEM, "another", false),
        ];
        for (resource, namespace, name, counts) in cases {
            let object = json!({"resource": resource, "namespace": namespace, "name": name});
            let found = write_of(entry(&object, &Value::Null), at);
            assert_eq!(found.is_some(), counts, "{resource} {namespace}/{name}");
        }
    }

    #[test]
    fn a_line_that_is_written_in_two_pieces_is_heard_once_and_whole() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        writeln!(file, "before").expect("written");
        let mut tail = Tail::at_end(file.path()).expect("opened");
        let mut heard = Vec::new();
        for piece in ["fir", "st\nsec", "ond\nthird\n", ""] {
            write!(file, "{piece}").expect("written");
            tail.take(|line| heard.push(String::from_utf8_lossy(line).into_owned()))
                .expect("read");
        }
        assert_eq!(heard, ["first", "second", "third"]);
    }
}
