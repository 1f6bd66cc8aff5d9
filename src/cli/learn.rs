//! `fgq learn`: a trained network and labelled images → a packed model whose precision was learned under budgets.

use super::amount::bytes;
use super::convert::{More, report, say};
use super::course::CourseArgs;
use super::files::{FileArgs, OutputArgs};
use super::network::{ClassArgs, NetworkArgs};
use super::output::{Output, check_writable, grouped, warn};
use super::progress::Bars;
use super::table::{Column, Table};
use super::tune::EpochJson;
use anyhow::{Context, ensure};
use fgq::{
    Conversion, Course, LearnOptions, LearnedEpoch, Learning, MemoryBudgets, MemoryUse, Parametrization,
    Summary,
};
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Arguments of `fgq learn`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The trained network: .onnx, .safetensors, .safetensors.index.json or .pth
    model: PathBuf,
    /// Training images in class folders: most are learned from, one in eight is held back to choose the epoch
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
    /// How many images to use at most, spread evenly over the sorted list
    #[arg(long, value_name = "N", default_value_t = 65536)]
    samples: usize,
    /// Write there after every epoch where training stands, and go on from there if the file exists, to the same model as
    /// without a break
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Write a web page on how training went
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    budgets: MemoryArgs,
    #[command(flatten)]
    precision: QuantizerArgs,
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    classes: ClassArgs,
}

/// What the model may take.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Budgets")]
struct MemoryArgs {
    /// Bytes of all weights at most, as the file stores their codes: 70KB
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_weights: Option<u64>,
    /// Bytes of every activation tensor at most, its values times the bits of a code: 8KiB
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_activation: Option<u64>,
    /// Bytes of all activation tensors together at most
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_activations: Option<u64>,
}

/// Which quantizers are learned.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Quantizers")]
struct QuantizerArgs {
    /// What of a quantizer is learned: bits and step (U1), bits and range (U2), step and range (U3); P1 to P3 the same for
    /// weights that are powers of two
    #[arg(long, value_name = "NAME", default_value_t)]
    parametrization: Parametrization,
    /// Bits of weights and of activations, as in 2,4, that are not learned
    #[arg(long, value_name = "W,A", value_parser = fixed_bits)]
    fixed: Option<FixedBits>,
}

/// Bits of weights and of activations.
#[derive(Debug, Clone, Copy)]
struct FixedBits([u8; 2]);

fn fixed_bits(text: &str) -> anyhow::Result<FixedBits> {
    let (weights, activations) = text.split_once(',').context("give two numbers of bits, as in 2,4")?;
    let number = |text: &str| text.trim().parse().context("give two numbers of bits, as in 2,4");
    Ok(FixedBits([number(weights)?, number(activations)?]))
}

/// How training goes, besides.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Training")]
struct TrainingArgs {
    #[command(flatten)]
    common: CourseArgs,
    /// Learn from full precision's answers alone; --data then needs no class folders
    #[arg(long, conflicts_with = "no_imitation")]
    no_labels: bool,
    /// Learn from labels alone, not from full precision's answers
    #[arg(long)]
    no_imitation: bool,
    /// Share of a label that is spread over all classes
    #[arg(long, value_name = "SHARE", default_value_t = LearnOptions::default().smoothing)]
    smoothing: f64,
    /// Images of a step
    #[arg(long, value_name = "N", default_value_t = LearnOptions::default().course.batch)]
    batch: usize,
    /// Change of parameters in a step at the start, in shares of themselves; of weights in shares of their spread
    #[arg(long, value_name = "RATE", default_value_t = LearnOptions::default().course.rate)]
    rate: f64,
    /// Rate of the weights, as a share of --rate
    #[arg(long, value_name = "SHARE", default_value_t = LearnOptions::default().course.weight_rate)]
    weight_rate: f64,
}

impl TrainingArgs {
    fn course(&self) -> Course {
        let Self { batch, rate, weight_rate, .. } = *self;
        Course { batch, rate, weight_rate, ..self.common.applied_to(LearnOptions::default().course) }
    }
}

/// Learns and, if the budgets hold, writes.
pub fn run(args: Args) -> anyhow::Result<Output> {
    let start = Instant::now();
    ensure!(args.samples > 0, "--samples 0 leaves nothing to learn from; give at least 4");
    let options = LearnOptions {
        course: args.training.course(),
        budgets: MemoryBudgets {
            weights: args.budgets.max_weights,
            largest_activation: args.budgets.max_activation,
            activations: args.budgets.max_activations,
        },
        parametrization: args.precision.parametrization,
        fixed: args.precision.fixed.map(|FixedBits(bits)| bits),
        labels: !args.training.no_labels,
        imitates: !args.training.no_imitation,
        smoothing: args.training.smoothing,
        checkpoint: args.checkpoint,
    };
    let files = FileArgs { model: args.model, calib: args.data, output: args.output };
    let path = files.output()?;
    for (path, option) in [(&args.report, "--report"), (&options.checkpoint, "--checkpoint")] {
        path.iter().try_for_each(|path| check_writable(path, option))?;
    }
    let (graph, chosen) = args.network.load(&files.model, Some(&files.calib))?;
    let classes = args.classes.names(&graph, &files.calib)?;
    let images = files.images(&graph, options.labels)?.spread(args.samples);
    let learning = fgq::learn(graph, &chosen.preprocess, &images, &options, &Bars::new())
        .map_err(|error| files.place(error))?;
    if let Some(path) = &args.report {
        let title = format!("Learned precision of {}", files.model.display());
        fgq::replace_file(path, learning.to_html(&title).as_bytes())?;
    }
    let Learning { best, curve } = learning;
    let Some((mut conversion, memory)) = best else { return too_large(options.budgets, &curve) };
    let written = files.write(&path, &mut conversion, classes, &args.network, None)?;
    let more = More::of_learning(LearningJson::new(options.budgets, Some((&conversion, memory)), &curve)?);
    let seconds = start.elapsed().as_secs_f64();
    say(&conversion);
    report(&conversion, &chosen, &path, &written, more, seconds)
}

/// What to say where no epoch held the budgets.
fn too_large(budgets: MemoryBudgets, curve: &[LearnedEpoch]) -> anyhow::Result<Output> {
    let learning = LearningJson::new(budgets, None, curve)?;
    warn(
        "no epoch holds the budgets, and nothing is written; larger ones, more --epochs or a higher --rate may help",
    );
    Ok(Output::new(learning.lines()?, &learning)?.with_code(super::CHECK_FAILED))
}

/// How learning went.
#[derive(Serialize)]
pub(super) struct LearningJson {
    is_within_budgets: bool,
    budgets: MemoryJson,
    /// Of the model; of the last epoch, if none held the budgets.
    uses: MemoryJson,
    curve: Vec<LearnedEpochJson>,
    #[serde(skip)]
    table: Option<Table>,
}

/// Bytes.
#[derive(Serialize, Default)]
struct MemoryJson {
    weights: Option<u64>,
    largest_activation: Option<u64>,
    activations: Option<u64>,
}

impl From<MemoryUse> for MemoryJson {
    fn from(MemoryUse { weights, largest_activation, activations }: MemoryUse) -> Self {
        let [weights, largest_activation, activations] = [weights, largest_activation, activations].map(Some);
        Self { weights, largest_activation, activations }
    }
}

#[derive(Serialize)]
struct LearnedEpochJson {
    #[serde(flatten)]
    epoch: EpochJson,
    #[serde(flatten)]
    uses: MemoryJson,
}

impl LearningJson {
    fn new(
        budgets: MemoryBudgets,
        best: Option<(&Conversion, MemoryUse)>,
        curve: &[LearnedEpoch],
    ) -> fgq::Result<Self> {
        let MemoryBudgets { weights, largest_activation, activations } = budgets;
        let last = curve.last().map(|last| last.memory);
        let uses = best.map(|(_, memory)| memory).or(last);
        Ok(Self {
            is_within_budgets: best.is_some(),
            budgets: MemoryJson { weights, largest_activation, activations },
            uses: uses.map(MemoryJson::from).unwrap_or_default(),
            curve: curve
                .iter()
                .map(|it| LearnedEpochJson { epoch: (&it.epoch).into(), uses: it.memory.into() })
                .collect(),
            table: best.map(|(conversion, _)| layer_table(conversion)).transpose()?,
        })
    }

    /// Bits of every layer, what the model takes, and the best epoch.
    pub(super) fn lines(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        if let Some(table) = &self.table {
            writeln!(text, "{table}")?;
        }
        let (uses, budgets) = (&self.uses, &self.budgets);
        for (name, used, budget) in [
            ("weights", uses.weights, budgets.weights),
            ("largest tensor", uses.largest_activation, budgets.largest_activation),
            ("activations", uses.activations, budgets.activations),
        ] {
            let number = |bytes: u64| grouped(bytes as usize);
            let limit = budget.map(|budget| format!(", the budget is {}", number(budget)));
            let used = number(used.unwrap_or(0));
            writeln!(text, "{name:<16} {used} bytes{}", limit.unwrap_or_default())?;
        }
        writeln!(text, "epochs           {}", self.curve.len())?;
        Ok(text)
    }
}

fn layer_table(conversion: &Conversion) -> fgq::Result<Table> {
    let mut table = Table::new(&[
        Column::Left("layer"),
        Column::Left("weights"),
        Column::Right("bytes"),
        Column::Right("reads bits"),
    ]);
    for layer in Summary::new(&conversion.model, 0)?.layers {
        let [codes, bits] = [layer.bytes.codes, usize::from(layer.input_bits)].map(grouped);
        table.row([layer.name, layer.precision.to_string(), codes, bits]);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::fixed_bits;

    #[test]
    fn two_numbers_of_bits_are_needed() {
        assert_eq!(fixed_bits("2, 4").unwrap().0, [2, 4]);
        for wrong in ["2", "2,", "a,4", "2,4,6", "-1,4"] {
            assert!(fixed_bits(wrong).is_err(), "{wrong}");
        }
    }
}
