//! Conversion with training after it: the converted network learns to answer like full precision.

use crate::convert::{Conversion, ConvertOptions, Fitted};
use crate::data::{Images, labels_of};
use crate::error::Result;
use crate::format::Preprocess;
use crate::graph::Graph;
use crate::layerwise::measure_and_pack;
use crate::progress::Progress;
use crate::report::training_page;
use crate::train::{BlockError, Course, Epoch, Lesson, Refinement, Tutoring, refine};
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
    let (course, checkpoint) = (&options.course, options.checkpoint.as_deref());
    let lesson = Lesson { imitation: Some(course.imitation), labels: &labels, smoothing: SMOOTHING };
    let told = Tutoring { course, lesson, checkpoint };
    let Refinement { graph, blocks, curve } = refine(quantized, full, &packed.pixels, told, progress)?;
    let is_improved = graph.is_some();
    if let Some(mut graph) = graph {
        let packed = measure_and_pack(&mut graph, &fitted.full, fitted.packed.pixels, progress)?;
        fitted.quantized = graph;
        fitted.packed = packed;
    }
    let mut conversion = fitted.conversion(&options.convert)?;
    if is_improved {
        let options_used = &mut conversion.model.provenance.options;
        options_used.extend(options.course.record("tuned"));
        options_used.insert("tuned_labels".into(), options.labels.to_string());
    }
    Ok(Tuning { conversion, is_improved, curve, blocks })
}

impl Tuning {
    /// A self-contained web page on how training went.
    pub fn to_html(&self) -> String {
        training_page(&format!("Training of {}", self.conversion.model.name), &self.curve, &self.blocks)
    }
}
