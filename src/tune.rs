//! Conversion with training after it: the converted network learns to answer like full precision.

use crate::convert::{Conversion, ConvertOptions, Fitted};
use crate::data::{Images, labels_of};
use crate::error::Result;
use crate::format::Preprocess;
use crate::graph::Graph;
use crate::layerwise::measure_and_pack;
use crate::progress::Progress;
use crate::train::{Course, Epoch, Refinement, refine};

/// How [`tune`] converts and trains.
#[derive(Debug, Clone, Default)]
pub struct TuneOptions {
    /// How the network is converted first.
    pub convert: ConvertOptions,
    /// How it is trained then.
    pub course: Course,
    /// Whether the images' labels are learned too (cross entropy besides full precision's answers).
    pub labels: bool,
}

/// What [`tune`] made.
#[derive(Debug)]
pub struct Tuning {
    /// The tuned model, or the converted one if tuning did not improve it.
    pub conversion: Conversion,
    /// Whether the images held back like the tuned model better.
    pub is_improved: bool,
    /// The converted model, then every epoch.
    pub curve: Vec<Epoch>,
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
    let Refinement { graph, curve } =
        refine(quantized, full, &packed.pixels, &labels, &options.course, progress)?;
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
    Ok(Tuning { conversion, is_improved, curve })
}
