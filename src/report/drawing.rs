//! Drawings: lines, bars and points between axes.

use super::text::{escaped, short};
use std::fmt::Write;

/// Width and height between the axes, and the margins around.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 160.0;
const LEFT: f64 = 72.0;
const TOP: f64 = 14.0;
const RIGHT: f64 = 16.0;
const BOTTOM: f64 = 28.0;
/// Lines across, about.
const LINES: f64 = 4.0;

/// A place in a chart, and what is said of it.
#[derive(Debug, Clone)]
pub(super) struct ChartPoint {
    pub x: f64,
    pub y: f64,
    /// Where it may really be, from lowest to highest.
    pub interval: Option<[f64; 2]>,
    pub text: String,
}

/// Two bars side by side, and what is said of them.
#[derive(Debug, Clone)]
pub(super) struct BarPair {
    pub weight: f64,
    pub activation: f64,
    pub text: String,
}

/// A line through `points`, and one point that stands out.
pub(super) fn chart(label: &str, unit: &str, points: &[ChartPoint], marked: &ChartPoint) -> String {
    let axes = Axes::around(&[points, std::slice::from_ref(marked)].concat());
    let mut content = axes.lines() + &axes.ends();
    content += "<polyline class=\"curve\" points=\"";
    for point in points {
        let [x, y] = axes.place(point.x, point.y);
        let _ = write!(content, "{x:.1},{y:.1} ");
    }
    content += "\"/>";
    points.iter().for_each(|point| content += &axes.dot(point, "weight", 4.0));
    content += &axes.dot(marked, "activation", 6.0);
    figure(label, &content, &format!("{}. Marked: {}.", escaped(unit), escaped(&marked.text)))
}

/// Points with their intervals; the last one stands out.
pub(super) fn scatter(label: &str, unit: &str, points: &[ChartPoint]) -> String {
    let axes = Axes::around(points);
    let mut content = axes.lines() + &axes.ends();
    for (at, point) in points.iter().enumerate() {
        content += &axes.whisker(point);
        let (class, radius) = if at + 1 == points.len() { ("activation", 6.0) } else { ("weight", 4.0) };
        content += &axes.dot(point, class, radius);
    }
    figure(label, &content, &escaped(unit))
}

/// Two bars for everything, from zero; `keys` name the two.
pub(super) fn bars(label: &str, keys: [&str; 2], pairs: &[BarPair]) -> String {
    let most = pairs.iter().map(|pair| pair.weight.max(pair.activation)).fold(0.0, f64::max);
    let axes = Axes { x: [0.0, pairs.len().max(1) as f64], y: [0.0, if most > 0.0 { most } else { 1.0 }] };
    let mut content = axes.lines();
    for (at, pair) in pairs.iter().enumerate() {
        let _ = write!(content, "<g><title>{}</title>", escaped(&pair.text));
        content += &axes.bar("weight", at as f64 + 0.1, pair.weight);
        content += &axes.bar("activation", at as f64 + 0.5, pair.activation);
        content += "</g>";
    }
    let [first, second] = keys.map(escaped);
    let keys = format!(
        "<span class=\"key weight\"></span>{first}<span class=\"key activation\"></span>{second}; \
         layers in execution order"
    );
    figure(label, &content, &keys)
}

/// A drawing with what is said under it, which is HTML.
fn figure(label: &str, content: &str, caption: &str) -> String {
    let (width, height, label) = (LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM, escaped(label));
    format!(
        "<figure><svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">{content}</svg>\
         <figcaption>{caption}</figcaption></figure>\n"
    )
}

/// What the axes span.
struct Axes {
    x: [f64; 2],
    y: [f64; 2],
}

impl Axes {
    fn around(points: &[ChartPoint]) -> Self {
        let ends = |point: &ChartPoint| point.interval.unwrap_or([point.y; 2]);
        Self {
            x: span(points.iter().map(|point| point.x)),
            y: span(points.iter().flat_map(|point| ends(point).into_iter().chain([point.y]))),
        }
    }

    fn place(&self, x: f64, y: f64) -> [f64; 2] {
        let part = |value: f64, [low, high]: [f64; 2]| (value - low) / (high - low);
        [LEFT + WIDTH * part(x, self.x), TOP + HEIGHT * (1.0 - part(y, self.y))]
    }

    /// Lines across at round numbers, and the axis below.
    fn lines(&self) -> String {
        let mut lines = String::new();
        let (step, values) = ticks(self.y);
        let digits = (-step.log10().floor()).max(0.0) as usize;
        for value in values {
            let [_, y] = self.place(self.x[0], value);
            let _ = write!(
                lines,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>\
                 <text x=\"{text:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{value:.digits$}</text>",
                right = LEFT + WIDTH,
                text = LEFT - 6.0,
                middle = y + 4.0,
            );
        }
        let (right, bottom) = (LEFT + WIDTH, TOP + HEIGHT);
        lines
            + &format!("<line class=\"axis\" x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{bottom}\"/>")
    }

    /// Where the axis below begins and ends.
    fn ends(&self) -> String {
        let text = |at: f64, anchor: &str, value: f64| {
            let y = TOP + HEIGHT + 20.0;
            format!("<text x=\"{at:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", axis_number(value))
        };
        text(LEFT, "start", self.x[0]) + &text(LEFT + WIDTH, "end", self.x[1])
    }

    fn dot(&self, point: &ChartPoint, class: &str, radius: f64) -> String {
        let ([x, y], text) = (self.place(point.x, point.y), escaped(&point.text));
        format!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"><title>{text}</title></circle>"
        )
    }

    fn whisker(&self, point: &ChartPoint) -> String {
        let Some([low, high]) = point.interval else { return String::new() };
        let ([x, bottom], [_, top]) = (self.place(point.x, low), self.place(point.x, high));
        format!("<line class=\"whisker\" x1=\"{x:.1}\" y1=\"{bottom:.1}\" x2=\"{x:.1}\" y2=\"{top:.1}\"/>")
    }

    fn bar(&self, class: &str, left: f64, value: f64) -> String {
        let ([x, y], [right, bottom]) = (self.place(left, value), self.place(left + 0.38, 0.0));
        let (width, height) = (right - x, bottom - y);
        format!(
            "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"/>"
        )
    }
}

fn axis_number(value: f64) -> String {
    if value.fract() == 0.0 && value >= 0.0 { super::text::grouped(value as usize) } else { short(value) }
}

/// From the lowest to the highest of some values, and a little further where that is nothing.
fn span(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let [low, high] = values
        .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| [low.min(value), high.max(value)]);
    [low, if high > low { high } else { low + 1.0 }]
}

/// Round numbers within a span, and how far they are from one another.
fn ticks([low, high]: [f64; 2]) -> (f64, Vec<f64>) {
    let raw = (high - low) / LINES;
    let power = 10f64.powf(raw.log10().floor());
    let step = power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|&round| round * power >= raw).unwrap_or(10.0);
    let (first, last) = ((low / step).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (step, (first..=last).map(|at| at as f64 * step).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_at_round_numbers() {
        assert_eq!(ticks([0.0, 8.0]).1, [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ticks([90.0, 97.0]).1, [90.0, 92.0, 94.0, 96.0]);
        assert_eq!(ticks([0.0, 1.0]).1, [0.0, 0.5, 1.0]);
    }

    #[test]
    fn drawings_hold_no_markup_of_others_and_no_nonsense() {
        let point = |x, y| ChartPoint { x, y, interval: Some([y, y]), text: "<script>".into() };
        let pair = BarPair { weight: 0.0, activation: 0.0, text: "<script>".into() };
        let drawings = [
            chart("<a>", "<u>", &[point(1.0, 2.0)], &point(1.0, 2.0)),
            scatter("<a>", "<u>", &[point(1.0, 2.0), point(3.0, 2.0)]),
            bars("<a>", ["<k>", "l"], &[pair]),
            bars("none", ["k", "l"], &[]),
        ];
        for drawing in drawings {
            for absent in ["<a>", "<u>", "<k>", "<script", "NaN", "inf"] {
                assert!(!drawing.contains(absent), "{absent}: {drawing}");
            }
        }
    }
}
