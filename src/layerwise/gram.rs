//! Second moments of a layer's real inputs and of the outputs it should have.

mod sums;

use super::spread::dot;
use super::teacher::Teacher;
use crate::calibrate::{CHUNK, Spool};
use crate::error::Result;
use crate::graph::NodeId;
use crate::quantize::QuantizedConv;
use crate::tensor::{Batch, Shape};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use std::sync::Arc;
use sums::{Sums, WantedSums};

/// Positions gathered before they are multiplied.
const BLOCK: usize = 1024;
/// Fewest positions sampled, and positions per input of the layer.
const MIN_SAMPLES: usize = 16_384;
const SAMPLES_PER_INPUT: usize = 48;

/// Covariances of one channel group of a convolution, over sampled output positions.
pub(super) struct Gram {
    /// Layers that read the same patches share them.
    pub inputs: Arc<Inputs>,
    pub wanted: Wanted,
}

/// Moments of the inputs. They are integers, distances from the zero point, so their sums are exact in `f64`.
pub(super) struct Inputs {
    /// `inputs × inputs`.
    pub covariance: Mat<f64>,
    /// Mean of each input.
    pub means: Vec<f64>,
}

/// What the outputs should be.
pub(super) struct Wanted {
    /// `inputs × outputs`: covariance of inputs and wanted outputs.
    pub cross: Mat<f64>,
    /// Mean of each wanted output.
    pub means: Vec<f64>,
    /// Variance of each wanted output.
    pub variances: Vec<f64>,
}

/// One channel group as a linear map in full precision.
pub(super) struct Linear {
    /// `inputs × outputs`.
    pub weights: Mat<f64>,
    pub bias: Vec<f64>,
}

impl Linear {
    /// The map with the wanted means.
    pub(super) fn new(weights: &Mat<f64>, gram: &Gram) -> Self {
        let bias = gram.wanted.means.iter().enumerate();
        let bias =
            bias.map(|(output, mean)| mean - dot(weights.col_as_slice(output), &gram.inputs.means)).collect();
        Self { weights: weights.clone(), bias }
    }

    fn apply(&self, inputs: &Mat<f64>) -> Mat<f64> {
        let mut outputs = Mat::from_fn(self.bias.len(), inputs.ncols(), |output, _| self.bias[output]);
        matmul(outputs.as_mut(), Accum::Add, self.weights.transpose(), inputs.as_ref(), 1.0, Par::Seq);
        outputs
    }
}

/// Where a layer's inputs and wanted outputs are.
pub(super) struct Samples<'a> {
    pub conv: &'a QuantizedConv,
    /// The integer activations that the layer reads, and their zero point per channel.
    pub inputs: &'a Spool,
    pub zero_points: &'a [u8],
    pub input_shape: Shape,
    /// The full-precision outputs.
    pub teacher: &'a Teacher<'a>,
    pub target: NodeId,
    /// Integer residual (activations, zero point, scale) and the full-precision residual.
    pub residual: Option<(&'a Spool, u8, f64, NodeId)>,
}

impl Samples<'_> {
    /// The covariances of every channel group.
    pub(super) fn gram(&self) -> Result<Vec<Gram>> {
        let mut sums = self.each_group(Sums::new);
        self.each_block(|group, block| sums[group].add(&block.inputs, &block.wanted))?;
        Ok(sums.into_iter().map(Sums::finish).collect())
    }

    /// The same, where the moments of the inputs are known from another layer.
    pub(super) fn gram_with(&self, inputs: &[Arc<Inputs>]) -> Result<Vec<Gram>> {
        let mut sums = self.each_group(WantedSums::new);
        self.each_block(|group, block| sums[group].add(&block.inputs, &block.wanted))?;
        let grams = sums.into_iter().zip(inputs);
        Ok(grams.map(|(sums, inputs)| Gram { inputs: Arc::clone(inputs), wanted: sums.finish() }).collect())
    }

    /// Whether the layer's activation hides some outputs.
    pub(super) fn is_clamped(&self) -> bool {
        self.conv.clamp.iter().any(|bound| bound.is_finite())
    }

    /// The outputs to want instead, one map per channel group being what the layer now yields: where both lie
    /// beyond the same bound of the activation, the difference is hidden and what it yields is right.
    ///
    /// A minimisation by majorisation of the error after the activation (Zhang et al., arXiv 1505.06798, take
    /// the same nonlinearity into account by an auxiliary variable).
    pub(super) fn hidden_errors_allowed(&self, now: &[Linear]) -> Result<Vec<Wanted>> {
        let mut sums = self.each_group(WantedSums::new);
        self.each_block(|group, block| {
            let mut wanted = now[group].apply(&block.inputs);
            for column in 0..wanted.ncols() {
                let target = block.wanted.col_as_slice(column);
                for (output, value) in wanted.col_as_slice_mut(column).iter_mut().enumerate() {
                    let residual = block.residual.as_ref().map_or(0.0, |residual| residual[(output, column)]);
                    let bounds = self.conv.clamp.map(|bound| f64::from(bound) - residual);
                    *value = visible(target[output], *value, bounds);
                }
            }
            sums[group].add(&block.inputs, &wanted);
        })?;
        Ok(sums.into_iter().map(WantedSums::finish).collect())
    }

    fn each_group<T>(&self, new: impl Fn(usize, usize) -> T) -> Vec<T> {
        let (inputs, outputs) = self.group_shape();
        (0..self.conv.groups).map(|_| new(inputs, outputs)).collect()
    }

    fn group_shape(&self) -> (usize, usize) {
        (self.conv.window.area() * self.conv.group_inputs, self.conv.outputs / self.conv.groups)
    }

    /// Calls `visit(channel group, block)` for all sampled positions in blocks.
    fn each_block(&self, mut visit: impl FnMut(usize, &Block)) -> Result<()> {
        let shape = self.teacher.shape(self.target);
        let per_image = self.positions_per_image(shape);
        for index in 0..self.inputs.chunks() {
            let chunk = self.chunk_rows(index, shape, per_image)?;
            for group in 0..self.conv.groups {
                let blocks = (0..chunk.places.len()).step_by(BLOCK);
                blocks.for_each(|start| visit(group, &self.block(&chunk, group, start)));
            }
        }
        Ok(())
    }

    fn positions_per_image(&self, shape: Shape) -> usize {
        let wanted = MIN_SAMPLES.max(SAMPLES_PER_INPUT * self.group_shape().0);
        wanted.div_ceil(self.inputs.images().max(1)).clamp(1, shape.positions())
    }

    /// The sampled positions of a chunk: batch, image, position, wanted outputs.
    fn chunk_rows(&self, index: usize, shape: Shape, per_image: usize) -> Result<Chunk> {
        let batch = self.inputs.chunk(index)?;
        let targets = self.teacher.chunk(self.target, index)?;
        let residual = match self.residual {
            Some((spool, zero, scale, node)) => {
                Some((spool.chunk(index)?, zero, scale, self.teacher.chunk(node, index)?))
            }
            None => None,
        };
        let mut places = Vec::with_capacity(batch.images * per_image);
        let mut wanted = Vec::with_capacity(batch.images * per_image * shape.channels);
        let mut residuals = Vec::new();
        for (image, target) in targets.iter().enumerate() {
            for position in sampled(shape.positions(), per_image, index * CHUNK + image) {
                places.push((image, position));
                for channel in 0..shape.channels {
                    let at = channel * shape.positions() + position;
                    let mut value = f64::from(target[at]);
                    if let Some((batch, zero, scale, full)) = &residual {
                        let code = batch.image(image)[position * shape.channels + channel];
                        let real = (f64::from(code) - f64::from(*zero)) * scale;
                        value += f64::from(full[image][at]) - real;
                        residuals.push(real);
                    }
                    wanted.push(value);
                }
            }
        }
        Ok(Chunk { batch, places, wanted, residuals, shape })
    }

    fn block(&self, chunk: &Chunk, group: usize, start: usize) -> Block {
        let (inputs, outputs) = self.group_shape();
        let places = &chunk.places[start..chunk.places.len().min(start + BLOCK)];
        let mut patches = Mat::<f64>::zeros(inputs, places.len());
        for (column, &(image, position)) in places.iter().enumerate() {
            self.gather(chunk, image, position, group, patches.col_as_slice_mut(column));
        }
        let outputs_of = |values: &[f64]| {
            let at = |column: usize| (start + column) * chunk.shape.channels + group * outputs;
            Mat::from_fn(outputs, places.len(), |output, column| values[at(column) + output])
        };
        let residual = (!chunk.residuals.is_empty()).then(|| outputs_of(&chunk.residuals));
        Block { inputs: patches, wanted: outputs_of(&chunk.wanted), residual }
    }

    fn gather(&self, chunk: &Chunk, image: usize, position: usize, group: usize, patch: &mut [f64]) {
        let Shape { height, width, channels } = self.input_shape;
        let codes = chunk.batch.image(image);
        let place = [position / chunk.shape.width, position % chunk.shape.width];
        let inputs = self.conv.group_inputs;
        for (tap, patch) in patch.chunks_exact_mut(inputs).enumerate() {
            // Padding has the zero point: a distance of zero.
            let Some([y, x]) = self.conv.window.source(place, tap, [height, width]) else { continue };
            let start = (y * width + x) * channels + group * inputs;
            let zeros = &self.zero_points[group * inputs..];
            for ((value, &code), &zero) in patch.iter_mut().zip(&codes[start..]).zip(zeros) {
                *value = f64::from(code) - f64::from(zero);
            }
        }
    }
}

struct Chunk {
    batch: Batch<u8>,
    places: Vec<(usize, usize)>,
    /// Per position and channel.
    wanted: Vec<f64>,
    /// What is added to each output afterwards; empty if nothing.
    residuals: Vec<f64>,
    shape: Shape,
}

/// Sampled positions of one channel group as columns.
struct Block {
    inputs: Mat<f64>,
    wanted: Mat<f64>,
    residual: Option<Mat<f64>>,
}

/// The output to want given what is wanted and what there is, if an activation with `bounds` follows.
fn visible(wanted: f64, now: f64, [low, high]: [f64; 2]) -> f64 {
    if wanted <= low {
        now.min(low)
    } else if wanted >= high {
        now.max(high)
    } else {
        wanted
    }
}

/// `count` of `positions`, evenly spread, shifted from image to image.
fn sampled(positions: usize, count: usize, image: usize) -> impl Iterator<Item = usize> {
    let shift = image * 7919 % positions;
    (0..count).map(move |index| (index * positions / count + shift) % positions)
}

#[cfg(test)]
mod tests;
