//! What everything looks like when it is right, worked out from how the servers really are.

use super::{
    api_server::Kind,
    judge::{mark, stamp},
    objects,
    postgres::SERVERS,
    replica::Host,
    world::World,
};

/// What is still missing until everything is as it should be with `primary` as the right server.
pub(crate) fn missing(world: &World, primary: usize) -> Option<String> {
    if let Some(missing) = unled(world) {
        return Some(missing);
    }
    for (name, pod) in world.api.of(Kind::Pod) {
        let wanted = if objects::server_of(name) == Some(primary) {
            "primary"
        } else {
            "replica"
        };
        let label = objects::role(&pod.value);
        if label != Some(wanted) {
            return Some(format!("{name} is labelled {label:?}, not {wanted}"));
        }
    }
    if world.api.of(Kind::Pod).len() != SERVERS {
        return Some("a pod is missing".to_owned());
    }
    let slice = world.api.get(Kind::Slice, "pg-rw");
    let names: Vec<&str> = slice
        .iter()
        .filter_map(|slice| slice.value["endpoints"].as_array())
        .flatten()
        .filter_map(|endpoint| endpoint["targetRef"]["name"].as_str())
        .collect();
    (names != [objects::pod_name(primary)]).then(|| format!("the write Service leads to {names:?}"))
}

/// Whether nobody leads, or the leader has not looked at everything yet, or another one may turn up.
fn unled(world: &World) -> Option<String> {
    if world.hosts.iter().any(Host::stands_still) {
        return Some("a replica stands still".to_owned());
    }
    let lease = world.api.get(Kind::Lease, "pgsteer");
    let spec = lease.map(|lease| &lease.value["spec"]);
    let holder = spec
        .and_then(|spec| spec["holderIdentity"].as_str())
        .unwrap_or_default();
    let term = spec
        .and_then(|spec| spec["leaseTransitions"].as_u64())
        .unwrap_or_default();
    let digits = holder.rsplit_once('_').map(|(_, digits)| digits);
    let runs = |host: &Host| host.running.as_ref().is_some_and(|running| running.identity == holder);
    let Some(digits) = digits.filter(|_| world.hosts.iter().any(runs)) else {
        return Some("nobody leads".to_owned());
    };
    let mut objects = world.api.of(Kind::Pod).iter().chain(world.api.of(Kind::Ledger));
    objects
        .find(|(_, object)| stamp(&object.value) != Some((term, digits)))
        .map(|(name, _)| format!("{name} does not carry the leader's stamp"))
}

/// Whether the mark allows this server to be primary, and if not, a person has to say so.
pub(crate) fn needs_a_word(world: &World, server: usize) -> bool {
    let Some(held) = world.api.get(Kind::Ledger, "pg").and_then(|ledger| mark(&ledger.value)) else {
        return false;
    };
    let truth = &world.servers.of[server];
    let timeline = u64::from(truth.timeline);
    let far = truth.lsn + (16 << 20) < held.lsn;
    held.system != truth.system.to_string()
        || timeline < held.timeline
        || (timeline == held.timeline
            && (truth.lsn < held.lsn || held.data != format!("data-{}", objects::pod_name(server))))
        || (timeline > held.timeline && far)
}
