//! Conversion with training after it: the converted network learns to answer like full precision.

use crate::convert::{Conversion, ConvertOptions, Fitted};
use crate::data::Images;
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
    let mut fitted = Fitted::new(graph, preprocess, images, &options.convert, progress)?;
    let Refinement { graph, curve } =
        refine(&fitted.quantized, &fitted.full, &fitted.packed.pixels, &options.course, progress)?;
    let is_improved = graph.is_some();
    if let Some(mut graph) = graph {
        let packed = measure_and_pack(&mut graph, &fitted.full, fitted.packed.pixels, progress)?;
        fitted.quantized = graph;
        fitted.packed = packed;
    }
    Ok(Tuning { conversion: fitted.conversion(&options.convert)?, is_improved, curve })
}
