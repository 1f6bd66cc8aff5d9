//! `fgq check`: what a conversion would make of a network, or why it cannot be converted.

use super::CHECK_FAILED;
use super::convert::PrecisionArgs;
use super::flags::in_flags;
use super::inspect::BytesJson;
use super::layers::{percent, why};
use super::network::{ClassArgs, NetworkArgs};
use super::output::{Output, grouped, note};
use super::preprocess::Chosen;
use super::table::{Column, Table};
use fgq::{ErrorKind, Forecast, Preprocess, Refusal};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Arguments of `fgq check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 it can be converted, 1 it cannot, 2 error.")]
pub struct Args {
    /// The trained network: .onnx, .safetensors, .safetensors.index.json or .pth
    model: PathBuf,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    precision: PrecisionArgs,
}

/// Foretells, or lists everything that is in the way.
pub fn run(args: Args) -> anyhow::Result<Output> {
    let model = args.model.clone();
    match foretell(args) {
        Ok((forecast, chosen)) => {
            Output::new(text(&forecast)? + "\nIt can be converted.", &ForecastJson::new(&forecast, &chosen))
        }
        Err(error) => match error.downcast_ref().filter(|error| is_refusal(error)) {
            Some(error) => refused(&model, error),
            None => Err(error),
        },
    }
}

fn foretell(args: Args) -> anyhow::Result<(Forecast, Chosen)> {
    let (graph, chosen) = args.network.load(&args.model, None)?;
    let classes = args.classes.known(&graph)?;
    if !args.precision.is_given() {
        note(
            "without --group, --set, --method and --plan, `fgq convert` chooses precisions by its images, in about the \
             bytes of --group 4 --scale-bits 8",
        );
    }
    let options = args.precision.options()?;
    let forecast = fgq::check(graph, &chosen.preprocess, &options, &classes);
    Ok((forecast.map_err(|error| error.at_path(&args.model))?, chosen))
}

/// Whether an error is about what the network is, not about files or options.
fn is_refusal(error: &fgq::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NonFinite)
}

#[derive(Serialize)]
struct RefusedJson {
    convertible: bool,
    refused: Vec<RefusalJson>,
}

#[derive(Serialize)]
struct RefusalJson {
    /// `null` where it is the file as a whole.
    node: Option<String>,
    operator: Option<String>,
    /// Why, and what to do about it.
    reason: String,
}

impl RefusedJson {
    /// Of an error about the network in `model`.
    fn new(model: &Path, error: &fgq::Error) -> Self {
        let of_node = |Refusal { node, operator, reason }: &Refusal| RefusalJson {
            node: Some(node.clone()),
            operator: Some(operator.clone()),
            reason: in_flags(reason),
        };
        let mut refused: Vec<RefusalJson> = error.refusals().iter().map(of_node).collect();
        if refused.is_empty() {
            let file = error.path().filter(|path| *path != model);
            let file = file.map(|path| format!("{}: ", path.display())).unwrap_or_default();
            let reason = file + &in_flags(error.message());
            refused.push(RefusalJson { node: error.node().map(str::to_owned), operator: None, reason });
        }
        Self { convertible: false, refused }
    }
}

fn refused(model: &Path, error: &fgq::Error) -> anyhow::Result<Output> {
    let json = RefusedJson::new(model, error);
    let mut text = format!("{} cannot be converted:\n\n", model.display());
    for RefusalJson { node, operator, reason } in &json.refused {
        let place = match (node, operator) {
            (Some(node), Some(operator)) => format!("{node} ({operator}): "),
            (Some(node), None) => format!("{node}: "),
            _ => String::new(),
        };
        writeln!(text, "{place}{reason}")?;
    }
    Ok(Output::new(text, &json)?.with_code(CHECK_FAILED))
}

#[derive(Serialize)]
pub(super) struct ForecastJson<'a> {
    convertible: bool,
    refused: [(); 0],
    layers: Vec<ForecastLayerJson<'a>>,
    /// Of the file.
    bytes: BytesJson,
    weights: usize,
    ternary_weights: usize,
    bits_per_weight: f64,
    bits_per_ternary_weight: Option<f64>,
    /// In percent.
    multiplications_left: f64,
    preprocess: &'a Preprocess,
    preprocess_origin: &'a str,
}

#[derive(Serialize)]
struct ForecastLayerJson<'a> {
    name: &'a str,
    kind: String,
    precision: String,
    reason: &'static str,
    /// Bits of the activations that it reads.
    activation_bits: u8,
    shape: [usize; 4],
    weights: usize,
    bytes: usize,
}

/// Layers with what was chosen for them.
fn layers(forecast: &Forecast) -> impl Iterator<Item = ForecastLayerJson<'_>> {
    let chosen = forecast.choices.iter().zip(&forecast.activation_bits);
    forecast.summary.layers.iter().zip(chosen).map(|(layer, (choice, &activation_bits))| ForecastLayerJson {
        name: &layer.name,
        kind: layer.kind.to_string(),
        precision: layer.precision.to_string(),
        reason: why(choice.reason),
        activation_bits,
        shape: layer.shape,
        weights: layer.weights,
        bytes: layer.bytes.total(),
    })
}

impl<'a> ForecastJson<'a> {
    pub(super) fn new(forecast: &'a Forecast, chosen: &'a Chosen) -> Self {
        let summary = &forecast.summary;
        Self {
            convertible: true,
            refused: [],
            layers: layers(forecast).collect(),
            bytes: summary.bytes.into(),
            weights: summary.weights(),
            ternary_weights: summary.ternary_weights(),
            bits_per_weight: summary.bits_per_weight(),
            bits_per_ternary_weight: summary.bits_per_ternary_weight(),
            multiplications_left: 100.0 * summary.multiplications_left(),
            preprocess: &chosen.preprocess,
            preprocess_origin: &chosen.origin,
        }
    }
}

/// What would become of the layers, and of the whole.
pub(super) fn text(forecast: &Forecast) -> Result<String, std::fmt::Error> {
    let summary = &forecast.summary;
    let mut text = layer_table(forecast).to_string();
    let (bytes, full) = (summary.bytes.total(), 4 * summary.weights());
    writeln!(text)?;
    writeln!(
        text,
        "predicted bytes       {} ({:.1}% of {} at 32 bits per weight)",
        grouped(bytes),
        percent(bytes, full),
        grouped(full)
    )?;
    writeln!(text, "bits per weight       {:.3}", summary.bits_per_weight())?;
    if let Some(bits) = summary.bits_per_ternary_weight() {
        writeln!(text, "per ternary weight    {bits:.3} (the whole file)")?;
    }
    writeln!(text, "multiplications left  {:.1}%", 100.0 * summary.multiplications_left())?;
    Ok(text)
}

fn layer_table(forecast: &Forecast) -> Table {
    let mut table = Table::new(&[
        Column::Left("layer"),
        Column::Left("kind"),
        Column::Right("shape"),
        Column::Left("precision"),
        Column::Left("because"),
        Column::Right("activations"),
        Column::Right("weights"),
        Column::Right("bytes"),
    ]);
    for layer in layers(forecast) {
        table.row([
            layer.name.to_owned(),
            layer.kind,
            layer.shape.map(|extent| extent.to_string()).join("x"),
            layer.precision,
            layer.reason.to_owned(),
            layer.activation_bits.to_string(),
            grouped(layer.weights),
            grouped(layer.bytes),
        ]);
    }
    table
}
