//! A Jaeger of a test's own: takes spans by OTLP, keeps them in memory, and is asked for traces.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    cluster::{Beside, Error, Part, Programs, free_ports, from_environment},
    http_get,
    wait::{TimedOut, wait_for},
};

/// Traces that one question asks for at most.
const TRACES_MAX: &str = "1000";

/// A running Jaeger.
#[derive(Debug)]
pub struct Jaeger {
    beside: Beside,
    otlp: SocketAddr,
    query: SocketAddr,
}

/// One span, as the query interface tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace: String,
    /// Its own name.
    pub id: String,
    /// The span that it is a part of.
    pub parent: Option<String>,
    /// Spans of other traces that it has to do with, as trace and span.
    pub links: Vec<(String, String)>,
    /// What it is about.
    pub name: String,
    /// Who told it.
    pub service: String,
    /// Its beginning, in microseconds since 1970.
    pub start_micros: u64,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// What is said of it.
    pub tags: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Trace>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    spans: Vec<Told>,
    processes: BTreeMap<String, Process>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    service_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    #[serde(rename = "traceID")]
    trace: String,
    #[serde(rename = "spanID")]
    id: String,
    operation_name: String,
    references: Vec<Reference>,
    start_time: u64,
    duration: u64,
    tags: Vec<Tag>,
    #[serde(rename = "processID")]
    process: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    ref_type: String,
    #[serde(rename = "traceID")]
    trace: String,
    #[serde(rename = "spanID")]
    span: String,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    value: Value,
}

impl Jaeger {
    /// Starts one with its log under `directory`, which must be empty, and waits until it answers. [`Error::NotBuilt`] tells the
    /// command that builds it.
    pub async fn start(directory: &Path) -> Result<Self, Error> {
        let programs = Programs::find(&from_environment().0, Part::Jaeger).await?;
        let ports = free_ports().map_err(Error::io("find a free port for", directory))?;
        let [otlp, query, rest @ ..]: [SocketAddr; 7] = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let flags = [
            "--collector.grpc-server.host-port",
            "--collector.http-server.host-port",
            "--query.grpc-server.host-port",
            "--admin.http.host-port",
            "--http-server.host-port",
        ];
        let mut args = vec![
            format!("--collector.otlp.grpc.host-port={otlp}"),
            format!("--query.http-server.host-port={query}"),
            // Any free port: nobody asks there.
            "--collector.otlp.http.host-port=127.0.0.1:0".to_owned(),
            "--processor.jaeger-binary.server-host-port=127.0.0.1:0".to_owned(),
            "--processor.jaeger-compact.server-host-port=127.0.0.1:0".to_owned(),
            "--processor.zipkin-compact.server-host-port=127.0.0.1:0".to_owned(),
        ];
        args.extend(
            flags
                .iter()
                .zip(rest)
                .map(|(flag, address)| format!("{flag}={address}")),
        );
        let memory = [("SPAN_STORAGE_TYPE", "memory")];
        let beside = Beside::start(directory, "jaeger", programs.path("jaeger"), args, &memory)?;
        let jaeger = Self { beside, otlp, query };
        let answers = jaeger
            .beside
            .until_ready("Jaeger to answer", || async { jaeger.traces("nobody").await.map(drop) });
        answers.await?;
        Ok(jaeger)
    }

    /// Where it takes spans by OTLP over gRPC.
    pub const fn otlp(&self) -> SocketAddr {
        self.otlp
    }

    /// Every trace that has a span of this service, as its spans in the order of their beginnings.
    pub async fn traces(&self, service: &str) -> Result<Vec<Vec<Span>>, String> {
        let query = http_get::query(&[("service", service), ("limit", TRACES_MAX), ("lookback", "1h")]);
        let answer = http_get::get(self.query, &format!("/api/traces?{query}"), "*/*").await;
        let (status, body) = answer.map_err(|error| error.to_string())?;
        if status != 200 {
            return Err(format!("status {status}: {body}"));
        }
        let answer: Answer = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        Ok(answer.data.into_iter().map(spans).collect())
    }

    /// Waits for a trace of this service that `wanted` picks something from.
    pub async fn trace<T>(
        &self,
        service: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&[Span]) -> Option<T>,
    ) -> Result<T, TimedOut> {
        wait_for(what, limit, || async {
            let traces = self.traces(service).await?;
            let found = traces.iter().find_map(|spans| wanted(spans));
            found.ok_or_else(|| {
                let names = |spans: &Vec<Span>| spans.iter().map(|span| span.name.clone()).collect::<Vec<_>>();
                format!("there are {:?}", traces.iter().map(names).collect::<Vec<_>>())
            })
        })
        .await
    }
}

fn spans(trace: Trace) -> Vec<Span> {
    let Trace { spans, processes } = trace;
    let mut spans: Vec<_> = spans
        .into_iter()
        .map(|told| {
            let of = |kind: &str| told.references.iter().find(|reference| reference.ref_type == kind);
            let parent = of("CHILD_OF").map(|reference| reference.span.clone());
            let links = told
                .references
                .iter()
                .filter(|reference| reference.ref_type != "CHILD_OF");
            let links = links.map(|link| (link.trace.clone(), link.span.clone())).collect();
            Span {
                parent,
                links,
                service: processes
                    .get(&told.process)
                    .map(|process| process.service_name.clone())
                    .unwrap_or_default(),
                trace: told.trace,
                id: told.id,
                name: told.operation_name,
                start_micros: told.start_time,
                micros: told.duration,
                tags: told.tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
            }
        })
        .collect();
    spans.sort_by_key(|span| span.start_micros);
    spans
}
