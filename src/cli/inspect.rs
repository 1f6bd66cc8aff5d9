//! `fgq inspect`: what a packed model or a full-precision network consists of.

mod full_precision;

use super::judged::{self, LogitsJson};
use super::layers::{LayerJson, LossJson, percent};
use super::model::Model;
use super::network::NetworkArgs;
use super::output::{Output, grouped};
use super::report::ReportArgs;
use super::settings::{self, SettingJson};
use super::table::{Column, Table};
use fgq::{Bytes, Layer, LayerFidelity, PackedModel, PlanRecord, Preprocess, Provenance, Report, Summary};
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;

/// Titles of the figures of fidelity; ratios are in dB.
const FIGURES: [&str; 5] = ["weight dB", "local dB", "rounding dB", "cumulative dB", "saturated"];

/// Arguments of `fgq inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The packed model, or a full-precision network
    model: PathBuf,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    report: ReportArgs,
}

#[derive(Serialize)]
struct Inspection<'a> {
    name: &'a str,
    input: [usize; 3],
    outputs: usize,
    classes: &'a [String],
    layers: Vec<LayerJson<'a>>,
    bytes: BytesJson,
    weights: usize,
    ternary_weights: usize,
    bits_per_weight: f64,
    bits_per_ternary_weight: Option<f64>,
    /// In percent.
    multiplications_left: f64,
    #[serde(flatten)]
    logits: LogitsJson,
    loss: Option<LossJson>,
    preprocess: &'a Preprocess,
    provenance: &'a Provenance,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    settings: Vec<SettingJson<'a>>,
}

/// Bytes by what they hold.
#[derive(Serialize)]
pub struct BytesJson {
    total: usize,
    codes: usize,
    scales: usize,
    requantization: usize,
    tables: usize,
    metadata: usize,
}

impl From<Bytes> for BytesJson {
    fn from(bytes: Bytes) -> Self {
        let Bytes { codes, scales, requantization, tables, metadata } = bytes;
        Self { total: bytes.total(), codes, scales, requantization, tables, metadata }
    }
}

/// Reads the model and describes it.
pub fn run(args: &Args) -> anyhow::Result<Output> {
    args.report.check()?;
    match Model::open(&args.model, &args.network, None)? {
        Model::Packed(model) => packed(args, &model),
        Model::Full(graph, chosen) => {
            args.report.write(|| Ok(Report::of_network(&graph)?.to_html()))?;
            full_precision::inspect(&graph, &chosen)
        }
    }
}

fn packed(args: &Args, model: &PackedModel) -> anyhow::Result<Output> {
    let file_bytes =
        std::fs::metadata(&args.model).map_err(|error| fgq::Error::io(&args.model, error))?.len();
    let file_bytes = usize::try_from(file_bytes)?;
    args.report.write(|| Ok(Report::of_model(model, file_bytes)?.to_html()))?;
    let summary = Summary::new(model, file_bytes)?;
    let outputs = model.shapes()?.last().map_or(0, |shape| shape.channels);
    let json = Inspection {
        name: &model.name,
        input: [model.input.channels, model.input.height, model.input.width],
        outputs,
        classes: &model.classes,
        layers: summary.layers.iter().map(|layer| LayerJson::new(layer, None)).collect(),
        bytes: summary.bytes.into(),
        weights: summary.weights(),
        ternary_weights: summary.ternary_weights(),
        bits_per_weight: summary.bits_per_weight(),
        bits_per_ternary_weight: summary.bits_per_ternary_weight(),
        multiplications_left: 100.0 * summary.multiplications_left(),
        logits: model.fidelity.as_ref().map(LogitsJson::from).unwrap_or_default(),
        loss: summary.loss().map(LossJson::from),
        preprocess: &model.preprocess,
        provenance: &model.provenance,
        settings: settings::settings(model)?,
    };
    Output::new(text(model, &summary, &json)?, &json)
}

fn text(model: &PackedModel, summary: &Summary, json: &Inspection<'_>) -> Result<String, std::fmt::Error> {
    let outputs = json.outputs;
    let mut text = String::new();
    writeln!(text, "{}: input {}, {outputs} outputs\n", model.name, model.input)?;
    writeln!(text, "{}", layer_table(&summary.layers, model.provenance.plan.as_ref()))?;
    writeln!(text, "{}", byte_table(summary))?;
    writeln!(text, "bits per weight          {:.3}", summary.bits_per_weight())?;
    if let Some(bits) = summary.bits_per_ternary_weight() {
        writeln!(text, "bits per ternary weight  {bits:.3} (the whole file)")?;
    }
    writeln!(text, "multiplications left     {:.1}%", 100.0 * summary.multiplications_left())?;
    writeln!(text, "preprocessing            {}", model.preprocess)?;
    writeln!(text, "classes                  {}", classes(&model.classes))?;
    let Provenance { generator, source, source_sha256, options, plan } = &model.provenance;
    writeln!(text, "made by                  {generator}")?;
    writeln!(text, "from                     {source} (SHA-256 {source_sha256})")?;
    let options: Vec<String> = options.iter().map(|(key, value)| format!("{key} {value}")).collect();
    writeln!(text, "options                  {}", options.join(", "))?;
    for (name, value) in model.fidelity.iter().flat_map(judged::lines) {
        writeln!(text, "{name:<24} {value}")?;
    }
    if let Some(loss) = summary.loss() {
        writeln!(text, "most loss comes from     {loss}")?;
    }
    if let Some(plan) = plan {
        let budgets: Vec<String> = plan.budgets.iter().map(|(key, value)| format!("{key} {value}")).collect();
        let budgets = if budgets.is_empty() { "no budget".to_owned() } else { budgets.join(", ") };
        writeln!(text, "plan                     {budgets}; predicted damage {}", plan.objective)?;
    }
    if !json.settings.is_empty() {
        writeln!(text, "\n{}", settings::table(&json.settings))?;
    }
    Ok(text)
}

/// A row per layer; the last column is there if a plan chose.
fn layer_table(layers: &[Layer], plan: Option<&PlanRecord>) -> Table {
    let mut columns = vec![
        Column::Left("layer"),
        Column::Left("kind"),
        Column::Left("precision"),
        Column::Right("reads"),
        Column::Right("shape"),
        Column::Right("weights"),
        Column::Right("bytes"),
        Column::Right("zeros"),
    ];
    let measured = layers.iter().any(|layer| layer.fidelity.is_some());
    if measured {
        columns.extend(FIGURES.map(Column::Right));
    }
    columns.extend(plan.map(|_| Column::Left("planned")));
    let mut table = Table::new(&columns);
    let planned =
        plan.map_or("", |plan| &plan.layers).split_whitespace().map(Some).chain(std::iter::repeat(None));
    for (layer, planned) in layers.iter().zip(planned) {
        let mut row = vec![
            layer.name.clone(),
            layer.kind.to_string(),
            layer.precision.to_string(),
            format!("{} bits", layer.input_bits),
            layer.shape.map(|extent| extent.to_string()).join("x"),
            grouped(layer.weights),
            grouped(layer.bytes.total()),
            format!("{:.1}%", percent(layer.zeros, layer.weights)),
        ];
        row.extend(layer.fidelity.iter().flat_map(figures));
        row.extend(planned.map(str::to_owned));
        table.row(row);
    }
    table
}

fn figures(figures: &LayerFidelity) -> [String; 5] {
    let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.1}"));
    let LayerFidelity { weight, local, rounding, cumulative, saturation, .. } = *figures;
    let saturation = format!("{:.2}%", 100.0 * saturation);
    [ratio(weight), ratio(local), ratio(rounding), ratio(cumulative), saturation]
}

fn byte_table(summary: &Summary) -> Table {
    let mut table = Table::new(&[Column::Left("what"), Column::Right("bytes"), Column::Right("share")]);
    let Bytes { codes, scales, requantization, tables, metadata } = summary.bytes;
    let total = summary.bytes.total();
    let rows = [
        ("codes", codes),
        ("scales", scales),
        ("requantization", requantization),
        ("tables", tables),
        ("metadata", metadata),
        ("file", total),
    ];
    for (what, bytes) in rows {
        table.row([what.to_owned(), grouped(bytes), format!("{:.1}%", percent(bytes, total))]);
    }
    table
}

fn classes(names: &[String]) -> String {
    match names {
        [] => "no names known".to_owned(),
        [first, .., last] if names.len() > 10 => format!("{} names, {first} to {last}", names.len()),
        _ => names.join(", "),
    }
}
