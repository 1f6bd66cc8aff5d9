//! The layers of a model: bits, error and time, as drawings and as a table.

use super::drawing::{BarPair, bars};
use super::sheet::{Sheet, SheetCell, SheetColumn};
use super::text::{grouped, percent, short};
use super::{Layer, NetworkSummary, Summary};
use crate::bench::{Bench, BenchLayer};
use crate::convert::Conversion;
use crate::format::LayerFidelity;
use std::collections::HashMap;

/// What is known of layers besides what the model's file says.
#[derive(Debug, Default)]
pub(super) struct Known<'a> {
    pub conversion: Option<&'a Conversion>,
    pub bench: Option<&'a Bench>,
}

impl Known<'_> {
    /// Seconds that the conversion of every layer took, and microseconds that a run takes.
    fn times(&self) -> [HashMap<&str, f64>; 2] {
        let seconds = self.conversion.iter().flat_map(|it| &it.seconds);
        let runs = self.bench.iter().flat_map(|bench| &bench.layers);
        [
            seconds.map(|(name, seconds)| (name.as_str(), *seconds)).collect(),
            runs.map(|layer| (layer.name.as_str(), 1e6 * layer.time.as_secs_f64())).collect(),
        ]
    }
}

/// Layers of a packed model.
pub(super) fn of_model(summary: &Summary, known: &Known) -> String {
    let layers = &summary.layers;
    let pairs = |weight: fn(&Layer) -> f64, activation: fn(&Layer) -> f64, show: fn(&Layer) -> String| {
        let pair = |layer: &Layer| BarPair {
            weight: weight(layer),
            activation: activation(layer),
            text: format!("{}: {}", layer.name, show(layer)),
        };
        layers.iter().map(pair).collect::<Vec<_>>()
    };
    let bits = pairs(bits_per_weight, |layer| f64::from(layer.input_bits), bits_in_words);
    let mut html = String::from("<h3>Bits</h3>\n");
    html +=
        &bars("Bits of every layer", ["bits per weight, scales included", "bits of activations read"], &bits);
    if layers.iter().any(|layer| layer.fidelity.is_some()) {
        let noise = pairs(
            |layer| 100.0 * noise(layer, LayerFidelity::weight_noise),
            |layer| 100.0 * noise(layer, LayerFidelity::rounding_noise),
            noise_in_words,
        );
        html += "<h3>Noise</h3>\n";
        html += &bars("Noise of every layer", ["noise of weights", "noise of rounded inputs"], &noise);
        html += "<p class=\"note\">In percent of the variance of the layer\u{2019}s outputs.</p>\n";
        if let Some(loss) = summary.loss() {
            html += &format!("<p>Most loss comes from {}.</p>\n", super::text::escaped(&loss.to_string()));
        }
    }
    html + "<h3>All figures</h3>\n" + &sheet(layers, known)
}

/// Bits of codes and scales per weight.
fn bits_per_weight(layer: &Layer) -> f64 {
    8.0 * (layer.bytes.codes + layer.bytes.scales) as f64 / layer.weights.max(1) as f64
}

fn noise(layer: &Layer, part: fn(&LayerFidelity) -> f64) -> f64 {
    layer.fidelity.as_ref().map_or(0.0, part)
}

fn bits_in_words(layer: &Layer) -> String {
    format!(
        "{} ({:.2} bits per weight), reads {} bits",
        layer.precision,
        bits_per_weight(layer),
        layer.input_bits
    )
}

fn noise_in_words(layer: &Layer) -> String {
    let part = |part| format!("{:.3}%", 100.0 * noise(layer, part));
    format!("weights {}, inputs {}", part(LayerFidelity::weight_noise), part(LayerFidelity::rounding_noise))
}

fn sheet(layers: &[Layer], known: &Known) -> String {
    let mut sheet = Sheet::new(
        "layers",
        &[
            SheetColumn::Words("layer"),
            SheetColumn::Words("kind"),
            SheetColumn::Words("precision"),
            SheetColumn::Bar("bits per weight"),
            SheetColumn::Bar("bits read"),
            SheetColumn::Bar("weights"),
            SheetColumn::Bar("bytes"),
            SheetColumn::Bar("zeros, %"),
            SheetColumn::Bar("noise, %"),
            SheetColumn::Number("outputs so far, dB"),
            SheetColumn::Bar("saturated, %"),
            SheetColumn::Bar("time, \u{b5}s"),
            SheetColumn::Bar("conversion, s"),
            SheetColumn::Number("shape"),
        ],
    );
    let [seconds, runs] = known.times();
    for layer in layers {
        let name = layer.name.as_str();
        sheet.row(cells(layer, runs.get(name).copied(), seconds.get(name).copied()));
    }
    sheet.to_html()
}

fn cells(layer: &Layer, run: Option<f64>, seconds: Option<f64>) -> Vec<SheetCell> {
    let count = |count: usize| SheetCell::number(Some(count as f64), |_| grouped(count));
    let figures = layer.fidelity.as_ref();
    let shape = layer.shape.map(|extent| extent.to_string()).join("\u{d7}");
    vec![
        SheetCell::words(&layer.name),
        SheetCell::words(layer.kind.to_string()),
        SheetCell::words(layer.precision.to_string()),
        SheetCell::number(Some(bits_per_weight(layer)), |bits| format!("{bits:.2}")),
        count(layer.input_bits.into()),
        count(layer.weights),
        count(layer.bytes.total()),
        SheetCell::number(Some(percent(layer.zeros, layer.weights)), |zeros| format!("{zeros:.1}")),
        SheetCell::number(figures.map(|it| 100.0 * it.noise()), |noise| format!("{noise:.3}")),
        SheetCell::number(figures.and_then(|it| it.cumulative), |ratio| format!("{ratio:.1}")),
        SheetCell::number(figures.map(|it| 100.0 * it.saturation), |share| format!("{share:.2}")),
        SheetCell::number(run, |time| format!("{time:.1}")),
        SheetCell::number(seconds, |time| format!("{time:.2}")),
        SheetCell::number(Some(layer.weights as f64), |_| shape),
    ]
}

/// Layers of a full-precision network.
pub(super) fn of_network(summary: &NetworkSummary) -> String {
    let mut sheet = Sheet::new(
        "layers",
        &[
            SheetColumn::Words("layer"),
            SheetColumn::Words("kind"),
            SheetColumn::Bar("weights"),
            SheetColumn::Bar("multiplications"),
            SheetColumn::Number("shape"),
            SheetColumn::Number("output"),
        ],
    );
    for layer in &summary.layers {
        let count = |count: usize| SheetCell::number(Some(count as f64), |_| grouped(count));
        let shape = layer.shape.map(|extent| extent.to_string()).join("\u{d7}");
        sheet.row([
            SheetCell::words(&layer.name),
            SheetCell::words(layer.kind.to_string()),
            count(layer.weights),
            count(layer.multiplications),
            SheetCell::number(Some(layer.weights as f64), |_| shape),
            SheetCell::number(Some(layer.output.len() as f64), |_| layer.output.to_string()),
        ]);
    }
    sheet.to_html()
}

/// All operators of a benchmark, also those without weights.
pub(super) fn of_bench(bench: &Bench) -> String {
    let mut sheet = Sheet::new(
        "operators",
        &[
            SheetColumn::Words("operator"),
            SheetColumn::Words("does"),
            SheetColumn::Words("with"),
            SheetColumn::Bar("time, \u{b5}s"),
            SheetColumn::Bar("share, %"),
            SheetColumn::Bar("products"),
            SheetColumn::Bar("G products/s"),
            SheetColumn::Bar("of peak, %"),
            SheetColumn::Bar("weight bytes"),
            SheetColumn::Bar("all bytes"),
            SheetColumn::Number("shape"),
        ],
    );
    let total: f64 = bench.layers.iter().map(|layer| layer.time.as_secs_f64()).sum();
    bench.layers.iter().for_each(|layer| sheet.row(timed_cells(layer, total, bench.peak)));
    sheet.to_html()
}

fn timed_cells(layer: &BenchLayer, total: f64, peak: f64) -> Vec<SheetCell> {
    let time = layer.time.as_secs_f64();
    let rate = (layer.products > 0 && time > 0.0).then(|| layer.products as f64 / time);
    let count = |count: usize| SheetCell::number((count > 0).then_some(count as f64), |_| grouped(count));
    vec![
        SheetCell::words(&layer.name),
        SheetCell::words(layer.operator),
        SheetCell::words(layer.with.clone().unwrap_or_default()),
        SheetCell::number(Some(1e6 * time), |time| format!("{time:.1}")),
        SheetCell::number(Some(100.0 * time / total.max(f64::MIN_POSITIVE)), |share| format!("{share:.1}")),
        count(layer.products),
        SheetCell::number(rate.map(|rate| rate / 1e9), short),
        SheetCell::number(rate.map(|rate| 100.0 * rate / peak), |share| format!("{share:.1}")),
        count(layer.weight_bytes),
        count(layer.bytes()),
        SheetCell::number(Some(layer.shape.len() as f64), |_| layer.shape.to_string()),
    ]
}
