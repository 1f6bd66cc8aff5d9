//! A network whose precision is learned: every tensor of weights and of activations has its own quantizer (Uhlich et al.,
//! arXiv 1905.11452).

use super::checkpoint::{LearnedTensors, copy_back, misfit};
use super::memory::{MemoryBudgets, MemoryUse, pressure};
use super::network::{Function, LayerId, Network};
use super::parameters::Kind;
use super::quantizers::{Parametrization, ParametrizedQuantizer, QuantizerStart, nearest_step};
use super::simulate::{Learned, Simulation, in_graph_order, in_storage_order, learned_of};
use super::student::Student;
use super::tape::Gradients;
use crate::error::Result;
use crate::format::Quantizer;
use crate::graph::{Graph, Op};
use crate::pack::largest_unit;
use crate::plan::{Choice, Reason};
use crate::precision::{Arrangement, Precision};
use crate::quantize::{
    OperatorId, PerOperator, QuantizedConv, QuantizedGraph, QuantizedNode, QuantizedOp, Weights,
};

/// Root mean square of the weights of an output channel: its gain takes the rest. Of weights spread like these, powers of two
/// are the nearest steps for every number of bits (½ for 2, ¼ for 3, …).
const SPREAD: f32 = 0.4;

/// Share of the course after which bits stay, once the budgets hold.
const FREE: f64 = 0.2;

/// How much faster than everything else steps and ranges change until then.
const HASTE: f32 = 4.0;

/// How precision is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PrecisionRules {
    pub parametrization: Parametrization,
    /// Bits of weights at the start.
    pub weight_bits: u8,
    /// Whether bits stay as they start.
    pub fixed: bool,
    pub budgets: MemoryBudgets,
}

/// A simulation with learned quantizers in place of its own.
pub(super) struct MixedPrecision {
    simulation: Simulation,
    weights: Vec<LatentWeights>,
    /// Operators whose codes have a learned quantizer, and its layer.
    activations: Vec<(OperatorId, LayerId)>,
    tensors: Vec<ActivationTensor>,
    rules: PrecisionRules,
    /// Whether bits may change.
    is_free: bool,
}

/// The weights of a convolution before they are rounded.
struct LatentWeights {
    operator: OperatorId,
    layer: LayerId,
    arrangement: Arrangement,
    kernel: [usize; 2],
    input: CodeSource,
    /// None of the logits.
    output: Option<CodeSource>,
    /// In storage order.
    latent: Vec<f32>,
    quantizer: ParametrizedQuantizer,
}

/// What an operator yields.
struct ActivationTensor {
    values: u64,
    codes: CodeSource,
}

/// Where the quantizer of codes is found.
#[derive(Debug, Clone, Copy)]
enum CodeSource {
    /// In a layer that learns it; where it started.
    Learned(LayerId, Quantizer),
    Fixed(Quantizer),
}

impl CodeSource {
    fn quantizer(self, network: &Network) -> Quantizer {
        match self {
            Self::Learned(layer, start) => learned_quantizer(network, layer).map_or(start, packed),
            Self::Fixed(quantizer) => quantizer,
        }
    }
}

/// Operators whose codes no other operator, table or logit determines: their quantizers can be learned.
pub(crate) fn free_makers(graph: &QuantizedGraph) -> Vec<OperatorId> {
    let makers = makers(graph);
    let mut bound = vec![makers.last().copied().flatten(), Some(OperatorId::INPUT)];
    for (node, maker) in graph.nodes.iter().zip(&makers) {
        if maker.is_none() || matches!(node.op, QuantizedOp::Table { .. }) {
            bound.extend(node.inputs.iter().map(|&input| makers[input]));
        }
    }
    let is_free = |&id: &OperatorId| {
        let own = makers[id] == Some(id) && !bound.contains(&Some(id));
        own && !graph.nodes.is_last(id) && clamp(&graph.nodes[id]).is_none_or(|[low, _]| low <= 0.0)
    };
    graph.nodes.ids().filter(is_free).collect()
}

/// The operator that made the codes that each operator yields; none where several did.
fn makers(graph: &QuantizedGraph) -> PerOperator<Option<OperatorId>> {
    let mut makers: PerOperator<Option<OperatorId>> = PerOperator::default();
    for (id, node) in graph.nodes.enumerate() {
        let of_inputs = || {
            let first = makers[node.inputs[0]];
            first.filter(|_| node.inputs.iter().all(|&input| makers[input] == first))
        };
        let maker = if node.keeps_codes() { of_inputs() } else { Some(id) };
        makers.push(maker);
    }
    makers
}

fn clamp(node: &QuantizedNode) -> Option<[f32; 2]> {
    match &node.op {
        QuantizedOp::Conv(conv) => Some(conv.clamp),
        _ => None,
    }
}

impl MixedPrecision {
    /// Starts at `graph`, whose weights have 8 bits and whose quantizers say how many bits activations start with.
    pub(super) fn new(graph: &QuantizedGraph, trained: &Graph, rules: &PrecisionRules) -> Self {
        let mut own = Self {
            simulation: Simulation::new(graph, trained),
            weights: Vec::new(),
            activations: Vec::new(),
            tensors: Vec::new(),
            rules: *rules,
            is_free: true,
        };
        let sources = own.free_activations(graph, rules);
        own.free_weights(graph, rules, &sources);
        if rules.fixed {
            own.fix_bits();
        }
        own.refresh(0.0);
        own
    }

    fn free_weights(
        &mut self,
        graph: &QuantizedGraph,
        rules: &PrecisionRules,
        sources: &PerOperator<CodeSource>,
    ) {
        for conv in &mut self.simulation.convs {
            conv.weights = None;
            let function = &mut self.simulation.network.layers[conv.layer].function;
            if let (QuantizedOp::Conv(quantized), Function::Op(Op::Conv(layer))) =
                (&graph.nodes[conv.operator].op, function)
            {
                let latent = spread(quantized, &mut layer.gain);
                let step = nearest_step(rules.parametrization, rules.weight_bits, &latent);
                let start =
                    QuantizerStart { bits: rules.weight_bits, is_signed: true, step, bound: f32::INFINITY };
                self.weights.push(LatentWeights {
                    operator: conv.operator,
                    layer: conv.layer,
                    arrangement: conv.arrangement,
                    kernel: layer.window.kernel,
                    input: sources[graph.nodes[conv.operator].inputs[0]],
                    output: (!quantized.logits).then_some(sources[conv.operator]),
                    latent,
                    quantizer: ParametrizedQuantizer::new(rules.parametrization, start),
                });
            }
        }
    }

    /// Where every operator's quantizer is from here on.
    fn free_activations(
        &mut self,
        graph: &QuantizedGraph,
        rules: &PrecisionRules,
    ) -> PerOperator<CodeSource> {
        let (free, makers) = (free_makers(graph), makers(graph));
        for &id in &free {
            let (node, layer) = (&graph.nodes[id], self.simulation.places[id]);
            let quantizer = starting(node, rules.parametrization.uniform());
            let target = &mut self.simulation.network.layers[layer];
            target.function = Function::Parametrized(quantizer);
            target.trainable = true;
            self.activations.push((id, layer));
        }
        let source = |(maker, node): (&Option<OperatorId>, &QuantizedNode)| {
            let maker = maker.filter(|maker| free.contains(maker));
            let learned = |maker| CodeSource::Learned(self.simulation.places[maker], node.quantizer);
            maker.map_or(CodeSource::Fixed(node.quantizer), learned)
        };
        let sources: PerOperator<CodeSource> = makers.iter().zip(&graph.nodes).map(source).collect();
        let inner = graph.nodes.enumerate().skip(1).filter(|(id, _)| !graph.nodes.is_last(*id));
        let tensor = |(id, node): (OperatorId, &QuantizedNode)| ActivationTensor {
            values: node.shape.len() as u64,
            codes: sources[id],
        };
        self.tensors = inner.map(tensor).collect();
        sources
    }

    /// Moves steps and ranges that have left their bounds back.
    fn settle(&mut self) {
        self.weights.iter_mut().for_each(|weights| weights.quantizer.settle());
        for &(_, layer) in &self.activations {
            if let Function::Parametrized(quantizer) = &mut self.simulation.network.layers[layer].function {
                quantizer.settle();
            }
        }
    }

    /// From here on bits stay as they are.
    fn fix_bits(&mut self) {
        self.is_free = false;
        self.weights.iter_mut().for_each(|weights| weights.quantizer.fix_bits());
        for &(_, layer) in &self.activations {
            if let Function::Parametrized(quantizer) = &mut self.simulation.network.layers[layer].function {
                quantizer.fix_bits();
            }
        }
    }

    /// What the network takes as it is.
    pub(super) fn memory(&self) -> MemoryUse {
        let activations = || self.tensors.iter().map(|tensor| self.bytes(tensor));
        MemoryUse {
            weights: self.weights.iter().map(LatentWeights::bytes).sum(),
            largest_activation: activations().max().unwrap_or(0),
            activations: activations().sum(),
        }
    }

    fn bytes(&self, tensor: &ActivationTensor) -> u64 {
        let bits = u8::BITS - tensor.codes.quantizer(self.network()).max.leading_zeros();
        (tensor.values * u64::from(bits)).div_ceil(8)
    }

    /// By layer, how much a bit of an activation's code costs.
    fn activation_pressure(&self, used: &MemoryUse) -> Vec<(LayerId, f32)> {
        let of_all = pressure(used.activations, self.rules.budgets.activations);
        let of_one = |tensor: &ActivationTensor| {
            let of_largest = pressure(self.bytes(tensor), self.rules.budgets.largest_activation);
            match tensor.codes {
                CodeSource::Learned(layer, _) => Some((layer, tensor.values as f32 * (of_all + of_largest))),
                CodeSource::Fixed(_) => None,
            }
        };
        self.tensors.iter().filter_map(of_one).collect()
    }

    /// Adds what exceeded budgets say to the gradients of activations' quantizers.
    fn press_activations(&self, gradients: &mut Gradients, used: &MemoryUse) {
        let mut costs = vec![0.0; self.network().layers.len()];
        self.activation_pressure(used).into_iter().for_each(|(layer, cost)| costs[layer] += cost);
        for &(_, layer) in self.activations.iter().filter(|_| self.rules.budgets.is_any()) {
            if let (Some(quantizer), [gradient]) =
                (learned_quantizer(self.network(), layer), &mut gradients[layer][..])
            {
                *gradient = pressed(quantizer, [gradient[0], gradient[1]], costs[layer]).to_vec();
            }
        }
    }

    /// What learning has made of the network that this one simulates.
    pub(super) fn learned_graph(&self, graph: &QuantizedGraph) -> QuantizedGraph {
        let mut learned = graph.clone();
        self.store(&mut learned);
        learned
    }

    /// Writes what was learned to the network that this one simulates.
    pub(super) fn store(&self, graph: &mut QuantizedGraph) {
        self.simulation.store(graph);
        for weights in &self.weights {
            if let QuantizedOp::Conv(conv) = &mut graph.nodes[weights.operator].op {
                weights.store(conv);
            }
        }
        for &(operator, layer) in &self.activations {
            if let Some(quantizer) = learned_quantizer(self.network(), layer) {
                graph.nodes[operator].quantizer = packed(quantizer);
            }
        }
        for id in graph.nodes.ids() {
            if graph.nodes[id].keeps_codes() {
                graph.nodes[id].quantizer = graph.nodes[graph.nodes[id].inputs[0]].quantizer;
            }
        }
    }
}

impl Student for MixedPrecision {
    fn network(&self) -> &Network {
        &self.simulation.network
    }

    fn rules(&self) -> String {
        format!("{:?}", self.rules)
    }

    fn refresh(&mut self, progress: f64) {
        self.settle();
        if self.is_free && progress >= FREE && self.memory().is_within(&self.rules.budgets) {
            self.fix_bits();
        }
        for weights in &self.weights {
            weights.refresh(&mut self.simulation.network);
        }
    }

    fn tensors(&self) -> LearnedTensors {
        let is_free = vec![f32::from(u8::from(self.is_free))];
        let weights = self.weights.iter();
        let weights = weights.flat_map(|weights| [weights.latent.clone(), weights.quantizer.state()]);
        std::iter::once(is_free).chain(self.simulation.tensors()).chain(weights).collect()
    }

    fn set(&mut self, tensors: &[Vec<f32>]) -> Result<()> {
        let (is_free, rest) = tensors.split_first().ok_or_else(misfit)?;
        let (of_layers, of_weights) =
            rest.split_at_checked(self.simulation.tensors().len()).ok_or_else(misfit)?;
        if self.is_free && is_free[..] == [0.0] {
            self.fix_bits();
        }
        self.simulation.set(of_layers)?;
        let own = self.weights.iter_mut();
        let own = own.flat_map(|weights| [&mut weights.latent[..], weights.quantizer.state_mut()]);
        copy_back(own.collect(), of_weights)?;
        for weights in &self.weights {
            weights.refresh(&mut self.simulation.network);
        }
        Ok(())
    }

    fn learned(&mut self, mut gradients: Gradients) -> Vec<Learned<'_>> {
        let used = self.memory();
        self.press_activations(&mut gradients, &used);
        let cost = pressure(used.weights, self.rules.budgets.weights);
        let clipped = self.rules.budgets.is_any();
        let haste = if self.is_free { HASTE } else { 1.0 };
        let (mut learned, of_weights) = learned_of(&mut self.simulation.network, gradients);
        let mut of_weights = of_weights.into_iter().peekable();
        for weights in &mut self.weights {
            if let Some((_, gradient)) = of_weights.next_if(|(layer, _)| *layer == weights.layer) {
                learned.extend(weights.learned(&gradient, cost, clipped));
            }
        }
        for learned in learned.iter_mut().filter(|learned| learned.kind == Kind::Step) {
            learned.units.iter_mut().for_each(|unit| *unit *= haste);
        }
        learned
    }
}

impl LatentWeights {
    fn bytes(&self) -> u64 {
        self.precision().bits(self.latent.len() as u64, self.arrangement.inputs as u64) / 8
    }

    /// Rounds the weights again, and keeps gains as far as multipliers can follow.
    fn refresh(&self, network: &mut Network) {
        let unit = f64::from(self.quantizer.grid().step) * self.input.quantizer(network).scale;
        let largest = self.output.map_or(f64::INFINITY, |output| largest_unit(&output.quantizer(network)));
        if let Function::Op(Op::Conv(layer)) = &mut network.layers[self.layer].function {
            let real = self.quantizer.apply(&self.latent);
            layer.weight = in_graph_order(&real, self.arrangement, &self.kernel);
            let limit = (largest / unit) as f32;
            layer.gain.iter_mut().for_each(|gain| *gain = gain.clamp(-limit, limit));
        }
    }

    fn precision(&self) -> Precision {
        let grid = self.quantizer.grid();
        if grid.is_of_powers { Precision::powers(grid.bits()) } else { Precision::int(grid.bits()) }
    }

    /// Given the gradient of the rounded weights in the order of the graph. Those that lie beyond the range get none, unless
    /// it moves them back.
    fn learned(&mut self, gradient: &[f32], cost: f32, clipped: bool) -> [Learned<'_>; 2] {
        let gradient = in_storage_order(gradient, self.arrangement);
        let mut of_latent = self.quantizer.backward(&self.latent, &gradient);
        let range = self.quantizer.grid().range();
        for ((own, &latent), &dw) in of_latent.iter_mut().zip(&self.latent).zip(&gradient) {
            if latent.abs() > range && latent * dw > 0.0 {
                *own = dw;
            }
        }
        let mut of_range = self.quantizer.parameter_gradient(&self.latent, &gradient);
        if clipped {
            of_range = pressed(&self.quantizer, of_range, cost * self.latent.len() as f32);
        }
        let parameters = self.quantizer.parameters_mut().swap_remove(0).1;
        let units = parameters.to_vec();
        let of_latent = Learned {
            kind: Kind::Weight,
            values: &mut self.latent,
            gradient: of_latent,
            units: vec![SPREAD],
        };
        [of_latent, Learned { kind: Kind::Step, values: parameters, gradient: of_range.to_vec(), units }]
    }

    fn store(&self, conv: &mut QuantizedConv) {
        let (grid, precision) = (self.quantizer.grid(), self.precision());
        let levels = self.latent.iter().map(|&latent| grid.level(latent) as i8).collect();
        conv.weights = Weights { precision, levels, scales: Vec::new() };
        conv.factors = vec![f64::from(grid.step); conv.outputs];
        conv.choice = Choice { precision, reason: Reason::Learned };
    }
}

/// The gradient of a loss, kept within the step as the paper does under budgets, and that of bits that cost so much, which
/// wins where both disagree and the cost is high.
fn pressed(quantizer: &ParametrizedQuantizer, of_loss: [f32; 2], cost: f32) -> [f32; 2] {
    let of_loss = quantizer.clip(of_loss, 1.0);
    let of_bits = quantizer.clip(quantizer.bits_gradient().map(|gradient| cost * gradient), 2.0);
    [of_loss[0] + of_bits[0], of_loss[1] + of_bits[1]]
}

/// The weights of a convolution in storage order with the same root mean square in every output channel; gains take the rest.
fn spread(conv: &QuantizedConv, gains: &mut [f32]) -> Vec<f32> {
    let weights = conv.expand();
    let channels = weights.chunks_exact(conv.arrangement().channel_len().max(1));
    let mut latent = Vec::with_capacity(weights.len());
    for ((channel, factor), gain) in channels.zip(&conv.factors).zip(gains) {
        let square: f64 = channel.iter().map(|&weight| f64::from(weight).powi(2)).sum();
        let unit = (square / channel.len() as f64).sqrt().max(f64::MIN_POSITIVE);
        latent.extend(channel.iter().map(|&weight| (f64::from(weight) / unit) as f32 * SPREAD));
        *gain *= (factor * unit) as f32 / SPREAD;
    }
    latent
}

fn learned_quantizer(network: &Network, layer: LayerId) -> Option<&ParametrizedQuantizer> {
    match &network.layers[layer].function {
        Function::Parametrized(quantizer) => Some(quantizer),
        _ => None,
    }
}

/// The learned quantizer that a node starts with.
fn starting(node: &QuantizedNode, parametrization: Parametrization) -> ParametrizedQuantizer {
    let Quantizer { scale, zero_point, max } = node.quantizer;
    let high = clamp(node).map_or(f32::INFINITY, |[_, high]| high);
    let start = QuantizerStart {
        bits: u8::BITS as u8 - max.leading_zeros() as u8,
        is_signed: zero_point > 0,
        step: scale as f32,
        bound: if high > 0.0 { high } else { f32::INFINITY },
    };
    ParametrizedQuantizer::new(parametrization, start)
}

/// The same levels as codes.
fn packed(quantizer: &ParametrizedQuantizer) -> Quantizer {
    let grid = quantizer.grid();
    let count = grid.count as u8;
    let zero_point = if grid.is_signed { count } else { 0 };
    Quantizer { scale: f64::from(grid.step), zero_point, max: zero_point + count }
}

#[cfg(test)]
mod tests;
