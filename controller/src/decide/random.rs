//! Any route whatever, for the property tests: what no test would think of.

use std::time::Duration;

use proptest::{collection::vec, option::weighted, prelude::*, sample::select};
use shared::{
    ledger::{Mark, PostgresLedgerSpec},
    role::Role,
    route::SplitBrainPolicy,
    term::Term,
    wal::{Lsn, SystemIdentifier, Timeline},
};

use super::{
    Blocked, Container, Family, LabelState, LedgerView, Lifecycle, Purpose,
    fixtures::{Pod, SYSTEM, Saw, TERM, World, claim, key},
};
use crate::{
    sighting::Via,
    stamp::{Holder, Stamp, StampState},
};

/// The families of a dual-stack Service.
pub(super) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Another cluster.
const OTHER_SYSTEM: SystemIdentifier = SystemIdentifier(9);

/// Where a log may be: on both sides of everything that is compared.
const POSITIONS: [u64; 6] = [0, 0x400_0000, 0x500_0000, 0x500_0001, 0x600_0000, 0x9_ffff_ffff];

fn saw() -> impl Strategy<Value = Saw> {
    let at = || (1..=4_u32, select(&POSITIONS[..]).prop_map(Lsn));
    prop_oneof![
        6 => at().prop_map(|(timeline, lsn)| Saw::Writable(timeline, lsn)),
        4 => at().prop_map(|(timeline, lsn)| Saw::InRecovery(timeline, lsn)),
        1 => Just(Saw::Down),
        1 => Just(Saw::Starting),
        2 => Just(Saw::Silent),
        1 => Just(Saw::Barred),
        1 => Just(Saw::Unclear),
    ]
}

fn stamp() -> impl Strategy<Value = StampState> {
    let of = |term| {
        StampState::Known(Stamp {
            term: Term(term),
            n: 1,
            holder: Holder(0xaaaa_aaaa),
        })
    };
    prop_oneof![
        12 => Just(of(TERM.0)),
        1 => Just(of(TERM.0 - 1)),
        1 => Just(StampState::Absent),
        1 => Just(StampState::Malformed("x".to_owned())),
    ]
}

fn label() -> impl Strategy<Value = LabelState> {
    prop_oneof![
        3 => Just(LabelState::Absent),
        2 => Just(LabelState::Known(Role::Primary)),
        2 => Just(LabelState::Known(Role::Replica)),
        1 => Just(LabelState::Known(Role::Orphan)),
        1 => Just(LabelState::Foreign("master".to_owned())),
    ]
}

/// How old sightings are: most of them count.
fn sighted() -> impl Strategy<Value = Duration> {
    prop_oneof![3 => age(1500), 1 => age(6000)]
}

fn age(most: u64) -> impl Strategy<Value = Duration> {
    (0..most).prop_map(Duration::from_millis)
}

fn container() -> impl Strategy<Value = Container> {
    prop_oneof![
        12 => Just(Container::Running { since_micros: 0 }),
        1 => Just(Container::Running { since_micros: 60_000_000 }),
        1 => Just(Container::Unknown),
        1 => select(&[None, Some(0), Some(60_000_000)][..]).prop_map(|since_micros| Container::Stopped { since_micros }),
    ]
}

fn lifecycle() -> impl Strategy<Value = Lifecycle> {
    prop_oneof![10 => Just(Lifecycle::Alive), 1 => Just(Lifecycle::Terminating), 1 => Just(Lifecycle::Ended)]
}

/// What makes a pod out of a blank one.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each may be so beside all the others")]
struct Build {
    seen: Vec<(bool, Duration, Saw)>,
    of_other_system: bool,
    moved: bool,
    data_of_a: bool,
    contested: Option<Duration>,
    out_of_write: Option<Duration>,
    label: LabelState,
    stamp: StampState,
    container: Container,
    lifecycle: Lifecycle,
    excluded: bool,
    unknown: bool,
}

impl Build {
    fn build(self, mut pod: Pod) -> Pod {
        if self.of_other_system {
            pod.system = OTHER_SYSTEM;
        }
        for (fresh, age, saw) in self.seen {
            pod = pod.saw(if fresh { Via::Fresh } else { Via::Kept }, age, saw);
        }
        if self.moved {
            pod = pod.moved();
        }
        if self.data_of_a {
            pod = pod.with_data("a");
        }
        if let Some(span) = self.contested {
            pod = pod.contested_for(span);
        }
        pod = match self.out_of_write {
            Some(age) => pod.out_of_write_for(age),
            None => pod.still_among_write_endpoints(),
        };
        pod.view.label = self.label;
        pod.view.stamp = self.stamp;
        pod.view.container = self.container;
        pod.view.lifecycle = self.lifecycle;
        pod.view.excluded = self.excluded;
        pod.view.unknown = self.unknown;
        pod
    }
}

fn pod() -> impl Strategy<Value = Build> {
    let rarely = || prop::bool::weighted(0.08);
    let seen = (
        vec((any::<bool>(), sighted(), saw()), 0..4),
        rarely(),
        rarely(),
        rarely(),
    );
    let object = (label(), stamp(), container(), lifecycle(), rarely(), rarely());
    let waits = (weighted(0.8, age(5000)), weighted(0.1, age(5000)));
    (seen, object, waits).prop_map(
        |((mut seen, of_other_system, moved, data_of_a), object, (out_of_write, contested))| {
            seen.sort_by_key(|(_, age, _)| std::cmp::Reverse(*age));
            let (label, stamp, container, lifecycle, excluded, unknown) = object;
            Build {
                seen,
                of_other_system,
                moved,
                data_of_a,
                contested,
                out_of_write,
                label,
                stamp,
                container,
                lifecycle,
                excluded,
                unknown,
            }
        },
    )
}

fn mark() -> impl Strategy<Value = Mark> {
    (
        select(&["a", "b", "c", "z"][..]),
        1..=4_u32,
        select(&POSITIONS[..]),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(name, timeline, lsn, foreign)| Mark {
            system_identifier: if foreign { OTHER_SYSTEM } else { SYSTEM },
            timeline: Timeline(timeline),
            lsn: Lsn(lsn),
            data: claim(name),
            pod: name.to_owned(),
        })
}

fn ledger() -> impl Strategy<Value = LedgerView> {
    let present = (weighted(0.9, mark()), stamp(), 0..=TERM.0).prop_map(|(mark, stamp, floor)| LedgerView::Present {
        uid: "uid-ledger".to_owned(),
        resource_version: "1".to_owned(),
        stamp,
        ledger: PostgresLedgerSpec {
            mark,
            term_floor: Term(floor),
            ..PostgresLedgerSpec::default()
        },
    });
    prop_oneof![1 => Just(LedgerView::Absent), 6 => present]
}

/// What makes a slice out of one that lists whom the labels say.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
struct Slice {
    is_there: bool,
    lists: Option<Vec<&'static str>>,
    stamp: StampState,
    unknown: bool,
    is_sound: bool,
    is_left: bool,
}

/// What makes the slices of a route.
#[derive(Debug, Clone)]
struct Slices {
    families: &'static [Family],
    each: Vec<Slice>,
    /// In which slice which pod cannot be listed, or is not ready.
    gaps: Vec<(usize, &'static str, bool)>,
    blocked: (bool, bool),
    /// Nothing is wrong with them, and all of the write Service list this pod, or nobody.
    plain: Option<Vec<&'static str>>,
}

fn slices() -> impl Strategy<Value = Slices> {
    let name = || select(&["a", "b", "c", "d"][..]);
    let lists = prop_oneof![
        2 => Just(Vec::new()),
        4 => name().prop_map(|name| vec![name]),
        1 => Just(vec!["a", "b"]),
    ];
    let rarely = || prop::bool::weighted(0.06);
    let slice = (
        prop::bool::weighted(0.93),
        weighted(0.5, lists),
        stamp(),
        rarely(),
        rarely(),
        rarely(),
    )
        .prop_map(|(is_there, lists, stamp, unknown, strange, is_left)| Slice {
            is_there,
            lists,
            stamp,
            unknown,
            is_sound: !strange,
            is_left,
        });
    let families = (1..=FAMILIES.len()).prop_map(|count| &FAMILIES[..count]);
    let gaps = vec((0..4_usize, name(), any::<bool>()), 0..2);
    let plain = weighted(0.7, weighted(0.6, name()).prop_map(Vec::from_iter));
    (families, vec(slice, 4), gaps, (rarely(), rarely()), plain).prop_map(|(families, each, gaps, blocked, plain)| {
        Slices {
            families,
            each,
            gaps,
            blocked,
            plain,
        }
    })
}

impl Slices {
    fn build(self, world: World) -> World {
        let mut world = world.routed(self.families);
        let names: Vec<String> = world.observed.slices.slices.keys().cloned().collect();
        if let Some(listed) = self.plain {
            for name in names.iter().filter(|name| name.starts_with("rw")) {
                world = world.listing(name, &listed);
            }
            return world;
        }
        for (name, slice) in names.iter().zip(self.each) {
            if let Some(pods) = &slice.lists {
                world = world.listing(name, pods);
            }
            world = world.edit_slice(name, |held| {
                held.stamp = slice.stamp;
                held.unknown = slice.unknown;
                held.is_sound = slice.is_sound;
            });
            if slice.is_left {
                world = world.edit(|observed| {
                    let left = observed.slices.slices.get_mut(name).expect("a slice");
                    left.purpose = Purpose::Nothing;
                    left.targets.clear();
                });
            } else if !slice.is_there {
                world = world.without_slice(name);
            }
        }
        world.edit(|observed| {
            for (slice, pod, is_gone) in self.gaps {
                let slice = observed.slices.slices.values_mut().nth(slice);
                let Some(slice) = slice else { continue };
                if is_gone {
                    slice.targets.remove(&key(pod));
                } else if let Some(target) = slice.targets.get_mut(&key(pod)) {
                    target.is_ready = false;
                }
            }
            let blocked = |is_blocked: bool| is_blocked.then(|| Blocked::Service("rw".to_owned()));
            observed.slices.writes_blocked = blocked(self.blocked.0);
            observed.slices.reads_blocked = blocked(self.blocked.1);
        })
    }
}

fn policy() -> impl Strategy<Value = SplitBrainPolicy> {
    prop_oneof![
        3 => Just(SplitBrainPolicy::HighestTimeline),
        1 => Just(SplitBrainPolicy::Freeze),
        1 => Just(SplitBrainPolicy::DropAll),
    ]
}

/// What may be wrong with a route in which all else is as it is most of the time.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Nothing,
    Unknown(&'static str),
    Unstamped(&'static str),
    Primary(&'static str),
    UnknownLedger,
    StampOfLedger,
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let name = || select(&["a", "b", "c"][..]);
    prop_oneof![
        4 => Just(Trouble::Nothing),
        1 => name().prop_map(Trouble::Unknown),
        1 => name().prop_map(Trouble::Unstamped),
        2 => name().prop_map(Trouble::Primary),
        1 => Just(Trouble::UnknownLedger),
        1 => Just(Trouble::StampOfLedger),
    ]
}

/// As it is most of the time: all stamped, nothing unsettled, the mark is what one of the servers was last seen to be; and one
/// trouble at most.
fn calm(world: World, trouble: Trouble) -> World {
    let stamp_of = |term| {
        StampState::Known(Stamp {
            term: Term(term),
            n: 1,
            holder: Holder(0xaaaa_aaaa),
        })
    };
    world.edit(|observed| {
        let held = observed.pods.iter().find_map(|(pod, view)| {
            let (_, report) = view.sightings.answer.as_ref()?;
            let (system_identifier, timeline, lsn) = (report.system_identifier, report.timeline, report.lsn);
            Some(Mark {
                system_identifier,
                timeline,
                lsn,
                data: view.data.clone(),
                pod: pod.name.clone(),
            })
        });
        if let LedgerView::Present { stamp, ledger, .. } = &mut observed.ledger {
            *stamp = stamp_of(if matches!(trouble, Trouble::StampOfLedger) {
                TERM.0 - 1
            } else {
                TERM.0
            });
            ledger.term_floor = TERM;
            ledger.mark = held;
        }
        observed.ledger_unknown = matches!(trouble, Trouble::UnknownLedger);
        for (pod, view) in &mut observed.pods {
            view.unknown = matches!(trouble, Trouble::Unknown(name) if pod.name == name);
            let unstamped = matches!(trouble, Trouble::Unstamped(name) if pod.name == name);
            view.stamp = stamp_of(if unstamped { TERM.0 - 1 } else { TERM.0 });
            view.repair_not_before = None;
            let primary = matches!(trouble, Trouble::Primary(name) if pod.name == name);
            if primary || view.label == LabelState::Known(Role::Primary) {
                view.label = LabelState::Known(if primary { Role::Primary } else { Role::Replica });
            }
        }
        for slice in observed.slices.slices.values_mut() {
            if let Some(held) = &mut slice.held {
                held.stamp = stamp_of(TERM.0);
                held.unknown = false;
            }
        }
    })
}

/// Any route whatever.
pub(super) fn world() -> impl Strategy<Value = World> {
    (whatever(), weighted(0.5, slices()), weighted(0.6, trouble())).prop_map(|(world, slices, trouble)| {
        let world = slices.map_or_else(|| world.clone(), |slices| slices.build(world.clone()));
        match trouble {
            Some(trouble) => calm(world, trouble),
            None => world,
        }
    })
}

fn whatever() -> impl Strategy<Value = World> {
    let reign = (0..4_usize, age(8000), age(120_000));
    let person = (
        prop::bool::weighted(0.08),
        weighted(0.15, select(&["a", "b", "c", "nobody"][..])),
    );
    (
        vec(pod(), 0..=5),
        ledger(),
        prop::bool::weighted(0.1),
        policy(),
        reign,
        person,
    )
        .prop_map(
            |(pods, ledger, ledger_unknown, policy, (nodes, began, written), (paused, accept))| {
                let mut world = World::new().policy(policy).edit(|observed| {
                    observed.ledger = ledger;
                    observed.ledger_unknown = ledger_unknown;
                    observed.paused = paused;
                    observed.accept = accept.map(|name| key(name).uid);
                    observed.reign.nodes_replied = nodes;
                    observed.reign.began = observed.at - began;
                    observed.reign.mark_written = observed.at - written;
                });
                for (name, build) in ["a", "b", "c", "d", "e"].into_iter().zip(pods) {
                    world = world.pod(name, |pod| build.build(pod));
                }
                world
            },
        )
}
