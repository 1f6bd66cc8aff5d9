//! A network in training whose convolutions may each have one of several widths, bits of weights and of activations: they
//! share weights, but every width has its own steps and its own batch normalization.

use super::network::{Function, LayerId, Network, Statistics};
use super::optimise::Parameter;
use super::parameters::Kind;
use super::quantizers::{ActivationQuantizer, SteppedCodes};
use super::tape::Gradients;
use crate::calibrate::{ChannelStatistics, Histogram, Observation, RangeMethod, quantizer_for};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Quantizer;
use crate::graph::{Affine, BatchNorm, Binary, Conv, Graph, NodeId, Op};
use crate::index::Per;
use crate::tensor::Shape;

/// Added to variances.
const EPSILON: f32 = 1e-5;

/// The least step.
const LEAST_STEP: f32 = 1e-5;

/// The largest element of a gradient.
const LARGEST_GRADIENT: f32 = 1.0;

/// Candidate bits of every switched convolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CandidateBits {
    /// Of weights, each 2 to 8.
    pub weights: Vec<u8>,
    /// Of input activations, each 2 to 8.
    pub activations: Vec<u8>,
}

impl CandidateBits {
    /// How many widths there are.
    pub(super) fn widths(&self) -> usize {
        self.weights.len().max(self.activations.len())
    }

    /// The candidates for weights and for activations that make up a width: both in the order in which they are given.
    fn of_width(&self, width: usize) -> [usize; 2] {
        [self.weights.len(), self.activations.len()].map(|count| width * count / self.widths())
    }
}

/// What was learned of a convolution, by candidate: for weights, then for the input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LearnedImportance {
    /// Its node in the graph.
    pub node: NodeId,
    /// Steps, in units of the trained weights and of the input.
    pub steps: [Vec<f64>; 2],
    /// Loss that comes from rounding, mean over all passes.
    pub damage: [Vec<f64>; 2],
}

/// A network whose convolutions can be switched, one by one, to any width.
pub(super) struct SwitchedNetwork {
    pub network: Network,
    convs: Vec<SwitchedConv>,
    bits: CandidateBits,
}

impl SwitchedNetwork {
    /// `graph` with the convolutions `nodes` switched and all else as it is. What they read and what they yield must have
    /// been observed.
    ///
    /// # Errors
    /// An invalid graph, or one that was not observed.
    pub(super) fn new(
        graph: &Graph,
        observation: &Observation,
        nodes: &[NodeId],
        bits: CandidateBits,
    ) -> Result<Self> {
        graph.validate()?;
        let shapes = graph.shapes()?;
        let network = Network { statistics: Statistics::Batch, ..Network::default() };
        let mut own = Self { network, convs: Vec::new(), bits };
        let mut places: Per<NodeId, LayerId> = Per::default();
        for (id, node) in graph.nodes.enumerate().take(graph.output.index() + 1) {
            let inputs: Vec<LayerId> = node.inputs.iter().map(|&input| places[input]).collect();
            let place = match &node.op {
                Op::Conv(conv) if nodes.contains(&id) => {
                    let unobserved = || Error::new(ErrorKind::Shape, "a layer was not observed");
                    let observed = ObservedConv {
                        node: id,
                        name: &node.name,
                        conv,
                        shapes: [shapes[node.inputs[0]], shapes[id]],
                        read: observation.histograms[node.inputs[0]].as_ref().ok_or_else(unobserved)?,
                        made: observation.channels[id].as_ref().ok_or_else(unobserved)?,
                    };
                    own.switched(&observed, inputs[0])
                }
                op => own.frozen(&node.name, Function::Op(op.clone()), inputs, shapes[id]),
            };
            places.push(place);
        }
        Ok(own)
    }

    fn frozen(&mut self, name: &str, function: Function, inputs: Vec<LayerId>, shape: Shape) -> LayerId {
        let place = self.network.push(name, function, inputs, shape);
        self.network.layers[place].trainable = false;
        place
    }

    /// Adds a convolution with its quantizer and its normalization, which starts where full precision is.
    fn switched(&mut self, observed: &ObservedConv, input: LayerId) -> LayerId {
        let [read_shape, shape] = observed.shapes;
        let (codes, of_inputs) = CodesOf::new(&self.bits, observed.read);
        let mut push = |function: Function, inputs: Vec<LayerId>, shape: Shape| {
            self.network.push(observed.name, function, inputs, shape)
        };
        // The slope of the loss along the share is what rounding adds to it.
        let rounded = push(Function::Quantize(codes.inputs[0].with(1.0)), vec![input], read_shape);
        let error = push(Function::Op(Op::Binary(Binary::Sub)), vec![rounded, input], read_shape);
        let whole = Affine { scale: vec![1.0], shift: vec![0.0] };
        let share = push(Function::Op(Op::Affine(whole)), vec![error], read_shape);
        let read = push(Function::Op(Op::Binary(Binary::Add)), vec![input, share], read_shape);
        let place = push(Function::Op(Op::Conv(observed.conv.clone())), vec![read], shape);
        let norm = started_norm(observed.made, shape.channels);
        let units = norm.gamma.clone();
        let learned = [
            Accumulated::new(Kind::Gain, norm.gamma.clone(), units.clone()),
            Accumulated::new(Kind::Bias, norm.beta.clone(), units),
        ];
        let norm = self.network.push(observed.name, Function::Op(Op::BatchNorm(norm)), vec![place], shape);
        let (weight, size) = match &mut self.network.layers[place].function {
            Function::Op(Op::Conv(conv)) => normalise(conv),
            _ => (Vec::new(), 1.0),
        };
        let of_weights = codes.weights.iter().map(|codes| codes.start_of_weights(&weight)).collect();
        self.convs.push(SwitchedConv {
            node: observed.node,
            layers: SwitchedLayers { input: rounded, share, conv: place, norm },
            damage: [&codes.weights, &codes.inputs].map(|codes| vec![PassMean::default(); codes.len()]),
            steps: [of_weights, of_inputs].map(Accumulated::steps),
            norms: vec![learned; self.bits.widths()],
            weight: Accumulated::new(Kind::Weight, weight, vec![1.0]),
            size,
            inputs: read_shape.len(),
            codes,
        });
        norm
    }

    /// Number of convolutions that can be switched.
    pub(super) fn len(&self) -> usize {
        self.convs.len()
    }

    pub(super) fn widths(&self) -> usize {
        self.bits.widths()
    }

    /// Gives every convolution a width.
    pub(super) fn switch(&mut self, widths: &[usize]) {
        for (conv, &width) in self.convs.iter().zip(widths) {
            let [rounded, weight] = conv.quantizers(self.bits.of_width(width));
            self.network.layers[conv.layers.input].function = Function::Quantize(rounded);
            if let Function::Op(Op::Conv(layer)) = &mut self.network.layers[conv.layers.conv].function
                && let Some(values) = layer.weight.as_slice_mut()
            {
                values.copy_from_slice(&weight.apply(&conv.weight.values));
            }
            if let Function::Op(Op::BatchNorm(norm)) = &mut self.network.layers[conv.layers.norm].function {
                let [gamma, beta] = &conv.norms[width];
                norm.gamma.clone_from(&gamma.values);
                norm.beta.clone_from(&beta.values);
            }
        }
    }

    /// Adds the gradients of a pass with these widths to those of the passes before.
    pub(super) fn accumulate(&mut self, gradients: &Gradients, widths: &[usize]) {
        for (conv, &width) in self.convs.iter_mut().zip(widths) {
            conv.accumulate(gradients, self.bits.of_width(width), width);
        }
    }

    /// Everything that is learned, with clipped gradients.
    pub(super) fn learned(&mut self) -> impl Iterator<Item = &mut Accumulated> {
        self.convs.iter_mut().flat_map(SwitchedConv::learned)
    }

    pub(super) fn importance(&self) -> Vec<LearnedImportance> {
        let of_conv = |conv: &SwitchedConv| LearnedImportance {
            node: conv.node,
            steps: [0, 1].map(|which| {
                let unit = if which == 0 { conv.size } else { 1.0 };
                conv.steps[which].values.iter().map(|&step| unit * f64::from(step)).collect()
            }),
            damage: conv.damage.each_ref().map(|means| means.iter().map(|mean| mean.value()).collect()),
        };
        self.convs.iter().map(of_conv).collect()
    }
}

/// A convolution to be switched, as full precision knows it.
struct ObservedConv<'a> {
    node: NodeId,
    name: &'a str,
    conv: &'a Conv,
    /// Of what it reads and of what it makes.
    shapes: [Shape; 2],
    read: &'a Histogram,
    made: &'a ChannelStatistics,
}

/// Codes by candidate.
struct CodesOf {
    weights: Vec<SteppedCodes>,
    inputs: Vec<SteppedCodes>,
}

impl CodesOf {
    /// With the steps of the input that round it with the least error.
    fn new(bits: &CandidateBits, read: &Histogram) -> (Self, Vec<f32>) {
        let quantizer = |&bits: &u8| quantizer_for(read, RangeMethod::Mse, bits);
        let quantizers: Vec<Quantizer> = bits.activations.iter().map(quantizer).collect();
        let codes = Self {
            weights: bits.weights.iter().copied().map(SteppedCodes::of_weights).collect(),
            inputs: quantizers.iter().map(SteppedCodes::of).collect(),
        };
        (codes, quantizers.iter().map(|quantizer| quantizer.scale as f32).collect())
    }
}

/// The layers of a switched convolution.
#[derive(Debug, Clone, Copy)]
struct SwitchedLayers {
    /// The quantizer of the input.
    input: LayerId,
    /// How much of its error is there: all.
    share: LayerId,
    conv: LayerId,
    norm: LayerId,
}

/// A convolution with a quantizer before it and batch normalization behind.
struct SwitchedConv {
    /// Its node in the graph.
    node: NodeId,
    layers: SwitchedLayers,
    codes: CodesOf,
    /// Of unit size in every output channel.
    weight: Accumulated,
    /// Root mean square of the trained weights.
    size: f64,
    /// Of weights and of the input, by candidate.
    steps: [Accumulated; 2],
    /// Gamma and beta, by width.
    norms: Vec<[Accumulated; 2]>,
    /// Loss from rounding weights and input, by candidate.
    damage: [Vec<PassMean>; 2],
    /// Number of values of the input.
    inputs: usize,
}

/// A mean over passes.
#[derive(Debug, Clone, Copy, Default)]
struct PassMean {
    sum: f64,
    passes: u64,
}

impl PassMean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.passes += 1;
    }

    fn value(self) -> f64 {
        self.sum / self.passes.max(1) as f64
    }
}

impl SwitchedConv {
    /// Of the input and of the weights.
    fn quantizers(&self, [of_weights, of_inputs]: [usize; 2]) -> [ActivationQuantizer; 2] {
        let [weights, inputs] = &self.steps;
        [
            self.codes.inputs[of_inputs].with(inputs.values[of_inputs]),
            self.codes.weights[of_weights].with(weights.values[of_weights]),
        ]
    }

    fn accumulate(&mut self, gradients: &Gradients, candidates: [usize; 2], width: usize) {
        let [of_weights, of_inputs] = candidates;
        let [_, quantizer] = self.quantizers(candidates);
        if let [dw, ..] = &gradients[self.layers.conv][..] {
            let scale = self.codes.weights[of_weights].gradient_scale(dw.len());
            self.steps[0].gradient[of_weights] += scale * quantizer.step_gradient(&self.weight.values, dw);
            self.weight.add(&quantizer.backward(&self.weight.values, dw));
            let rounded = quantizer.apply(&self.weight.values);
            let errors =
                rounded.iter().zip(&self.weight.values).map(|(rounded, exact)| f64::from(rounded - exact));
            let damage = errors.zip(dw).map(|(error, &dw)| error * f64::from(dw)).sum();
            self.damage[0][of_weights].add(damage);
        }
        if let [share, _] = &gradients[self.layers.share][..] {
            self.damage[1][of_inputs].add(f64::from(share[0]));
        }
        if let [step] = &gradients[self.layers.input][..] {
            let scale = self.codes.inputs[of_inputs].gradient_scale(self.inputs);
            self.steps[1].gradient[of_inputs] += scale * step[0];
        }
        let norms = self.norms[width].iter_mut().zip(&gradients[self.layers.norm]);
        norms.for_each(|(sum, gradient)| sum.add(gradient));
    }

    fn learned(&mut self) -> impl Iterator<Item = &mut Accumulated> {
        let Self { weight, steps, norms, .. } = self;
        std::iter::once(weight).chain(steps).chain(norms.iter_mut().flatten())
    }
}

/// A tensor that is learned, with the gradients of several passes added up.
#[derive(Debug, Clone)]
pub(super) struct Accumulated {
    pub kind: Kind,
    values: Vec<f32>,
    gradient: Vec<f32>,
    /// What a change of 1 means.
    units: Vec<f32>,
}

impl Accumulated {
    fn new(kind: Kind, values: Vec<f32>, units: Vec<f32>) -> Self {
        Self { kind, gradient: vec![0.0; values.len()], values, units }
    }

    /// They change by shares of what they are at the start.
    fn steps(values: Vec<f32>) -> Self {
        let values: Vec<f32> = values.into_iter().map(|step: f32| step.max(LEAST_STEP)).collect();
        Self::new(Kind::Step, values.clone(), values)
    }

    fn add(&mut self, gradient: &[f32]) {
        self.gradient.iter_mut().zip(gradient).for_each(|(sum, more)| *sum += more);
    }

    /// As an optimiser takes it.
    pub(super) fn parameter(&mut self, rate: f32, decay: f32) -> Parameter<'_> {
        self.gradient.iter_mut().for_each(|g| *g = g.clamp(-LARGEST_GRADIENT, LARGEST_GRADIENT));
        Parameter { values: &mut self.values, gradient: &self.gradient, units: &self.units, rate, decay }
    }

    /// Starts adding up again.
    pub(super) fn settle(&mut self) {
        self.gradient.fill(0.0);
        if self.kind == Kind::Step {
            self.values.iter_mut().for_each(|step| *step = step.max(LEAST_STEP));
        }
    }
}

/// Batch normalization after which values are distributed as without it.
fn started_norm(made: &ChannelStatistics, channels: usize) -> BatchNorm {
    let variance = |channel: usize| made.variance(channel) as f32;
    BatchNorm {
        gamma: (0..channels).map(|channel| (variance(channel) + EPSILON).sqrt()).collect(),
        beta: (0..channels).map(|channel| made.mean(channel) as f32).collect(),
        mean: (0..channels).map(|channel| made.mean(channel) as f32).collect(),
        variance: (0..channels).map(variance).collect(),
        epsilon: EPSILON,
    }
}

/// Moves the root mean square of every channel's weights to the gain; the weights, and what it was over all channels.
fn normalise(conv: &mut Conv) -> (Vec<f32>, f64) {
    let gains = &mut conv.gain;
    let weights = conv.weight.as_slice_mut().unwrap_or_default();
    let channels = gains.len().max(1);
    let length = (weights.len() / channels).max(1);
    let mut squares = 0.0;
    for (channel, gain) in weights.chunks_exact_mut(length).zip(gains) {
        let square = channel.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / length as f64;
        squares += square / channels as f64;
        let size = if square > 0.0 { square.sqrt() as f32 } else { 1.0 };
        channel.iter_mut().for_each(|weight| *weight /= size);
        *gain *= size;
    }
    (weights.to_vec(), squares.sqrt())
}

#[cfg(test)]
mod tests;
