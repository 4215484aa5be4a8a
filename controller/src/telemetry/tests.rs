use std::{
    io,
    sync::{Mutex, PoisonError},
};

use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter as Exporter},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tracing::{error, info, info_span};

use super::*;
use crate::clock::ManualClock;

/// Keeps what is written or exported, for the test to read.
#[derive(Debug, Clone)]
struct Kept<T>(Arc<Mutex<Vec<T>>>);

impl<T: Clone> Kept<T> {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn all(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl io::Write for Kept<u8> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Exporter for Kept<SpanData> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(batch);
        Ok(())
    }
}

/// Runs `work` with everything real but the exporter: the lines that it logged, and the spans that it exported.
fn record(format: LogFormat, work: impl FnOnce()) -> (Vec<String>, Vec<SpanData>) {
    let spans = Kept::<SpanData>::new();
    let processor = opentelemetry_sdk::trace::SimpleSpanProcessor::new(spans.clone());
    let provider = provider(processor, "pod_0000002a".to_owned());
    (lines(format, Some(&provider), &Arc::default(), work), spans.all())
}

fn lines(
    format: LogFormat,
    provider: Option<&SdkTracerProvider>,
    clock: &Arc<ManualClock>,
    work: impl FnOnce(),
) -> Vec<String> {
    let written = Kept::<u8>::new();
    let writer = written.clone();
    let writer = move || writer.clone();
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let subscriber = subscriber(format, EnvFilter::new("info"), (writer, false), provider, clock);
    tracing::subscriber::with_default(subscriber, work);
    let text = String::from_utf8(written.all()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_line_names_the_exported_span_that_it_was_logged_in() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let (lines, spans) = record(format, || {
            info_span!("turn", route = "pg/ha").in_scope(|| info!(pod = "node1", "role label set"));
            info!("outside");
        });
        let [span] = &spans[..] else { panic!("{spans:?}") };
        let (trace_id, span_id) = (
            span.span_context.trace_id().to_string(),
            span.span_context.span_id().to_string(),
        );
        assert!(
            lines[0].contains(&trace_id) && lines[0].contains(&span_id),
            "{format:?}: {}",
            lines[0]
        );
        assert!(
            lines[0].contains("pg/ha") && lines[0].contains("node1"),
            "{format:?}: {}",
            lines[0]
        );
        assert!(!lines[1].contains("trace_id"), "{format:?}: {}", lines[1]);
    }
}

#[test]
fn a_json_line_is_one_object_with_the_ids_beside_the_fields() {
    let (lines, spans) = record(LogFormat::Json, || {
        info_span!("turn").in_scope(|| info!(pod = "node1", "role label set"));
    });
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["message"], "role label set");
    assert_eq!(line["pod"], "node1");
    assert_eq!(line["trace_id"], spans[0].span_context.trace_id().to_string());
    assert_eq!(line["span_id"], spans[0].span_context.span_id().to_string());
}

#[test]
fn a_line_in_a_span_that_is_not_exported_names_the_one_around_it() {
    let (lines, spans) = record(LogFormat::Text, || {
        let _turn = info_span!("turn").entered();
        let _library = info_span!(target: "tower::buffer", "worker").entered();
        info!("sent");
    });
    assert_eq!(spans.iter().map(|span| &*span.name).collect::<Vec<_>>(), ["turn"]);
    assert!(
        lines[0].ends_with(&format!("span_id={}", spans[0].span_context.span_id())),
        "{}",
        lines[0]
    );
}

#[test]
fn a_librarys_complaints_are_logged_once_a_minute_and_others_always() {
    let clock = Arc::new(ManualClock::default());
    let lines = lines(LogFormat::Text, None, &clock, || {
        for second in 0..90 {
            error!(target: "opentelemetry_sdk", second, "export failed");
            error!(target: "kube_client::client::builder", second, "request failed");
            clock.advance(Duration::from_secs(1));
        }
        for _ in 0..3 {
            error!("ours");
            info!(target: "kube_client::config", "not a complaint");
        }
    });
    let count = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
    let counts = ["export failed", "request failed", "ours", "not a complaint"].map(count);
    assert_eq!(counts, [2, 2, 3, 3], "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_go_out_to_the_collector_with_the_name_of_the_process() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let provider = provider(processor(endpoint).unwrap(), "pod_0000002a".to_owned());
    let clock: Arc<dyn Clock> = Arc::new(crate::clock::BootClock);
    let export = subscriber(
        LogFormat::Text,
        EnvFilter::new("off"),
        (io::sink, false),
        Some(&provider),
        clock,
    );
    tracing::subscriber::with_default(export, || info_span!("switch").in_scope(|| ()));
    // As much of HTTP/2 as a client needs to send its first request: the server's empty SETTINGS.
    let (mut stream, _) = collector.accept().await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let mut sent = Vec::new();
    let has = |sent: &[u8], words: &str| sent.windows(words.len()).any(|window| window == words.as_bytes());
    let wanted = ["switch", SERVICE, "service.instance.id", "pod_0000002a"];
    while !wanted.iter().all(|words| has(&sent, words)) {
        let read = tokio::time::timeout(EXPORT_MAX * 5, stream.read_buf(&mut sent)).await;
        let read = read.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&sent)));
        assert!(
            read.unwrap() > 0,
            "the exporter hung up: {}",
            String::from_utf8_lossy(&sent)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_up_neither_the_work_nor_the_end() {
    // Bound and never accepted from: connections are taken by the kernel and nothing ever answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let provider = provider(processor(endpoint).unwrap(), "pod_0000002a".to_owned());
    let clock = Arc::new(crate::clock::BootClock);
    let began = clock.now();
    let export = subscriber(
        LogFormat::Text,
        EnvFilter::new("off"),
        (io::sink, false),
        Some(&provider),
        Arc::clone(&clock) as Arc<dyn Clock>,
    );
    tracing::subscriber::with_default(export, || {
        for _ in 0..10 * QUEUE_SPANS_MAX {
            info_span!("turn").in_scope(|| ());
        }
    });
    Telemetry {
        provider: Some(provider),
    }
    .shutdown()
    .await;
    let took = clock.now().since(began);
    assert!(took < EXPORT_MAX * 2 + FLUSH_MAX, "{took:?}");
}
