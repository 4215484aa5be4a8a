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
use crate::clock::{ManualClock, Tick};

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
fn record(format: LogFormat, work: impl FnOnce(&Tracer)) -> (Vec<String>, Vec<SpanData>) {
    let spans = Kept::<SpanData>::new();
    let processor = opentelemetry_sdk::trace::SimpleSpanProcessor::new(spans.clone());
    let telemetry = telemetry(provider(processor, "pod_0000002a".to_owned()));
    let lines = lines(format, &Arc::default(), || work(&telemetry.tracer()));
    (lines, spans.all())
}

fn telemetry(provider: SdkTracerProvider) -> Telemetry {
    Telemetry {
        provider: Some(provider),
    }
}

/// A clock that stands at this second.
fn clock_at(second: u64) -> ManualClock {
    let clock = ManualClock::default();
    clock.advance(Duration::from_secs(second));
    clock
}

fn second(count: u64) -> Tick {
    Tick::from_nanos(count * 1_000_000_000)
}

fn lines(format: LogFormat, clock: &Arc<ManualClock>, work: impl FnOnce()) -> Vec<String> {
    let written = Kept::<u8>::new();
    let writer = written.clone();
    let writer = move || writer.clone();
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let subscriber = subscriber(format, EnvFilter::new("info"), (writer, false), clock);
    tracing::subscriber::with_default(subscriber, work);
    let text = String::from_utf8(written.all()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_line_names_the_span_that_it_was_logged_for_and_no_other_line_names_one() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let (lines, spans) = record(format, |tracer| {
            let switch = tracer.begin("switch", second(1), &clock_at(2), &[]);
            {
                let _within = switch.enter();
                info!(route = "pg/ha", pod = "node1", "role label set");
            }
            info!("outside");
            let _library = info_span!(target: "tower::buffer", "worker").entered();
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
    let (lines, spans) = record(LogFormat::Json, |tracer| {
        let switch = tracer.begin("switch", second(1), &clock_at(1), &[]);
        let _within = switch.enter();
        info!(pod = "node1", "role label set");
    });
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["message"], "role label set");
    assert_eq!(line["pod"], "node1");
    assert_eq!(line["trace_id"], spans[0].span_context.trace_id().to_string());
    assert_eq!(line["span_id"], spans[0].span_context.span_id().to_string());
}

#[test]
fn spans_have_the_times_that_they_are_given_and_the_parents_that_they_are_parts_of() {
    let (_, spans) = record(LogFormat::Text, |tracer| {
        let reign = tracer.begin("take over", second(1), &clock_at(1), &[]);
        let switch = tracer.begin("switch", second(10), &clock_at(14), &[&reign]);
        let write = switch.child("withdraw", second(11));
        write.request("PATCH pods".to_owned(), second(12)).end(second(13));
        write.end(second(15));
        switch.end(second(20));
        // Nothing after its end is told.
        switch.end(second(30));
        reign.end(second(2));
    });
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (switch, write, request) = (named("switch"), named("withdraw"), named("PATCH pods"));
    assert_eq!(spans.len(), 4);
    let parents = [switch, write, request].map(|span| span.parent_span_id);
    let ids = [switch, write].map(|span| span.span_context.span_id());
    assert_eq!(parents, [opentelemetry::SpanId::INVALID, ids[0], ids[1]]);
    let after = |span: &SpanData| {
        let since = |time: std::time::SystemTime| time.duration_since(switch.start_time).unwrap().as_secs();
        (since(span.start_time), since(span.end_time))
    };
    assert_eq!([switch, write, request].map(after), [(0, 10), (1, 5), (2, 3)]);
    let linked = switch.links.iter().map(|link| link.span_context.trace_id());
    assert!(linked.eq([named("take over").span_context.trace_id()]));
}

#[test]
fn a_span_is_handed_on_in_the_headers_of_a_request_and_none_is_not() {
    let mut headers = http::HeaderMap::new();
    crate::trace::Span::default().hand_on(&mut headers);
    assert!(headers.is_empty(), "{headers:?}");
    let (_, spans) = record(LogFormat::Text, |tracer| {
        tracer
            .begin("switch", second(1), &clock_at(1), &[])
            .hand_on(&mut headers);
    });
    let context = &spans[0].span_context;
    let expected = format!("00-{}-{}-01", context.trace_id(), context.span_id());
    assert_eq!(headers.get("traceparent").unwrap(), expected.as_str());
}

#[test]
fn a_librarys_complaints_are_logged_once_a_minute_and_others_always() {
    let clock = Arc::new(ManualClock::default());
    let lines = lines(LogFormat::Text, &clock, || {
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
    let telemetry = telemetry(provider(processor(endpoint).unwrap(), "pod_0000002a".to_owned()));
    telemetry
        .tracer()
        .begin("switch", second(1), &clock_at(1), &[])
        .end(second(2));
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

/// Exports many times what the queue holds to `address`, where nobody takes it, and ends: how long that took.
async fn export_in_vain(address: std::net::SocketAddr) -> Duration {
    let telemetry = telemetry(provider(
        processor(format!("http://{address}")).unwrap(),
        "pod_0000002a".to_owned(),
    ));
    let clock = crate::clock::BootClock;
    let began = clock.now();
    let tracer = telemetry.tracer();
    for _ in 0..10 * QUEUE_SPANS_MAX {
        tracer.begin("switch", began, &clock, &[]).end(began);
    }
    telemetry.shutdown().await;
    clock.now().since(began)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_silent_or_talks_nonsense_holds_up_neither_the_work_nor_the_end() {
    // Bound and never accepted from: connections are taken by the kernel and nothing ever answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let away = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nonsense = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nonsense.local_addr().unwrap();
    let mut answering = tokio::task::JoinSet::new();
    answering.spawn(async move {
        while let Ok((mut stream, _)) = nonsense.accept().await {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
        }
    });
    for address in [silent.local_addr().unwrap(), away, address] {
        let took = export_in_vain(address).await;
        assert!(took < EXPORT_MAX * 2 + FLUSH_MAX, "{address}: {took:?}");
    }
}
