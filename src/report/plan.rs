//! A plan as a web page: bits per layer, and the frontier of size against damage.

use super::page::{ChartPoint, HEIGHT, MARGIN, WIDTH, chart, drawing, escaped, page};
use crate::plan::{FrontierPoint, Plan, PlannedLayer};
use std::fmt::Write;

impl Plan {
    /// A self-contained HTML page with a bar per layer and, if there are points, the frontier.
    pub fn to_html(&self, frontier: &[FrontierPoint]) -> String {
        let mut body = format!("{}<h2>Bits per layer</h2>{}", self.summary(), bars(&self.layers));
        if frontier.len() > 1 {
            // Writing to a string cannot fail.
            let _ = write!(body, "<h2>Size against predicted damage</h2>{}", curve(self, frontier));
        }
        let _ = write!(body, "<h2>Layers</h2>{}", table(&self.layers));
        page("Plan", &body)
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
    let point = |point: &FrontierPoint| ChartPoint {
        x: point.bytes as f64,
        y: point.objective,
        text: format!(
            "{} bytes, {:.3} bits per weight, damage {:.5}",
            point.bytes, point.mean_bits, point.objective
        ),
    };
    let points: Vec<ChartPoint> = frontier.iter().map(point).collect();
    let own = ChartPoint { x: plan.uses.bytes as f64, y: plan.objective, text: "this plan".into() };
    chart("size against predicted damage", "bytes", &points, &own)
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
