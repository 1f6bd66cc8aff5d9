//! Reverse mode: a forward pass that keeps what the backward pass needs.

use super::backward::{
    Backward, Example, Moments, WantedGradients, add_all, backward, batch_norm, batch_norm_by,
};
use super::network::{Function, LayerId, Network, TrainedLayer};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::BatchNorm;
use crate::wide;
use part::{BatchPart, Reverse};
use passage::{Passage, by_batch, sums_at_a_time};
use rayon::prelude::*;
use std::ops::Range;

mod part;
mod passage;
#[cfg(test)]
mod tests;

/// A value of every image of a batch, each in the order channel, row, column.
pub(super) type BatchValue = Vec<Vec<f32>>;

/// Parts of a batch whose parameter gradients are summed on their own, then in order: the same bits on any number of
/// threads.
const PARTS: usize = 8;

/// A forward pass over a batch.
///
/// Each part of the batch goes through many layers, a few images at a time, so that most values are read while caches hold
/// them. Values are kept as far as the budget allows. Beyond it the layers are divided into segments, and only what crosses
/// from one to the next is kept; the backward pass computes a segment's values again (Chen et al., arXiv 1604.06174).
pub(super) struct Tape<'n> {
    network: &'n Network,
    /// The layer whose values are given, and the last that is computed.
    ends: [LayerId; 2],
    passage: Passage,
    parts: Vec<BatchPart>,
    moments: Vec<Option<Moments>>,
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
        wanted: &[LayerId],
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
        ends: [LayerId; 2],
        values: BatchValue,
        budget: usize,
    ) -> Result<Self> {
        Self::run(network, ends, &[], values, budget)
    }

    fn run(
        network: &'n Network,
        ends: [LayerId; 2],
        wanted: &[LayerId],
        values: BatchValue,
        budget: usize,
    ) -> Result<Self> {
        let layers = network.layers.len();
        let mut tape = Self {
            network,
            ends,
            passage: Passage::new(network, ends, wanted, values.len(), budget),
            parts: divided(values).map(|values| BatchPart::new(ends[0], values, layers)).collect(),
            moments: vec![None; layers],
        };
        for segment in 0..tape.passage.segments.len() {
            tape.compute(segment)?;
            let Self { passage, parts, .. } = &mut tape;
            passage.forgotten(segment).for_each(|id| parts.iter_mut().for_each(|part| part.forget(id)));
        }
        Ok(tape)
    }

    /// The values of the last layer: of a whole network the logits.
    pub(super) fn outputs(&self) -> Vec<&[f32]> {
        self.feature(self.ends[1])
    }

    /// The values of a layer that is kept.
    pub(super) fn feature(&self, id: LayerId) -> Vec<&[f32]> {
        self.parts.iter().flat_map(|part| part.values(id)).collect()
    }

    /// The gradients of a loss, given those of some layers' values.
    ///
    /// # Errors
    /// As [`Tape::forward`].
    pub(super) fn backward(&mut self, seeds: Vec<(LayerId, BatchValue)>) -> Result<Gradients> {
        for (id, seed) in seeds {
            self.add_gradients(id, seed);
        }
        let reached = self.network.reached(self.ends[0]);
        let mut result: Gradients = vec![Vec::new(); self.network.layers.len()];
        for segment in (0..self.passage.segments.len()).rev() {
            self.compute(segment)?;
            for stretch in self.passage.segments[segment].stretches.clone().into_iter().rev() {
                let layers = stretch.clone();
                let gradients = self.stretch_back(stretch, &reached)?;
                for (id, gradients) in layers.zip(gradients) {
                    if !gradients.iter().all(|values| wide::are_finite(values)) {
                        return Err(not_finite("a gradient").at_node(&self.network.layers[id].name));
                    }
                    result[id] = gradients;
                }
            }
        }
        Ok(result)
    }

    /// Computes the values of a segment that are not there.
    fn compute(&mut self, segment: usize) -> Result<()> {
        for stretch in self.passage.segments[segment].stretches.clone() {
            if let Some(norm) = by_batch(self.network, stretch.start) {
                self.normalise(norm, stretch.start);
            } else {
                let (network, passage) = (self.network, &self.passage);
                self.parts
                    .par_iter_mut()
                    .try_for_each(|part| part.compute(network, passage, stretch.clone()))?;
            }
        }
        Ok(())
    }

    fn normalise(&mut self, norm: &BatchNorm, id: LayerId) {
        if self.parts.iter().all(|part| part.has(&self.passage, id)) {
            return;
        }
        let layer = &self.network.layers[id];
        let inputs = self.feature(layer.inputs[0]);
        let (values, moments) = batch_norm(norm, &inputs, layer.shape);
        self.moments[id] = Some(moments);
        self.parts.iter_mut().zip(divided(values)).for_each(|(part, values)| part.set(id, values));
    }

    fn add_gradients(&mut self, id: LayerId, gradients: BatchValue) {
        self.parts.iter_mut().zip(divided(gradients)).for_each(|(part, gradients)| {
            gradients
                .into_iter()
                .enumerate()
                .for_each(|(image, gradient)| part.add_gradient(id, image, gradient));
        });
    }

    /// Takes the gradients of a stretch's values to what it reads; gradients of its parameters, layer by layer.
    fn stretch_back(&mut self, stretch: Range<LayerId>, reached: &[bool]) -> Result<Gradients> {
        if let Some(norm) = by_batch(self.network, stretch.start) {
            return Ok(vec![self.normalised_back(norm, stretch.start, reached)]);
        }
        let network = self.network;
        let reverse = |id: LayerId| Reverse::new(network, id, reached);
        let reverses: Vec<Option<Reverse>> =
            stretch.clone().into_par_iter().map(reverse).collect::<Result<_>>()?;
        let together = self.parts.len().div_ceil(sums_at_a_time(network, stretch.clone()));
        let back = |parts: &mut [BatchPart]| {
            let mut sums = vec![Vec::new(); stretch.len()];
            parts
                .iter_mut()
                .try_for_each(|part| part.back(network, stretch.clone(), &reverses, &mut sums))?;
            Ok(sums)
        };
        let mut parts: Vec<Gradients> =
            self.parts.par_chunks_mut(together).map(back).collect::<Result<_>>()?;
        let mut of_layer =
            |layer: usize| parts.iter_mut().map(|sums| std::mem::take(&mut sums[layer])).collect();
        let by_layer: Vec<Gradients> = (0..stretch.len()).map(&mut of_layer).collect();
        let summed = |(reverse, parts): (&Option<Reverse>, Gradients)| {
            let mut whole = Vec::new();
            parts.into_iter().for_each(|sums| add_all(&mut whole, sums));
            reverse.as_ref().map_or_else(Vec::new, |reverse| reverse.parameters(whole))
        };
        Ok(reverses.par_iter().zip(by_layer).map(summed).collect())
    }

    fn normalised_back(&mut self, norm: &BatchNorm, id: LayerId, reached: &[bool]) -> Vec<Vec<f32>> {
        let layer = &self.network.layers[id];
        let gradients: Vec<&[f32]> = self.parts.iter().flat_map(|part| part.gradients(id)).collect();
        let (Some(moments), true) = (&self.moments[id], reached[id] && !gradients.is_empty()) else {
            return Vec::new();
        };
        let inputs = self.feature(layer.inputs[0]);
        let Backward { inputs, parameters } = batch_norm_by(norm, moments, &inputs, &gradients, layer.shape);
        let input = layer.inputs[0];
        if reached[input] {
            self.add_gradients(input, inputs.into_iter().flatten().collect());
        }
        if layer.trainable { parameters } else { Vec::new() }
    }
}

/// The images of every part.
fn divided(images: BatchValue) -> impl Iterator<Item = BatchValue> {
    let count = images.len();
    let parts = PARTS.min(count).max(1);
    let mut images = images.into_iter();
    (0..parts)
        .map(move |part| images.by_ref().take((part + 1) * count / parts - part * count / parts).collect())
}

fn not_finite(what: &str) -> Error {
    let message = format!("{what} is not finite; a lower `rate` may help");
    Error::new(ErrorKind::NonFinite, message)
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
