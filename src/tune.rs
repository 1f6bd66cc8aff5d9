//! Conversion with training after it: the converted network learns to answer like full precision.

use crate::convert::{Conversion, ConvertOptions, Fitted, NestedFitted};
use crate::data::{Images, labels_at, labels_of};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Preprocess;
use crate::graph::Graph;
use crate::layerwise::measure_and_pack;
use crate::progress::Progress;
use crate::quantize::NestedGraph;
use crate::report::training_page;
use crate::train::{
    BlockError, Course, Epoch, Lesson, Refinement, SwitchingStages, Tutoring, refine, refine_nested,
};
use std::path::PathBuf;

/// Share of a label that is spread over all classes.
const SMOOTHING: f64 = 0.1;

/// How [`tune`] converts and trains.
#[derive(Debug, Clone, Default)]
pub struct TuneOptions {
    /// How the network is converted first.
    pub convert: ConvertOptions,
    /// How it is trained then.
    pub course: Course,
    /// Whether the images' labels are learned too (cross entropy besides full precision's answers).
    pub labels: bool,
    /// A file that says after every epoch where training stands; if it is there at the start, training goes on from it, to
    /// the same model as without a break.
    pub checkpoint: Option<PathBuf>,
    /// When a model that switches begins to take fewer planes, and widths of its own in every layer.
    pub stages: SwitchingStages,
}

/// What [`tune`] made.
#[derive(Debug)]
pub struct Tuning {
    /// The tuned model, or the converted one if tuning did not improve it.
    pub conversion: Conversion,
    /// Whether the images held back like the tuned model better.
    pub is_improved: bool,
    /// The converted model, then what blocks have learned, then every epoch.
    pub curve: Vec<Epoch>,
    /// What every block learned.
    pub blocks: Vec<BlockError>,
}

/// Converts a network and trains it without labels to answer like full precision, on `images`, of which some are held back
/// to choose the epoch.
///
/// # Errors
/// As [`convert`](crate::convert()); values that training drives beyond what is finite.
pub fn tune(
    graph: Graph,
    preprocess: &Preprocess,
    images: &dyn Images,
    options: &TuneOptions,
    progress: &dyn Progress,
) -> Result<Tuning> {
    options.check()?;
    let labels = if options.labels { labels_of(images)? } else { Vec::new() };
    let convert = &options.convert;
    match convert.nested {
        Some(_) => {
            let fitted = NestedFitted::new(graph, preprocess, images, convert, progress)?;
            tune_nested(fitted, &labels, options, progress)
        }
        None => {
            tune_one(Fitted::new(graph, preprocess, images, convert, progress)?, &labels, options, progress)
        }
    }
}

/// Trains a network of one width; `labels` are those of all images.
fn tune_one(
    mut fitted: Fitted,
    labels: &[usize],
    options: &TuneOptions,
    progress: &dyn Progress,
) -> Result<Tuning> {
    let labels = labels_at(labels, &fitted.fitting);
    let Fitted { quantized, full, packed, .. } = &fitted;
    let Refinement { graph, blocks, curve } =
        refine(quantized, full, &packed.pixels, options.told(&labels), progress)?;
    let is_improved = graph.is_some();
    if let Some(mut graph) = graph {
        let packed = measure_and_pack(&mut graph, &fitted.full, fitted.packed.pixels, progress)?;
        fitted.quantized = graph;
        fitted.packed = packed;
    }
    let conversion = fitted.conversion(&options.convert)?;
    Ok(Tuning { conversion, is_improved, curve, blocks }.recorded(options))
}

/// As [`tune_one`], for a network that switches.
fn tune_nested(
    fitted: NestedFitted,
    labels: &[usize],
    options: &TuneOptions,
    progress: &dyn Progress,
) -> Result<Tuning> {
    let labels = labels_at(labels, &fitted.fitting);
    let judge = fitted.judge()?;
    let judge =
        |nested: &NestedGraph| Ok(judge.as_ref().map(|judge| judge.of(nested)).transpose()?.flatten());
    let NestedFitted { nested, full, packed, .. } = &fitted;
    let told = options.told(&labels);
    let (better, curve) =
        refine_nested(nested, full, &packed.pixels, told, options.stages, &judge, progress)?;
    let is_improved = better.is_some();
    let fitted = match better {
        Some(nested) => fitted.with(nested, progress)?,
        None => fitted,
    };
    let conversion = fitted.conversion(&options.convert, progress)?;
    Ok(Tuning { conversion, is_improved, curve, blocks: Vec::new() }.recorded(options))
}

impl TuneOptions {
    fn check(&self) -> Result<()> {
        self.course.check()?;
        self.stages.check()?;
        if self.convert.nested.is_some() && self.course.reconstruction.is_some() {
            let message = "blocks of a network that switches cannot learn before; leave `reconstruction` out";
            return Err(Error::new(ErrorKind::Argument, message));
        }
        Ok(())
    }

    fn told<'a>(&'a self, labels: &'a [usize]) -> Tutoring<'a> {
        let lesson = Lesson { imitation: Some(self.course.imitation), labels, smoothing: SMOOTHING };
        Tutoring { course: &self.course, lesson, checkpoint: self.checkpoint.as_deref() }
    }
}

impl Tuning {
    /// With what the model was tuned, in its record.
    fn recorded(mut self, options: &TuneOptions) -> Self {
        if self.is_improved {
            let record = &mut self.conversion.model.provenance.options;
            record.extend(options.course.record("tuned"));
            record.insert("tuned_labels".into(), options.labels.to_string());
            if options.convert.nested.is_some() {
                record.insert("tuned_stages".into(), options.stages.to_string());
            }
        }
        self
    }

    /// A self-contained web page on how training went.
    pub fn to_html(&self) -> String {
        training_page(&format!("Training of {}", self.conversion.model.name), &self.curve, &self.blocks)
    }
}
