//! A phase of every cell as SVG: each round a dot on a logarithmic axis, the median a line.

use std::fmt::Write as _;

use super::cell::Cell;
use super::phases::Phase;
use super::raw::Round;
use super::summary::{Summary, millis, values};

const WIDTH: f64 = 900.0;
const NAMES: f64 = 130.0;
const FIGURES: f64 = 90.0;
const ROW: f64 = 26.0;
const TOP: f64 = 46.0;
/// The axis ends here: a tenth of a millisecond, and a hundred seconds.
const DECADES: (i32, i32) = (-1, 5);

/// The picture; nothing where no cell has the phase.
pub(super) fn draw(rounds: &[Round], cells: &[&'static Cell], phase: Phase) -> Option<String> {
    let measured: Vec<(&Cell, Vec<i64>, Summary)> = cells
        .iter()
        .filter_map(|cell| {
            let values = values(rounds, cell.name, phase);
            Some((*cell, values.clone(), Summary::of(values)?))
        })
        .collect();
    if measured.is_empty() {
        return None;
    }
    let height = TOP + ROW * f64::from(u16::try_from(measured.len()).unwrap_or(u16::MAX)) + 12.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"#fff\"/>\n<text x=\"6\" y=\"18\" font-size=\"14\">{}, milliseconds</text>\n",
        phase.title()
    );
    for decade in DECADES.0..=DECADES.1 {
        let (x, label) = (x(10_f64.powi(decade)), 10_f64.powi(decade));
        writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{height:.0}\" stroke=\"#ddd\"/>"
        )
        .ok();
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#666\">{label}</text>",
            TOP - 8.0
        )
        .ok();
    }
    let mut y = TOP + ROW / 2.0;
    for (cell, values, summary) in measured {
        row(&mut svg, cell.name, &values, summary, y);
        y += ROW;
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn row(svg: &mut String, name: &str, values: &[i64], summary: Summary, y: f64) {
    writeln!(svg, "<text x=\"6\" y=\"{:.1}\">{name}</text>", y + 4.0).ok();
    for value in values {
        writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#2a6fb0\" fill-opacity=\"0.35\"/>",
            x_of(*value)
        )
        .ok();
    }
    let middle = x_of(summary.p50);
    writeln!(
        svg,
        "<line x1=\"{middle:.1}\" x2=\"{middle:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#b03a2a\" stroke-width=\"2\"/>",
        y - 9.0,
        y + 9.0
    )
    .ok();
    writeln!(
        svg,
        "<text x=\"{WIDTH}\" dx=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{} (n {})</text>",
        y + 4.0,
        millis(summary.p50),
        summary.n
    )
    .ok();
}

#[expect(clippy::cast_precision_loss, reason = "a drawing of seconds in microseconds")]
fn x_of(micros: i64) -> f64 {
    x(micros as f64 / 1000.0)
}

fn x(millis: f64) -> f64 {
    let (first, last) = (f64::from(DECADES.0), f64::from(DECADES.1));
    // What is nothing or less stands at the axis's beginning.
    let decade = millis.max(10_f64.powi(DECADES.0)).log10().min(last);
    NAMES + (WIDTH - NAMES - FIGURES) * (decade - first) / (last - first)
}

#[cfg(test)]
mod tests {
    use super::super::phases::Phases;
    use super::*;

    #[test]
    fn a_plot_has_a_dot_a_round_and_no_plot_is_drawn_of_nothing() {
        let round = |micros| Round {
            cell: "labels".to_owned(),
            ended_unix: 0,
            lasted_millis: 0,
            took_millis: 0,
            withdrawn_before_millis: None,
            phases: Phases::from([(Phase::Label, micros)]),
            noise_micros: 0,
            load: 0.0,
            failed: None,
        };
        let cells = [Cell::find("labels").expect("there is one")];
        let rounds = [round(-3), round(9_000), round(12_000)];
        let svg = draw(&rounds, &cells, Phase::Label).expect("measured");
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("9.0 (n 3)"), "{svg}");
        assert_eq!(draw(&rounds, &cells, Phase::Write), None);
        assert!((x(0.1) - NAMES).abs() < 0.01 && (x(1e5) - (WIDTH - FIGURES)).abs() < 0.01);
    }
}
