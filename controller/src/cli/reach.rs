//! How the command line reaches the leader: its name from the Lease, its endpoint through the API server's pod proxy. What comes back is
//! live; where the way is barred the routes' status has to do, and the answer says so.
//!
//! ```text
//! Lease (holder <pod>_<8 hex>) -> /api/v1/namespaces/NS/pods/POD:8080/proxy/api/v1/routes -> Overview
//! ```

use std::time::Duration;

use http::Request;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Client, ResourceExt as _};
use shared::names;

use crate::{
    live::{LiveRoute, Overview},
    reign::RouteKey,
};

/// How long a leader may take: it answers from memory, and a person is waiting for a table that can do without it.
const LEADER_MAX: Duration = Duration::from_secs(3);

/// Releases of pgsteer in one cluster that are asked at most; people have one, or one for each of a few teams.
const LEADERS_MAX: usize = 16;

/// What the leaders say of their routes right now, or why nothing is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// What those that were reached say.
    pub overviews: Vec<Overview>,
    /// Why others were not; empty: all were reached.
    pub missing: Vec<String>,
}

// === impl Figures ===

impl Figures {
    /// What a leader says of a route.
    pub fn of(&self, key: &RouteKey) -> Option<&LiveRoute> {
        let mut routes = self.overviews.iter().flat_map(|overview| &overview.routes);
        routes.find(|route| route.namespace == key.namespace && route.name == key.name)
    }

    /// Who was reached, in a line; and who was not, and what that means.
    pub fn tell(&self) -> String {
        let reached = self.overviews.iter().map(|overview| {
            let by = &overview.by;
            format!("leader: {}, term {}\n", by.leader, by.term)
        });
        let missing = self
            .missing
            .iter()
            .map(|why| format!("no live figures ({why}): what is shown is the routes' status\n"));
        reached.chain(missing).collect()
    }
}

/// Asks the leader of each of these Leases.
pub(super) async fn ask(client: &Client, leases: &[Lease]) -> Figures {
    let mut figures = Figures::default();
    for lease in leases.iter().take(LEADERS_MAX) {
        let Some((namespace, pod)) = leader(lease) else {
            let place = format!("{}/{}", lease.namespace().unwrap_or_default(), lease.name_any());
            figures.missing.push(format!("Lease {place} names no leader"));
            continue;
        };
        match overview(client, &namespace, &pod).await {
            Ok(overview) => figures.overviews.push(overview),
            Err(why) => figures.missing.push(why),
        }
    }
    if leases.is_empty() {
        let why = format!("no Lease {} that you may see names a leader", names::LEASE);
        figures.missing.push(why);
    }
    figures
}

/// The namespace and the pod of the leader that a Lease names.
fn leader(lease: &Lease) -> Option<(String, String)> {
    let holder = lease.spec.as_ref()?.holder_identity.as_ref()?;
    let (pod, random) = holder.rsplit_once('_')?;
    let is_ours = !pod.is_empty() && random.len() == 8 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_ours.then_some((lease.namespace()?, pod.to_owned()))
}

async fn overview(client: &Client, namespace: &str, pod: &str) -> Result<Overview, String> {
    let port = names::ADMIN_PORT;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/api/v1/routes");
    let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    let asked = tokio::time::timeout(LEADER_MAX, client.request_text(request)).await;
    let who = format!("leader {namespace}/{pod}");
    let text = match asked {
        Err(_elapsed) => return Err(format!("{who} did not answer within {} s", LEADER_MAX.as_secs())),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            return Err(format!(
                "you may not reach {who}: ask for the role pgsteer-viewer in namespace {namespace}"
            ));
        }
        Ok(Err(kube::Error::Api(status))) => return Err(format!("{who}: {} {}", status.code, status.message.trim())),
        Ok(Err(error)) => return Err(format!("{who}: {error}")),
        Ok(Ok(text)) => text,
    };
    serde_json::from_str(&text).map_err(|_other| format!("{who} speaks another version: {} bytes of it", text.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_leaders_pod_is_in_the_holders_name() {
        let lease = |holder: Value| -> Lease {
            let metadata = json!({ "namespace": "pgsteer-system", "name": "pgsteer" });
            serde_json::from_value(json!({ "metadata": metadata, "spec": { "holderIdentity": holder } })).unwrap()
        };
        let pod = |holder: Value| leader(&lease(holder)).map(|(namespace, pod)| format!("{namespace}/{pod}"));
        assert_eq!(
            pod(json!("pgsteer-7d_x-2_0bad00ca")).as_deref(),
            Some("pgsteer-system/pgsteer-7d_x-2")
        );
        for other in [
            json!(null),
            json!(""),
            json!("somebody"),
            json!("_0bad00ca"),
            json!("a_0bad00c"),
            json!("a_0bad00cg"),
        ] {
            assert_eq!(pod(other.clone()), None, "{other}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let figures = Figures {
            overviews: Vec::new(),
            missing: vec!["you may not reach leader a/b".to_owned()],
        };
        let told = figures.tell();
        assert!(
            told.contains("no live figures (you may not reach leader a/b)"),
            "{told}"
        );
    }
}
