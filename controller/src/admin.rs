//! The HTTP endpoint of one process: `/livez`, `/readyz`, `/metrics`. It reads only, and tells nothing secret.

mod door;

use std::{fmt, io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{health::Health, metrics::Metrics};
use door::{Door, GUESTS_MAX, STAY_MAX};

/// What `/metrics` answers with; Prometheus asks for it by this name.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The endpoint, bound and not yet serving: so that an address that is taken is an error at start, not later in a log.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
}

/// Why the endpoint cannot serve. The operator chooses another address, or ends who has it.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on --admin-address {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    source: io::Error,
}

/// What the answers are made of.
#[derive(Debug, Clone)]
struct Sources {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

// === impl Admin ===

impl Admin {
    /// Takes the address.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| BindError { address, source })?;
        Ok(Self { listener })
    }

    /// Where it listens: with port 0 the kernel chose one.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` fires, and then finishes what is being answered.
    pub async fn serve(self, health: Arc<Health>, metrics: Arc<Metrics>, stop: CancellationToken) -> io::Result<()> {
        let routes = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(scrape))
            .with_state(Sources { health, metrics });
        axum::serve(Door::new(self.listener, GUESTS_MAX, STAY_MAX), routes)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }
}

async fn livez(State(Sources { health, .. }): State<Sources>) -> Response {
    verdict(health.live().map(|()| "ok"))
}

async fn readyz(State(Sources { health, .. }): State<Sources>) -> Response {
    verdict(health.ready())
}

async fn scrape(State(Sources { metrics, .. }): State<Sources>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// One line, for the kubelet's Event and for whoever asks with curl.
fn verdict<T: fmt::Display, E: fmt::Display>(result: Result<T, E>) -> Response {
    match result {
        Ok(well) => (StatusCode::OK, format!("{well}\n")).into_response(),
        Err(unwell) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unwell}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests;
