//! A network in training whose layers have several widths (Bit-Mixer: Bulat and Tzimiropoulos, arXiv 2103.17267): they
//! share weights, but every pair of neighbouring widths has its own gains and biases, and every width its own steps of
//! activations.

use super::checkpoint::{LearnedTensors, copy_back, misfit};
use super::examples::WIDTHS;
use super::network::{Function, LayerId, Network};
use super::parameters::Kind;
use super::quantizers::{ActivationQuantizer, PlaneQuantizer};
use super::simulate::{
    Learned, SimulatedConv, Simulation, gains, in_graph_order, in_storage_order, learned_of, learned_weights,
    trained_weights, units,
};
use super::student::Student;
use super::tape::Gradients;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, Op};
use crate::precision::Arrangement;
use crate::quantize::{NestedGraph, OperatorId, PerOperator, QuantizedGraph, QuantizedOp, WidthVariant};
use crate::random::Random;
use std::fmt;

/// The share of layers with a width of their own that the third stage ends with (Bit-Mixer, section 3.4).
const MOST_INDEPENDENT: f64 = 0.5;

/// When the stages of training end, as shares of the course. In the first one activations have one width in the whole
/// network and weights all planes, in the second one both have one width; after it ever more layers have a width of their
/// own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SwitchingStages {
    /// The end of the first.
    pub activations: f64,
    /// The end of the second.
    pub uniform: f64,
}

impl Default for SwitchingStages {
    fn default() -> Self {
        Self { activations: 0.1, uniform: 0.5 }
    }
}

/// As a command takes them.
impl fmt::Display for SwitchingStages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.activations, self.uniform)
    }
}

impl SwitchingStages {
    /// Refuses stages that end before they begin.
    pub(crate) fn check(&self) -> Result<()> {
        let Self { activations, uniform } = *self;
        if 0.0 <= activations && activations <= uniform && uniform <= 1.0 {
            return Ok(());
        }
        let message = format!(
            "stages that end at {self} of the course; give two shares from 0 to 1, the second not below the first"
        );
        Err(Error::new(ErrorKind::Argument, message))
    }

    /// The share of layers with a width of their own.
    fn independent(&self, progress: f64) -> f64 {
        let third = (progress - self.uniform) / (1.0 - self.uniform);
        if third > 0.0 { MOST_INDEPENDENT * third.min(1.0) } else { 0.0 }
    }
}

/// Which widths layers have, by the layers' operators.
#[derive(Debug, Clone)]
struct DrawnWidths {
    weights: PerOperator<usize>,
    activations: PerOperator<usize>,
}

/// A network that switches, in training.
pub(super) struct NestedStudent {
    pub simulation: Simulation,
    layers: Vec<NestedLayer>,
    copies: Vec<NestedCopy>,
    widths: usize,
    stages: SwitchingStages,
    seed: u64,
    /// How often widths were drawn; one number, a vector so that a checkpoint holds it.
    draws: Vec<f32>,
    drawn: DrawnWidths,
}

/// A convolution whose gains and biases depend on widths.
struct NestedLayer {
    operator: OperatorId,
    before: Option<OperatorId>,
    /// What its weights are rounded from, if they depend on widths too.
    planes: Option<PlaneQuantizer>,
    arrangement: Arrangement,
    layer: LayerId,
    /// By the width of the layer, or of the layer before if it does not switch.
    uniform: Vec<ChannelAffine>,
    /// What they change by the pair with the layer before, gains as a share of themselves; empty if there are no pairs.
    pairs: Vec<ChannelAffine>,
}

/// A gain and a bias for every channel.
#[derive(Debug, Clone, Default)]
struct ChannelAffine {
    gain: Vec<f32>,
    bias: Vec<f32>,
}

/// A copy of activations for a layer whose width decides its bits.
struct NestedCopy {
    operator: OperatorId,
    reader: OperatorId,
    layer: LayerId,
    /// By width.
    quantizers: Vec<ActivationQuantizer>,
}

impl NestedStudent {
    /// `trained` is the full-precision graph that `nested` was made from.
    pub(super) fn new(nested: &NestedGraph, trained: &Graph, stages: SwitchingStages, seed: u64) -> Self {
        let mut simulation = Simulation::new(nested.top(), trained);
        let layer = |conv: &mut SimulatedConv| {
            let layer = NestedLayer::new(nested, trained, conv)?;
            // Its planes are the layer's own.
            conv.weights = conv.weights.take().filter(|_| layer.planes.is_none());
            Some(layer)
        };
        let layers = simulation.convs.iter_mut().filter_map(layer).collect();
        let copy = |&[operator, reader]: &[OperatorId; 2]| {
            let quantizer =
                |variant: &WidthVariant| ActivationQuantizer::new(&variant.graph.nodes[operator].quantizer);
            let quantizers = nested.variants[..nested.widths].iter().map(quantizer).collect();
            NestedCopy { operator, reader, layer: simulation.place(operator), quantizers }
        };
        let copies: Vec<NestedCopy> = nested.copies.iter().map(copy).collect();
        copies.iter().for_each(|copy| simulation.network.layers[copy.layer].trainable = true);
        let top: PerOperator<usize> = nested.before.iter().map(|_| nested.widths - 1).collect();
        Self {
            layers,
            copies,
            widths: nested.widths,
            stages,
            seed,
            draws: vec![0.0],
            drawn: DrawnWidths { weights: top.clone(), activations: top },
            simulation,
        }
    }

    /// `nested` with what was learned.
    pub(super) fn refined(&mut self, nested: &NestedGraph) -> NestedGraph {
        let refined = |variant: &WidthVariant| {
            self.take(DrawnWidths { weights: variant.places.clone(), activations: variant.places.clone() });
            let mut graph = variant.graph.clone();
            self.store(&mut graph);
            WidthVariant { places: variant.places.clone(), graph }
        };
        let variants = nested.variants.iter().map(refined).collect();
        NestedGraph { variants, ..nested.clone() }
    }

    /// Writes what was learned of the network with the widths taken.
    fn store(&self, graph: &mut QuantizedGraph) {
        self.simulation.store(graph);
        for layer in &self.layers {
            if let (QuantizedOp::Conv(conv), Some(planes)) =
                (&mut graph.nodes[layer.operator].op, &layer.planes)
            {
                conv.weights = planes.weights(self.drawn.weights[layer.operator] + 1);
            }
        }
        for copy in &self.copies {
            let place = self.drawn.activations[copy.reader];
            graph.nodes[copy.operator].quantizer = copy.quantizers[place].quantizer();
        }
    }

    /// Other widths for the next step.
    fn draw(&self, progress: f64) -> DrawnWidths {
        let draws = self.draws[0] as u64;
        let mut random = Random::new(self.seed, &[WIDTHS, draws]);
        let uniform = self.widths - 1 - (draws % self.widths as u64) as usize;
        let share = self.stages.independent(progress);
        let place = |_| {
            let (chance, place) = (random.unit(), random.below(self.widths));
            if chance < share { place } else { uniform }
        };
        let activations: PerOperator<usize> = self.drawn.weights.iter().map(place).collect();
        let weights = if progress < self.stages.activations {
            activations.iter().map(|_| self.widths - 1).collect()
        } else {
            activations.clone()
        };
        DrawnWidths { weights, activations }
    }

    /// Makes the network with these widths.
    fn take(&mut self, drawn: DrawnWidths) {
        for layer in &self.layers {
            if let Function::Op(Op::Conv(conv)) = &mut self.simulation.network.layers[layer.layer].function {
                ChannelAffine { gain: conv.gain, bias: conv.bias } = layer.affine(&drawn.weights);
                if let Some(planes) = &layer.planes {
                    let weights = planes.expand(drawn.weights[layer.operator] + 1);
                    conv.weight = in_graph_order(&weights, layer.arrangement, &conv.window.kernel);
                }
            }
        }
        for copy in &self.copies {
            let quantizer = copy.quantizers[drawn.activations[copy.reader]].clone();
            self.simulation.network.layers[copy.layer].function = Function::Quantize(quantizer);
        }
        self.drawn = drawn;
        self.simulation.refresh(0.0);
    }

    fn parameters(&self) -> impl Iterator<Item = &Vec<f32>> {
        let affines = self.layers.iter().flat_map(|layer| layer.uniform.iter().chain(&layer.pairs));
        let planes = self.layers.iter().filter_map(|layer| layer.planes.as_ref());
        let planes = planes.flat_map(|planes| [&planes.latent, &planes.scales]);
        affines.flat_map(|affine| [&affine.gain, &affine.bias]).chain(planes).chain([&self.draws])
    }

    fn parameters_mut(&mut self) -> Vec<&mut [f32]> {
        let (mut affines, mut planes) = (Vec::new(), Vec::new());
        for layer in &mut self.layers {
            for affine in layer.uniform.iter_mut().chain(&mut layer.pairs) {
                affines.extend([&mut affine.gain[..], &mut affine.bias]);
            }
            if let Some(own) = &mut layer.planes {
                planes.extend([&mut own.latent[..], &mut own.scales]);
            }
        }
        let quantizers = self.copies.iter_mut().flat_map(|copy| &mut copy.quantizers);
        let steps = quantizers.flat_map(|quantizer| quantizer.parameters_mut()).map(|(_, step)| step);
        affines.into_iter().chain(planes).chain([&mut self.draws[..]]).chain(steps).collect()
    }
}

impl NestedLayer {
    /// None for a convolution that depends on no width.
    fn new(nested: &NestedGraph, trained: &Graph, conv: &SimulatedConv) -> Option<Self> {
        let SimulatedConv { operator, layer, arrangement, .. } = *conv;
        let keys = nested.keys(operator);
        let affine = |pair: [usize; 2]| {
            let graph = &nested.variants[nested.with_pair(operator, pair)?].graph;
            let node = &graph.nodes[operator];
            let QuantizedOp::Conv(conv) = &node.op else { return None };
            let bias = conv.bias.iter().map(|&bias| bias as f32).collect();
            Some(ChannelAffine { gain: gains(graph, node, conv), bias })
        };
        let pair = |pair: usize| [pair / keys[1], pair % keys[1]];
        let uniform: Option<Vec<ChannelAffine>> =
            (0..nested.widths).map(|place| affine(keys.map(|count| place.min(count - 1)))).collect();
        let uniform = uniform.filter(|_| keys != [1, 1])?;
        let pairs = (0..keys[0] * keys[1]).filter(|_| !keys.contains(&1));
        let pairs = pairs.map(|at| Some(affine(pair(at))?.beside(&uniform[pair(at)[1]])));
        let planes = match &nested.top().nodes[operator].op {
            QuantizedOp::Conv(conv) if nested.own.contains(&operator) => {
                Some(PlaneQuantizer::new(conv, &trained_weights(trained, conv)?))
            }
            _ => None,
        };
        Some(Self {
            operator,
            before: nested.before[operator],
            planes,
            arrangement,
            layer,
            pairs: pairs.collect::<Option<_>>()?,
            uniform,
        })
    }

    /// The places of the gains and biases in use, for the layer's width and for its pair.
    fn places(&self, places: &PerOperator<usize>) -> (usize, Option<usize>) {
        let before = self.before.map_or(0, |before| places[before]);
        let own = if self.planes.is_some() { places[self.operator] } else { before };
        let is_pair = !self.pairs.is_empty() && before != own;
        (own, is_pair.then_some(before * self.uniform.len() + own))
    }

    fn affine(&self, places: &PerOperator<usize>) -> ChannelAffine {
        let (own, pair) = self.places(places);
        pair.map_or_else(|| self.uniform[own].clone(), |pair| self.uniform[own].changed(&self.pairs[pair]))
    }

    /// All that is learned with its gradients, given those of the weights, gains and biases in use.
    fn learned(
        &mut self,
        places: &PerOperator<usize>,
        [weights, gain, bias]: [Vec<f32>; 3],
    ) -> Vec<Learned<'_>> {
        let (own, pair) = self.places(places);
        let mut of_uniform = vec![ChannelAffine::default(); self.uniform.len()];
        let mut of_pairs = vec![ChannelAffine::default(); self.pairs.len()];
        if let Some(pair) = pair {
            let share = gain.iter().zip(&self.uniform[own].gain).map(|(dy, gain)| dy * gain).collect();
            of_pairs[pair] = ChannelAffine { gain: share, bias: bias.clone() };
        }
        let shares = pair.map(|pair| &self.pairs[pair].gain);
        let gain = (0..gain.len()).map(|at| gain[at] * (1.0 + shares.map_or(0.0, |shares| shares[at])));
        of_uniform[own] = ChannelAffine { gain: gain.collect(), bias };
        let bias_units: Vec<Vec<f32>> =
            self.uniform.iter().map(|affine| units(Kind::Bias, &affine.bias)).collect();
        let mut learned = Vec::new();
        for ((affine, gradient), bias_units) in self.uniform.iter_mut().zip(of_uniform).zip(&bias_units) {
            let gain_units = units(Kind::Gain, &affine.gain);
            learned.extend(affine.learned(gradient, gain_units, bias_units.clone()));
        }
        for ((affine, gradient), bias_units) in
            self.pairs.iter_mut().zip(of_pairs).zip(bias_units.iter().cycle())
        {
            learned.extend(affine.learned(gradient, vec![1.0], bias_units.clone()));
        }
        if let Some(planes) = &mut self.planes {
            learned.extend(planes.learned(own + 1, &in_storage_order(&weights, self.arrangement)));
        }
        learned
    }
}

impl PlaneQuantizer {
    fn learned(&mut self, planes: usize, gradient: &[f32]) -> [Learned<'_>; 2] {
        let [latent, scales] = self.backward(planes, gradient);
        let units = self.units();
        [
            Learned { kind: Kind::Weight, values: &mut self.latent, gradient: latent, units },
            Learned { kind: Kind::Step, values: &mut self.scales, gradient: scales, units: vec![1.0] },
        ]
    }
}

impl ChannelAffine {
    /// What changes `from` to this one.
    fn beside(&self, from: &Self) -> Self {
        let share = |(to, from): (&f32, &f32)| if *from == 0.0 { 0.0 } else { to / from - 1.0 };
        Self {
            gain: self.gain.iter().zip(&from.gain).map(share).collect(),
            bias: self.bias.iter().zip(&from.bias).map(|(to, from)| to - from).collect(),
        }
    }

    fn changed(&self, by: &Self) -> Self {
        Self {
            gain: self.gain.iter().zip(&by.gain).map(|(gain, share)| gain * (1.0 + share)).collect(),
            bias: self.bias.iter().zip(&by.bias).map(|(bias, more)| bias + more).collect(),
        }
    }

    /// With its gradient, which may be missing: then it is nothing.
    fn learned(&mut self, gradient: Self, gain_units: Vec<f32>, bias_units: Vec<f32>) -> [Learned<'_>; 2] {
        let whole = |mut gradient: Vec<f32>, channels: usize| {
            gradient.resize(channels, 0.0);
            gradient
        };
        let channels = self.gain.len();
        [
            Learned {
                kind: Kind::Gain,
                values: &mut self.gain,
                gradient: whole(gradient.gain, channels),
                units: gain_units,
            },
            Learned {
                kind: Kind::Bias,
                values: &mut self.bias,
                gradient: whole(gradient.bias, channels),
                units: bias_units,
            },
        ]
    }
}

impl NestedCopy {
    /// The steps of all widths with their gradients, given that of the step in use.
    fn learned(&mut self, place: usize, gradient: f32) -> impl Iterator<Item = Learned<'_>> {
        self.quantizers.iter_mut().enumerate().flat_map(move |(at, quantizer)| {
            let gradient = if at == place { gradient } else { 0.0 };
            quantizer.parameters_mut().into_iter().map(move |(kind, values)| {
                let units = units(kind, values);
                Learned { kind, values, gradient: vec![gradient], units }
            })
        })
    }
}

impl Student for NestedStudent {
    fn network(&self) -> &Network {
        self.simulation.network()
    }

    fn rules(&self) -> String {
        format!("{:?} {} widths, seed {}", self.stages, self.widths, self.seed)
    }

    fn refresh(&mut self, progress: f64) {
        let drawn = self.draw(progress);
        self.draws[0] += 1.0;
        self.take(drawn);
    }

    fn tensors(&self) -> LearnedTensors {
        let quantizers = self.copies.iter().flat_map(|copy| &copy.quantizers);
        let steps = quantizers.flat_map(|quantizer| quantizer.parameters()).map(|(_, step)| step.to_vec());
        self.simulation.tensors().into_iter().chain(self.parameters().cloned()).chain(steps).collect()
    }

    fn set(&mut self, tensors: &[Vec<f32>]) -> Result<()> {
        let (of_simulation, own) =
            tensors.split_at_checked(self.simulation.tensors().len()).ok_or_else(misfit)?;
        copy_back(self.parameters_mut(), own)?;
        self.simulation.set(of_simulation)
    }

    fn learned(&mut self, mut gradients: Gradients) -> Vec<Learned<'_>> {
        let Self { simulation: Simulation { network, convs, .. }, layers, copies, drawn, .. } = self;
        let of_layers: Vec<_> =
            layers.iter().map(|layer| std::mem::take(&mut gradients[layer.layer])).collect();
        let of_copies: Vec<_> =
            copies.iter().map(|copy| std::mem::take(&mut gradients[copy.layer])).collect();
        let (mut learned, mut of_weights) = learned_of(network, gradients);
        for (layer, gradients) in layers.iter_mut().zip(of_layers) {
            let mut gradients = gradients.into_iter();
            let [mut weights, gain, bias] = std::array::from_fn(|_| gradients.next().unwrap_or_default());
            if layer.planes.is_none() {
                of_weights.push((layer.layer, std::mem::take(&mut weights)));
            }
            learned.extend(layer.learned(&drawn.weights, [weights, gain, bias]));
        }
        for (copy, gradients) in copies.iter_mut().zip(of_copies) {
            let gradient = gradients.first().and_then(|gradient| gradient.first()).copied();
            learned.extend(copy.learned(drawn.activations[copy.reader], gradient.unwrap_or(0.0)));
        }
        of_weights.sort_by_key(|(layer, _)| *layer);
        learned.extend(learned_weights(convs, of_weights));
        learned
    }
}

#[cfg(test)]
mod tests;
