//! Rows of bars over time, as SVG. Colours come from the page's style, so that one picture serves light and dark.

use std::fmt::Write as _;

use super::page::escaped;
use super::span;
use crate::host_time::HostTime;

/// The drawing's width, in its own units; the page scales it.
const WIDTH: f64 = 1200.0;
/// The room for the rows' names.
const NAMES: f64 = 190.0;
/// The height of a row, and of the bar in it.
const ROW: f64 = 22.0;
const BAR: f64 = 16.0;
/// The room for the times above the rows.
const TIMES: f64 = 24.0;
/// A bar narrower than this carries no text.
const TEXT_MIN: f64 = 34.0;
/// A fault narrower than this has its text beside it.
const WIDE: f64 = 220.0;
/// About this many marks on the axis.
const TICKS: i64 = 10;

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lane {
    /// Its name.
    pub(super) name: String,
    /// What it shows.
    pub(super) bars: Vec<Bar>,
    /// Whether a line separates it from the row above.
    pub(super) begins_group: bool,
}

/// A bar in a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    pub(super) from: HostTime,
    /// The same moment: a mark.
    pub(super) to: HostTime,
    /// Its class in the style.
    pub(super) class: &'static str,
    /// The text in it, where there is room.
    pub(super) text: String,
    /// What is shown when it is pointed at.
    pub(super) title: String,
    /// How much of the row's height it takes, and from where, in hundredths from the top.
    pub(super) height: (u8, u8),
}

/// The picture of these rows between two moments, times counted from a third.
pub(super) fn draw(lanes: &[Lane], from: HostTime, to: HostTime, zero: HostTime) -> String {
    let scale = Scale { from, to };
    let height = TIMES + ROW * f64::from(u16::try_from(lanes.len()).unwrap_or(u16::MAX)) + 4.0;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"timeline\">\n");
    axis(&mut svg, &scale, zero, height);
    let mut top = TIMES;
    for lane in lanes {
        if lane.begins_group {
            line(
                &mut svg,
                "<line class=\"group\" x1=\"0\" x2=\"1200\" y1=\"{y}\" y2=\"{y}\"/>",
                top - 1.0,
            );
        }
        let name = escaped(&lane.name);
        writeln!(
            svg,
            "<text class=\"name\" x=\"4\" y=\"{:.1}\">{name}</text>",
            top + 15.0
        )
        .ok();
        for bar in lane.bars.iter().filter(|bar| bar.to >= from && bar.from <= to) {
            draw_bar(&mut svg, bar, &scale, top + (ROW - BAR) / 2.0);
        }
        top += ROW;
    }
    svg.push_str("</svg>\n");
    svg
}

struct Scale {
    from: HostTime,
    to: HostTime,
}

impl Scale {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a drawing of minutes in nanoseconds needs no more than 52 bits"
    )]
    fn x(&self, at: HostTime) -> f64 {
        let whole = self.to.since(self.from).as_nanos().max(1) as f64;
        let part = at.clamp(self.from, self.to).since(self.from).as_nanos() as f64;
        NAMES + (WIDTH - NAMES - 8.0) * part / whole
    }
}

fn draw_bar(svg: &mut String, bar: &Bar, scale: &Scale, top: f64) {
    let (begin, end) = (scale.x(bar.from), scale.x(bar.to));
    // What lasts too short to be seen is shown all the same.
    let width = (end - begin).max(1.4);
    let (share_from, share_to) = (f64::from(bar.height.0) / 100.0, f64::from(bar.height.1) / 100.0);
    let (y, height) = (top + BAR * share_from, BAR * (share_to - share_from));
    writeln!(
        svg,
        "<rect class=\"{}\" x=\"{begin:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{}</title></rect>",
        bar.class,
        escaped(&bar.title)
    )
    .ok();
    if matches!(bar.class, "fault" | "asked") && width < WIDE {
        // A moment has no room for its text, and nothing stands beside it.
        let text = escaped(&bar.text);
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            end.max(begin) + 5.0,
            top + 12.0
        )
        .ok();
    } else if width >= TEXT_MIN && !bar.text.is_empty() {
        // A letter takes about six units; what does not fit is cut off.
        let mut fits = width;
        let text: String = bar
            .text
            .chars()
            .take_while(|_| {
                fits -= 6.2;
                fits > 2.0
            })
            .collect();
        writeln!(
            svg,
            "<text class=\"in {}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            bar.class,
            begin + 4.0,
            top + 12.0,
            escaped(&text)
        )
        .ok();
    }
}

fn axis(svg: &mut String, scale: &Scale, zero: HostTime, height: f64) {
    let whole = scale.to.millis_since(scale.from).max(1);
    let step = step(whole);
    let first = scale.from.millis_since(zero).div_euclid(step) + 1;
    for number in first..=first + whole / step {
        let millis = number * step;
        let at = HostTime(zero.0.saturating_add_signed(millis * 1_000_000));
        if at > scale.to || at < scale.from {
            continue;
        }
        let x = scale.x(at);
        writeln!(
            svg,
            "<line class=\"tick\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"18\" y2=\"{height:.0}\"/>"
        )
        .ok();
        writeln!(
            svg,
            "<text class=\"time\" x=\"{x:.1}\" y=\"13\">{}</text>",
            time(millis)
        )
        .ok();
    }
}

fn time(millis: i64) -> String {
    if millis % 1000 == 0 {
        format!("{} s", millis / 1000)
    } else {
        span(millis)
    }
}

/// The distance of the marks in milliseconds: 1, 2 or 5 times a power of ten.
fn step(whole: i64) -> i64 {
    let steps = (0..12_u32).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_i64.pow(power)));
    steps.into_iter().find(|step| whole / step <= TICKS).unwrap_or(whole)
}

fn line(svg: &mut String, template: &str, y: f64) {
    svg.push_str(&template.replace("{y}", &format!("{y:.1}")));
    svg.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_has_about_ten_marks_of_round_distances() {
        for (whole, expected) in [
            (90, 10),
            (1000, 100),
            (12_000, 2000),
            (61_000, 10_000),
            (600_000, 100_000),
        ] {
            assert_eq!(step(whole), expected, "{whole} ms");
        }
    }

    #[test]
    fn a_moment_outside_the_picture_is_drawn_at_its_edge() {
        let scale = Scale {
            from: HostTime(1000),
            to: HostTime(2000),
        };
        assert!((scale.x(HostTime(0)) - NAMES).abs() < 0.01);
        assert!((scale.x(HostTime(9000)) - (WIDTH - 8.0)).abs() < 0.01);
        assert!(scale.x(HostTime(1500)) > scale.x(HostTime(1400)));
    }
}
