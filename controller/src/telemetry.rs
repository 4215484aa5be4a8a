//! Start-up and end of logs and traces.
//!
//! ```text
//! event ──> log filter ──> line, with trace_id and span_id ──> standard error
//! trace::Span, when it ends ──> bounded queue ──> OTLP over gRPC, if an endpoint is given
//! ```
//!
//! A collector that is away, slow or refuses costs spans and nothing else: the queue drops what does not fit, and what
//! the library has to say about it is logged at most once a minute.

mod line;
mod quiet;

use std::{
    io::{self, IsTerminal as _},
    sync::Arc,
    time::Duration,
};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanProcessor},
};
use tracing::{Subscriber, warn};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{MakeWriter, format},
    layer::SubscriberExt as _,
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::{clock::Clock, trace::Tracer};

/// `service.name` of every span.
const SERVICE: &str = "pgsteer";

/// Spans that wait for the collector; more are dropped. A switch has a few dozen, so this outlasts many with no collector.
const QUEUE_SPANS_MAX: usize = 2_048;

/// Spans in one request to the collector.
const BATCH_SPANS_MAX: usize = 512;

/// How long a span waits for company: whoever looks for a switch in the traces should not wait long.
const BATCH_EVERY: Duration = Duration::from_secs(1);

/// How long one request to the collector may take; it holds up nothing but the next one.
const EXPORT_MAX: Duration = Duration::from_secs(3);

/// How long the last spans may hold up the end of the process.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people; in colour on a terminal
    Text,
    /// One JSON object a line
    Json,
}

/// What to log and where to send traces.
#[derive(Debug)]
pub struct Settings {
    /// How log lines look.
    pub format: LogFormat,
    /// What is logged.
    pub filter: EnvFilter,
    /// Where the collector listens, `http://host:port`; none: nothing is exported.
    pub otlp_endpoint: Option<String>,
    /// `service.instance.id` of every span.
    pub instance: String,
}

/// Why logs and traces could not be started. The operator mends the flag and starts again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is not one that spans can be sent to.
    #[error("no exporter for --otlp-endpoint {endpoint}")]
    Exporter {
        /// As it was given.
        endpoint: String,
        #[source]
        /// What the exporter says.
        source: Box<ExporterBuildError>,
    },
    /// The process logs already.
    #[error("logs have been started before")]
    Started(#[source] TryInitError),
}

/// What must be ended before the process is: see [`Telemetry::shutdown`].
#[derive(Debug)]
#[must_use = "the last spans are lost without shutdown"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Starts both, once for the whole process. Call it within the runtime: the exporter's connection lives there.
pub fn init(settings: Settings, clock: Arc<dyn Clock>) -> Result<Telemetry, Error> {
    let Settings {
        format,
        filter,
        otlp_endpoint,
        instance,
    } = settings;
    let processor = otlp_endpoint.map(processor).transpose()?;
    let provider = processor.map(|processor| provider(processor, instance));
    let colours = io::stderr().is_terminal();
    subscriber(format, filter, (io::stderr, colours), clock)
        .try_init()
        .map_err(Error::Started)?;
    Ok(Telemetry { provider })
}

fn processor(endpoint: String) -> Result<impl SpanProcessor + 'static, Error> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&endpoint)
        .with_timeout(EXPORT_MAX)
        .build();
    let exporter = exporter.map_err(|source| Error::Exporter {
        endpoint,
        source: Box::new(source),
    })?;
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_SPANS_MAX)
        .with_max_export_batch_size(BATCH_SPANS_MAX)
        .with_scheduled_delay(BATCH_EVERY)
        .build();
    Ok(BatchSpanProcessor::builder(exporter).with_batch_config(config).build())
}

fn provider(processor: impl SpanProcessor + 'static, instance: String) -> SdkTracerProvider {
    let resource = Resource::builder()
        .with_service_name(SERVICE)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", instance))
        .build();
    SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(processor)
        .build()
}

/// The whole chain, with a writer (and whether it takes colours) that a test can read.
fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    (writer, colours): (W, bool),
    clock: Arc<dyn Clock>,
) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let quiet = quiet::Quiet::new(clock);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Text => {
            let line = line::Line::text(format::Format::default().with_ansi(colours), quiet);
            lines.with_ansi(colours).event_format(line).boxed()
        }
        LogFormat::Json => {
            let json = format::Format::default()
                .json()
                .flatten_event(true)
                .with_span_list(false);
            lines
                .fmt_fields(format::JsonFields::new())
                .event_format(line::Line::json(json, quiet))
                .boxed()
        }
    };
    let lines = lines.with_filter(filter);
    Registry::default().with(lines)
}

// === impl Telemetry ===

impl Telemetry {
    /// What begins the traces that are exported; without an endpoint there are none.
    pub fn tracer(&self) -> Tracer {
        self.provider
            .as_ref()
            .map_or_else(Tracer::default, |provider| Tracer::new(provider.tracer(SERVICE)))
    }

    /// Sends the last spans and ends the export. Takes a few seconds at most, whatever the collector does.
    pub async fn shutdown(self) {
        let Some(provider) = self.provider else { return };
        // It blocks, and needs the runtime meanwhile.
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_MAX));
        match tokio::time::timeout(FLUSH_MAX, ended).await {
            Ok(Ok(Ok(()))) => (),
            Ok(Ok(Err(error))) => warn!(%error, "the last spans were not exported"),
            Ok(Err(error)) => warn!(%error, "the last spans were not exported"),
            Err(error) => warn!(%error, "the last spans were not exported"),
        }
    }
}

#[cfg(test)]
mod tests;
