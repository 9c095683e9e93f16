//! Line charts in SVG.

use std::fmt::Write as _;

use serde::Serialize;

use crate::stats::{count, float};

/// A chart: lines with common axes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x_name: String,
    pub(crate) y_name: String,
    pub(crate) x_scale: Scale,
    pub(crate) y_scale: Scale,
    pub(crate) lines: Vec<Line>,
}

/// A line of a chart.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// The scale of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Scale {
    /// Linear, from zero.
    Linear,
    /// Logarithmic, with a tick per decade.
    Logarithmic,
    /// Linear in nines: 1 is the 90th percentile, 2 the 99th.
    Nines,
}

impl Chart {
    /// Draws the chart as an `svg` element.
    pub(super) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let x = Axis::new(self.x_scale, points().map(|(x, _)| *x), LEFT, WIDTH - RIGHT);
        let y = Axis::new(
            self.y_scale,
            points().map(|(_, y)| *y),
            HEIGHT - BOTTOM,
            TOP,
        );
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            super::page::escaped(&self.title)
        );
        let mut put = |element: String| {
            svg.push_str(&element);
            svg.push('\n');
        };
        for (value, word) in x.ticks() {
            let at = x.place(value);
            put(format!(
                "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{:.1}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{word}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 16.0
            ));
        }
        for (value, word) in y.ticks() {
            let at = y.place(value);
            put(format!(
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{word}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0
            ));
        }
        put(format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text x=\"{LEFT}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            HEIGHT - 4.0,
            super::page::escaped(&self.x_name),
            TOP - 8.0,
            super::page::escaped(&self.y_name)
        ));
        for (index, line) in self.lines.iter().enumerate() {
            put(draw(index, line, &x, &y));
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// Draws a line and its legend.
fn draw(index: usize, line: &Line, x: &Axis, y: &Axis) -> String {
    let color = COLORS[index % COLORS.len()];
    let mut points = String::new();
    for (at_x, at_y) in &line.points {
        write!(points, "{:.1},{:.1} ", x.place(*at_x), y.place(*at_y))
            .expect("writing to a String");
    }
    let legend = TOP + 16.0 * float(count(index)) + 12.0;
    format!(
        "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"1.8\" points=\"{}\"/>\
         <text x=\"{:.1}\" y=\"{legend:.1}\" style=\"fill:{color}\">{}</text>",
        points.trim_end(),
        WIDTH - RIGHT + 14.0,
        super::page::escaped(&line.name)
    )
}

/// A mapping of values to coordinates.
#[derive(Clone, Copy, Debug)]
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let (low, high) = match scale {
            Scale::Linear => (0.0, if high > 0.0 { high * 1.05 } else { 1.0 }),
            Scale::Nines => (0.0, high.max(1.0)),
            Scale::Logarithmic => {
                let low = 10_f64.powf(low.max(1e-9).log10().floor());
                let high = 10_f64.powf(high.max(1e-9).log10().ceil());
                (low, if high > low { high } else { low * 10.0 })
            }
        };
        Self {
            scale,
            low,
            high,
            from,
            to,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear | Scale::Nines => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => {
                (value.max(self.low).log10() - self.low.log10())
                    / (self.high.log10() - self.low.log10())
            }
        };
        self.from + share * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let mut ticks = Vec::new();
        match self.scale {
            Scale::Nines => {
                let names = ["p0", "p90", "p99", "p99.9", "p99.99"];
                for (nines, name) in (0_u32..).zip(names) {
                    if f64::from(nines) <= self.high + 1e-9 {
                        ticks.push((f64::from(nines), name.to_owned()));
                    }
                }
            }
            Scale::Logarithmic => {
                let mut value = self.low;
                while value <= self.high * 1.001 {
                    ticks.push((value, short(value)));
                    value *= 10.0;
                }
            }
            Scale::Linear => {
                let rough = self.high / 5.0;
                let decade = 10_f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0]
                    .map(|factor| factor * decade)
                    .into_iter()
                    .find(|step| *step >= rough)
                    .unwrap_or(rough);
                let mut value = 0.0;
                while value <= self.high {
                    ticks.push((value, short(value)));
                    value += step;
                }
            }
        }
        ticks
    }
}

/// Formats a number with the suffix `k` or `M` for thousands or millions.
fn short(value: f64) -> String {
    if value >= 1e6 {
        format!("{}M", trimmed(value / 1e6))
    } else if value >= 1e3 {
        format!("{}k", trimmed(value / 1e3))
    } else {
        trimmed(value)
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
/// The right margin, which holds the legend.
const RIGHT: f64 = 120.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 40.0;
/// Colors that most color-blind readers can distinguish (Okabe and Ito).
const COLORS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999933",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_maps_values_to_coordinates() {
        let linear = Axis::new(Scale::Linear, [0.0, 100.0].into_iter(), 0.0, 105.0);
        assert!((linear.place(50.0) - 50.0).abs() < 1e-9);
        let log = Axis::new(Scale::Logarithmic, [1.0, 100.0].into_iter(), 0.0, 200.0);
        assert!((log.place(10.0) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn an_axis_of_any_values_has_ticks() {
        for values in [vec![], vec![0.0], vec![3.0], vec![1e-3, 7e6]] {
            for scale in [Scale::Linear, Scale::Logarithmic, Scale::Nines] {
                let axis = Axis::new(scale, values.iter().copied(), 0.0, 1.0);
                let ticks = axis.ticks().len();
                assert!((1..40).contains(&ticks), "{scale:?} {values:?}: {ticks}");
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(0.25), "0.25");
        assert_eq!(short(1500.0), "1.5k");
        assert_eq!(short(2_000_000.0), "2M");
    }
}
