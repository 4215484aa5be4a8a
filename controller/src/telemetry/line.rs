//! A log line that names the trace that it belongs to.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::quiet::Quiet;
use crate::trace::Span;

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
    quiet: Quiet,
    notation: Notation,
}

impl<F> Line<F> {
    /// `inner` writes text.
    pub(super) const fn text(inner: F, quiet: Quiet) -> Self {
        Self {
            inner,
            quiet,
            notation: Notation::Text,
        }
    }

    /// `inner` writes one JSON object.
    pub(super) const fn json(inner: F, quiet: Quiet) -> Self {
        Self {
            inner,
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
        let span = Span::current();
        match (span.trace_id(), &self.notation) {
            (None, _) => writeln!(out, "{line}"),
            (Some(trace_id), Notation::Text) => {
                writeln!(out, "{line} trace_id={trace_id} span_id={}", span.span_id())
            }
            (Some(trace_id), Notation::Json) => {
                let open = line.strip_suffix('}').ok_or(fmt::Error)?;
                let span_id = span.span_id();
                writeln!(out, r#"{open},"trace_id":"{trace_id}","span_id":"{span_id}"}}"#)
            }
        }
    }
}
