//! A log line that names the trace that it belongs to.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use super::quiet::Quiet;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::{Dispatch, Event, Subscriber, dispatcher::WeakDispatch};
use tracing_opentelemetry::get_otel_context;
use tracing_subscriber::{
    Layer,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Finds the trace of a span. As a layer it learns which subscriber it is part of; a clone of it is what a line asks.
#[derive(Debug, Clone, Default)]
pub(super) struct Traces(Arc<OnceLock<WeakDispatch>>);

impl<S: Subscriber> Layer<S> for Traces {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        // A layer is part of one subscriber for good, so the first is the only one.
        self.0.get_or_init(|| dispatch.downgrade());
    }
}

impl Traces {
    /// The innermost span around the event that is exported.
    fn around<S, N>(&self, context: &FmtContext<'_, S, N>) -> Option<SpanContext>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        N: for<'a> FormatFields<'a> + 'static,
    {
        let dispatch = self.0.get()?.upgrade()?;
        let spans = context.event_scope()?;
        spans
            .filter_map(|span| get_otel_context(&span.id(), &dispatch))
            .map(|context| context.span().span_context().clone())
            .find(|trace| trace.is_valid() && trace.is_sampled())
    }
}

/// How the ids are put into a line.
#[derive(Debug)]
enum Notation {
    /// `trace_id=.. span_id=..` at the end.
    Text,
    /// Two more members of the object.
    Json,
}

/// What `inner` writes, and the ids; nothing for a complaint that has been heard.
#[derive(Debug)]
pub(super) struct Line<F> {
    inner: F,
    traces: Traces,
    quiet: Quiet,
    notation: Notation,
}

impl<F> Line<F> {
    /// `inner` writes text.
    pub(super) const fn text(inner: F, traces: Traces, quiet: Quiet) -> Self {
        Self {
            inner,
            traces,
            quiet,
            notation: Notation::Text,
        }
    }

    /// `inner` writes one JSON object.
    pub(super) const fn json(inner: F, traces: Traces, quiet: Quiet) -> Self {
        Self {
            inner,
            traces,
            quiet,
            notation: Notation::Json,
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for Line<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if !self.quiet.admits(event.metadata()) {
            return Ok(());
        }
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        match (self.traces.around(context), &self.notation) {
            (None, _) => writeln!(out, "{line}"),
            (Some(trace), Notation::Text) => {
                writeln!(out, "{line} trace_id={} span_id={}", trace.trace_id(), trace.span_id())
            }
            (Some(trace), Notation::Json) => {
                let open = line.strip_suffix('}').ok_or(fmt::Error)?;
                let (trace_id, span_id) = (trace.trace_id(), trace.span_id());
                writeln!(out, r#"{open},"trace_id":"{trace_id}","span_id":"{span_id}"}}"#)
            }
        }
    }
}
