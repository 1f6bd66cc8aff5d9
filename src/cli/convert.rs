//! `fgq convert`: a trained network and sample images → a packed model.

use super::config::ConfigArgs;
use super::dry_run::Intention;
use super::files::{FileArgs, is_stdout};
use super::flags::in_flags;
use super::goal::{GoalArgs, GoalJson, towards};
use super::judged::{self, LogitsJson};
use super::layers::{LayerJson, LossJson, percent, why};
use super::learn::LearningJson;
use super::nested::NestedArgs;
use super::network::{ClassArgs, NetworkArgs};
use super::output::{Output, grouped, names, note, warn, warn_unreadable};
use super::preprocess::Chosen;
use super::progress::Bars;
use super::report::{ReportArgs, conversion_page, tried};
use super::settings::{self, SettingJson};
use super::table::{Column, Table};
use super::tune::TuningJson;
use super::uniform::{self, Uniform};
use anyhow::{Context, ensure};
use clap::ArgMatches;
use fgq::{
    ActivationRule, Choice, Conversion, ConvertOptions, Fidelity, Layer, Method, Pattern, Plan, Precision,
    Preprocess, RangeMethod, Reason, Summary, Written,
};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

/// Arguments of `fgq convert`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    files: FileArgs,
    /// How many images to use at most, spread evenly over the sorted list: most are fitted, one in eight is held back
    /// to judge the result
    #[arg(long, value_name = "N", default_value_t = 1024)]
    samples: usize,
    #[command(flatten)]
    nested: NestedArgs,
    #[command(flatten)]
    goal: GoalArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    classes: ClassArgs,
    #[command(flatten)]
    precision: PrecisionArgs,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    config: ConfigArgs,
    /// Say what would be made of the network, in how much time and memory, and make nothing
    #[arg(long)]
    dry_run: bool,
}

/// Group sizes by kernel.
#[derive(Debug, Clone, Copy)]
struct GroupSizes {
    pointwise: usize,
    /// Of kernels larger than 1×1, if it differs.
    spatial: Option<usize>,
}

impl FromStr for GroupSizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "mixed" {
            return Ok(Self { pointwise: 4, spatial: Some(64) });
        }
        let pointwise = text.parse().map_err(|_| "give a whole number or 'mixed'".to_owned())?;
        Ok(Self { pointwise, spatial: None })
    }
}

/// Options on the precision of weights and activations.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Precision")]
pub(super) struct PrecisionArgs {
    /// How many consecutive input channels share a scale; mixed: 4 for 1×1 kernels, 64 for larger ones
    #[arg(long, value_name = "N|mixed")]
    group: Option<GroupSizes>,
    /// Bits of the scales of groups, 1 to 8
    #[arg(long, value_name = "BITS", default_value_t = 4)]
    scale_bits: u8,
    /// How ternary weights are found: compensated (every layer fitted to full precision's outputs) or
    /// closed-form (each group on its own) [default: compensated]
    #[arg(long)]
    method: Option<Method>,
    /// A plan (`fgq plan -o`): precisions of weights and activations layer by layer
    #[arg(long, value_name = "PLAN.json")]
    plan: Option<PathBuf>,
    /// With --plan: do not also convert the uniform model nearest in size to compare with
    #[arg(long, requires = "plan")]
    no_uniform: bool,
    /// Precision of the layers whose whole name matches a regular expression: PATTERN=int8,
    /// PATTERN=ternary:N and others (README, Precisions); the last match wins
    #[arg(long, value_name = "PATTERN=PRECISION", value_parser = assignment::<Precision>)]
    set: Vec<(Pattern, Precision)>,
    /// Bits with which layers read activations, 2 to 8; the first and the last layer keep 8
    #[arg(long, value_name = "BITS", default_value_t = 8)]
    act_bits: u8,
    /// Bits or range with which layers read the activations that a pattern names, by the operator that makes them:
    /// PATTERN=2 to PATTERN=8, or PATTERN=RANGE
    #[arg(long, value_name = "PATTERN=RULE", value_parser = assignment::<ActivationRule>)]
    act: Vec<(Pattern, ActivationRule)>,
    /// How activation ranges are chosen: mse, output, minmax, percentile:P or LOW..HIGH
    #[arg(long, default_value_t, allow_hyphen_values = true)]
    range: RangeMethod,
    /// A range for every channel of activations of fewer than 8 bits, where the weights around can take it up
    #[arg(long)]
    channel_ranges: bool,
    /// Leave channels in their order instead of grouping those that are read with like magnitudes
    #[arg(long)]
    keep_order: bool,
}

fn assignment<T: FromStr<Err = fgq::Error>>(text: &str) -> anyhow::Result<(Pattern, T)> {
    let (pattern, value) = text.rsplit_once('=').context("give PATTERN=VALUE")?;
    Ok((pattern.parse()?, value.parse()?))
}

impl PrecisionArgs {
    /// Whether something says which precisions layers get.
    pub(super) fn is_given(&self) -> bool {
        self.group.is_some() || self.method.is_some() || self.plan.is_some() || !self.set.is_empty()
    }

    /// The options of the library that they mean.
    pub(super) fn options(self) -> anyhow::Result<ConvertOptions> {
        let group = self.group.unwrap_or(GroupSizes { pointwise: 4, spatial: None });
        Ok(ConvertOptions {
            group: group.pointwise,
            spatial_group: group.spatial,
            scale_bits: self.scale_bits,
            method: self.method.unwrap_or_default(),
            overrides: self.set,
            activation_bits: self.act_bits,
            range: self.range,
            channel_ranges: self.channel_ranges,
            reorder: !self.keep_order,
            rules: self.act,
            plan: self.plan.as_deref().map(fgq::read_plan).transpose()?,
            ..ConvertOptions::default()
        })
    }
}

/// Converts and writes; `given` is what the arguments were made from.
pub fn run(args: Args, given: &ArgMatches) -> anyhow::Result<Output> {
    let start = Instant::now();
    let path = args.files.output()?;
    args.report.check()?;
    let config = args.config.file(&path, given)?;
    ensure!(args.samples > 0, "--samples 0 leaves nothing to calibrate on; give at least 1");
    let (graph, chosen) = args.network.load(&args.files.model, Some(&args.files.calib))?;
    let classes = args.classes.names(&graph, &args.files.calib)?;
    let images = args.files.images(&graph, args.goal.max_drop.is_some())?.spread(args.samples);
    let no_uniform = args.precision.no_uniform;
    let gives_precisions = args.precision.is_given() || args.nested.is_given();
    let goal = args.goal.goal().of_conversion(gives_precisions, images.entries().len());
    let options = args.nested.applied_to(args.precision.options()?);
    if args.dry_run {
        let (chosen, images, options, goal) = (&chosen, &images, &options, goal.as_ref());
        let (classes, output) = (&classes, &path);
        return Intention { graph, chosen, images, options, goal, classes, output }.foretell();
    }
    let (mut conversion, reached) = match goal {
        Some(goal) => towards(&goal, graph, &chosen.preprocess, &images, &options),
        None => fgq::convert(graph, &chosen.preprocess, &images, &options, &Bars::new()).map(|it| (it, None)),
    }
    .map_err(|error| args.files.place(error))?;
    let written = args.files.write(&path, &mut conversion, classes, &args.network, options.plan.as_ref())?;
    if let Some((config, text)) = config {
        fgq::replace_file(&config, text.as_bytes())?;
    }
    warn_of_size(options.plan.as_ref(), written.bytes);
    let uniform = match &options.plan {
        Some(plan) if !no_uniform => {
            let graph = args.network.reload(&args.files.model)?;
            Some(uniform::compare(graph, &chosen.preprocess, &images, (&options, plan), &conversion)?)
        }
        _ => None,
    };
    args.report.write(|| {
        let graph = args.network.reload(&args.files.model)?;
        let tried = tried(reached.as_ref(), uniform.as_ref(), &conversion, written.bytes);
        conversion_page(&conversion, &graph, &images, written.bytes, tried)
    })?;
    let seconds = start.elapsed().as_secs_f64();
    say(&conversion);
    let code = u8::from(reached.as_ref().is_some_and(|goal| !goal.is_reached));
    let more = More { uniform, goal: reached, ..More::default() };
    Ok(report(&conversion, &chosen, &path, &written, more, seconds)?.with_code(code))
}

/// What the user should know.
pub(super) fn say(conversion: &Conversion) {
    warn_unreadable(&conversion.unreadable);
    for message in &conversion.notes {
        if message.is_warning() { warn(message) } else { note(message) }
    }
}

/// What only some conversions have.
#[derive(Default)]
pub(super) struct More {
    uniform: Option<Uniform>,
    goal: Option<GoalJson>,
    tuning: Option<TuningJson>,
    learning: Option<LearningJson>,
}

impl More {
    pub(super) fn of_learning(learning: LearningJson) -> Self {
        Self { learning: Some(learning), ..Self::default() }
    }

    pub(super) fn of_tuning(tuning: TuningJson) -> Self {
        Self { tuning: Some(tuning), ..Self::default() }
    }
}

/// Options that the plan did not know may have made the file larger.
fn warn_of_size(plan: Option<&Plan>, bytes: usize) {
    let budget = plan.and_then(|plan| plan.budgets.max_size).filter(|&budget| bytes as u64 > budget);
    if let Some(budget) = budget {
        let (bytes, budget) = (grouped(bytes), grouped(budget as usize));
        warn(format!(
            "the file has {bytes} bytes, the plan's budget was {budget}; plan again with a smaller --max-size"
        ));
    }
}

#[derive(Serialize)]
struct ConversionJson<'a> {
    output: &'a Path,
    bytes: usize,
    sha256: &'a str,
    bits_per_weight: f64,
    bits_per_ternary_weight: Option<f64>,
    seconds: f64,
    images: usize,
    fitted_images: usize,
    unreadable: usize,
    unreadable_names: Vec<&'a str>,
    preprocess: &'a Preprocess,
    preprocess_origin: &'a str,
    layers: Vec<LayerJson<'a>>,
    #[serde(flatten)]
    logits: LogitsJson,
    loss: Option<LossJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uniform: Option<Uniform>,
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<GoalJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tuning: Option<TuningJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    learning: Option<LearningJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    settings: Vec<SettingJson<'a>>,
    notes: Vec<String>,
}

pub(super) fn report(
    conversion: &Conversion,
    chosen: &Chosen,
    path: &Path,
    written: &Written,
    More { uniform, goal, tuning, learning }: More,
    seconds: f64,
) -> anyhow::Result<Output> {
    let summary = Summary::new(&conversion.model, written.bytes)?;
    if summary.ternary_weights() == 0 && learning.is_none() {
        warn("no layer is ternary");
    }
    let reasons: HashMap<&str, Reason> =
        conversion.choices.iter().map(|(name, Choice { reason, .. })| (name.as_str(), *reason)).collect();
    let reason = |layer: &Layer| reasons.get(layer.name.as_str()).copied();
    let times: HashMap<&str, f64> =
        conversion.seconds.iter().map(|(name, seconds)| (name.as_str(), *seconds)).collect();
    let layer_seconds = |layer: &Layer| times.get(layer.name.as_str()).copied();
    let fidelity = conversion.model.fidelity.as_ref();
    let json = ConversionJson {
        output: path,
        bytes: written.bytes,
        sha256: &written.sha256,
        bits_per_weight: summary.bits_per_weight(),
        bits_per_ternary_weight: summary.bits_per_ternary_weight(),
        seconds,
        images: conversion.fitted + conversion.held_back,
        fitted_images: conversion.fitted,
        unreadable: conversion.unreadable.len(),
        unreadable_names: names(&conversion.unreadable),
        preprocess: &chosen.preprocess,
        preprocess_origin: &chosen.origin,
        layers: summary
            .layers
            .iter()
            .map(|layer| LayerJson::new(layer, reason(layer)).with_seconds(layer_seconds(layer)))
            .collect(),
        logits: fidelity.map(LogitsJson::from).unwrap_or_default(),
        loss: summary.loss().map(LossJson::from),
        uniform,
        goal,
        tuning,
        learning,
        settings: settings::settings(&conversion.model)?,
        notes: conversion.notes.iter().map(|note| in_flags(&note.to_string())).collect(),
    };
    let table = layer_table(&summary.layers, reason);
    let output = Output::new(text(&table, &json, &summary, fidelity)?, &json)?;
    Ok(if is_stdout(path) { output.aside() } else { output })
}

fn text(
    table: &Table,
    json: &ConversionJson<'_>,
    summary: &Summary,
    fidelity: Option<&Fidelity>,
) -> Result<String, std::fmt::Error> {
    let mut text = table.to_string();
    writeln!(text)?;
    writeln!(text, "output           {}", json.output.display())?;
    let full = 4 * summary.weights();
    let (bytes, share) = (grouped(json.bytes), percent(json.bytes, full));
    writeln!(text, "bytes            {bytes} ({share:.1}% of {} at 32 bits per weight)", grouped(full))?;
    let ternary = json.bits_per_ternary_weight.map(|bits| format!(" ({bits:.3} per ternary weight)"));
    writeln!(text, "bits per weight  {:.3}{}", json.bits_per_weight, ternary.unwrap_or_default())?;
    writeln!(text, "sha256           {}", json.sha256)?;
    let held_back = json.images - json.fitted_images;
    writeln!(
        text,
        "images           {}: {} fitted, {held_back} held back to judge; {} unreadable",
        json.images, json.fitted_images, json.unreadable
    )?;
    writeln!(text, "seconds          {:.1}", json.seconds)?;
    for (name, value) in fidelity.into_iter().flat_map(judged::lines) {
        writeln!(text, "{name:<16} {value}")?;
    }
    if let Some(loss) = summary.loss() {
        writeln!(text, "most loss from   {loss}")?;
    }
    if let Some(goal) = &json.goal {
        writeln!(text, "tried            {}", goal.line())?;
    }
    if let Some(tuning) = &json.tuning {
        writeln!(text, "tuning           {}", tuning.line())?;
    }
    if let Some(learning) = &json.learning {
        writeln!(text, "\n{}", learning.lines()?)?;
    }
    if !json.settings.is_empty() {
        writeln!(text, "\n{}", settings::table(&json.settings))?;
    }
    if let Some(uniform) = &json.uniform {
        writeln!(text, "uniform          {}", uniform.line())?;
    }
    Ok(text)
}

/// One row for all layers of the same kind, precision and reason.
fn layer_table(layers: &[Layer], reason: impl Fn(&Layer) -> Option<Reason>) -> Table {
    let mut rows: Vec<([String; 3], [usize; 3])> = Vec::new();
    for layer in layers {
        let why = reason(layer).map_or("", why).to_owned();
        let key = [layer.kind.to_string(), layer.precision.to_string(), why];
        let counts = [1, layer.weights, layer.bytes.total()];
        match rows.iter_mut().find(|(other, _)| *other == key) {
            Some((_, sums)) => sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count),
            None => rows.push((key, counts)),
        }
    }
    let mut table = Table::new(&[
        Column::Left("kind"),
        Column::Left("precision"),
        Column::Left("because"),
        Column::Right("layers"),
        Column::Right("weights"),
        Column::Right("bytes"),
    ]);
    for ([kind, precision, because], counts) in rows {
        let [layers, weights, bytes] = counts.map(grouped);
        table.row([kind, precision, because, layers, weights, bytes]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_may_hold_equal_signs() {
        let (pattern, precision) = assignment::<Precision>("a=b=int8").unwrap();
        assert_eq!((pattern.as_str(), precision), ("a=b", Precision::int8()));
        assert!(assignment::<Precision>("a").is_err() && assignment::<Precision>("(=int8").is_err());
    }
}
