//! What the API server holds, and what it does with a request: reads, merge patches with their preconditions, creations.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    objects,
    postgres::Servers,
    story::Story,
    watches::{Frame, Watches},
};

/// The kinds that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Lease,
    Pod,
    Service,
    Slice,
    Route,
    Ledger,
    StatefulSet,
    Event,
}

/// So many kinds there are.
const KINDS: usize = 8;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch { since: u64 },
    Patch { status: bool },
    Create,
}

/// One request, as it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) verb: Verb,
    pub(crate) kind: Kind,
    /// Empty for all.
    pub(crate) name: String,
    pub(crate) body: Value,
    /// The body as it was sent.
    pub(crate) raw: Bytes,
}

/// One object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) value: Value,
    pub(crate) bytes: Bytes,
    pub(crate) revision: u64,
    pub(crate) uid: String,
}

/// An object that was changed: what it was, and what it is.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) before: Option<Arc<Object>>,
    pub(crate) after: Option<Arc<Object>>,
}

/// What the log keeps of a change, for watches.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    pub(crate) revision: u64,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) line: Bytes,
}

/// What the API server says to a request.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// The API server.
#[derive(Debug)]
pub(crate) struct ApiServer {
    revision: u64,
    uids: u64,
    objects: [BTreeMap<String, Arc<Object>>; KINDS],
    events: Vec<Bytes>,
    pub(crate) log: Vec<Logged>,
    /// Watches cannot begin before this.
    pub(crate) compacted: u64,
    pub(crate) watches: Watches,
}

// === impl ApiServer ===

impl ApiServer {
    /// With everything that a person has deployed, and nothing that the controller writes.
    pub(crate) fn new(story: &Story, servers: &Servers) -> Self {
        let mut server = Self {
            revision: 100,
            uids: 0,
            objects: std::array::from_fn(|_| BTreeMap::new()),
            events: Vec::new(),
            log: Vec::new(),
            compacted: 0,
            watches: Watches::default(),
        };
        server.put(Kind::StatefulSet, "pg", objects::stateful_set());
        for (name, role) in [("pg-rw", "primary"), ("pg-ro", "replica")] {
            server.put(Kind::Service, name, objects::service(name, role));
            server.put(Kind::Slice, name, objects::slice(name));
        }
        server.put(Kind::Route, "pg", objects::route(story));
        for index in servers.indices() {
            let uid = server.new_uid();
            let pod = objects::pod(index, &uid, servers.pod(index));
            server.put(Kind::Pod, &objects::pod_name(index), pod);
        }
        server
    }

    /// An object.
    pub(crate) fn get(&self, kind: Kind, name: &str) -> Option<&Object> {
        self.of(kind).get(name).map(Arc::as_ref)
    }

    /// All objects of a kind, by name.
    pub(crate) fn of(&self, kind: Kind) -> &BTreeMap<String, Arc<Object>> {
        &self.objects[kind as usize]
    }

    /// A uid that nothing has had before.
    pub(crate) fn new_uid(&mut self) -> String {
        self.uids += 1;
        format!("uid-{}", self.uids)
    }

    /// Reads: everything that changes nothing.
    pub(crate) fn read(&self, request: &Request) -> Reply {
        if request.verb == Verb::List {
            return self.list(request);
        }
        self.get(request.kind, &request.name)
            .map_or_else(|| refusal(StatusCode::NOT_FOUND, "NotFound"), found)
    }

    fn list(&self, request: &Request) -> Reply {
        let (api, kind) = objects::type_of(request.kind);
        let mut body = format!(
            r#"{{"apiVersion":"{api}","kind":"{kind}List","metadata":{{"resourceVersion":"{}"}},"items":["#,
            self.revision
        )
        .into_bytes();
        let mut first = true;
        for (name, object) in self.of(request.kind) {
            if !request.name.is_empty() && request.name != *name {
                continue;
            }
            if !std::mem::take(&mut first) {
                body.push(b',');
            }
            body.extend_from_slice(&object.bytes);
        }
        body.extend_from_slice(b"]}");
        Reply {
            status: StatusCode::OK,
            body: Bytes::from(body),
        }
    }

    /// Carries a write out.
    pub(crate) fn write(&mut self, request: &Request) -> (Reply, Option<Change>) {
        if request.kind == Kind::Event {
            return (self.event(request), None);
        }
        match request.verb {
            Verb::Create => self.create(request),
            Verb::Patch { status } => self.patch(request, status),
            Verb::Get | Verb::List | Verb::Watch { .. } => (self.read(request), None),
        }
    }

    /// Events are taken as they come; one that is repeated is answered as it was made.
    fn event(&mut self, request: &Request) -> Reply {
        if let Verb::Patch { .. } = request.verb {
            let body = self.events.last().cloned().unwrap_or_default();
            let status = StatusCode::OK;
            return Reply { status, body };
        }
        self.events.push(request.raw.clone());
        let (status, body) = (StatusCode::CREATED, request.raw.clone());
        Reply { status, body }
    }

    fn create(&mut self, request: &Request) -> (Reply, Option<Change>) {
        let created = |object: &Object| Reply {
            status: StatusCode::CREATED,
            body: object.bytes.clone(),
        };
        let name = request.body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if self.of(request.kind).contains_key(&name) {
            return (refusal(StatusCode::CONFLICT, "AlreadyExists"), None);
        }
        let mut value = request.body.clone();
        let uid = self.new_uid();
        value["metadata"]["uid"] = json!(uid);
        let change = self.put(request.kind, &name, value);
        let reply = change.after.as_deref().map_or_else(nothing, created);
        (reply, Some(change))
    }

    fn patch(&mut self, request: &Request, status: bool) -> (Reply, Option<Change>) {
        let Some(held) = self.get(request.kind, &request.name) else {
            return (refusal(StatusCode::NOT_FOUND, "NotFound"), None);
        };
        let wants = |field: &str| request.body["metadata"][field].as_str();
        if wants("uid").is_some_and(|uid| uid != held.uid) {
            return (refusal(StatusCode::UNPROCESSABLE_ENTITY, "Invalid"), None);
        }
        if wants("resourceVersion").is_some_and(|version| version != held.revision.to_string()) {
            return (refusal(StatusCode::CONFLICT, "Conflict"), None);
        }
        let mut value = held.value.clone();
        if status {
            merge(&mut value["status"], &request.body["status"]);
        } else {
            let kept = value["status"].clone();
            merge(&mut value, &request.body);
            if request.kind == Kind::Route {
                value["status"] = kept;
            }
        }
        if value == held.value {
            return (found(held), None);
        }
        let change = self.put(request.kind, &request.name, value);
        (change.after.as_deref().map_or_else(nothing, found), Some(change))
    }

    /// Changes an object as nobody but a person, a kubelet or another controller does.
    pub(crate) fn edit(&mut self, kind: Kind, name: &str, edit: impl FnOnce(&mut Value)) -> Option<Change> {
        let held = self.get(kind, name)?;
        let mut value = held.value.clone();
        edit(&mut value);
        (value != held.value).then(|| self.put(kind, name, value))
    }

    /// Stores an object under the next revision.
    pub(crate) fn put(&mut self, kind: Kind, name: &str, mut value: Value) -> Change {
        self.revision += 1;
        let revision = self.revision;
        value["metadata"]["resourceVersion"] = json!(revision.to_string());
        let bytes = Bytes::from(serde_json::to_vec(&value).unwrap_or_default());
        let uid = value["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let object = Arc::new(Object {
            value,
            bytes,
            revision,
            uid,
        });
        let before = self.objects[kind as usize].insert(name.to_owned(), Arc::clone(&object));
        let what = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.logged(kind, name, what, &object);
        Change {
            kind,
            name: name.to_owned(),
            before,
            after: Some(object),
        }
    }

    /// Deletes an object.
    pub(crate) fn delete(&mut self, kind: Kind, name: &str) -> Option<Change> {
        let mut before = Arc::unwrap_or_clone(self.objects[kind as usize].remove(name)?);
        self.revision += 1;
        before.value["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        before.bytes = Bytes::from(serde_json::to_vec(&before.value).unwrap_or_default());
        self.logged(kind, name, "DELETED", &before);
        Some(Change {
            kind,
            name: name.to_owned(),
            before: Some(Arc::new(before)),
            after: None,
        })
    }

    fn logged(&mut self, kind: Kind, name: &str, what: &str, object: &Object) {
        let mut line = format!(r#"{{"type":"{what}","object":"#).into_bytes();
        line.extend_from_slice(&object.bytes);
        line.extend_from_slice(b"}\n");
        self.log.push(Logged {
            revision: self.revision,
            kind,
            name: name.to_owned(),
            line: Bytes::from(line),
        });
    }

    /// What a watch that begins after `since` has missed; none: it is too long ago.
    pub(crate) fn missed(&self, kind: Kind, name: &str, since: u64) -> Option<Vec<Frame>> {
        if since < self.compacted {
            return None;
        }
        let concerns = |logged: &&Logged| logged.kind == kind && (name.is_empty() || logged.name == name);
        let later = self.log.iter().rev().take_while(|logged| logged.revision > since);
        let mut missed: Vec<Frame> = later
            .filter(concerns)
            .map(|logged| Frame::Line(logged.line.clone()))
            .collect();
        missed.reverse();
        Some(missed)
    }

    /// Forgets the log: whoever was not there has to list anew.
    pub(crate) const fn compact(&mut self) {
        self.compacted = self.revision;
    }
}

fn found(object: &Object) -> Reply {
    Reply {
        status: StatusCode::OK,
        body: object.bytes.clone(),
    }
}

fn nothing() -> Reply {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
}

/// The API server says no.
pub(crate) fn refusal(status: StatusCode, reason: &str) -> Reply {
    let code = status.as_u16();
    let body = format!(
        r#"{{"apiVersion":"v1","kind":"Status","metadata":{{}},"status":"Failure","reason":"{reason}","message":"{reason}","code":{code}}}"#
    );
    Reply {
        status,
        body: Bytes::from(body),
    }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
