//! Layers that there is a choice for, as far as they are known without images.

use super::IndicatorOptions;
use crate::graph::{Graph, Node, NodeId, Op};
use crate::index::Per;
use crate::plan::{Choice, LayerIndicators, Reason};
use crate::precision::Precision;
use crate::prepare::Draft;
use crate::tensor::Shape;

/// Bytes that a precision with scales adds to the file's JSON, besides the layer's name and two places in the file: the
/// entry of its scales and its own.
const SCALES_ENTRY: u64 = 72;

/// A layer that there is a choice for.
#[derive(Debug)]
pub(super) struct Plannable {
    pub node: NodeId,
    /// Candidates for its weights.
    pub precisions: Vec<Precision>,
    /// Candidates for the bits of its input: the classifier's always has 8.
    pub activation_bits: Vec<u8>,
    /// The layer without figures.
    pub layer: LayerIndicators,
}

/// Every convolution but those on pixels, which have too few weights, and the classifier where steps are learned.
pub(super) fn plannable(
    draft: &Draft,
    shapes: &Per<NodeId, Shape>,
    options: &IndicatorOptions,
) -> Vec<Plannable> {
    let digits = weights(&draft.graph).to_string().len();
    let nodes = draft.graph.nodes.enumerate().zip(&draft.choices);
    let one = |((id, node), choice): ((NodeId, &Node), &Option<Choice>)| {
        let is_excluded = |reason: Reason| {
            reason == Reason::First || (options.indicator.is_learned() && reason == Reason::Classifier)
        };
        let choice = choice.filter(|choice| !is_excluded(choice.reason))?;
        Plannable::new((id, node), choice, (shapes, digits), options)
    };
    nodes.filter_map(one).collect()
}

impl Plannable {
    fn new(
        (id, node): (NodeId, &Node),
        choice: Choice,
        (shapes, digits): (&Per<NodeId, Shape>, usize),
        options: &IndicatorOptions,
    ) -> Option<Self> {
        let Op::Conv(conv) = &node.op else { return None };
        let inputs = conv.weight.dim().1;
        let kept = choice.precision == Precision::int8();
        let mut precisions = options.precisions_for(inputs);
        if kept && !options.indicator.is_learned() && !precisions.contains(&Precision::int8()) {
            precisions.push(Precision::int8());
        }
        let parameters = conv.weight.len() as u64;
        let layer = LayerIndicators {
            name: node.name.clone(),
            parameters,
            macs: parameters * shapes[id].positions() as u64,
            inputs: Some(inputs as u64),
            description: SCALES_ENTRY + (node.name.len() + 2 * digits) as u64,
            activations: Some(shapes[node.inputs[0]].len() as u64),
            kept,
            ..LayerIndicators::default()
        };
        let classifier = choice.reason == Reason::Classifier;
        let activation_bits = if classifier { vec![8] } else { options.activation_bits.clone() };
        Some(Self { node: id, precisions, activation_bits, layer })
    }

    /// The layer with a figure for each candidate, those for weights first.
    pub(super) fn with(&self, figures: &[f64]) -> LayerIndicators {
        let (weight, activation) = figures.split_at(self.precisions.len().min(figures.len()));
        let activation_bits = self.activation_bits.iter().map(u8::to_string);
        LayerIndicators {
            weight: self.precisions.iter().map(Precision::to_string).zip(weight.iter().copied()).collect(),
            activation: activation_bits.zip(activation.iter().copied()).collect(),
            ..self.layer.clone()
        }
    }

    /// The layer with a figure of 0 for each candidate.
    pub(super) fn without_figures(&self) -> LayerIndicators {
        self.with(&vec![0.0; self.precisions.len() + self.activation_bits.len()])
    }

    /// Whether these could be figures of this layer.
    pub(super) fn is(&self, known: &LayerIndicators) -> bool {
        let sizes = |layer: &LayerIndicators| (layer.parameters, layer.macs, layer.inputs, layer.kept);
        known.name == self.layer.name && sizes(known) == sizes(&self.layer)
    }
}

/// Number of weights.
fn weights(graph: &Graph) -> usize {
    let len = |op: &Op| match op {
        Op::Conv(conv) => conv.weight.len(),
        _ => 0,
    };
    graph.nodes.iter().map(|node| len(&node.op)).sum()
}
