//! A quantized network as one that can be trained: the same operators on the real values that codes stand for.
//!
//! It computes what the integer runtime computes, up to the rounding of multipliers and biases.

use super::checkpoint::{LearnedTensors, copy_back};
use super::network::{Function, LayerId, Network};
use super::parameters::Kind;
use super::quantizers::{ActivationQuantizer, DropMask, Lookup, WeightQuantizer};
use super::student::Student;
use super::tape::Gradients;
use crate::error::Result;
use crate::format::Quantizer;
use crate::graph::{Affine, Binary, Conv, Graph, Op, Unary};
use crate::pack::largest_unit;
use crate::precision::Arrangement;
use crate::quantize::{
    OperatorId, PerOperator, Plain, QuantizedConv, QuantizedGraph, QuantizedNode, QuantizedOp,
};
use ndarray::Array4;

/// A quantized network in training.
pub(super) struct Simulation {
    pub network: Network,
    /// Layers that hold the operators' values.
    pub places: PerOperator<LayerId>,
    pub convs: Vec<SimulatedConv>,
    /// Quantizers whose step is learned: operator, and layer.
    steps: Vec<(OperatorId, LayerId)>,
}

/// A convolution, its layer, and what its weights come from.
pub(super) struct SimulatedConv {
    pub operator: OperatorId,
    pub layer: LayerId,
    pub arrangement: Arrangement,
    /// None where codes stay.
    pub weights: Option<WeightQuantizer>,
}

/// The state of some layers of a simulation.
pub(super) struct SimulationPart {
    ends: [LayerId; 2],
    functions: Vec<Function>,
    weights: Vec<Option<WeightQuantizer>>,
}

/// A tensor of parameters that training changes.
pub(super) struct Learned<'a> {
    pub kind: Kind,
    pub values: &'a mut [f32],
    pub gradient: Vec<f32>,
    /// What a change of 1 means.
    pub units: Vec<f32>,
}

impl Simulation {
    /// `trained` is the full-precision graph that `graph` was made from.
    pub(super) fn new(graph: &QuantizedGraph, trained: &Graph) -> Self {
        let mut builder = SimulationBuilder { graph, trained, own: Self::empty(), pixels: None };
        graph.nodes.ids().for_each(|id| builder.operator(id));
        let mut own = builder.own;
        own.refresh(0.0);
        own
    }

    /// The layer that holds an operator's values.
    pub(super) fn place(&self, id: OperatorId) -> LayerId {
        self.places[id]
    }

    /// Layers whose codes may change.
    pub(super) fn weighted(&self) -> Vec<LayerId> {
        self.convs.iter().filter(|conv| conv.weights.is_some()).map(|conv| conv.layer).collect()
    }

    /// What this simulation has made of the network that it simulates.
    pub(super) fn refined(&self, graph: &QuantizedGraph) -> QuantizedGraph {
        let mut refined = graph.clone();
        self.store(&mut refined);
        refined
    }

    /// Layers after the first of `ends` up to the second, as they are now.
    pub(super) fn part(&self, ends: [LayerId; 2]) -> SimulationPart {
        let layers = &self.network.layers[ends[0] + 1..=ends[1]];
        let weights =
            self.convs.iter().filter(|conv| lies_within(conv, ends)).map(|conv| conv.weights.clone());
        SimulationPart {
            ends,
            functions: layers.iter().map(|layer| layer.function.clone()).collect(),
            weights: weights.collect(),
        }
    }

    /// Layers as they were.
    pub(super) fn restore(&mut self, part: SimulationPart) {
        let SimulationPart { ends, functions, weights } = part;
        let layers = &mut self.network.layers[ends[0] + 1..=ends[1]];
        layers.iter_mut().zip(functions).for_each(|(layer, function)| layer.function = function);
        let convs = self.convs.iter_mut().filter(|conv| lies_within(conv, ends));
        convs.zip(weights).for_each(|(conv, weights)| conv.weights = weights);
    }

    /// Lets values within `ends` pass unrounded at random, or no more.
    pub(super) fn drop(&mut self, ends: [LayerId; 2], drop: Option<DropMask>) {
        for (id, layer) in self.network.layers.iter_mut().enumerate().take(ends[1]).skip(ends[0] + 1) {
            if let Function::Quantize(quantizer) = &mut layer.function {
                quantizer.drop = drop.map(|drop| drop.at(id));
            }
        }
    }

    fn empty() -> Self {
        Self {
            network: Network::default(),
            places: PerOperator::default(),
            convs: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Rounds the weights of layers after the first of `ends` up to the second to codes again.
    pub(super) fn refresh_within(&mut self, ends: [LayerId; 2]) {
        for conv in self.convs.iter().filter(|conv| lies_within(conv, ends)) {
            if let (Some(weights), Function::Op(Op::Conv(layer))) =
                (&conv.weights, &mut self.network.layers[conv.layer].function)
            {
                layer.weight = in_graph_order(&weights.expand(), conv.arrangement, &layer.window.kernel);
            }
        }
    }

    /// Writes what was learned back to the network that this one simulates.
    pub(super) fn store(&self, graph: &mut QuantizedGraph) {
        for conv in &self.convs {
            let layer = &self.network.layers[conv.layer].function;
            if let (QuantizedOp::Conv(target), Function::Op(Op::Conv(layer))) =
                (&mut graph.nodes[conv.operator].op, layer)
            {
                target.gain = layer.gain.iter().copied().map(f64::from).collect();
                target.bias = layer.bias.iter().copied().map(f64::from).collect();
                if let Some(weights) = &conv.weights {
                    target.weights = weights.weights();
                }
            }
        }
        for &(operator, layer) in &self.steps {
            if let Function::Quantize(quantizer) = &self.network.layers[layer].function {
                graph.nodes[operator].quantizer = quantizer.quantizer();
            }
        }
    }
}

impl Student for Simulation {
    fn network(&self) -> &Network {
        &self.network
    }

    fn rules(&self) -> String {
        String::new()
    }

    fn refresh(&mut self, _: f64) {
        self.refresh_within([0, self.network.layers.len() - 1]);
    }

    /// What is learned, and what of the same kinds stays.
    fn tensors(&self) -> LearnedTensors {
        let of_layers = self.network.layers.iter().flat_map(|layer| layer.function.parameters());
        let of_layers =
            of_layers.filter(|(kind, _)| *kind != Kind::Weight).map(|(_, values)| values.to_vec());
        let weights = self.convs.iter().filter_map(|conv| conv.weights.as_ref());
        let of_weights = weights.flat_map(|weights| [weights.latent.clone(), weights.scales.clone()]);
        of_layers.chain(of_weights).collect()
    }

    fn set(&mut self, tensors: &[Vec<f32>]) -> Result<()> {
        let of_layers = self.network.layers.iter_mut().flat_map(|layer| layer.function.parameters_mut());
        let of_layers = of_layers.filter(|(kind, _)| *kind != Kind::Weight).map(|(_, values)| values);
        let weights = self.convs.iter_mut().filter_map(|conv| conv.weights.as_mut());
        let of_weights = weights.flat_map(|weights| [&mut weights.latent[..], &mut weights.scales[..]]);
        copy_back(of_layers.chain(of_weights).collect(), tensors)?;
        self.refresh_within([0, self.network.layers.len() - 1]);
        Ok(())
    }

    fn learned(&mut self, gradients: Gradients) -> Vec<Learned<'_>> {
        let (mut learned, of_weights) = learned_of(&mut self.network, gradients);
        learned.extend(learned_weights(&mut self.convs, of_weights));
        learned
    }
}

/// What is learned of the weights of convolutions, given gradients by layer in their order.
pub(super) fn learned_weights(
    convs: &mut [SimulatedConv],
    gradients: Vec<(LayerId, Vec<f32>)>,
) -> Vec<Learned<'_>> {
    let mut gradients = gradients.into_iter().peekable();
    let mut learned = Vec::new();
    for conv in convs {
        let Some((_, gradient)) = gradients.next_if(|(layer, _)| *layer == conv.layer) else { continue };
        let Some(weights) = &mut conv.weights else { continue };
        learned.extend(weights.learned(&in_storage_order(&gradient, conv.arrangement)));
    }
    learned
}

impl WeightQuantizer {
    fn learned(&mut self, gradient: &[f32]) -> impl Iterator<Item = Learned<'_>> {
        let [latent, scales] = self.backward(gradient);
        let unit = self.unit();
        let of_latent =
            Learned { kind: Kind::Weight, values: &mut self.latent, gradient: latent, units: vec![unit] };
        let of_scales =
            Learned { kind: Kind::Step, values: &mut self.scales, gradient: scales, units: vec![1.0] };
        [of_latent, of_scales].into_iter().filter(|learned| !learned.values.is_empty())
    }
}

fn lies_within(conv: &SimulatedConv, ends: [LayerId; 2]) -> bool {
    conv.layer > ends[0] && conv.layer <= ends[1]
}

/// All parameters of a network but the weights of convolutions, and the gradients of those by layer.
pub(super) fn learned_of(
    network: &mut Network,
    mut gradients: Gradients,
) -> (Vec<Learned<'_>>, Vec<(LayerId, Vec<f32>)>) {
    let (mut learned, mut of_weights) = (Vec::new(), Vec::new());
    for (id, layer) in network.layers.iter_mut().enumerate() {
        let gradients = std::mem::take(&mut gradients[id]);
        for ((kind, values), gradient) in layer.function.parameters_mut().into_iter().zip(gradients) {
            if kind == Kind::Weight {
                of_weights.push((id, gradient));
            } else {
                let units = units(kind, values);
                learned.push(Learned { kind, values, gradient, units });
            }
        }
    }
    (learned, of_weights)
}

/// Gains and steps change by shares of themselves, biases by shares of the largest of their layer.
pub(super) fn units(kind: Kind, values: &[f32]) -> Vec<f32> {
    let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    match kind {
        Kind::Gain | Kind::Step => values.iter().map(|value| value.abs().max(1e-3 * largest)).collect(),
        Kind::Weight | Kind::Bias => vec![if largest > 0.0 { largest } else { 1.0 }],
    }
}

struct SimulationBuilder<'a> {
    graph: &'a QuantizedGraph,
    trained: &'a Graph,
    own: Simulation,
    /// The layer of pixels counted from the code that stands for zero.
    pixels: Option<LayerId>,
}

impl SimulationBuilder<'_> {
    fn operator(&mut self, id: OperatorId) {
        let node = &self.graph.nodes[id];
        let inputs: Vec<LayerId> = node.inputs.iter().map(|&input| self.own.places[input]).collect();
        let place = match &node.op {
            QuantizedOp::Input { pad } => self.input(node, pad),
            QuantizedOp::Conv(conv) => self.conv(id, node, conv, inputs),
            QuantizedOp::Table { outputs } => {
                let quantizer = self.graph.nodes[node.inputs[0]].quantizer;
                let lookup = Function::Lookup(Lookup { outputs: outputs.clone(), quantizer });
                let place = self.push(node, lookup, inputs);
                self.quantize(id, node, place)
            }
            QuantizedOp::Plain(plain) => self.plain(id, node, plain, inputs),
        };
        self.own.places.push(place);
    }

    fn push(&mut self, node: &QuantizedNode, function: Function, inputs: Vec<LayerId>) -> LayerId {
        self.own.network.push(&node.name, function, inputs, node.shape)
    }

    fn frozen(&mut self, node: &QuantizedNode, op: Op, inputs: Vec<LayerId>) -> LayerId {
        let place = self.push(node, Function::Op(op), inputs);
        self.own.network.layers[place].trainable = false;
        place
    }

    fn input(&mut self, node: &QuantizedNode, pad: &[u8]) -> LayerId {
        let place = self.frozen(node, Op::Input, Vec::new());
        let shift = pad.iter().map(|&zero| -f32::from(zero)).collect();
        self.pixels =
            Some(self.frozen(node, Op::Affine(Affine { scale: vec![1.0; pad.len()], shift }), vec![place]));
        place
    }

    fn conv(
        &mut self,
        id: OperatorId,
        node: &QuantizedNode,
        conv: &QuantizedConv,
        mut inputs: Vec<LayerId>,
    ) -> LayerId {
        let reads_pixels = node.inputs[0] == OperatorId::INPUT;
        if let Some(pixels) = self.pixels.filter(|_| reads_pixels) {
            inputs[0] = pixels;
        }
        let arrangement = conv.arrangement();
        let real = conv.expand();
        let channels = real.chunks_exact(arrangement.channel_len()).zip(&conv.factors);
        let real: Vec<f32> = channels
            .flat_map(|(channel, factor)| channel.iter().map(move |&w| (f64::from(w) * factor) as f32))
            .collect();
        let layer = Conv {
            weight: in_graph_order(&real, arrangement, &conv.window.kernel),
            gain: gains(self.graph, node, conv),
            bias: conv.bias.iter().map(|&bias| bias as f32).collect(),
            window: conv.window,
            groups: conv.groups,
        };
        let mut place = self.push(node, Function::Op(Op::Conv(layer)), vec![inputs[0]]);
        let weights = trained_weights(self.trained, conv).filter(|_| !reads_pixels);
        let weights = weights.map(|trained| WeightQuantizer::new(conv, &trained));
        self.own.convs.push(SimulatedConv { operator: id, layer: place, arrangement, weights });
        if let Some(&residual) = inputs.get(1) {
            place = self.push(node, Function::Op(Op::Binary(Binary::Add)), vec![place, residual]);
        }
        let [low, high] = conv.clamp;
        if cuts(conv.clamp, &node.quantizer) {
            let clamp = if conv.clamp == [0.0, f32::INFINITY] { Unary::Relu } else { Unary::Clip(low, high) };
            place = self.push(node, Function::Op(Op::Unary(clamp)), vec![place]);
        }
        if conv.logits { place } else { self.quantize(id, node, place) }
    }

    fn plain(
        &mut self,
        id: OperatorId,
        node: &QuantizedNode,
        plain: &Plain,
        mut inputs: Vec<LayerId>,
    ) -> LayerId {
        let op = match plain {
            Plain::Add { negate } => {
                if negate[0] {
                    inputs.swap(0, 1);
                }
                Op::Binary(if negate.contains(&true) { Binary::Sub } else { Binary::Add })
            }
            Plain::Mul => Op::Binary(Binary::Mul),
            Plain::Narrow => return self.quantize(id, node, inputs[0]),
            Plain::AveragePool { window, count_include_pad } => {
                Op::AveragePool { window: *window, count_include_pad: *count_include_pad }
            }
            Plain::GroupNorm(norm) => Op::GroupNorm(norm.clone()),
            Plain::GlobalAveragePool => Op::GlobalAveragePool,
            Plain::GlobalSum => return self.frozen(node, Op::GlobalAveragePool, inputs),
            Plain::Concat => return self.frozen(node, Op::Concat, inputs),
            Plain::Slice(slice) => return self.frozen(node, Op::Slice(*slice), inputs),
            Plain::Pad(pad) => return self.frozen(node, Op::Pad(*pad), inputs),
            Plain::MaxPool(window) => return self.frozen(node, Op::MaxPool(*window), inputs),
            Plain::Flatten => return self.frozen(node, Op::Flatten, inputs),
            Plain::ChannelShuffle { groups } => {
                return self.frozen(node, Op::ChannelShuffle { groups: *groups }, inputs);
            }
        };
        let place = self.frozen(node, op, inputs);
        self.quantize(id, node, place)
    }

    /// Codes of fewer than 8 bits learn their step, if no table depends on it.
    fn quantize(&mut self, id: OperatorId, node: &QuantizedNode, input: LayerId) -> LayerId {
        let quantizer: &Quantizer = &node.quantizer;
        let place = self.push(node, Function::Quantize(ActivationQuantizer::new(quantizer)), vec![input]);
        let tabled = self
            .graph
            .nodes
            .iter()
            .any(|reader| reader.inputs.contains(&id) && matches!(reader.op, QuantizedOp::Table { .. }));
        let learned = node.range.is_some() && quantizer.max < u8::MAX && !tabled;
        self.own.network.layers[place].trainable = learned;
        if learned {
            self.own.steps.push((id, place));
        }
        place
    }
}

/// A convolution's gains as far as multipliers can follow.
pub(super) fn gains(graph: &QuantizedGraph, node: &QuantizedNode, conv: &QuantizedConv) -> Vec<f32> {
    let input = graph.nodes[node.inputs[0]].quantizer.scale;
    let gain = |(&gain, &factor): (&f64, &f64)| {
        let limit = largest_unit(&node.quantizer) / (factor * input).abs();
        (if conv.logits || limit.is_nan() { gain } else { gain.clamp(-limit, limit) }) as f32
    };
    conv.gain.iter().zip(&conv.factors).map(gain).collect()
}

/// Trained weights in storage order, as the fitted gain leaves them.
pub(super) fn trained_weights(graph: &Graph, conv: &QuantizedConv) -> Option<Vec<f32>> {
    let Op::Conv(trained) = &graph.nodes[conv.source].op else { return None };
    let arrangement = conv.arrangement();
    let weights: Vec<f32> = trained.weight.iter().copied().collect();
    let mut weights = in_storage_order(&weights, arrangement);
    let gains = trained.gain.iter().zip(&conv.gain);
    for (channel, (&of_trained, &fitted)) in weights.chunks_exact_mut(arrangement.channel_len()).zip(gains) {
        let ratio = if fitted == 0.0 { 0.0 } else { (f64::from(of_trained) / fitted) as f32 };
        channel.iter_mut().for_each(|weight| *weight *= ratio);
    }
    Some(weights)
}

/// Whether a clamp changes anything before codes are rounded to.
fn cuts([low, high]: [f32; 2], quantizer: &Quantizer) -> bool {
    let Quantizer { scale, zero_point, max } = *quantizer;
    let real = |code: f64| (code - f64::from(zero_point)) * scale;
    f64::from(low) > real(0.5) || f64::from(high) < real(f64::from(max) - 0.5)
}

/// From output channel, row, column, input channel to output channel, input channel, row, column.
pub(super) fn in_graph_order(weights: &[f32], arrangement: Arrangement, kernel: &[usize; 2]) -> Array4<f32> {
    let Arrangement { outputs, positions, inputs } = arrangement;
    let mut result = Array4::zeros((outputs, inputs, kernel[0], kernel[1]));
    let channels = weights.chunks_exact((positions * inputs).max(1));
    let targets = result.as_slice_mut().unwrap_or_default().chunks_exact_mut((positions * inputs).max(1));
    for (target, channel) in targets.zip(channels) {
        for (position, line) in channel.chunks_exact(inputs).enumerate() {
            target[position..].iter_mut().step_by(positions).zip(line).for_each(|(to, from)| *to = *from);
        }
    }
    result
}

/// The other way.
pub(super) fn in_storage_order(weights: &[f32], arrangement: Arrangement) -> Vec<f32> {
    let Arrangement { outputs, positions, inputs } = arrangement;
    let mut result = Vec::with_capacity(weights.len());
    for output in weights.chunks_exact(positions * inputs).take(outputs) {
        for position in 0..positions {
            result.extend((0..inputs).map(|input| output[input * positions + position]));
        }
    }
    result
}

#[cfg(test)]
pub(super) mod tests;
