//! `fgq eval`: the accuracy of a packed model, alone or against full precision, or of a full-precision network.

use super::CHECK_FAILED;
use super::images;
use super::judged::{self, JudgementJson};
use super::model::Model;
use super::network::NetworkArgs;
use super::output::{Output, grouped, message, names, warn, warn_unreadable};
use super::preprocess::Chosen;
use super::progress::Bars;
use super::report::{ReportArgs, class_names};
use super::settings::BitsArgs;
use super::source::outputs;
use super::table::{Column, Table};
use anyhow::ensure;
use fgq::{Accuracy, Comparison, Dataset, Evaluation, Graph, PackedModel, Provenance, Report, Size};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What a network is called that was not converted.
const FULL_PRECISION: &str = "full precision";
/// Differences that chance makes rarer than this are beyond noise.
const SIGNIFICANT: f64 = 0.05;

/// Arguments of `fgq eval`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The packed model, whose preprocessing is used, or a full-precision network
    model: PathBuf,
    #[command(flatten)]
    place: ImageSource,
    /// A text file or array of labels, instead of class folders or a label file with a usual name
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// With a packed model: the full-precision network, to be measured on the same images
    #[arg(long, value_name = "MODEL")]
    reference: Option<PathBuf>,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    bits: BitsArgs,
    /// Use at most N images, spread evenly over the sorted list
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Exit with 1 if the top-1 is more than X points below full precision's
    #[arg(long, value_name = "X", requires = "reference", value_parser = finite, allow_negative_numbers = true)]
    max_drop: Option<f64>,
    /// Exit with 1 if the top-1 is below X percent
    #[arg(long, value_name = "X", value_parser = finite)]
    min_top1: Option<f64>,
    #[command(flatten)]
    report: ReportArgs,
}

/// Where the images are.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct ImageSource {
    /// Labelled images: class folders, WordNet-id folders, a flat folder with a label file, or a .npy or .npz file
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// ImageNet's validation images; the model must have 1000 or 1001 outputs
    #[arg(long, value_name = "DIR")]
    imagenet_val: Option<PathBuf>,
}

fn finite(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or("give a number")
}

/// Measures, and checks what was asked for.
pub fn run(args: &Args) -> anyhow::Result<Output> {
    args.report.check()?;
    let model = Model::open(&args.model, &args.network, Some(args.place()))?.at(&args.model, &args.bits)?;
    let images = args.dataset(model.outputs()?)?;
    let (evaluation, name) = match &model {
        Model::Packed(model) => {
            let reference = args.reference(model)?;
            (fgq::evaluate(model, &images, reference.as_ref(), &Bars::new())?, "packed model")
        }
        Model::Full(graph, Chosen { preprocess, .. }) => {
            ensure!(
                args.reference.is_none(),
                "--reference is for packed models; {} is none",
                args.model.display()
            );
            (fgq::evaluate_network(graph, preprocess, &images, &Bars::new())?, FULL_PRECISION)
        }
    };
    warn_unreadable(&evaluation.unreadable);
    args.report.write(|| page(&model, &evaluation, &images))?;
    let json = EvaluationJson::new(&evaluation);
    let failures = args.failures(&evaluation);
    failures.iter().for_each(|failure| message(&format!("check failed: {failure}")));
    let code = if failures.is_empty() { 0 } else { CHECK_FAILED };
    Ok(Output::new(text(&evaluation, name)?, &json)?.with_code(code))
}

/// The evaluation as a web page.
fn page(model: &Model, evaluation: &Evaluation, images: &Dataset) -> anyhow::Result<String> {
    let (report, named): (_, &[String]) = match model {
        Model::Packed(model) => (Report::of_model(model, model.to_bytes()?.len())?, &model.classes),
        Model::Full(graph, _) => (Report::of_network(graph)?, &[]),
    };
    let classes = class_names(named, images, model.outputs()?);
    Ok(report.with_evaluation(evaluation, images, model.preprocess(), &classes).to_html())
}

impl Args {
    fn dataset(&self, outputs: usize) -> anyhow::Result<Dataset> {
        ensure!(
            self.place.imagenet_val.is_none() || [1000, 1001].contains(&outputs),
            "{}: {outputs} outputs, but ImageNet has 1000 classes (1001 with background); use --images",
            self.model.display()
        );
        ensure!(self.limit != Some(0), "--limit 0 leaves no image; give at least 1");
        let images = images::labelled(self.place(), self.labels.as_deref(), outputs)?;
        Ok(images.spread(self.limit.unwrap_or(usize::MAX)))
    }

    /// Where the images are.
    fn place(&self) -> &Path {
        let places = [&self.place.images, &self.place.imagenet_val];
        places.into_iter().flatten().next().map_or(Path::new("."), PathBuf::as_path)
    }

    fn reference(&self, model: &PackedModel) -> anyhow::Result<Option<Graph>> {
        let Some(path) = &self.reference else { return Ok(None) };
        let size = Size { height: model.input.height, width: model.input.width };
        let graph = self.network.source().load_at(path, size)?;
        let (found, expected) = (outputs(&graph)?, model.shapes()?.last().map_or(0, |shape| shape.channels));
        ensure!(
            found == expected,
            "{}: {found} outputs, but the packed model has {expected}",
            path.display()
        );
        let mut origin = Provenance::default();
        origin.set_source(path)?;
        if origin.source_sha256 != model.provenance.source_sha256 {
            warn(format!("the packed model was made from another file than {}", path.display()));
        }
        Ok(Some(graph))
    }

    /// The checks that failed, one sentence each.
    fn failures(&self, evaluation: &Evaluation) -> Vec<String> {
        let top1 = evaluation.accuracy.top1_percent();
        let low = self.min_top1.filter(|&least| top1 < least);
        let low = low.map(|least| format!("top-1 {top1:.2}% is below {least}%"));
        let drop = evaluation.comparison.map(|comparison| comparison.drop());
        let worse = drop.zip(self.max_drop).filter(|(drop, most)| drop > most);
        let worse = worse.map(|(drop, most)| format!("the drop of {drop:.2} points is above {most}"));
        low.into_iter().chain(worse).collect()
    }
}

/// Shares are in percent.
#[derive(Serialize)]
struct EvaluationJson<'a> {
    images: usize,
    unreadable: usize,
    unreadable_names: Vec<&'a str>,
    top1: f64,
    top5: f64,
    top1_ci95: [f64; 2],
    images_per_second: f64,
    #[serde(flatten)]
    comparison: Option<ComparisonJson>,
}

#[derive(Serialize)]
struct ComparisonJson {
    reference: ReferenceJson,
    drop: f64,
    drop_ci95: [f64; 2],
    #[serde(flatten)]
    judgement: JudgementJson,
    p_value: f64,
    only_reference: usize,
    only_model: usize,
}

#[derive(Serialize)]
struct ReferenceJson {
    top1: f64,
    top5: f64,
}

impl<'a> EvaluationJson<'a> {
    fn new(evaluation: &'a Evaluation) -> Self {
        let Evaluation { accuracy, comparison, images_per_second, unreadable, .. } = evaluation;
        Self {
            images: accuracy.images,
            unreadable: unreadable.len(),
            unreadable_names: names(unreadable),
            top1: accuracy.top1_percent(),
            top5: accuracy.top5_percent(),
            top1_ci95: accuracy.top1_interval(),
            images_per_second: *images_per_second,
            comparison: comparison.as_ref().map(ComparisonJson::new),
        }
    }
}

impl ComparisonJson {
    fn new(comparison: &Comparison) -> Self {
        let reference = &comparison.reference;
        Self {
            reference: ReferenceJson { top1: reference.top1_percent(), top5: reference.top5_percent() },
            drop: comparison.drop(),
            drop_ci95: comparison.drop_interval(),
            judgement: JudgementJson::from(&comparison.judgement),
            p_value: comparison.p_value(),
            only_reference: comparison.only_reference,
            only_model: comparison.only_model,
        }
    }
}

/// In words; `name` is what the model measured is called.
fn text(evaluation: &Evaluation, name: &str) -> Result<String, std::fmt::Error> {
    let Evaluation { accuracy, comparison, images_per_second, unreadable, .. } = evaluation;
    let mut table = Table::new(&[
        Column::Left(""),
        Column::Right("top-1"),
        Column::Right("95% interval"),
        Column::Right("right"),
        Column::Right("top-5"),
    ]);
    if let Some(comparison) = comparison {
        table.row(accuracy_row(FULL_PRECISION, &comparison.reference));
    }
    table.row(accuracy_row(name, accuracy));
    let mut text = table.to_string();
    writeln!(text)?;
    if let Some(comparison) = comparison {
        let [low, high] = comparison.drop_interval();
        writeln!(text, "drop       {:.2} points (95% interval {low:.2} to {high:.2})", comparison.drop())?;
        let agreement = comparison.judgement.agreement_percent();
        let [low, high] = comparison.judgement.agreement_interval();
        writeln!(text, "agreement  {agreement:.2}% (95% interval {low:.1} to {high:.1})")?;
        writeln!(text, "divergence {}", judged::divergence(&comparison.judgement))?;
    }
    writeln!(text, "images     {}, {} unreadable", grouped(accuracy.images), unreadable.len())?;
    writeln!(text, "speed      {images_per_second:.0} images per second, decoding included")?;
    if let Some(comparison) = comparison {
        writeln!(text, "\n{}", verdict(comparison))?;
    }
    Ok(text)
}

fn accuracy_row(name: &str, accuracy: &Accuracy) -> [String; 5] {
    let [low, high] = accuracy.top1_interval();
    [
        name.to_owned(),
        format!("{:.2}%", accuracy.top1_percent()),
        format!("{low:.1} to {high:.1}"),
        format!("{} of {}", accuracy.top1, accuracy.images),
        format!("{:.2}%", accuracy.top5_percent()),
    ]
}

/// Whether the networks differ, in a sentence.
fn verdict(comparison: &Comparison) -> String {
    let p = match comparison.p_value() {
        p if p < 1e-4 => "p < 0.0001".to_owned(),
        p => format!("p = {p:.4}"),
    };
    let sentence = match (comparison.p_value() < SIGNIFICANT, comparison.drop() > 0.0) {
        (false, _) => "The difference is within noise",
        (true, true) => "The packed model is worse, beyond noise",
        (true, false) => "The packed model is better, beyond noise",
    };
    let Comparison { only_reference, only_model, .. } = comparison;
    format!(
        "{sentence} (McNemar's exact test, {p}): full precision alone is right on {only_reference}, the packed model \
         alone on {only_model} of {} images.",
        comparison.reference.images
    )
}
