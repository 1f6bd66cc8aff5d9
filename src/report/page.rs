//! What all web pages share: a page in one file without scripts, light or dark, and drawings.

use std::fmt::Write;

/// Width and height of the drawings' content, and the margin around it.
pub(super) const WIDTH: f64 = 920.0;
pub(super) const HEIGHT: f64 = 240.0;
pub(super) const MARGIN: f64 = 48.0;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2430; --paper: #ffffff; --line: #c9d1dc; --weight: #2563ab; --activation: #c2570c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e9f0; --paper: #14181f; --line: #3a4453; --weight: #6cb0f5; --activation: #f59e4c; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1040px;
  margin: 2rem auto; padding: 0 1rem; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
.axis { stroke: var(--line); } .weight { fill: var(--weight); } .activation { fill: var(--activation); }
.curve { fill: none; stroke: var(--weight); stroke-width: 2; }
table { border-collapse: collapse; width: 100%; } td, th { padding: 2px 8px; border-bottom: 1px solid var(--line);
  text-align: right; } td:first-child, th:first-child { text-align: left; }
";

/// A self-contained page.
pub(super) fn page(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/><title>{title}</title>\
         <style>{STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>\n"
    )
}

/// A drawing with its axes; `content` is drawn upright with the origin at the lower left corner of the axes.
pub(super) fn drawing(label: &str, content: &str, bottom: &str) -> String {
    let (width, height) = (WIDTH + 2.0 * MARGIN, HEIGHT + 2.0 * MARGIN);
    format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">\
         <line class=\"axis\" x1=\"{MARGIN}\" y1=\"{y}\" x2=\"{x}\" y2=\"{y}\"/>\
         <line class=\"axis\" x1=\"{MARGIN}\" y1=\"{MARGIN}\" x2=\"{MARGIN}\" y2=\"{y}\"/>\
         {content}<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{bottom}</text></svg>",
        x = MARGIN + WIDTH,
        y = MARGIN + HEIGHT,
        middle = MARGIN + WIDTH / 2.0,
        below = height - 8.0,
    )
}

/// A place in a chart, and what is said of it.
#[derive(Debug, Clone)]
pub(super) struct ChartPoint {
    pub x: f64,
    pub y: f64,
    pub text: String,
}

/// A line through `points`, and one point that stands out.
pub(super) fn chart(label: &str, unit: &str, points: &[ChartPoint], marked: &ChartPoint) -> String {
    let all = || points.iter().chain([marked]);
    let ((left, width), (low, height)) = (span(all().map(|point| point.x)), span(all().map(|point| point.y)));
    let place = |point: &ChartPoint| {
        let x = MARGIN + WIDTH * (point.x - left) / width;
        (x, MARGIN + HEIGHT * (1.0 - (point.y - low) / height))
    };
    let mut content = String::from("<polyline class=\"curve\" points=\"");
    for (x, y) in points.iter().map(place) {
        let _ = write!(content, "{x:.1},{y:.1} ");
    }
    content += "\"/>";
    let own = all()
        .enumerate()
        .map(|(at, point)| (point, if at == points.len() { ("activation", 6) } else { ("weight", 4) }));
    for (point, (class, radius)) in own {
        let ((x, y), text) = (place(point), escaped(&point.text));
        let _ = write!(
            content,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"><title>{text}</title></circle>"
        );
    }
    for (value, y) in [(low, MARGIN + HEIGHT), (low + height, MARGIN)] {
        let (x, y) = (MARGIN - 6.0, y + 4.0);
        let _ = write!(content, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{value:.3}</text>");
    }
    let range = format!("{unit}: {left} to {}; orange: {}", left + width, escaped(&marked.text));
    drawing(label, &content, &range)
}

/// The lowest of some values, and how far the highest is from it.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    (low, if high > low { high - low } else { 1.0 })
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
