//! What Kubernetes' own controller does: it keeps the endpoint slices of a Service as its selector says.

use std::sync::Arc;

use super::{
    api_server::Kind,
    flight::committed,
    objects,
    world::{Sim, World},
};

/// Name, uid, address and readiness of a pod.
pub(crate) type Endpoint = (String, String, String, bool);

/// Brings the slices up to date.
pub(crate) fn bring_up_to_date(sim: &Arc<Sim>, world: &mut World) {
    world.slices_due = false;
    for (service, role) in [("pg-rw", "primary"), ("pg-ro", "replica")] {
        let pods = selected(world, role);
        if world.slices.get(service) == Some(&pods) {
            continue;
        }
        let endpoints = objects::endpoints(&pods);
        world.slices.insert(service, pods);
        let change = world
            .api
            .edit(Kind::Slice, service, |slice| slice["endpoints"] = endpoints);
        if let Some(change) = change {
            committed(sim, world, &change, None);
        }
    }
}

/// Name, uid, address and readiness of the pods of a role.
fn selected(world: &World, role: &str) -> Vec<Endpoint> {
    let pods = world.api.of(Kind::Pod).iter();
    pods.filter(|(_, pod)| objects::role(&pod.value) == Some(role))
        .map(|(name, pod)| {
            let status = &pod.value["status"];
            let ip = status["podIP"].as_str().unwrap_or_default().to_owned();
            let ready = status["containerStatuses"][0]["ready"].as_bool().unwrap_or_default();
            (name.clone(), pod.uid.clone(), ip, ready)
        })
        .collect()
}
