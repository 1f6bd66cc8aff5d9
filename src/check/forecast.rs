//! Whether a network can be converted, and into what.

use super::stand_in::StandIn;
use crate::convert::ConvertOptions;
use crate::error::Result;
use crate::format::Preprocess;
use crate::graph::{Graph, NodeId};
use crate::plan::Choice;
use crate::prepare::Draft;
use crate::quantize::{Operator, OperatorKind};
use crate::report::Summary;

/// What [`convert`](crate::convert()) would make of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// The model's layers and bytes. Those of weights are exact; names, numbers and figures in the file's header are
    /// about as long as predicted. No weight has a value yet, so that all count as zeros.
    pub summary: Summary,
    /// By layer: its precision and why.
    pub choices: Vec<Choice>,
    /// By layer: the bits of the activations that it reads.
    pub activation_bits: Vec<u8>,
}

/// Finds out without images whether `graph` can be converted with these options, and into what: everything that
/// [`convert`](crate::convert()) refuses before it reads an image is refused here. `classes` are the names that the model
/// is to have, if any.
///
/// # Errors
/// All nodes that cannot be converted at once ([`Error::refusals`](crate::Error::refusals)); options that cannot be used,
/// patterns that match nothing, preprocessing for another input.
///
/// # Examples
/// ```no_run
/// use fgq::{ConvertOptions, LoadOptions, Preprocess};
/// let graph = fgq::load("resnet32-cifar10.onnx".as_ref(), &LoadOptions::default())?.graph;
/// let forecast = fgq::check(graph, &Preprocess::preset("cifar10")?, &ConvertOptions::default(), &[])?;
/// println!("{} bytes", forecast.summary.bytes.total());
/// # Ok::<(), fgq::Error>(())
/// ```
pub fn check(
    graph: Graph,
    preprocess: &Preprocess,
    options: &ConvertOptions,
    classes: &[String],
) -> Result<Forecast> {
    let draft = options.draft(graph, preprocess)?;
    let model = StandIn::new(&draft, preprocess, options)?.model(classes)?;
    Ok(Forecast {
        summary: Summary::new(&model, model.to_bytes()?.len())?,
        choices: layers(&draft).filter_map(|(_, source)| draft.choices[source]).collect(),
        activation_bits: layers(&draft).map(|(reader, _)| bits_read(&draft, reader)).collect(),
    })
}

/// The convolutions in execution order, with their nodes in the graph.
fn layers<'a>(draft: &'a Draft) -> impl Iterator<Item = (&'a Operator, NodeId)> {
    draft.structure.operators.iter().filter_map(|operator| match operator.kind {
        OperatorKind::Conv { source, .. } => Some((operator, source)),
        _ => None,
    })
}

fn bits_read(draft: &Draft, reader: &Operator) -> u8 {
    draft.structure.operators[reader.inputs[0]].bits
}
