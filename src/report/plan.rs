//! A plan as a web page: bits per layer, and the frontier of size against damage.

use super::drawing::{BarPair, ChartPoint, bars, chart};
use super::facts;
use super::page::{page, section};
use super::sheet::{Sheet, SheetCell, SheetColumn};
use super::text::{bytes, grouped, short};
use crate::plan::{FrontierPoint, Plan, PlannedLayer};

impl Plan {
    /// A self-contained HTML page with a bar per layer and, if there are points, the frontier.
    pub fn to_html(&self, frontier: &[FrontierPoint]) -> String {
        let curve = if frontier.len() > 1 { curve(self, frontier) } else { String::new() };
        let body = [
            self.summary(),
            section("Bits", &bits(&self.layers)),
            section("Size against predicted damage", &curve),
            section("Layers", &table(&self.layers)),
        ];
        page("Plan", "The precision of every layer, and what is predicted to be lost.", &body.concat())
    }

    fn summary(&self) -> String {
        let proven = if self.is_proven() { "proven to be the least" } else { "not proven to be the least" };
        let uses = &self.uses;
        let budgets: Vec<String> =
            self.budgets.record().into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        let budgets = if budgets.is_empty() { "none".to_owned() } else { budgets.join(", ") };
        facts::pairs(&[
            ("Predicted damage", format!("{:.6}, {proven} within the budgets", self.objective)),
            ("Budgets", budgets),
            (
                "Size",
                format!(
                    "{}, {} times smaller than 32 bits",
                    bytes(uses.bytes as usize),
                    short(uses.compression_ratio)
                ),
            ),
            ("Bits per weight", format!("{:.3}", uses.mean_bits)),
            ("Bit operations", format!("{} per image", grouped(uses.bit_ops as usize))),
            ("Multiplications", format!("{} per image", grouped(uses.multiplications as usize))),
        ])
    }
}

fn bits(layers: &[PlannedLayer]) -> String {
    let pair = |layer: &PlannedLayer| BarPair {
        weight: layer.weight_bits,
        activation: f64::from(layer.activation_bits),
        text: description(layer),
    };
    let pairs: Vec<BarPair> = layers.iter().map(pair).collect();
    bars("Bits of every layer", ["bits per weight, scales included", "bits of activations"], &pairs)
}

fn description(layer: &PlannedLayer) -> String {
    let PlannedLayer { name, weights, weight_bits, activation_bits, .. } = layer;
    format!("{name}: weights {weights} ({weight_bits:.3} bits), activations {activation_bits} bits")
}

fn curve(plan: &Plan, frontier: &[FrontierPoint]) -> String {
    let point = |point: &FrontierPoint| ChartPoint {
        x: point.bytes as f64,
        y: point.objective,
        interval: None,
        text: format!(
            "{} bytes, {:.3} bits per weight, damage {:.5}",
            point.bytes, point.mean_bits, point.objective
        ),
    };
    let points: Vec<ChartPoint> = frontier.iter().map(point).collect();
    let own =
        ChartPoint { x: plan.uses.bytes as f64, y: plan.objective, interval: None, text: "this plan".into() };
    chart(
        "Size against predicted damage",
        "Bytes of the file across, predicted damage upwards",
        &points,
        &own,
    )
}

fn table(layers: &[PlannedLayer]) -> String {
    let mut sheet = Sheet::new(
        "layers",
        &[
            SheetColumn::Words("layer"),
            SheetColumn::Words("weights"),
            SheetColumn::Bar("bits per weight"),
            SheetColumn::Bar("bits of activations"),
            SheetColumn::Bar("number"),
            SheetColumn::Bar("damage"),
        ],
    );
    for PlannedLayer { name, weights, weight_bits, activation_bits, parameters, damage, .. } in layers {
        sheet.row([
            SheetCell::words(name),
            SheetCell::words(weights),
            SheetCell::number(Some(*weight_bits), |bits| format!("{bits:.3}")),
            SheetCell::number(Some(f64::from(*activation_bits)), |bits| bits.to_string()),
            SheetCell::number(Some(*parameters as f64), |_| grouped(*parameters as usize)),
            SheetCell::number(Some(*damage), |damage| format!("{damage:.5}")),
        ]);
    }
    sheet.to_html()
}
