//! Conversion with training after it: the converted network learns to answer like full precision.

use crate::convert::{Conversion, ConvertOptions, Fitted};
use crate::data::Images;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Preprocess;
use crate::graph::Graph;
use crate::layerwise::measure_and_pack;
use crate::progress::Progress;
use crate::report::training_page;
use crate::train::{BlockError, Course, Epoch, Lesson, Refinement, refine};
use std::collections::BTreeMap;
use std::path::PathBuf;

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
    options.course.check()?;
    let labels = if options.labels { labels_of(images)? } else { Vec::new() };
    let mut fitted = Fitted::new(graph, preprocess, images, &options.convert, progress)?;
    let labels: Vec<usize> = fitted.fitting.iter().filter_map(|&image| labels.get(image).copied()).collect();
    let Fitted { quantized, full, packed, .. } = &fitted;
    let lesson =
        Lesson { course: &options.course, labels: &labels, checkpoint: options.checkpoint.as_deref() };
    let Refinement { graph, blocks, curve } = refine(quantized, full, &packed.pixels, lesson, progress)?;
    let is_improved = graph.is_some();
    if let Some(mut graph) = graph {
        let packed = measure_and_pack(&mut graph, &fitted.full, fitted.packed.pixels, progress)?;
        fitted.quantized = graph;
        fitted.packed = packed;
    }
    let mut conversion = fitted.conversion(&options.convert)?;
    if is_improved {
        conversion.model.provenance.options.extend(record(&options.course, options.labels));
    }
    Ok(Tuning { conversion, is_improved, curve, blocks })
}

impl Tuning {
    /// A self-contained web page on how training went.
    pub fn to_html(&self) -> String {
        training_page(&format!("Training of {}", self.conversion.model.name), &self.curve, &self.blocks)
    }
}

fn labels_of(images: &dyn Images) -> Result<Vec<usize>> {
    let label = |image: usize| {
        let message = format!("image '{}' has no label; give class folders", images.name(image));
        images.label(image).ok_or_else(|| Error::new(ErrorKind::Argument, message))
    };
    (0..images.len()).map(label).collect()
}

/// The course as text, for the record in the file.
fn record(course: &Course, labels: bool) -> BTreeMap<String, String> {
    let mut record = BTreeMap::new();
    let mut note = |key: &str, value: String| record.insert(format!("tuned_{key}"), value);
    note("epochs", course.epochs.to_string());
    note("batch", course.batch.to_string());
    note("rate", course.rate.to_string());
    note("weight_rate", course.weight_rate.to_string());
    note("optimiser", format!("{:?}", course.optimiser));
    note("schedule", format!("{:?}", course.schedule));
    note("imitation", format!("{:?}", course.imitation));
    note("decay", course.decay.to_string());
    note("flips", course.flips.to_string());
    note("shift", course.shift.to_string());
    note("mix", course.mix.to_string());
    note("crop", course.crop.to_string());
    note("colour", course.colour.to_string());
    note("features", course.features.to_string());
    note("seed", course.seed.to_string());
    note("labels", labels.to_string());
    if let Some(blocks) = &course.reconstruction {
        note("block_epochs", blocks.epochs.to_string());
        note("block_rate", blocks.rate.to_string());
        note("block_weight_rate", blocks.weight_rate.to_string());
        note("drop", blocks.drop.to_string());
    }
    if let Some(minutes) = course.minutes {
        note("minutes", minutes.to_string());
    }
    if let Some(clip) = course.clip {
        note("clip", clip.to_string());
    }
    record
}
