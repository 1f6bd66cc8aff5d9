//! Reverse mode: a forward pass that keeps what the backward pass needs.

use super::backward::{
    Backward, Example, Moments, WantedGradients, add, add_all, backward, batch_norm, batch_norm_by,
};
use super::network::{Function, Network, Statistics, TrainedLayer};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{BatchNorm, NodeId, Op, ValueView};
use crate::liveness::last_readers;
use crate::wide;
use rayon::prelude::*;
use std::ops::Range;

/// A value of every image of a batch, each in the order channel, row, column.
pub(super) type BatchValue = Vec<Vec<f32>>;

/// Parts of a batch whose parameter gradients are summed on their own, then in order: the same bits on any number of
/// threads.
const PARTS: usize = 8;

/// Bytes that the parts' gradients of one layer may take.
const PART_BYTES: usize = 128 << 20;

/// A forward pass over a batch.
///
/// Values are kept as far as the budget allows. Beyond it the layers are divided into segments, and only what crosses
/// from one to the next is kept; the backward pass computes a segment's values again (Chen et al., arXiv 1604.06174).
pub(super) struct Tape<'n> {
    network: &'n Network,
    /// The layer whose values are given, and the last that is computed.
    ends: [NodeId; 2],
    /// Layers whose values are wanted besides the last's.
    wanted: &'n [NodeId],
    segments: Vec<Range<NodeId>>,
    values: Vec<Option<BatchValue>>,
    moments: Vec<Option<Moments>>,
    images: usize,
}

/// Gradients of a loss by layer and parameter, empty where nothing is learned.
pub(super) type Gradients = Vec<Vec<Vec<f32>>>;

impl<'n> Tape<'n> {
    /// Runs `network` on `images` (their values in the order channel, row, column), keeping about `budget` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::NonFinite`] with the layer's name where a value is not finite.
    pub(super) fn forward(network: &'n Network, images: BatchValue, budget: usize) -> Result<Self> {
        Self::with_features(network, &[], images, budget)
    }

    /// As [`Tape::forward`], keeping the values of `wanted` layers.
    ///
    /// # Errors
    /// As [`Tape::forward`].
    pub(super) fn with_features(
        network: &'n Network,
        wanted: &'n [NodeId],
        images: BatchValue,
        budget: usize,
    ) -> Result<Self> {
        Self::run(network, [0, network.layers.len() - 1], wanted, images, budget)
    }

    /// Runs a part of `network`: from the values of a layer, all that is read of it and of layers before it, to another.
    ///
    /// # Errors
    /// As [`Tape::forward`].
    pub(super) fn between(
        network: &'n Network,
        ends: [NodeId; 2],
        values: BatchValue,
        budget: usize,
    ) -> Result<Self> {
        Self::run(network, ends, &[], values, budget)
    }

    fn run(
        network: &'n Network,
        ends: [NodeId; 2],
        wanted: &'n [NodeId],
        values: BatchValue,
        budget: usize,
    ) -> Result<Self> {
        let count = values.len();
        let mut tape = Self {
            network,
            ends,
            wanted,
            segments: segments(network, ends, count, budget),
            values: vec![None; network.layers.len()],
            moments: vec![None; network.layers.len()],
            images: count,
        };
        tape.values[ends[0]] = Some(values);
        for segment in tape.segments.clone() {
            tape.compute(segment.clone())?;
            tape.forget(&segment);
        }
        Ok(tape)
    }

    /// The values of the last layer: of a whole network the logits.
    pub(super) fn outputs(&self) -> &[Vec<f32>] {
        self.feature(self.ends[1])
    }

    /// The values of a layer that is kept.
    pub(super) fn feature(&self, id: NodeId) -> &[Vec<f32>] {
        self.values[id].as_deref().unwrap_or_default()
    }

    /// The gradients of a loss, given those of some layers' values.
    ///
    /// # Errors
    /// As [`Tape::forward`].
    pub(super) fn backward(&mut self, seeds: Vec<(NodeId, BatchValue)>) -> Result<Gradients> {
        let reached = self.network.reached(self.ends[0]);
        let mut gradients: Vec<Option<BatchValue>> = vec![None; self.network.layers.len()];
        seeds.into_iter().for_each(|(id, seed)| accumulate(&mut gradients[id], seed));
        let mut result: Gradients = vec![Vec::new(); self.network.layers.len()];
        for segment in self.segments.clone().into_iter().rev() {
            self.compute(segment.clone())?;
            for id in segment.rev() {
                let Some(gradient) = gradients[id].take().filter(|_| reached[id]) else { continue };
                let layer = &self.network.layers[id];
                let step = self.step(id, &gradient, &reached).map_err(|error| error.at_node(&layer.name))?;
                if !step.parameters.iter().all(|values| wide::are_finite(values)) {
                    return Err(not_finite("a gradient").at_node(&layer.name));
                }
                result[id] = step.parameters;
                distribute(layer, step.inputs, &reached, &mut gradients);
                self.values[id] = None;
            }
        }
        Ok(result)
    }

    /// Computes the values of a segment that are not there.
    fn compute(&mut self, segment: Range<NodeId>) -> Result<()> {
        for id in segment {
            if self.values[id].is_none() {
                let value = self.layer(id).map_err(|error| error.at_node(&self.network.layers[id].name))?;
                self.values[id] = Some(value);
            }
        }
        Ok(())
    }

    fn layer(&mut self, id: NodeId) -> Result<BatchValue> {
        let layer = &self.network.layers[id];
        if let Some(norm) = self.by_batch(layer) {
            let (value, moments) = batch_norm(norm, &slices(self.kept(layer.inputs[0])?), layer.shape);
            self.moments[id] = Some(moments);
            return Ok(value);
        }
        let value = |image: usize| {
            let value = layer.function.apply(&self.operands(layer, image)?, layer.shape)?;
            if wide::are_finite(&value) { Ok(value) } else { Err(not_finite("a value")) }
        };
        (0..self.images).into_par_iter().map(value).collect()
    }

    fn by_batch(&self, layer: &'n TrainedLayer) -> Option<&'n BatchNorm> {
        match &layer.function {
            Function::Op(Op::BatchNorm(norm)) if self.network.statistics == Statistics::Batch => Some(norm),
            _ => None,
        }
    }

    fn operands(&self, layer: &TrainedLayer, image: usize) -> Result<Vec<ValueView<'_>>> {
        let operand =
            |&input: &NodeId| Ok((self.kept(input)?[image].as_slice(), self.network.layers[input].shape));
        layer.inputs.iter().map(operand).collect()
    }

    fn kept(&self, id: NodeId) -> Result<&BatchValue> {
        let lost = || Error::new(ErrorKind::Shape, "a value was freed too early");
        self.values[id].as_ref().ok_or_else(lost)
    }

    /// Drops what later segments do not read.
    fn forget(&mut self, segment: &Range<NodeId>) {
        let last_reader = last_readers(self.network.layers.iter().map(|layer| layer.inputs.as_slice()));
        if segment.end > self.ends[1] {
            return;
        }
        for id in segment.clone().filter(|&id| last_reader[id] < segment.end && !self.wanted.contains(&id)) {
            self.values[id] = None;
        }
    }

    /// Gradients of a layer's inputs and parameters.
    fn step(&self, id: NodeId, gradient: &BatchValue, reached: &[bool]) -> Result<Backward> {
        let layer = &self.network.layers[id];
        let wanted = WantedGradients {
            inputs: layer.inputs.iter().any(|&input| reached[input]),
            parameters: layer.trainable && !layer.function.parameters().is_empty(),
        };
        if let (Some(norm), Some(moments)) = (self.by_batch(layer), &self.moments[id]) {
            let values = slices(self.kept(layer.inputs[0])?);
            return Ok(batch_norm_by(norm, moments, &values, &slices(gradient), layer.shape));
        }
        let length: usize = layer.function.parameters().iter().map(|(_, values)| values.len()).sum();
        let parts = PARTS.min(PART_BYTES / (4 * length.max(1))).clamp(1, self.images);
        let part = |part: usize| {
            let images = part * self.images / parts..(part + 1) * self.images / parts;
            let example = |image: usize| {
                Ok(Example { inputs: self.operands(layer, image)?, gradient: &gradient[image] })
            };
            let examples: Vec<Example> = images.map(example).collect::<Result<_>>()?;
            layer.function.backward(&examples, layer, wanted)
        };
        let parts: Vec<Backward> = (0..parts).into_par_iter().map(part).collect::<Result<_>>()?;
        let mut whole = Backward::default();
        for part in parts {
            whole.inputs.extend(part.inputs);
            add_all(&mut whole.parameters, part.parameters);
        }
        Ok(whole)
    }
}

impl Function {
    fn backward(
        &self,
        examples: &[Example],
        layer: &TrainedLayer,
        wanted: WantedGradients,
    ) -> Result<Backward> {
        let mut result = Backward::default();
        match self {
            Self::Op(op) => return backward(op, examples, layer.shape, wanted),
            Self::Quantize(quantizer) => {
                let pairs = || examples.iter().map(|example| (example.inputs[0].0, example.gradient));
                result.inputs = pairs().map(|(values, dy)| vec![quantizer.backward(values, dy)]).collect();
                if wanted.parameters {
                    let step = pairs().map(|(values, dy)| quantizer.step_gradient(values, dy)).sum();
                    result.parameters = vec![vec![step]];
                }
            }
            Self::Parametrized(quantizer) => {
                let pairs = || examples.iter().map(|example| (example.inputs[0].0, example.gradient));
                result.inputs = pairs().map(|(values, dy)| vec![quantizer.backward(values, dy)]).collect();
                if wanted.parameters {
                    pairs().for_each(|(values, dy)| {
                        let own = quantizer.parameter_gradient(values, dy);
                        add_all(&mut result.parameters, vec![own.to_vec()]);
                    });
                }
            }
            Self::Lookup(lookup) => {
                let input = |example: &Example| {
                    let (values, shape) = example.inputs[0];
                    vec![lookup.backward(values, shape, example.gradient)]
                };
                result.inputs = examples.iter().map(input).collect();
            }
        }
        Ok(result)
    }
}

/// Adds every image's gradients of a layer's inputs to those that others have left there.
fn distribute(
    layer: &TrainedLayer,
    inputs: Vec<Vec<Vec<f32>>>,
    reached: &[bool],
    gradients: &mut [Option<BatchValue>],
) {
    let mut by_input: Vec<BatchValue> = vec![Vec::new(); layer.inputs.len()];
    for image in inputs {
        by_input.iter_mut().zip(image).for_each(|(values, value)| values.push(value));
    }
    for (&input, values) in layer.inputs.iter().zip(by_input) {
        if reached[input] && !values.is_empty() {
            accumulate(&mut gradients[input], values);
        }
    }
}

fn accumulate(sum: &mut Option<BatchValue>, values: BatchValue) {
    match sum {
        Some(sum) => sum.par_iter_mut().zip(&values).for_each(|(sum, values)| add(sum, values)),
        None => *sum = Some(values),
    }
}

fn slices(batch: &BatchValue) -> Vec<&[f32]> {
    batch.iter().map(Vec::as_slice).collect()
}

fn not_finite(what: &str) -> Error {
    let message = format!("{what} is not finite; a lower `rate` may help");
    Error::new(ErrorKind::NonFinite, message)
}

/// As few segments of like length as keep a pass over `images` images within `budget` bytes, or one per layer.
fn segments(network: &Network, ends: [NodeId; 2], images: usize, budget: usize) -> Vec<Range<NodeId>> {
    let [first, layers] = [ends[0] + 1, ends[1] - ends[0]];
    let bytes: Vec<usize> = network.layers.iter().map(|layer| 4 * images * layer.shape.len()).collect();
    let divided = |count: usize| -> Vec<Range<NodeId>> {
        (0..count).map(|part| first + part * layers / count..first + (part + 1) * layers / count).collect()
    };
    (1..layers)
        .map(divided)
        .find(|segments| needed(network, &bytes, segments) <= budget)
        .unwrap_or_else(|| divided(layers))
}

/// Bytes that a pass with these segments keeps at most: what crosses their ends, and all of the largest.
fn needed(network: &Network, bytes: &[usize], segments: &[Range<NodeId>]) -> usize {
    let last_reader = last_readers(network.layers.iter().map(|layer| layer.inputs.as_slice()));
    let crossing = |segment: &Range<NodeId>| -> usize {
        segment.clone().filter(|&id| last_reader[id] >= segment.end).map(|id| bytes[id]).sum()
    };
    let whole =
        segments.iter().map(|segment| bytes[segment.clone()].iter().sum::<usize>()).max().unwrap_or(0);
    segments.iter().map(crossing).sum::<usize>() + whole
}

#[cfg(test)]
mod tests;
