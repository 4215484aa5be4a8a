//! The bars, and who leads by what ratio: pure functions of the rounds.

use std::time::Duration;

use super::phases::Phase;
use super::raw::{Round, good};
use super::summary::{Ratio, Summary, millis, ratio, values};

/// What pgsteer is set to, as the examples install it: the bars are made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// `probe.interval`.
    pub interval: Duration,
    /// `probe.silentAfter`.
    pub silent_after: Duration,
    /// `splitBrain.beatenGap`.
    pub beaten_gap: Duration,
    /// The Lease's time to live.
    pub ttl: Duration,
}

/// Which figure of a cell's phase a bar is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Figure {
    /// The median.
    Middle,
    /// The 99th percentile, or the worst of less than a hundred.
    Tail,
}

/// A bar, and whether it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bar {
    /// The cells that it is about.
    pub(super) cells: Vec<&'static str>,
    /// What is promised.
    pub promise: String,
    /// Nothing: not measured.
    pub holds: Option<bool>,
    /// What was measured.
    pub found: String,
}

/// Which rounds of a cell count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    All,
    /// The withdrawal was over a second old at the promotion, so that kube-proxy's second between two syncs had passed.
    OldWithdrawal,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// kube-proxy leaves a second between two syncs.
const BETWEEN_SYNCS_MILLIS: i64 = 1_000;

/// Every bar of a switch and of a leader's succession.
pub(super) fn bars(rounds: &[Round], settings: Settings) -> Vec<Bar> {
    use Figure::{Middle, Tail};
    let Settings {
        interval,
        silent_after,
        beaten_gap,
        ttl,
    } = settings;
    let one = |cell, phase, of, figure, limit| bar(rounds, cell, phase, of, figure, limit);
    let both = |[labels, slices]: [&'static str; 2], phase, figure, limit| {
        [
            one(labels, phase, Of::All, figure, limit),
            one(slices, phase, Of::All, figure, limit),
        ]
    };
    let killed = ["labels", "slices"];
    let beaten = ["beaten", "slices-beaten"];
    let mut bars = Vec::new();
    bars.extend(both(killed, Phase::Label, Middle, ms(20)));
    bars.extend(both(killed, Phase::Label, Tail, ms(50)));
    bars.extend(both(killed, Phase::Withdrawn, Tail, ms(50)));
    bars.extend(both(beaten, Phase::Withdrawn, Middle, interval + ms(20)));
    bars.extend(both(beaten, Phase::Label, Middle, interval + ms(20) + beaten_gap));
    bars.push(one("frozen", Phase::Withdrawn, Of::All, Tail, silent_after + ms(100)));
    bars.push(one("slices", Phase::Write, Of::All, Tail, ms(150)));
    bars.push(one("labels", Phase::Write, Of::OldWithdrawal, Tail, ms(150)));
    bars.push(one("labels", Phase::Write, Of::All, Tail, ms(1_300)));
    bars.push(one("leader-term", Phase::Takeover, Of::All, Tail, ms(300)));
    bars.push(one("leader-kill", Phase::Takeover, Of::All, Tail, ttl + ms(300)));
    bars.push(one(
        "leader-too",
        Phase::Withdrawn,
        Of::All,
        Tail,
        ttl + ms(300) + ms(50),
    ));
    bars.push(one(
        "leader-too",
        Phase::Write,
        Of::All,
        Tail,
        ttl + ms(300) + ms(1_300),
    ));
    bars
}

fn bar(rounds: &[Round], cell: &'static str, phase: Phase, of: Of, figure: Figure, limit: Duration) -> Bar {
    let counted: Vec<Round> = match of {
        Of::All => good(rounds, cell).cloned().collect(),
        Of::OldWithdrawal => {
            let is_old = |round: &&Round| {
                round
                    .withdrawn_before_millis
                    .is_some_and(|ago| ago > BETWEEN_SYNCS_MILLIS)
            };
            good(rounds, cell).filter(is_old).cloned().collect()
        }
    };
    let summary = Summary::of(values(&counted, cell, phase));
    let measured = summary.map(|summary| match figure {
        Figure::Middle => ("p50", summary.p50, summary.n),
        Figure::Tail if summary.p99.is_some() => ("p99", summary.tail(), summary.n),
        Figure::Tail => ("max", summary.tail(), summary.n),
    });
    let promised = match figure {
        Figure::Middle => "p50",
        Figure::Tail => "p99",
    };
    let limit_micros = i64::try_from(limit.as_micros()).unwrap_or(i64::MAX);
    let when = match of {
        Of::All => "",
        Of::OldWithdrawal => " (withdrawn over 1 s before)",
    };
    Bar {
        cells: vec![cell],
        promise: format!(
            "{cell}: {}{when} {promised} ≤ {} ms",
            phase.title(),
            millis(limit_micros)
        ),
        holds: measured.map(|(_, micros, _)| micros <= limit_micros),
        found: measured.map_or_else(
            || "not measured".to_owned(),
            |(name, micros, n)| format!("{name} {} ms of {n}", millis(micros)),
        ),
    }
}

/// A rival, and by how much pgsteer has to lead.
struct Race {
    rival: &'static str,
    ours: &'static str,
    phase: Phase,
    tenths: i64,
}

const fn race(rival: &'static str, ours: &'static str, phase: Phase, tenths: i64) -> Race {
    Race {
        rival,
        ours,
        phase,
        tenths,
    }
}

/// Medians against medians. libpq's way over all hosts has no routing hop and is a reference, not a rival.
const RACES: &[Race] = &[
    race("patroni", "labels", Phase::Label, 100),
    race("patroni-tuned", "labels", Phase::Label, 30),
    race("haproxy", "slices", Phase::Write, 50),
    race("haproxy-tuned", "slices", Phase::Write, 15),
    race("textbook", "labels", Phase::Label, 20),
    race("polling", "labels", Phase::Label, 20),
    race("client-go-kill", "leader-kill", Phase::Takeover, 30),
    race("client-go-term", "leader-term", Phase::Takeover, 30),
];

/// The bars on the ratios.
pub(super) fn races(rounds: &[Round]) -> Vec<Bar> {
    RACES
        .iter()
        .map(|race| {
            let median = |cell| Summary::of_phase(rounds, cell, race.phase).map(|summary| summary.p50);
            let least = Ratio { tenths: race.tenths };
            let medians = median(race.rival).zip(median(race.ours));
            let found = medians.map(|(theirs, ours)| (theirs, ours, ratio(theirs, ours)));
            Bar {
                cells: vec![race.rival, race.ours],
                promise: format!("{} ≥ {least} {} ({})", race.rival, race.ours, race.phase.title()),
                // A figure of nothing or less has no ratio: whoever has it is ahead.
                holds: found
                    .map(|(theirs, ours, ratio)| ratio.map_or(ours <= 0 && theirs > ours, |ratio| ratio >= least)),
                found: found.map_or_else(
                    || "not measured".to_owned(),
                    |(theirs, ours, ratio)| {
                        let ratio = ratio.map_or_else(|| "no ratio".to_owned(), |ratio| ratio.to_string());
                        format!("{ratio}: p50 {} ms against {} ms", millis(theirs), millis(ours))
                    },
                ),
            }
        })
        .collect()
}

/// Whether everything that is promised was measured and holds.
pub(super) fn all_hold(bars: &[Bar]) -> bool {
    bars.iter().all(|bar| bar.holds == Some(true))
}

#[cfg(test)]
mod tests {
    use super::super::phases::Phases;
    use super::*;

    const SETTINGS: Settings = Settings {
        interval: ms(100),
        silent_after: ms(3_000),
        beaten_gap: ms(2_000),
        ttl: ms(5_000),
    };

    fn round(cell: &str, phase: Phase, millis: i64, withdrawn_before_millis: i64) -> Round {
        Round {
            cell: cell.to_owned(),
            ended_unix: 1,
            lasted_millis: 1,
            took_millis: 0,
            withdrawn_before_millis: Some(withdrawn_before_millis),
            phases: Phases::from([(phase, millis * 1000)]),
            noise_micros: 1,
            load: 0.0,
            failed: None,
        }
    }

    fn of<'a>(bars: &'a [Bar], promise: &str) -> &'a Bar {
        let found = bars.iter().find(|bar| bar.promise == promise);
        found.unwrap_or_else(|| panic!("no {promise} among {bars:?}"))
    }

    #[test]
    fn a_bar_holds_up_to_its_limit_and_what_was_not_measured_does_not_hold() {
        let rounds = [15, 20, 51].map(|millis| round("labels", Phase::Label, millis, 2_000));
        let bars = bars(&rounds, SETTINGS);
        assert_eq!(of(&bars, "labels: t0 to label p50 ≤ 20 ms").holds, Some(true));
        let tail = of(&bars, "labels: t0 to label p99 ≤ 50 ms");
        assert_eq!((tail.holds, tail.found.as_str()), (Some(false), "max 51 ms of 3"));
        assert_eq!(of(&bars, "slices: t0 to label p50 ≤ 20 ms").holds, None);
        assert!(!all_hold(&bars));
    }

    #[test]
    fn a_write_soon_after_a_withdrawal_may_wait_for_kube_proxy() {
        let rounds = [
            round("labels", Phase::Write, 140, 1_001),
            round("labels", Phase::Write, 1_250, 1_000),
        ];
        let bars = bars(&rounds, SETTINGS);
        let old = of(
            &bars,
            "labels: t0 to first write (withdrawn over 1 s before) p99 ≤ 150 ms",
        );
        assert_eq!((old.holds, old.found.as_str()), (Some(true), "max 140 ms of 1"));
        assert_eq!(of(&bars, "labels: t0 to first write p99 ≤ 1300 ms").holds, Some(true));
    }

    #[test]
    fn the_bars_follow_the_settings() {
        let frozen = [round("frozen", Phase::Withdrawn, 3_100, 0)];
        let promise = |bars: &[Bar]| bars.iter().find(|bar| bar.promise.starts_with("frozen")).cloned();
        let bar = promise(&bars(&frozen, SETTINGS)).expect("there is one");
        assert_eq!(
            (bar.promise.as_str(), bar.holds),
            ("frozen: cut to label off p99 ≤ 3100 ms", Some(true))
        );
        let patient = Settings {
            silent_after: ms(2_000),
            ..SETTINGS
        };
        assert_eq!(
            promise(&bars(&frozen, patient)).expect("there is one").holds,
            Some(false)
        );
    }

    #[test]
    fn a_race_is_won_by_the_ratio_of_the_medians() {
        let cases = [
            (10, 20, Some(true)),
            (10, 19, Some(false)),
            (-1, 5, Some(true)),
            (5, -1, Some(false)),
        ];
        for (ours, theirs, expected) in cases {
            let rounds = [
                round("labels", Phase::Label, ours, 0),
                round("polling", Phase::Label, theirs, 0),
            ];
            let races = races(&rounds);
            assert_eq!(
                of(&races, "polling ≥ 2.0× labels (t0 to label)").holds,
                expected,
                "{ours} and {theirs}"
            );
            assert_eq!(of(&races, "textbook ≥ 2.0× labels (t0 to label)").holds, None);
        }
    }
}
