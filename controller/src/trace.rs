//! Spans, with times that are given: what happened is told after it happened, on the clock that everything else goes by.
//!
//! There is a span only where somebody began a trace: a switch, or a change of leadership. Around everything else, and where
//! nothing is exported, all of this does nothing. The span that work is done for is the current one of that work, so a log
//! line can name it and a request to the API server can hand it on.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context, ContextGuard, KeyValue, Value,
    propagation::{Injector, TextMapPropagator as _},
    trace::{
        FutureExt as _, Link, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
        WithContext,
    },
};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracer};

use crate::clock::{Clock, Tick};

/// Begins traces; the default exports nothing.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<SdkTracer>);

/// One moment on both clocks. A trace has one for all its spans, so that a wall clock that is set meanwhile tears nothing apart.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    tick: Tick,
    wall: SystemTime,
}

/// What makes the spans of a trace; part of the context of each of them.
#[derive(Debug, Clone)]
struct Source {
    tracer: SdkTracer,
    anchor: Anchor,
}

/// A span that has begun, or nothing. It ends by [`Span::end`], at the latest when the last copy of it is dropped.
#[derive(Clone, Default)]
pub struct Span(Context);

// === impl Tracer ===

impl Tracer {
    /// A tracer of spans that are exported.
    pub const fn new(tracer: SdkTracer) -> Self {
        Self(Some(tracer))
    }

    /// Begins a trace whose first span began at `at`, linked with others that it has to do with.
    pub fn begin(&self, name: &'static str, at: Tick, clock: &dyn Clock, links: &[&Span]) -> Span {
        let Some(tracer) = &self.0 else {
            return Span::default();
        };
        let anchor = Anchor {
            tick: clock.now(),
            wall: clock.wall().into(),
        };
        let source = Source {
            tracer: tracer.clone(),
            anchor,
        };
        let links = links
            .iter()
            .map(|span| span.context())
            .filter(SpanContext::is_valid)
            .map(|linked| Link::new(linked, Vec::new(), 0))
            .collect();
        let builder = SpanBuilder::from_name(name)
            .with_start_time(anchor.wall_at(at))
            .with_links(links);
        Span::build(&Context::new().with_value(source), builder)
    }
}

// === impl Anchor ===

impl Anchor {
    fn wall_at(self, at: Tick) -> SystemTime {
        let moved = if at >= self.tick {
            self.wall.checked_add(at.since(self.tick))
        } else {
            self.wall.checked_sub(self.tick.since(at))
        };
        moved.unwrap_or(self.wall)
    }
}

// === impl Span ===

impl Span {
    fn build(parent: &Context, builder: SpanBuilder) -> Self {
        match parent.get::<Source>() {
            None => Self::default(),
            Some(source) => Self(parent.with_span(source.tracer.build_with_context(builder, parent))),
        }
    }

    /// The span that this work is done for.
    pub fn current() -> Self {
        Self(Context::current())
    }

    /// A part of this one that began at `at`.
    #[must_use]
    pub fn child(&self, name: &'static str, at: Tick) -> Self {
        self.part(SpanBuilder::from_name(name), at)
    }

    /// A request to another process that goes out at `at`.
    #[must_use]
    pub fn request(&self, name: String, at: Tick) -> Self {
        self.part(SpanBuilder::from_name(name).with_kind(SpanKind::Client), at)
    }

    fn part(&self, builder: SpanBuilder, at: Tick) -> Self {
        let builder = match self.0.get::<Source>() {
            None => return Self::default(),
            Some(source) => builder.with_start_time(source.anchor.wall_at(at)),
        };
        Self::build(&self.0, builder)
    }

    /// Whether anybody will see it. What costs something to put into words is not put into words otherwise.
    pub fn is_told(&self) -> bool {
        self.0.span().is_recording()
    }

    /// Says something about it.
    pub fn say(&self, key: &'static str, value: impl Into<Value>) -> &Self {
        self.0.span().set_attribute(KeyValue::new(key, value));
        self
    }

    /// It came to nothing, and why.
    pub fn fail(&self, why: impl Into<String>) {
        self.0.span().set_status(Status::error(why.into()));
    }

    /// It ended at `at`. Ending it again changes nothing.
    pub fn end(&self, at: Tick) {
        if let Some(source) = self.0.get::<Source>() {
            self.0.span().end_with_timestamp(source.anchor.wall_at(at));
        }
    }

    /// The trace that it belongs to, if somebody will see it: 32 hexadecimal digits.
    pub fn trace_id(&self) -> Option<String> {
        let context = self.context();
        (context.is_valid() && context.is_sampled()).then(|| context.trace_id().to_string())
    }

    /// Its own name: 16 hexadecimal digits.
    pub fn span_id(&self) -> String {
        self.context().span_id().to_string()
    }

    fn context(&self) -> SpanContext {
        self.0.span().span_context().clone()
    }

    /// Does work for it.
    pub fn around<F: Future>(&self, work: F) -> WithContext<F> {
        work.with_context(self.0.clone())
    }

    /// What is done until the guard is dropped is done for it. Not to be held while waiting: see [`Span::around`].
    pub fn enter(&self) -> ContextGuard {
        self.0.clone().attach()
    }

    /// Names it in the headers of a request (`traceparent`), so that who answers can tell its own part of the trace.
    pub fn hand_on(&self, headers: &mut HeaderMap) {
        TraceContextPropagator::new().inject_context(&self.0, &mut Headers(headers));
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.context().span_id()).finish()
    }
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

/// Milliseconds, as spans say durations.
pub fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}
