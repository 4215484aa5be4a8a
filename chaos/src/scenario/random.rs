//! Faults drawn from a seed: the same seed and number give the same fault on the same kind of cluster. Pure.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::act::{Act, Fault, Peer, Who};

/// One fault in so many is accompanied by a second one.
const PAIRED_ONE_IN: u32 = 3;
/// The longest time between the two of a pair.
const APART_MAX: Duration = Duration::from_secs(2);
/// How long a fault lasts. A Lease runs out after five seconds, silence counts after three: both sides of each are worth meeting.
const LASTS: std::ops::Range<u64> = 200..8_000;
/// How long a promoter waits before it is sure that nobody takes writes, in milliseconds.
const PATIENCE: std::ops::Range<u64> = 200..4_000;
/// Every role is right again within this time after the heal: a pod that is made anew on two busy cores takes most of a minute.
const RIGHT_LIMIT: Duration = Duration::from_mins(2);

/// What can be drawn. What takes minutes to mend (a node that is off, a disk that was wiped) has scenarios of its own.
const MENU: &[Fault] = &[
    Fault::Kill(Who::Primary),
    Fault::Kill(Who::Primary),
    Fault::Kill(Who::Primary),
    Fault::Kill(Who::Standby),
    Fault::Kill(Who::Leader),
    Fault::Kill(Who::Leader),
    Fault::Kill(Who::Controllers),
    Fault::Freeze(Who::Primary),
    Fault::Freeze(Who::Primary),
    Fault::Freeze(Who::Standby),
    Fault::Freeze(Who::Leader),
    Fault::Freeze(Who::Leader),
    Fault::Terminate(Who::Primary),
    Fault::Terminate(Who::Standby),
    Fault::Terminate(Who::Leader),
    Fault::Delete(Who::Primary),
    Fault::ForceDelete(Who::Primary),
    Fault::Delete(Who::Standby),
    Fault::Cut(Who::Leader, Peer::ApiServer),
    Fault::Cut(Who::Leader, Peer::Servers),
    Fault::Cut(Who::Leader, Peer::Everyone),
    Fault::Cut(Who::Primary, Peer::Everyone),
    Fault::Cut(Who::Primary, Peer::Pod(Who::Standby)),
    Fault::Cut(Who::Standby, Peer::Everyone),
    Fault::KillComponent("kube-apiserver"),
    Fault::KillComponent("etcd"),
    Fault::FreezeComponent("kube-apiserver"),
    Fault::FreezeComponent("etcd"),
    Fault::FreezeComponent("kube-controller-manager"),
    Fault::FreezeComponent("coredns"),
    Fault::FreezeEverywhere("kube-proxy"),
    Fault::KillOnNodeOf("kubelet", Who::Primary),
    Fault::KillOnNodeOf("kubelet", Who::Standby),
    Fault::Unplug(Who::Primary),
    Fault::Unplug(Who::Standby),
    Fault::PauseReplay(Who::Standby),
    Fault::Slow(Who::Leader, Duration::from_millis(200)),
    Fault::Starve,
];

/// The acts of one drawn fault.
pub(super) fn draw(seed: u64, number: u32) -> Vec<Act> {
    // Each number has a stream of its own, so that a run can go on, and one fault can be played alone.
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..12].copy_from_slice(&number.to_le_bytes());
    let mut random = StdRng::from_seed(key);
    let patience = Duration::from_millis(random.random_range(PATIENCE));
    let first = *MENU.choose(&mut random).unwrap_or(&Fault::Kill(Who::Primary));
    let mut acts = vec![Act::Fault(first)];
    if random.random_ratio(1, PAIRED_ONE_IN) {
        // Two of the same piece at once are one, or cannot be: a killed process cannot be frozen.
        let others: Vec<Fault> = MENU
            .iter()
            .copied()
            .filter(|other| go_together(first, *other))
            .collect();
        if let Some(second) = others.choose(&mut random) {
            acts.push(Act::Pass(APART_MAX.mul_f64(random.random())));
            acts.push(Act::Fault(*second));
        }
    }
    let span = Duration::from_millis(random.random_range(LASTS));
    acts.push(Act::Guard { patience, span });
    acts.push(Act::Heal);
    acts.push(Act::GuardUntilRight {
        patience,
        limit: RIGHT_LIMIT,
    });
    acts
}

/// Whether the second can still be injected when the first is there, and both be healed: its victim must be another one, and a person who
/// deletes, pauses or resumes needs the API server.
fn go_together(first: Fault, second: Fault) -> bool {
    let by_hand = |fault: Fault| {
        matches!(
            fault,
            Fault::Delete(_) | Fault::ForceDelete(_) | Fault::PauseReplay(_) | Fault::Slow(..)
        )
    };
    match (first.victim(), second.victim()) {
        (Some(one), Some(other)) if one == other => false,
        (Some(Who::Leader | Who::Controllers), Some(Who::Leader | Who::Controllers)) | (None, None) => false,
        (_, None) if by_hand(first) => false,
        _ => !by_hand(second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_number_draw_the_same_fault_and_others_draw_others() {
        assert_eq!(draw(7, 3), draw(7, 3));
        let drawn: Vec<Vec<Act>> = (0..50).map(|number| draw(7, number)).collect();
        assert!(drawn.iter().any(|acts| *acts != drawn[0]));
        assert_ne!((0..50).map(|number| draw(8, number)).collect::<Vec<_>>(), drawn);
    }

    #[test]
    fn every_fault_of_the_menu_is_drawn_and_all_are_healed() {
        let drawn: Vec<Vec<Act>> = (0..2_000).map(|number| draw(1, number)).collect();
        for fault in MENU {
            assert!(
                drawn.iter().any(|acts| acts.contains(&Act::Fault(*fault))),
                "{fault:?} is never drawn"
            );
        }
        assert!(drawn.iter().all(|acts| acts.contains(&Act::Heal)));
    }

    #[test]
    fn no_piece_is_struck_twice_at_once() {
        for number in 0..2_000 {
            let acts = draw(2, number);
            let victims: Vec<Option<Who>> = acts
                .iter()
                .filter_map(|act| match act {
                    Act::Fault(fault) => Some(fault.victim()),
                    _ => None,
                })
                .collect();
            if let [one, other] = victims.as_slice() {
                assert_ne!(one, other, "{acts:?}");
            }
        }
    }
}
