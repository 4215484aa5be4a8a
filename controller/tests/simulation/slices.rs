//! What Kubernetes' own controller does: it keeps the endpoint slices of a Service as its selector says.

use std::sync::Arc;

use serde_json::Value;

use super::{
    api_server::Kind,
    flight::committed,
    objects,
    world::{Sim, World},
};

/// Brings the slices up to date.
pub(crate) fn bring_up_to_date(sim: &Arc<Sim>, world: &mut World) {
    for (service, role) in [("pg-rw", "primary"), ("pg-ro", "replica")] {
        let mut pods = Vec::new();
        for (name, pod) in world.api.of(Kind::Pod) {
            let label = pod
                .value
                .pointer("/metadata/labels/pgsteer.io~1role")
                .and_then(Value::as_str);
            if label != Some(role) {
                continue;
            }
            let ip = pod.value.pointer("/status/podIP").and_then(Value::as_str);
            let ready = pod
                .value
                .pointer("/status/containerStatuses/0/ready")
                .and_then(Value::as_bool);
            let (ip, ready) = (ip.unwrap_or_default().to_owned(), ready.unwrap_or_default());
            pods.push((name.clone(), pod.uid.clone(), ip, ready));
        }
        let wanted = objects::slice(service, &pods);
        let change = world.api.edit(Kind::Slice, service, |slice| {
            slice["endpoints"] = wanted["endpoints"].clone()
        });
        if let Some(change) = change {
            committed(sim, world, &change, None);
        }
    }
}
