//! A packed model whose weights, steps and biases were trained elsewhere: taken apart, and put together again.

use crate::error::{Error, ErrorKind, Result};
use crate::format::{Multiplier, PackedConv, PackedId, PackedModel, PackedNode, PackedOp, Quantizer, Store};
use crate::graph::{Graph, NodeId, Op};
use crate::index::Per;
use crate::pack::pack_graph;
use crate::plan::{Choice, Reason};
use crate::precision::Precision;
use crate::prepare::Draft;
use crate::quantize::{
    ActivationBits, Blueprint, OperatorId, PerOperator, QuantizedConv, QuantizedOp, Structure, Weights,
};
use std::collections::HashMap;

/// A convolution or fully connected layer of a packed model, in real numbers: on inputs `x` it computes
/// `factors[o] · Σ scales[g] · levels[i] · x[i] + bias[o]` and, where there is one, adds the residual.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerState {
    /// Name of its node.
    pub name: String,
    /// How its weights are stored.
    pub precision: Precision,
    /// Output channels, input channels of one channel group, kernel rows, kernel columns.
    pub shape: [usize; 4],
    /// What the codes stand for, in the order output channel, kernel row, kernel column, input channel; plane after plane.
    pub levels: Vec<i8>,
    /// One scale per group in the same order, plane after plane; empty without groups.
    pub scales: Vec<u8>,
    /// Per output channel.
    pub factors: Vec<f64>,
    /// Per output channel.
    pub bias: Vec<f64>,
    /// The node that it reads, and how the codes of that are to be read.
    pub input: (PackedId, Quantizer),
    /// Whether it reads pixels: 0 to 255, less the mean of their channel.
    pub reads_pixels: bool,
}

/// What training made of a layer; the rest of it is in the graph: the weights, whose gains are found anew, and the bias.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrainedLayer {
    /// Name of its node.
    pub name: String,
    /// As [`LayerState::levels`].
    pub levels: Vec<i8>,
    /// How the codes that it reads are to be read; as before, if nothing is said.
    pub input: Option<Quantizer>,
}

impl PackedModel {
    /// The layers with weights in execution order, in real numbers, for training elsewhere; [`repack`] puts them back.
    ///
    /// # Errors
    /// A model that is not valid (see [`shapes`](Self::shapes)); one that switches, or whose channels changed places.
    pub fn layer_states(&self) -> Result<Vec<LayerState>> {
        self.shapes()?;
        if self.switching.is_some() {
            return Err(argument("a model that switches cannot be taken apart; take one of its settings"));
        }
        if self.provenance.options.get("reorder").is_none_or(|reorder| reorder != "false") {
            return Err(argument(
                "the channels of this model changed places; convert with `reorder = false`",
            ));
        }
        let convs = self.nodes.iter().filter_map(|node| match &node.op {
            PackedOp::Conv(conv) => Some(self.layer_state(node, conv)),
            _ => None,
        });
        Ok(convs.collect())
    }

    fn layer_state(&self, node: &PackedNode, conv: &PackedConv) -> LayerState {
        let input = node.inputs[0];
        let (quantizer, reads_pixels) = (self.nodes[input].quantizer, input == PackedId::INPUT);
        let units = self.units(node, conv);
        let (levels, scales) = conv.parts(conv.weights.precision.planes());
        let [rows, columns] = conv.window.kernel;
        let rests = if reads_pixels { self.pixel_rests(conv) } else { vec![0.0; conv.outputs] };
        let bias = units
            .iter()
            .zip(&conv.bias)
            .zip(rests)
            .map(|((unit, &bias), rest)| unit * (f64::from(bias) - rest));
        LayerState {
            name: node.name.clone(),
            precision: conv.weights.precision,
            shape: [conv.outputs, conv.group_inputs, rows, columns],
            levels,
            scales,
            factors: units.iter().map(|unit| unit / quantizer.scale).collect(),
            bias: bias.collect(),
            input: (input, quantizer),
            reads_pixels,
        }
    }

    /// The real value of one unit of a convolution's sums, per output channel.
    fn units(&self, node: &PackedNode, conv: &PackedConv) -> Vec<f64> {
        match &conv.store {
            Store::Codes { multipliers, fraction, .. } => {
                let step = node.quantizer.scale / f64::from(*fraction).exp2();
                let factor = |&Multiplier { shift, value }: &Multiplier| {
                    f64::from(value) / f64::from(15 + i32::from(shift)).exp2()
                };
                multipliers.iter().map(|multiplier| factor(multiplier) * step).collect()
            }
            Store::Logits { factors, shift } => {
                let unit = self.logit_scale / f64::from(*shift).exp2();
                factors.iter().map(|&factor| f64::from(factor) * unit).collect()
            }
        }
    }

    /// What whole zero points of pixels add to each sum over those that are not whole.
    fn pixel_rests(&self, conv: &PackedConv) -> Vec<f64> {
        let PackedOp::Input { pad } = &self.nodes[PackedId::INPUT].op else { return vec![0.0; conv.outputs] };
        let step = self.preprocess.pixel_step();
        let rest = |(&zero, &mean): (&u8, &f32)| f64::from(zero) - f64::from(mean) / step;
        let rests: Vec<f64> = pad.iter().zip(&self.preprocess.mean).map(rest).collect();
        let weights = conv.expand();
        let of_output = |(output, weights): (usize, &[i8])| {
            let first = output / (conv.outputs / conv.groups) * conv.group_inputs;
            let own = rests[first..][..conv.group_inputs].iter().cycle();
            weights.iter().zip(own).map(|(&weight, rest)| f64::from(weight) * rest).sum()
        };
        weights.chunks_exact(conv.channel_len()).enumerate().map(of_output).collect()
    }
}

/// `model` with what training elsewhere made of its layers: `graph` is the network that it was made from, with trained
/// weights that are multiples of scales and levels, and trained biases.
///
/// # Errors
/// A graph of another structure; layers that are missing, unknown or of another size; weights that are not what the levels say.
pub fn repack(graph: Graph, model: &PackedModel, layers: &[RetrainedLayer]) -> Result<PackedModel> {
    let states = model.layer_states()?;
    let draft = Draft::new(graph, &model.preprocess, |graph| choices(graph, &states))?;
    let planned = planned(&draft.graph, &states);
    let draft = draft.narrowed(ActivationBits { default: 8, planned: &planned, rules: &[] })?;
    check_structure(&draft, model)?;
    let Draft { graph, structure, choices, .. } = &draft;
    let preprocess = &model.preprocess;
    let blueprint = Blueprint { graph, structure, preprocess, choices };
    let quantizers = quantizers(model, structure, layers)?;
    let quantizers = blueprint.widened(quantizers, &graph.shapes()?);
    let mut quantized = blueprint.quantized(&quantizers)?;
    let trained: HashMap<&str, &RetrainedLayer> =
        layers.iter().map(|layer| (layer.name.as_str(), layer)).collect();
    for state in &states {
        let layer = trained
            .get(state.name.as_str())
            .ok_or_else(|| argument("the layer was not trained with the others").at_node(&state.name))?;
        let node = quantized.nodes.iter_mut().find(|node| node.name == state.name);
        if let Some(QuantizedOp::Conv(conv)) = node.map(|node| &mut node.op) {
            let source = conv.source;
            let wanted = blueprint.real_weights(source, state.reads_pixels)?;
            replace(conv, state, layer, &wanted).map_err(|error| error.at_node(&state.name))?;
            if state.reads_pixels {
                conv.bias = blueprint.bias(source)?;
                blueprint.move_means_into_bias(conv);
            }
        }
    }
    Ok(PackedModel {
        classes: model.classes.clone(),
        provenance: model.provenance.clone(),
        ..pack_graph(&quantized, preprocess)?
    })
}

/// The precisions that the model's layers have.
fn choices(graph: &Graph, states: &[LayerState]) -> Result<Per<NodeId, Option<Choice>>> {
    let precisions: HashMap<&str, Precision> =
        states.iter().map(|state| (state.name.as_str(), state.precision)).collect();
    let choice = |node: &crate::graph::Node| match &node.op {
        Op::Conv(_) => {
            let missing = || argument("the packed model has no such layer").at_node(&node.name);
            let precision = *precisions.get(node.name.as_str()).ok_or_else(missing)?;
            Ok(Some(Choice { precision, reason: Reason::Learned }))
        }
        _ => Ok(None),
    };
    graph.nodes.iter().map(choice).collect()
}

/// The bits with which the model's layers read their inputs.
fn planned(graph: &Graph, states: &[LayerState]) -> Per<NodeId, Option<u8>> {
    let bits = |node: &crate::graph::Node| {
        let state = states.iter().find(|state| state.name == node.name)?;
        Some(state.input.1.max.count_ones() as u8)
    };
    graph.nodes.iter().map(bits).collect()
}

fn check_structure(draft: &Draft, model: &PackedModel) -> Result<()> {
    let operators = &draft.structure.operators;
    let same = operators.iter().zip(&model.nodes).find(|(operator, node)| operator.name != node.name);
    match same {
        _ if operators.len() != model.nodes.len() => {
            let (found, expected) = (operators.len(), model.nodes.len());
            Err(argument(format!("the network has {found} operators, the packed model {expected}")))
        }
        Some((operator, node)) => {
            let message = format!("the packed model has '{}' in its place", node.name);
            Err(argument(message).at_node(&operator.name))
        }
        None => Ok(()),
    }
}

/// The model's quantizers, with the steps that were trained.
fn quantizers(
    model: &PackedModel,
    structure: &Structure,
    layers: &[RetrainedLayer],
) -> Result<PerOperator<Quantizer>> {
    let classes = structure.quantizer_classes();
    let mut quantizers: PerOperator<Quantizer> = model.nodes.iter().map(|node| node.quantizer).collect();
    for layer in layers {
        let Some(trained) = layer.input else { continue };
        let node = model.nodes.iter().find(|node| node.name == layer.name);
        let input = node.and_then(|node| node.inputs.first()).copied();
        let input =
            input.ok_or_else(|| argument("the packed model has no such layer").at_node(&layer.name))?;
        let before = model.nodes[input].quantizer;
        if !(trained.scale.is_finite() && trained.scale > 0.0) || trained.max != before.max {
            let message = format!("a step of {} for codes up to {}", trained.scale, trained.max);
            return Err(argument(message).at_node(&layer.name));
        }
        let class = classes[OperatorId::of(input)];
        let sharing = quantizers.iter_mut().zip(&classes).filter(|(_, other)| **other == class);
        sharing.for_each(|(quantizer, _)| *quantizer = trained);
    }
    Ok(quantizers)
}

/// Gives a convolution the levels that training found, with the factors that make them the weights wanted.
fn replace(
    conv: &mut QuantizedConv,
    state: &LayerState,
    trained: &RetrainedLayer,
    wanted: &[f64],
) -> Result<()> {
    let levels = state.precision.levels();
    if trained.levels.len() != state.levels.len()
        || trained.levels.iter().any(|&level| !levels.contains(level))
    {
        let count = state.levels.len();
        return Err(argument(format!("{count} levels of {} are needed", state.precision)));
    }
    conv.weights =
        Weights { precision: state.precision, levels: trained.levels.clone(), scales: state.scales.clone() };
    let expanded = conv.expand();
    let len = expanded.len() / conv.outputs;
    for (output, (own, wanted)) in expanded.chunks_exact(len).zip(wanted.chunks_exact(len)).enumerate() {
        conv.factors[output] = factor(own, wanted).ok_or_else(|| {
            argument(format!("weights of output channel {output} are not multiples of their levels"))
        })?;
    }
    Ok(())
}

/// Share of a channel's squared weights by which they may differ from multiples of their levels: rounding to 32 bits.
const ROUNDING: f64 = 1e-6;

/// The factor that makes levels weights; none if they are not multiples of them.
fn factor(levels: &[i8], weights: &[f64]) -> Option<f64> {
    let pairs = || levels.iter().zip(weights).map(|(&level, &weight)| (f64::from(level), weight));
    let squares: f64 = pairs().map(|(level, _)| level * level).sum();
    let products: f64 = pairs().map(|(level, weight)| level * weight).sum();
    let factor = if squares > 0.0 { products / squares } else { 0.0 };
    let error: f64 = pairs().map(|(level, weight)| (weight - factor * level).powi(2)).sum();
    let all: f64 = pairs().map(|(_, weight)| weight * weight).sum();
    (error <= ROUNDING * all).then_some(factor)
}

fn argument(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Argument, message)
}

#[cfg(test)]
mod tests;
