//! The judge: reads what the simulated API server holds and what reached it, and knows how the servers really are. It shares no
//! code with the controller. Each rule is one of docs/invariants.md, or follows from the fence (docs/architecture.md).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use controller::run::Ended;
use serde_json::Value;

use super::{
    api_server::{Change, Kind, Object, Request},
    objects,
    postgres::{SERVERS, SYSTEM},
    story::Story,
    world::World,
};

/// A claim counts against others once it was heard for so long: the loop may not have looked at it before.
const HEARD_FOR: Duration = Duration::from_millis(250);

/// What a person said stays a reason for so long after the annotation has gone.
const WORD_STANDS: Duration = Duration::from_secs(15);

/// What a probe brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Answer {
        writable: bool,
    },
    /// Only that it takes writes, or that it does not.
    Beat {
        writable: bool,
    },
    Down,
    Nothing,
}

/// What one process has heard of one server.
#[derive(Debug, Clone, Copy, Default)]
struct Ear {
    /// When it was last heard to take writes.
    writable: Option<Duration>,
    /// The timeline that it took writes on, and since when it is known, unless it was heard otherwise since.
    claim: Option<(u32, Duration)>,
    /// The highest timeline that it was ever heard to take writes on.
    highest: u32,
}

/// Who reigns under a term, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reign {
    host: usize,
    life: u32,
    began: Duration,
}

/// What the judge remembers.
#[derive(Debug)]
pub(crate) struct Judge {
    /// The first rule that was broken.
    pub(crate) broken: Option<String>,
    /// Times that the primary label went to another pod.
    pub(crate) switches: u64,
    /// Answers of a server that takes writes, at an address that the API server still shows for another pod.
    pub(crate) mistaken: u64,
    /// Writes of the controller to pods and the ledger.
    pub(crate) writes: u64,
    last_primary: Option<String>,
    ears: BTreeMap<(usize, u32, usize), Ear>,
    reigns: BTreeMap<u64, Reign>,
    /// The highest stamp that was sent.
    sent: Option<(u64, String)>,
    /// The address that the API server shows for each pod, and whether its container runs.
    shown: [Option<u8>; SERVERS],
    runs: [bool; SERVERS],
    /// When each pod came to be, by uid.
    born: BTreeMap<String, Duration>,
    /// Claims that a person declared to be the truth, and until when that counts.
    words: BTreeMap<String, Duration>,
    sighting_limit: Duration,
}

/// The part of a mark that two marks share when they name the same claim.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mark<'a> {
    pub(crate) system: &'a str,
    pub(crate) timeline: u64,
    pub(crate) lsn: u64,
    pub(crate) data: &'a str,
}

// === impl Judge ===

impl Judge {
    pub(crate) fn new(story: &Story) -> Self {
        let rounds = (story.interval + Duration::from_millis(500)) * 3;
        let limit = rounds.max(Duration::from_millis(1_500)).min(story.silent_after);
        Self {
            broken: None,
            switches: 0,
            mistaken: 0,
            writes: 0,
            last_primary: None,
            ears: BTreeMap::new(),
            reigns: BTreeMap::new(),
            sent: None,
            shown: [None; SERVERS],
            runs: [true; SERVERS],
            born: BTreeMap::new(),
            words: BTreeMap::new(),
            // Clocks differ by three parts in a hundred, and a thread takes its time.
            sighting_limit: limit.mul_f64(1.05) + Duration::from_millis(100),
        }
    }

    pub(crate) fn breaks(&mut self, rule: &str, how: impl Into<String>) {
        let how = how.into();
        self.broken.get_or_insert_with(|| format!("{rule}: {how}"));
    }

    /// A pod that was there from the beginning.
    pub(crate) fn bear(&mut self, name: &str, pod: &Object) {
        self.born.insert(pod.uid.clone(), Duration::ZERO);
        self.see_address(name, pod);
    }

    fn see_address(&mut self, pod: &str, object: &Object) {
        let ip = object.value["status"]["podIP"].as_str();
        let Some(server) = objects::server_of(pod).filter(|server| *server < SERVERS) else {
            return;
        };
        self.shown[server] = ip.and_then(|ip| ip.rsplit_once('.')?.1.parse().ok());
        self.runs[server] = object.value["status"]["containerStatuses"][0]["ready"] == true;
    }

    /// What was heard of a server says nothing about what is there now.
    pub(crate) fn unclaim(&mut self, server: usize) {
        for ((_, _, of), ear) in &mut self.ears {
            if *of == server {
                ear.claim = None;
            }
        }
    }

    /// A person declares this data to be the truth.
    pub(crate) fn word(&mut self, data: String) {
        self.words.insert(data, Duration::MAX);
    }

    fn word_stands(&self, data: &str, now: Duration) -> bool {
        self.words.get(data).is_some_and(|until| now <= *until)
    }
}

/// A probe has brought something. An answer counts for the pod that has the address, as the API server tells; for that server's own pod
/// in any case.
pub(crate) fn heard(world: &mut World, (host, life): (usize, u32), server: usize, address: u8, what: Heard) {
    let timeline = world.servers.of[server].timeline;
    let owner = world.judge.shown.iter().position(|shown| *shown == Some(address));
    let writable = matches!(what, Heard::Answer { writable: true } | Heard::Beat { writable: true });
    if writable && owner.is_some_and(|owner| owner != server) {
        world.judge.mistaken += 1;
    }
    for pod in [Some(server), owner.filter(|owner| *owner != server)]
        .into_iter()
        .flatten()
    {
        hear(world, (host, life), pod, timeline, what);
        // A pod whose container the kubelet has declared ended has no claim, whatever answers there.
        if !world.judge.runs[pod] || owner != Some(pod) {
            let ear = world.judge.ears.entry((host, life, pod)).or_default();
            ear.claim = None;
        }
    }
}

fn hear(world: &mut World, (host, life): (usize, u32), server: usize, timeline: u32, what: Heard) {
    let now = world.now;
    let ear = world.judge.ears.entry((host, life, server)).or_default();
    let before = ear.claim;
    match what {
        Heard::Answer { writable: true } => {
            ear.writable = Some(now);
            ear.highest = ear.highest.max(timeline);
            if ear.claim.is_none_or(|(before, _)| before != timeline) {
                ear.claim = Some((timeline, now));
            }
        }
        // It says no more than that an earlier answer still holds.
        Heard::Beat { writable: true } => ear.writable = Some(now),
        Heard::Answer { writable: false } | Heard::Beat { writable: false } | Heard::Down => ear.claim = None,
        Heard::Nothing => {}
    }
    let claim = ear.claim;
    if claim != before {
        world.trace.line(now, &[13, host as u64, server as u64], || {
            format!("        replica {host} hears pg-{server}: {what:?}, timeline {timeline}")
        });
    }
    world.trace.note(&[
        5,
        host as u64,
        server as u64,
        u64::from(matches!(what, Heard::Answer { .. } | Heard::Beat { .. })),
    ]);
}

/// A replica ended although nobody had asked it to.
pub(crate) fn ended(world: &mut World, host: usize, ended: &Ended) {
    world.judge.breaks(
        "a replica runs until it is asked to end",
        format!("replica {host}: {ended}: {ended:?}"),
    );
}

/// A write leaves its replica.
pub(crate) fn sent(world: &mut World, host: usize, life: u32, request: &Request) {
    let Some((term, holder)) = stamp(&request.body) else {
        return;
    };
    one_leader(world, term, holder);
    let grants = objects::role(&request.body) == Some("primary");
    match request.kind {
        Kind::Pod if grants => granted(world, (host, life), (term, holder), request),
        Kind::Ledger => marked(world, host, life, term, request),
        _ => {}
    }
}

/// I2: once somebody writes under a higher term, nobody writes under a lower one any more; a term has one holder.
fn one_leader(world: &mut World, term: u64, holder: &str) {
    let now = world.now;
    if let Some((highest, its)) = &world.judge.sent {
        let (highest, its) = (*highest, its.clone());
        if term < highest {
            world.judge.breaks(
                "I2, no write without an unexpired permit",
                format!("{now:?}: {holder} writes under term {term} after {its} did under {highest}"),
            );
        } else if term == highest && its != holder {
            world.judge.breaks(
                "I2, one term has one holder",
                format!("{now:?}: {holder} and {its} write under term {term}"),
            );
        }
    }
    if world.judge.sent.as_ref().is_none_or(|(highest, _)| term > *highest) {
        world.judge.sent = Some((term, holder.to_owned()));
    }
}

/// Somebody sends a grant.
fn granted(world: &mut World, (host, life): (usize, u32), (term, holder): (u64, &str), request: &Request) {
    let now = world.now;
    let Some(server) = objects::server_of(&request.name) else {
        return;
    };
    let ear = world.judge.ears.get(&(host, life, server)).copied().unwrap_or_default();
    // I3, I6: it was heard to take writes, a moment ago.
    let age = ear.writable.map(|at| now.saturating_sub(at));
    let moved = world.story.addresses_moved;
    if !moved && age.is_none_or(|age| age > world.judge.sighting_limit) {
        world.judge.breaks(
            "I3, no action from a sighting older than its limit",
            format!(
                "{now:?}: replica {host} grants {} which it heard to take writes {age:?} ago",
                request.name
            ),
        );
    }
    // I9: the mark is this server's, and was raised before.
    let marked = world.api.get(Kind::Ledger, "pg").and_then(|ledger| mark(&ledger.value));
    let data = format!("data-{}", request.name);
    let fits = marked
        .as_ref()
        .is_some_and(|mark| mark.data == data && (moved || mark.timeline <= u64::from(ear.highest)));
    if !fits {
        let how = format!(
            "{now:?}: replica {host} grants {}, the mark is {marked:?}",
            request.name
        );
        world.judge.breaks("I9, the mark is raised before the grant", how);
    }
    // The fence: whatever the reigns before have under way fails, because every object was stamped.
    let began = world.judge.reigns.get(&term).map_or(Duration::MAX, |reign| reign.began);
    let old = |uid: &str| world.judge.born.get(uid).is_none_or(|born| *born <= began);
    let stamps = world.api.of(Kind::Pod).iter().chain(world.api.of(Kind::Ledger));
    let unfenced = stamps
        .filter(|(_, object)| old(&object.uid))
        .find(|(_, object)| !fenced(object, term, holder));
    if let Some((name, object)) = unfenced {
        let carries = stamp(&object.value);
        let how = format!(
            "{now:?}: {holder} grants {} under term {term}, but {name} carries {carries:?}",
            request.name
        );
        world
            .judge
            .breaks("the fence, everything is stamped before the first grant", how);
    }
}

fn fenced(object: &Object, term: u64, holder: &str) -> bool {
    stamp(&object.value).is_some_and(|(its, by)| its > term || (its == term && by == holder))
}

/// Somebody sends a mark. I6: nobody gains by another's silence.
fn marked(world: &mut World, host: usize, life: u32, term: u64, request: &Request) {
    let now = world.now;
    let Some(new) = mark(&request.body) else { return };
    let old = world.api.get(Kind::Ledger, "pg").and_then(|ledger| mark(&ledger.value));
    let rises = old.as_ref().is_none_or(|old| old.timeline < new.timeline);
    if !rises || world.story.addresses_moved || world.judge.word_stands(new.data, now) {
        return;
    }
    let Some(reign) = world.judge.reigns.get(&term).copied() else {
        return;
    };
    for server in 0..SERVERS {
        let name = objects::pod_name(server);
        let ear = world.judge.ears.get(&(host, life, server)).copied().unwrap_or_default();
        let Some((timeline, since)) = ear.claim else { continue };
        let truth = &world.servers.of[server];
        let rival = u64::from(timeline) >= new.timeline
            && since >= reign.began
            && now.saturating_sub(since) >= HEARD_FOR
            && truth.system == SYSTEM
            && !truth.far_behind
            && !world.story.excluded.contains(&server)
            && format!("data-{name}") != new.data;
        if rival {
            let how =
                format!("{now:?}: replica {host} marks {new:?} although {name} took writes on timeline {timeline}");
            world.judge.breaks("I6, nobody gains by another's silence", how);
        }
    }
}

/// The API server has changed an object.
pub(crate) fn committed(world: &mut World, change: &Change, by: Option<(usize, u32)>) {
    match change.kind {
        Kind::Pod => pod_changed(world, change, by.is_some()),
        Kind::Ledger => ledger_changed(world, change),
        Kind::Lease => lease_changed(world, change, by),
        Kind::Route => route_changed(world, change),
        Kind::Service | Kind::Slice | Kind::StatefulSet | Kind::Event => {}
    }
}

fn pod_changed(world: &mut World, change: &Change, by_controller: bool) {
    let now = world.now;
    if let Some(after) = &change.after {
        world.judge.born.entry(after.uid.clone()).or_insert(now);
        world.judge.see_address(&change.name, after);
    }
    if by_controller {
        world.judge.writes += u64::from(!accession(change));
        stamps_rise(world, change);
    }
    // I1: never two.
    let primaries: Vec<String> = primaries(world).map(str::to_owned).collect();
    if primaries.len() > 1 {
        let how = format!("{now:?}: {}", primaries.join(" and "));
        world.judge.breaks("I1, never are two pods labelled primary", how);
    }
    if let [primary] = primaries.as_slice()
        && world.judge.last_primary.as_ref() != Some(primary)
    {
        if world.judge.last_primary.is_some() {
            world.judge.switches += 1;
        }
        world.judge.last_primary = Some(primary.clone());
    }
}

/// An object that a leader has stamped takes nothing from a leader before it.
fn stamps_rise(world: &mut World, change: &Change) {
    fn stamped(object: Option<&Arc<Object>>) -> Option<(u64, &str)> {
        stamp(&object?.value)
    }
    if let (Some((before, _)), Some((after, by))) = (stamped(change.before.as_ref()), stamped(change.after.as_ref()))
        && after < before
    {
        let how = format!(
            "{:?}: {} went from term {before} to {after} by {by}",
            world.now, change.name
        );
        world
            .judge
            .breaks("the fence, no write is accepted from an ended reign", how);
    }
}

/// Whether an object is stamped for a new leader, and nothing else: however right everything is, a leader may be followed by another.
fn accession(change: &Change) -> bool {
    let (Some(before), Some(after)) = (&change.before, &change.after) else {
        return false;
    };
    let term = |object: &Object| stamp(&object.value).map(|(term, _)| term);
    let (old, new) = (&before.value, &after.value);
    term(before) < term(after)
        && old["metadata"]["labels"] == new["metadata"]["labels"]
        && old["spec"]["mark"] == new["spec"]["mark"]
}

/// Whether nothing but the mark's position has moved on, as it does once a minute.
fn upkeep(change: &Change) -> bool {
    let (Some(before), Some(after)) = (&change.before, &change.after) else {
        return false;
    };
    let (old, new) = (mark(&before.value), mark(&after.value));
    let same = |old: &Mark<'_>, new: &Mark<'_>| {
        (old.system, old.timeline, old.data) == (new.system, new.timeline, new.data) && old.lsn < new.lsn
    };
    old.zip(new).is_some_and(|(old, new)| same(&old, &new))
}

/// I9: the mark falls only by a person's word.
fn ledger_changed(world: &mut World, change: &Change) {
    let now = world.now;
    if let Some(after) = &change.after {
        world.judge.born.entry(after.uid.clone()).or_insert(now);
    }
    stamps_rise(world, change);
    world.judge.writes += u64::from(!accession(change) && !upkeep(change));
    let Some(before) = change.before.as_ref().and_then(|object| mark(&object.value)) else {
        return;
    };
    let Some(after) = change.after.as_ref().and_then(|object| mark(&object.value)) else {
        world.judge.breaks(
            "I9, the mark falls only by a person's word",
            format!("{now:?}: it is gone"),
        );
        return;
    };
    let falls = after.system != before.system
        || (after.timeline, after.lsn) < (before.timeline, before.lsn)
        || (after.timeline == before.timeline && after.data != before.data);
    if falls && !world.judge.word_stands(after.data, now) {
        let how = format!("{now:?}: from {before:?} to {after:?}");
        world.judge.breaks("I9, the mark falls only by a person's word", how);
    }
}

/// Who reigns is the Lease's word.
fn lease_changed(world: &mut World, change: &Change, by: Option<(usize, u32)>) {
    let (Some(after), Some((host, life))) = (&change.after, by) else {
        return;
    };
    let term = after.value["spec"]["leaseTransitions"].as_u64();
    if let Some(term) = term {
        let reign = Reign {
            host,
            life,
            began: world.now,
        };
        world.judge.reigns.entry(term).or_insert(reign);
    }
}

/// A word that was carried out, or taken back, counts a little longer.
fn route_changed(world: &mut World, change: &Change) {
    let standing = change
        .after
        .as_ref()
        .is_some_and(|after| objects::annotation(&after.value, "pgsteer.io/accept").is_some());
    if !standing {
        let until = world.now + WORD_STANDS;
        for word in world.judge.words.values_mut() {
            *word = (*word).min(until);
        }
    }
}

/// The pods that are labelled primary.
pub(crate) fn primaries(world: &World) -> impl Iterator<Item = &str> {
    let pods = world.api.of(Kind::Pod).iter();
    pods.filter(|(_, pod)| objects::role(&pod.value) == Some("primary"))
        .map(|(name, _)| name.as_str())
}

/// `<term>.<n>.<holder>`.
pub(crate) fn stamp(object: &Value) -> Option<(u64, &str)> {
    let mut parts = objects::annotation(object, "pgsteer.io/stamp")?.splitn(3, '.');
    let term = parts.next()?.parse().ok()?;
    Some((term, parts.nth(1)?))
}

pub(crate) fn mark(ledger: &Value) -> Option<Mark<'_>> {
    let mark = ledger["spec"].get("mark")?;
    let (high, low) = mark["lsn"].as_str()?.split_once('/')?;
    let half = |text: &str| u64::from_str_radix(text, 16).ok();
    Some(Mark {
        system: mark["systemIdentifier"].as_str()?,
        timeline: mark["timeline"].as_u64()?,
        lsn: half(high)? << 32 | half(low)?,
        data: mark["data"]["name"].as_str()?,
    })
}
