//! A plan as a web page: bits per layer, and the frontier of size against damage.

use crate::plan::{FrontierPoint, Plan, PlannedLayer};
use std::fmt::Write;

/// Width and height of the drawings' content, and the margin around it.
const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 240.0;
const MARGIN: f64 = 48.0;

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

impl Plan {
    /// A self-contained HTML page with a bar per layer and, if there are points, the frontier.
    pub fn to_html(&self, frontier: &[FrontierPoint]) -> String {
        let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>");
        page +=
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/><title>Plan</title>";
        // Writing to a string cannot fail.
        let _ = write!(page, "<style>{STYLE}</style></head><body>");
        let _ = write!(page, "<h1>Plan</h1>{}", self.summary());
        let _ = write!(page, "<h2>Bits per layer</h2>{}", bars(&self.layers));
        if frontier.len() > 1 {
            let _ = write!(page, "<h2>Size against predicted damage</h2>{}", curve(self, frontier));
        }
        let _ = writeln!(page, "<h2>Layers</h2>{}</body></html>", table(&self.layers));
        page
    }

    fn summary(&self) -> String {
        let proven = if self.is_proven() { "proven to be the least" } else { "not proven to be the least" };
        let uses = &self.uses;
        let budgets: Vec<String> =
            self.budgets.record().into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        let budgets = if budgets.is_empty() { "none".to_owned() } else { budgets.join(", ") };
        format!(
            "<p>Predicted damage {:.6} ({proven} within the budgets). {} bytes, {:.3} bits per weight, {:.2} times smaller \
             than 32 bits. {} bit operations, {} multiplications per image.</p><p>Budgets: {budgets}.</p>",
            self.objective,
            uses.bytes,
            uses.mean_bits,
            uses.compression_ratio,
            uses.bit_ops,
            uses.multiplications
        )
    }
}

/// A drawing with its axes; `content` is drawn upright with the origin at the lower left corner of the axes.
fn drawing(label: &str, content: &str, bottom: &str) -> String {
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

fn bars(layers: &[PlannedLayer]) -> String {
    let most = layers
        .iter()
        .map(|layer| layer.weight_bits.max(f64::from(layer.activation_bits)))
        .fold(1.0, f64::max);
    let (unit, step) = (HEIGHT / most, WIDTH / layers.len().max(1) as f64);
    let mut content = String::new();
    for bits in (0..=most.ceil() as u32).filter(|bits| most <= 8.0 || bits % 4 == 0) {
        let y = MARGIN + HEIGHT - unit * f64::from(bits);
        let _ = write!(
            content,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{bits}</text>",
            MARGIN - 6.0,
            y + 4.0
        );
    }
    for (index, layer) in layers.iter().enumerate() {
        let x = MARGIN + step * index as f64;
        let _ = write!(content, "<g><title>{}</title>", escaped(&description(layer)));
        let bar = |class: &str, bits: f64, left: f64| {
            let (x, y, width, height) =
                (x + left * step, MARGIN + HEIGHT - bits * unit, 0.38 * step, bits * unit);
            format!(
                "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"/>"
            )
        };
        content += &bar("weight", layer.weight_bits, 0.1);
        content += &bar("activation", f64::from(layer.activation_bits), 0.5);
        content += "</g>";
    }
    drawing("bits per layer", &content, "layers in execution order")
        + "<p><svg viewBox=\"0 0 14 14\" style=\"width:14px\"><rect class=\"weight\" width=\"14\" height=\"14\"/></svg> weights \
           <svg viewBox=\"0 0 14 14\" style=\"width:14px\"><rect class=\"activation\" width=\"14\" height=\"14\"/></svg> activations</p>"
}

fn description(layer: &PlannedLayer) -> String {
    let PlannedLayer { name, weights, weight_bits, activation_bits, .. } = layer;
    format!("{name}: weights {weights} ({weight_bits:.3} bits), activations {activation_bits} bits")
}

fn curve(plan: &Plan, frontier: &[FrontierPoint]) -> String {
    let span = |values: &[f64]| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, if high > low { high - low } else { 1.0 })
    };
    let sizes: Vec<f64> =
        frontier.iter().map(|point| point.bytes as f64).chain([plan.uses.bytes as f64]).collect();
    let damages: Vec<f64> = frontier.iter().map(|point| point.objective).chain([plan.objective]).collect();
    let ((size_low, size_span), (damage_low, damage_span)) = (span(&sizes), span(&damages));
    let place = |bytes: f64, damage: f64| {
        let x = MARGIN + WIDTH * (bytes - size_low) / size_span;
        (x, MARGIN + HEIGHT * (1.0 - (damage - damage_low) / damage_span))
    };
    let mut content = String::from("<polyline class=\"curve\" points=\"");
    for point in frontier {
        let (x, y) = place(point.bytes as f64, point.objective);
        let _ = write!(content, "{x:.1},{y:.1} ");
    }
    content += "\"/>";
    for point in frontier {
        let (x, y) = place(point.bytes as f64, point.objective);
        let text = format!(
            "{} bytes, {:.3} bits per weight, damage {:.5}",
            point.bytes, point.mean_bits, point.objective
        );
        let _ = write!(
            content,
            "<circle class=\"weight\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{text}</title></circle>"
        );
    }
    let (x, y) = place(plan.uses.bytes as f64, plan.objective);
    let _ = write!(
        content,
        "<circle class=\"activation\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6\"><title>this plan</title></circle>"
    );
    for (damage, y) in [(damage_low, MARGIN + HEIGHT), (damage_low + damage_span, MARGIN)] {
        let _ = write!(
            content,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{damage:.3}</text>",
            MARGIN - 6.0,
            y + 4.0
        );
    }
    let range = format!("bytes: {size_low} to {}; orange: this plan", size_low + size_span);
    drawing("size against predicted damage", &content, &range)
}

fn table(layers: &[PlannedLayer]) -> String {
    let mut table = String::from(
        "<table><tr><th>layer</th><th>weights</th><th>bits</th><th>activations</th><th>number</th><th>damage</th></tr>",
    );
    for PlannedLayer { name, weights, weight_bits, activation_bits, parameters, damage, .. } in layers {
        let (name, weights) = (escaped(name), escaped(weights));
        let _ = write!(
            table,
            "<tr><td>{name}</td><td>{weights}</td><td>{weight_bits:.3}</td><td>{activation_bits}</td>\
             <td>{parameters}</td><td>{damage:.5}</td></tr>"
        );
    }
    table + "</table>"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
