//! Line charts as inline SVG, without a library: axes with round numbers and units, a legend, values on hovering.
//!
//! Colours come from the page's style sheet (`--c0` to `--c5`), so that one drawing serves light and dark.

use std::fmt::Write as _;

use crate::series::Curve;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
const COLOURS: usize = 6;

/// What the axes of a chart mean.
pub(crate) struct Axes<'a> {
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    pub(crate) x_scale: Scale,
    pub(crate) y_scale: Scale,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    Logarithmic,
    /// Quantiles from 0 to 1, by the number of nines: 90 %, 99 %, 99.9 % lie evenly.
    Nines,
}

pub(crate) fn draw(title: &str, axes: &Axes<'_>, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let x = Axis::over(axes.x_scale, points().map(|(x, _)| x), LEFT, WIDTH - RIGHT);
    let y = Axis::over(axes.y_scale, points().map(|(_, y)| y), HEIGHT - BOTTOM, TOP);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\"><g class=\"grid\">",
        escape(title)
    );
    for tick in &y.ticks {
        let at = y.place(*tick);
        let _ = write!(svg, "<path d=\"M{LEFT} {at:.1}H{}\"/>", WIDTH - RIGHT);
        let _ = write!(svg, "<text x=\"{}\" y=\"{:.1}\" class=\"end\">{}</text>", LEFT - 8.0, at + 4.0, label(*tick));
    }
    let x_label = |tick: f64| match axes.x_scale {
        Scale::Nines => percent(tick),
        Scale::Linear | Scale::Logarithmic => label(tick),
    };
    for tick in &x.ticks {
        let (at, foot) = (x.place(*tick), HEIGHT - BOTTOM);
        let _ = write!(svg, "<path d=\"M{at:.1} {foot}v5\"/>");
        let _ = write!(svg, "<text x=\"{at:.1}\" y=\"{}\" class=\"middle\">{}</text>", foot + 18.0, x_label(*tick));
    }
    let _ = write!(
        svg,
        "</g><path class=\"axis\" d=\"M{LEFT} {TOP}V{0}H{1}\"/><text class=\"name end\" x=\"{1}\" y=\"{2}\">{3}</text>\
         <text class=\"name\" x=\"8\" y=\"{4}\">{5}</text>",
        HEIGHT - BOTTOM,
        WIDTH - RIGHT,
        HEIGHT - 8.0,
        escape(axes.x),
        TOP - 18.0,
        escape(axes.y),
    );
    for (number, curve) in curves.iter().enumerate() {
        let colour = number % COLOURS;
        let line: Vec<String> =
            curve.points.iter().map(|(at, value)| format!("{:.1},{:.1}", x.place(*at), y.place(*value))).collect();
        let _ = write!(svg, "<polyline class=\"curve k{colour}\" points=\"{}\"/>", line.join(" "));
        for (at, value) in &curve.points {
            let _ = write!(
                svg,
                "<circle class=\"k{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\"><title>{}: {} at {}</title></circle>",
                x.place(*at),
                y.place(*value),
                escape(&curve.name),
                label(*value),
                x_label(*at),
            );
        }
    }
    svg.push_str("</svg>");
    let mut legend = String::new();
    for (number, curve) in curves.iter().enumerate() {
        let _ = write!(legend, "<span class=\"k{}\"><i></i>{}</span>", number % COLOURS, escape(&curve.name));
    }
    format!("<figure><figcaption>{}<div class=\"legend\">{legend}</div></figcaption>{svg}</figure>", escape(title))
}

struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn over(scale: Scale, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        let counts = |value: f64| match scale {
            Scale::Linear => true,
            Scale::Logarithmic => value > 0.0,
            // The maximum has a place of its own.
            Scale::Nines => value < 1.0,
        };
        for value in values.filter(|value| counts(*value)) {
            least = least.min(value);
            most = most.max(value);
        }
        if !least.is_finite() {
            (least, most) = (1.0, 1.0);
        }
        match scale {
            Scale::Linear => {
                let step = round_step(most.max(f64::MIN_POSITIVE) / 5.0);
                let steps = (most / step).ceil().max(1.0);
                let ticks = (0..=6).map(|number| f64::from(number) * step).take_while(|tick| *tick <= steps * step);
                Self { scale, low: 0.0, high: steps * step, from, to, ticks: ticks.collect() }
            }
            Scale::Logarithmic => {
                let (low, high) = (least.log10().floor(), most.log10().ceil().max(least.log10().floor() + 1.0));
                let decades = (0..=12).map(|number| low + f64::from(number)).take_while(|decade| *decade <= high);
                Self { scale, low, high, from, to, ticks: decades.map(|decade| 10_f64.powf(decade)).collect() }
            }
            Scale::Nines => {
                const TICKS: [f64; 7] = [0.0, 0.9, 0.99, 0.999, 0.9999, 0.999_99, 1.0];
                // The maximum stands one step behind the last quantile that was measured.
                let last = (0..=5).rev().map(|nines| TICKS[nines]).find(|tick| *tick <= most);
                let high = nines(last.unwrap_or(0.0)).max(1.0) + 1.0;
                let ticks = TICKS.into_iter().filter(|tick| *tick == 1.0 || nines(*tick) < high - 0.5);
                Self { scale, low: 0.0, high, from, to, ticks: ticks.collect() }
            }
        }
    }

    fn place(&self, value: f64) -> f64 {
        let at = match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(10_f64.powf(self.low)).log10(),
            Scale::Nines if value >= 1.0 => self.high,
            Scale::Nines => nines(value).min(self.high),
        };
        self.from + (at - self.low) / (self.high - self.low) * (self.to - self.from)
    }
}

fn nines(quantile: f64) -> f64 {
    if quantile >= 1.0 { f64::INFINITY } else { -(1.0 - quantile).log10() }
}

/// The next of 1, 2, 2.5, 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least * 0.999)
        .unwrap_or(power)
}

fn percent(quantile: f64) -> String {
    if quantile >= 1.0 {
        return "max".to_owned();
    }
    let text = format!("{:.3}", quantile * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A number with thousands separated, or few digits behind the point.
pub(crate) fn label(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude < 10.0 && value.fract() != 0.0 {
        let text = format!("{value:.2}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    if magnitude < 100.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{magnitude:.0}");
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("−{text}") } else { text }
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{Axes, Axis, Scale, draw, label, percent, round_step};
    use crate::series::Curve;

    #[test]
    fn axes_have_round_numbers() {
        assert_eq!([round_step(0.7), round_step(2.1), round_step(240.0), round_step(1.0)], [1.0, 2.5, 250.0, 1.0]);
        let axis = Axis::over(Scale::Linear, [3.0, 97.0].into_iter(), 0.0, 100.0);
        assert_eq!(axis.ticks, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        let axis = Axis::over(Scale::Logarithmic, [70.0, 12_000.0].into_iter(), 0.0, 4.0);
        assert_eq!((axis.ticks.len(), axis.place(1_000.0).round()), (5, 2.0));
        let axis = Axis::over(Scale::Nines, [0.0, 0.5, 0.9995, 1.0].into_iter(), 0.0, 4.0);
        assert_eq!(axis.ticks, [0.0, 0.9, 0.99, 0.999, 1.0]);
        assert_eq!((axis.place(0.0), axis.place(1.0)), (0.0, 4.0));
    }

    #[test]
    fn labels() {
        assert_eq!(
            [label(1_234_567.0), label(0.25), label(12.34), label(-1_500.0)],
            ["1,234,567", "0.25", "12.3", "−1,500"]
        );
        assert_eq!([percent(0.999), percent(0.0), percent(1.0)], ["99.9 %", "0 %", "max"]);
    }

    #[test]
    fn names_are_escaped() {
        let curve = Curve { name: "<b>".to_owned(), points: vec![(0.0, 1.0), (1.0, 2.0)] };
        let axes = Axes { x: "s", y: "µs", x_scale: Scale::Linear, y_scale: Scale::Linear };
        let svg = draw("a & b", &axes, &[curve]);
        assert!(svg.contains("&lt;b&gt;") && svg.contains("a &amp; b") && !svg.contains("<b>"));
        let empty = draw("nothing", &axes, &[]);
        assert!(!empty.contains("NaN"));
    }
}
