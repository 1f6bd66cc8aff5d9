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
    let mut conversion = fitted.conversion(&options.convert)?;
    if is_improved {
        conversion.model.provenance.options.extend(record(&options.course));
    }
    Ok(Tuning { conversion, is_improved, curve })
}

/// The course as text, for the record in the file.
fn record(course: &Course) -> [(String, String); 8] {
    let Course { epochs, minutes, batch, rate, temperature, flips, shift, mix, seed } = course;
    let limit = minutes.map_or_else(String::new, |minutes| format!(" within {minutes} minutes"));
    [
        ("epochs", format!("{epochs}{limit}")),
        ("batch", batch.to_string()),
        ("rate", rate.to_string()),
        ("temperature", temperature.to_string()),
        ("flips", flips.to_string()),
        ("shift", shift.to_string()),
        ("mix", mix.to_string()),
        ("seed", seed.to_string()),
    ]
    .map(|(key, value)| (format!("tuned_{key}"), value))
}
