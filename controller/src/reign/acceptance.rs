//! Whether a route can be served as it is written: its pods, its Services, and who owns the pods. Pure.

use std::{fmt, sync::Arc};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use shared::{
    role::Role,
    route::{PostgresRoute, Routing},
    status::Reason,
};

use super::{
    observe::{container_of, selects},
    owners::Owner,
    slices,
};

/// Why a route is not served: nothing is written for it until a person has mended this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// An older route selects the same pod.
    ClaimedByElder { pod: String, elder: String },
    /// The workload that owns the pod selects by the role label: with another value the pod would drop out of it.
    OwnerSelectsRole { pod: String, owner: String, label: String },
    /// The workload that owns the pod could not be looked at.
    OwnerUnreadable { pod: String, owner: String, reason: String },
    /// It is not clear which container runs PostgreSQL.
    ContainerUnclear { pod: String },
}

impl Refusal {
    /// The reason of the condition.
    pub(crate) const fn reason(&self) -> Reason {
        match self {
            Self::ClaimedByElder { .. } => Reason::PodClaimedTwice,
            Self::OwnerSelectsRole { .. } => Reason::OwnerSelectsRoleLabel,
            Self::OwnerUnreadable { .. } => Reason::OwnerUnreadable,
            Self::ContainerUnclear { .. } => Reason::ContainerUnclear,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClaimedByElder { pod, elder } => write!(
                f,
                "pod {pod} is also selected by the older route {elder}: change one podSelector so that each pod has one route"
            ),
            Self::OwnerSelectsRole { pod, owner, label } => write!(
                f,
                "{owner}, which owns pod {pod}, has the label {label:?} in its own selector: relabelling would take the pod \
                 away from it. Remove the label from its selector, or choose another roleLabel"
            ),
            Self::OwnerUnreadable { pod, owner, reason } => write!(
                f,
                "{owner}, which owns pod {pod}, cannot be read ({reason}), so it is not known whether relabelling is safe: \
                 the controller's role needs `get` on it"
            ),
            Self::ContainerUnclear { pod } => write!(
                f,
                "pod {pod} has several containers, or not the one that spec.container names: name the one that runs PostgreSQL"
            ),
        }
    }
}

/// What is wrong with one of the Services: labels are kept right all the same, but clients do not get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceProblem {
    /// The reason of the condition.
    pub(crate) reason: Reason,
    /// What is wrong, and what to do.
    pub(crate) text: String,
}

/// The first reason not to serve the route. `rivals` are the routes of the same namespace.
pub(crate) fn refusal<'a>(
    route: &PostgresRoute,
    pods: &[Arc<Pod>],
    rivals: &[Arc<PostgresRoute>],
    owner: impl Fn(&Pod) -> Option<&'a Owner>,
) -> Option<Refusal> {
    let label = &route.spec.role_label;
    for pod in pods {
        let name = pod.name_any();
        let elder = rivals
            .iter()
            .find(|rival| is_elder(rival, route) && selects(rival, pod));
        if let Some(elder) = elder {
            return Some(Refusal::ClaimedByElder {
                pod: name,
                elder: elder.name_any(),
            });
        }
        if container_of(route, pod).is_none() {
            return Some(Refusal::ContainerUnclear { pod: name });
        }
        match owner(pod) {
            Some(Owner::Read(read)) if read.selector.contains(label) => {
                let label = label.clone();
                return Some(Refusal::OwnerSelectsRole {
                    pod: name,
                    owner: read.name.clone(),
                    label,
                });
            }
            Some(Owner::Unreadable { name: owner, reason }) => {
                return Some(Refusal::OwnerUnreadable {
                    pod: name,
                    owner: owner.clone(),
                    reason: reason.clone(),
                });
            }
            Some(Owner::Read(_) | Owner::Gone) | None => {}
        }
    }
    None
}

/// The older route keeps its pods; of two that are equally old, the one whose name comes first.
fn is_elder(rival: &PostgresRoute, route: &PostgresRoute) -> bool {
    let age = |route: &PostgresRoute| (route.creation_timestamp().map(|time| time.0), route.name_any());
    rival.uid() != route.uid() && age(rival) < age(route)
}

/// What is wrong with the Service that is to lead to `role`.
pub(crate) fn service_problem(route: &PostgresRoute, role: Role, service: Option<&Service>) -> Option<ServiceProblem> {
    let services = &route.spec.services;
    let name = if role == Role::Primary {
        &services.primary
    } else {
        &services.replica
    };
    let problem = |reason, text| Some(ServiceProblem { reason, text });
    let Some(spec) = service.map(|service| service.spec.clone().unwrap_or_default()) else {
        return problem(
            Reason::ServiceMissing,
            format!("Service {name} does not exist: create it, or correct spec.services"),
        );
    };
    let mut wanted = route.spec.pod_selector.match_labels.clone();
    wanted.insert(route.spec.role_label.clone(), role.as_str().to_owned());
    if spec.type_.as_deref() == Some("ExternalName") {
        return problem(
            Reason::ServiceExternal,
            format!("Service {name} is of type ExternalName: it selects no pods"),
        );
    }
    if route.spec.routing == Routing::EndpointSlices {
        if spec.selector.is_some_and(|selector| !selector.is_empty()) {
            let (namespace, remove) = (
                route.namespace().unwrap_or_default(),
                r#"[{"op":"remove","path":"/spec/selector"}]"#,
            );
            let text = format!(
                "Service {name} has a selector, so Kubernetes itself lists endpoints for it, and the controller lists nobody: \
                 kubectl -n {namespace} patch service {name} --type=json -p '{remove}', or set spec.routing to Labels"
            );
            return problem(Reason::ServiceHasSelector, text);
        }
    } else if spec.selector.clone().unwrap_or_default() != wanted {
        let wanted: Vec<String> = wanted.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let text = format!(
            "Service {name} does not select what the route needs: set its selector to {}",
            wanted.join(", ")
        );
        return problem(Reason::ServiceSelectsOtherwise, text);
    }
    if role != Role::Primary {
        return None;
    }
    if spec.cluster_ip.as_deref() == Some("None") {
        let text = format!(
            "Service {name} is headless: clients would keep a resolved address and write to a server that is no longer \
             primary. Give it a cluster IP"
        );
        return problem(Reason::ServiceHeadless, text);
    }
    if spec.internal_traffic_policy.as_deref() == Some("Local") {
        let text = format!(
            "Service {name} has internalTrafficPolicy Local: only clients on the primary's node would reach it"
        );
        return problem(Reason::ServiceLocal, text);
    }
    if spec.publish_not_ready_addresses == Some(true) {
        let text = format!(
            "Service {name} publishes addresses that are not ready: clients would be sent to servers that do not serve yet"
        );
        return problem(Reason::ServicePublishesNotReady, text);
    }
    None
}

/// What is wrong with the ports of a Service whose slices the controller writes: a slice has the same ports for all its endpoints.
pub(crate) fn port_problem(route: &PostgresRoute, service: &Service, pods: &[Arc<Pod>]) -> Option<ServiceProblem> {
    if route.spec.routing != Routing::EndpointSlices {
        return None;
    }
    let (name, spec) = (service.name_any(), service.spec.clone().unwrap_or_default());
    let wanted = spec.ports.iter().flatten().count();
    let served: Vec<_> = pods
        .iter()
        .map(|pod| (pod.name_any(), slices::ports(&spec, pod)))
        .collect();
    let problem = |pod: &str, what: &str| {
        Some(ServiceProblem {
            reason: Reason::ServicePortUnclear,
            text: format!(
                "Service {name} names a targetPort that {what} pod {pod}: give the port the same name and number in every pod"
            ),
        })
    };
    if let Some((pod, _)) = served.iter().find(|(_, ports)| ports.len() < wanted) {
        return problem(pod, "is not a port of");
    }
    let odd = served
        .iter()
        .find(|(_, ports)| Some(ports) != served.first().map(|(_, first)| first));
    odd.and_then(|(pod, _)| problem(pod, "is another number in"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn route() -> PostgresRoute {
        serde_json::from_value(json!({
            "apiVersion": "pgsteer.io/v1alpha1",
            "kind": "PostgresRoute",
            "metadata": { "name": "db", "namespace": "pg" },
            "spec": {
                "podSelector": { "matchLabels": { "app": "db" } },
                "roleLabel": "role",
                "services": { "primary": "rw", "replica": "ro" },
                "connection": { "user": "pgsteer" },
            },
        }))
        .unwrap()
    }

    fn problem(role: Role, spec: &Value) -> Option<Reason> {
        let service: Service = serde_json::from_value(json!({ "metadata": { "name": "rw" }, "spec": spec })).unwrap();
        service_problem(&route(), role, Some(&service)).map(|problem| problem.reason)
    }

    #[test]
    fn every_service_that_would_mislead_clients_is_refused_by_its_own_reason() {
        let right = json!({ "app": "db", "role": "primary" });
        let rows = [
            (json!({ "selector": right }), None),
            (
                json!({ "selector": { "app": "db" } }),
                Some(Reason::ServiceSelectsOtherwise),
            ),
            (
                json!({ "selector": { "app": "db", "role": "replica" } }),
                Some(Reason::ServiceSelectsOtherwise),
            ),
            (
                json!({ "selector": { "app": "db", "role": "primary", "zone": "a" } }),
                Some(Reason::ServiceSelectsOtherwise),
            ),
            (json!({}), Some(Reason::ServiceSelectsOtherwise)),
            (
                json!({ "selector": right, "type": "ExternalName" }),
                Some(Reason::ServiceExternal),
            ),
            (
                json!({ "selector": right, "clusterIP": "None" }),
                Some(Reason::ServiceHeadless),
            ),
            (
                json!({ "selector": right, "internalTrafficPolicy": "Local" }),
                Some(Reason::ServiceLocal),
            ),
            (json!({ "selector": right, "internalTrafficPolicy": "Cluster" }), None),
            (
                json!({ "selector": right, "publishNotReadyAddresses": true }),
                Some(Reason::ServicePublishesNotReady),
            ),
        ];
        for (spec, reason) in rows {
            assert_eq!(problem(Role::Primary, &spec), reason, "{spec}");
        }
        let missing = service_problem(&route(), Role::Replica, None).unwrap();
        assert!(
            missing.reason == Reason::ServiceMissing && missing.text.contains("ro"),
            "{}",
            missing.text
        );
        // Who reads may resolve every standby's address.
        let headless = json!({ "selector": { "app": "db", "role": "replica" }, "clusterIP": "None" });
        assert_eq!(problem(Role::Replica, &headless), None);
    }

    #[test]
    fn a_pod_with_several_containers_needs_the_route_to_name_one() {
        let pod = |names: &[&str]| {
            let containers: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
            let pod =
                json!({ "metadata": { "name": "a", "labels": { "app": "db" } }, "spec": { "containers": containers } });
            Arc::new(serde_json::from_value::<Pod>(pod).unwrap())
        };
        let mut route = route();
        let reason = |route: &PostgresRoute, pod: Arc<Pod>| {
            refusal(route, &[pod], &[], |_| None).map(|refusal| refusal.reason())
        };
        assert_eq!(reason(&route, pod(&["postgres"])), None);
        assert_eq!(
            reason(&route, pod(&["postgres", "exporter"])),
            Some(Reason::ContainerUnclear)
        );
        route.spec.container = Some("postgres".to_owned());
        assert_eq!(reason(&route, pod(&["postgres", "exporter"])), None);
        assert_eq!(reason(&route, pod(&["database"])), Some(Reason::ContainerUnclear));
    }
}
