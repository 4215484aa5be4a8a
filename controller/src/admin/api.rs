//! `/api/v1/routes`: the leader's routes as JSON. A follower answers 503 and names the leader.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use shared::{names, term::Term};

use super::Sources;
use crate::{
    health::Phase,
    live::{LiveRoute, Overview, RouteHistory, RoutePlan, SeenBy},
    reign::RouteKey,
};

/// The version of the answers: the custom resources' own.
const VERSION: &str = "v1alpha1";

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refusal {
    pub(crate) api_version: String,
    /// `NotLeader` or `NotFound`.
    pub(crate) kind: String,
    /// Whom to ask instead, as the Lease names it; absent while nobody leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) leader: Option<String>,
    /// In words.
    pub(crate) message: String,
}

/// One route, and who tells it.
#[derive(Debug, Serialize)]
struct RouteView<'a> {
    #[serde(flatten)]
    by: SeenBy,
    route: &'a LiveRoute,
}

impl Sources {
    /// The head of an answer, if this replica leads.
    fn by(&self, kind: &str) -> Result<SeenBy, Refusal> {
        Ok(SeenBy {
            api_version: format!("{}/{VERSION}", names::GROUP),
            kind: kind.to_owned(),
            leader: self.identity.to_string(),
            term: self.leads()?,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: Time(self.shown.health.wall()),
        })
    }

    /// The term that this replica leads under.
    fn leads(&self) -> Result<Term, Refusal> {
        let phase = self.shown.health.phase();
        let leader = match &phase {
            Phase::Leading { term } => return Ok(*term),
            Phase::Syncing { .. } => Some(self.identity.to_string()),
            Phase::Following { holder } => holder.clone(),
            Phase::Starting | Phase::Stopping => None,
        };
        Err(Refusal::new("NotLeader", leader, phase.to_string()))
    }

    /// Everything, if this replica leads.
    pub(super) fn overview(&self) -> Result<Overview, Refusal> {
        let by = self.by("RouteOverview")?;
        let routes = self.shown.live.routes();
        Ok(Overview {
            by,
            routes: routes.iter().map(|route| LiveRoute::clone(route)).collect(),
        })
    }

    fn about<T: Serialize>(
        &self,
        (namespace, name): (String, String),
        kind: &str,
        tell: impl Fn(SeenBy, &LiveRoute) -> T,
    ) -> Response {
        let key = RouteKey { namespace, name };
        let answer = self.by(kind).and_then(|by| match self.shown.live.get(&key) {
            Some(route) => Ok((by, route)),
            None => Err(Refusal::new(
                "NotFound",
                None,
                format!("this leader serves no route {key}"),
            )),
        });
        match answer {
            Ok((by, route)) => Json(tell(by, &route)).into_response(),
            Err(refusal) => refusal.into_response(),
        }
    }
}

impl Refusal {
    fn new(kind: &str, leader: Option<String>, message: String) -> Self {
        Self {
            api_version: format!("{}/{VERSION}", names::GROUP),
            kind: kind.to_owned(),
            leader,
            message,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = if self.kind == "NotFound" {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        (status, Json(self)).into_response()
    }
}

pub(super) async fn routes(State(sources): State<Sources>) -> Response {
    match sources.overview() {
        Ok(overview) => Json(overview).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

pub(super) async fn route(State(sources): State<Sources>, Path(name): Path<(String, String)>) -> Response {
    sources.about(name, "RouteView", |by, route| {
        serde_json::to_value(RouteView { by, route }).unwrap_or_default()
    })
}

pub(super) async fn plan(State(sources): State<Sources>, Path(name): Path<(String, String)>) -> Response {
    sources.about(name, "RoutePlan", |by, route| RoutePlan {
        by,
        namespace: route.namespace.clone(),
        name: route.name.clone(),
        state: route.state.clone(),
        next: route.next.clone(),
    })
}

pub(super) async fn history(State(sources): State<Sources>, Path(name): Path<(String, String)>) -> Response {
    sources.about(name, "RouteHistory", |by, route| RouteHistory {
        by,
        namespace: route.namespace.clone(),
        name: route.name.clone(),
        switches: route.switches.clone(),
    })
}
