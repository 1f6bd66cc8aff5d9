//! Second moments of a layer's real inputs and of the outputs it should have.

mod sums;

use super::matrix::{filled, in_panels};
use super::patches::Patches;
use super::teacher::Teacher;
use super::vector::dot;
use crate::calibrate::{CHUNK, Spool};
use crate::error::Result;
use crate::graph::NodeId;
use crate::tensor::{Batch, Shape};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;
use sums::{InputSums, WantedBlock, WantedSums};

/// Positions gathered before they are multiplied: of so many products of centred codes, at most 128² each, every sum is
/// exact in `f32`.
const BLOCK: usize = 1024;
/// Positions that one task maps.
const TOGETHER: usize = 256;
/// Chunks of images whose blocks are made side by side.
const CHUNKS_AT_ONCE: usize = 4;
/// What is taken from every code, so that products are small. Covariances do not mind.
const CENTRE: f64 = 128.0;
/// Fewest positions sampled, and positions per input of the layer.
const MIN_SAMPLES: usize = 16_384;
const SAMPLES_PER_INPUT: usize = 48;
/// Fewest positions of layers with channel groups, of which each has few inputs.
const MIN_GROUPED_SAMPLES: usize = 4096;

/// Covariances of one channel group of a convolution, over sampled output positions.
pub(super) struct Gram {
    /// Layers that read the same patches share them.
    pub inputs: Arc<Inputs>,
    pub wanted: Wanted,
}

/// Moments of the inputs, in steps. Their sums are sums of integers and exact.
pub(super) struct Inputs {
    /// `inputs × inputs`.
    pub covariance: Mat<f64>,
    /// Mean distance of each input from the zero point.
    pub means: Vec<f64>,
    /// The zero point less what is taken from every code.
    pub zero: f64,
}

impl Inputs {
    /// The moments of some of the inputs.
    pub(super) fn part(&self, inputs: &[usize]) -> Self {
        Self {
            covariance: filled(inputs.len(), inputs.len(), |i, j| self.covariance[(inputs[i], inputs[j])]),
            means: inputs.iter().map(|&input| self.means[input]).collect(),
            zero: self.zero,
        }
    }

    /// The least variance that rounding to whole steps adds to an input: a twelfth where it is not exactly zero, which it
    /// is not in at least the share `m²/E[x²]` of all places (Cauchy and Schwarz).
    pub(super) fn rounding(&self, input: usize) -> f64 {
        let (square, variance) = (self.means[input].powi(2), self.covariance[(input, input)]);
        if square > 0.0 { square / (square + variance) / 12.0 } else { 0.0 }
    }

    /// Means of the centred codes.
    fn centred_means(&self) -> Vec<f64> {
        self.means.iter().map(|mean| mean + self.zero).collect()
    }
}

/// What the outputs should be.
pub(super) struct Wanted {
    /// `inputs × outputs`: covariance of inputs and wanted outputs.
    pub cross: Mat<f64>,
    /// Mean of each wanted output.
    pub means: Vec<f64>,
    /// Variance of each wanted output, without what it makes up for in a residual: that is mostly noise which no output of
    /// the layer follows, and must not make it louder.
    pub variances: Vec<f64>,
}

/// One channel group as a linear map of centred codes.
pub(super) struct Linear {
    /// `outputs × inputs`.
    weights: Mat<f32>,
    bias: Vec<f32>,
}

impl Linear {
    /// The map with these weights, `inputs × outputs`, and the wanted means.
    pub(super) fn new(weights: &Mat<f64>, gram: &Gram) -> Self {
        let means = gram.inputs.centred_means();
        let bias = gram.wanted.means.iter().enumerate();
        let bias = bias.map(|(output, mean)| (mean - dot(weights.col_as_slice(output), &means)) as f32);
        Self {
            bias: bias.collect(),
            weights: filled(weights.ncols(), weights.nrows(), |o, i| weights[(i, o)] as f32),
        }
    }

    fn apply(&self, inputs: &Mat<f32>) -> Mat<f32> {
        let mut outputs = Mat::from_fn(self.bias.len(), inputs.ncols(), |output, _| self.bias[output]);
        in_panels(outputs.as_mut(), TOGETHER, |start, outputs| {
            let inputs = inputs.get(.., start..start + outputs.ncols());
            matmul(outputs, Accum::Add, self.weights.as_ref(), inputs, 1.0, Par::Seq);
        });
        outputs
    }
}

/// The patches of activations that a layer reads at sampled positions.
pub(super) struct Sampler<'a> {
    pub patches: Patches,
    /// The largest patches for which the same positions are sampled.
    pub host: Patches,
    /// The integer activations, their shape and their zero point per channel.
    pub activations: &'a Spool,
    pub shape: Shape,
    pub zero_point: u8,
}

/// A position of an image of a chunk.
type SamplePosition = (usize, usize);

impl Sampler<'_> {
    /// The moments of each channel group's inputs.
    pub(super) fn moments(&self) -> Result<Vec<Arc<Inputs>>> {
        let groups = 0..self.patches.groups;
        let mut sums: Vec<InputSums> = groups.map(|_| InputSums::new(self.patches.len())).collect();
        for chunks in self.chunks() {
            let blocks: Vec<ChunkBlocks<Mat<f32>>> = chunks
                .into_par_iter()
                .map(|index| self.blocks(index, |_, _, inputs| inputs))
                .collect::<Result<_>>()?;
            sums.par_iter_mut().enumerate().for_each(|(group, sums)| {
                sums.add(&blocks.iter().flat_map(|chunk| &chunk[group]).collect::<Vec<_>>());
            });
        }
        Ok(sums.into_iter().map(|sums| Arc::new(sums.finish(self.zero()))).collect())
    }

    /// Chunks that are looked at together.
    fn chunks(&self) -> impl Iterator<Item = Range<usize>> {
        let chunks = self.activations.chunks();
        (0..chunks).step_by(CHUNKS_AT_ONCE).map(move |first| first..chunks.min(first + CHUNKS_AT_ONCE))
    }

    /// What `make` makes of the channel group, places and inputs of every block of a chunk.
    fn blocks<T: Send>(
        &self,
        index: usize,
        make: impl Fn(usize, Range<usize>, Mat<f32>) -> T + Sync,
    ) -> Result<ChunkBlocks<T>> {
        let batch = self.activations.chunk(index)?;
        let places = self.places(index, batch.images);
        let (sources, taps) = (self.sources(&places), self.patches.window.area());
        let block = |group: usize, start: usize| {
            let places = start..places.len().min(start + BLOCK);
            let inputs = self.gather(&batch, &sources[taps * places.start..taps * places.end], group);
            make(group, places, inputs)
        };
        let of_group = |group| (0..places.len()).step_by(BLOCK).map(|start| block(group, start)).collect();
        Ok((0..self.patches.groups).into_par_iter().map(of_group).collect())
    }

    /// The zero point as a centred code.
    fn zero(&self) -> f64 {
        f64::from(self.zero_point) - CENTRE
    }

    /// The sampled positions of a chunk's images.
    fn places(&self, chunk: usize, images: usize) -> Vec<SamplePosition> {
        let of_image = |image| self.places_of(chunk * CHUNK + image).map(move |position| (image, position));
        (0..images).flat_map(of_image).collect()
    }

    /// The sampled positions of an image.
    fn places_of(&self, image: usize) -> impl Iterator<Item = usize> + use<> {
        let positions = self.patches.positions();
        let least = if self.host.groups > 1 { MIN_GROUPED_SAMPLES } else { MIN_SAMPLES };
        let wanted = least.max(SAMPLES_PER_INPUT * self.host.len());
        let per_image = wanted.div_ceil(self.activations.images().max(1)).clamp(1, positions);
        sampled(positions, per_image, image)
    }

    /// Where in a chunk's codes the inputs of every tap begin, place by place; none for padding.
    fn sources(&self, places: &[SamplePosition]) -> Vec<Option<usize>> {
        let Shape { height, width, channels } = self.shape;
        let Patches { window, output: [_, columns], .. } = self.patches;
        let source = |&(image, position): &SamplePosition| {
            let start = image * self.shape.len();
            (0..window.area()).map(move |tap| {
                let [y, x] = window.source([position / columns, position % columns], tap, [height, width])?;
                Some(start + (y * width + x) * channels)
            })
        };
        places.iter().flat_map(source).collect()
    }

    /// The patches of a channel group as columns of centred codes. Padding has the zero point.
    fn gather(&self, batch: &Batch<u8>, sources: &[Option<usize>], group: usize) -> Mat<f32> {
        let (taps, inputs) = (self.patches.window.area(), self.patches.group_inputs);
        let mut patches = Mat::full(self.patches.len(), sources.len() / taps, self.zero() as f32);
        for (column, sources) in sources.chunks_exact(taps).enumerate() {
            let parts = patches.col_as_slice_mut(column).chunks_exact_mut(inputs);
            for (part, source) in parts.zip(sources) {
                let Some(start) = source else { continue };
                let codes = &batch.data[start + group * inputs..][..inputs];
                part.iter_mut()
                    .zip(codes)
                    .for_each(|(value, &code)| *value = f32::from(code) - CENTRE as f32);
            }
        }
        patches
    }
}

/// By channel group, what was made of every block.
type ChunkBlocks<T> = Vec<Vec<T>>;

/// What the outputs of a layer should be, in full precision.
pub(super) struct WantedOutputs<'a> {
    pub teacher: &'a Teacher<'a>,
    /// The node that makes them.
    pub target: NodeId,
    /// Integer residual (activations, zero point, scale) and the full-precision residual.
    pub residual: Option<(&'a Spool, u8, f64, NodeId)>,
    /// Bounds of the layer's activation.
    pub clamp: [f32; 2],
}

/// A layer's inputs and wanted outputs.
pub(super) struct Samples<'a> {
    pub sampler: Sampler<'a>,
    /// Of each channel group's inputs.
    pub moments: Vec<Arc<Inputs>>,
    clamp: [f32; 2],
    channels: usize,
    /// Chunk by chunk.
    outputs: Vec<SampledOutputs>,
}

impl<'a> Samples<'a> {
    /// Reads what is wanted at the sampled positions.
    pub(super) fn new(
        sampler: Sampler<'a>,
        moments: Vec<Arc<Inputs>>,
        wanted: &WantedOutputs,
    ) -> Result<Self> {
        let chunks = 0..sampler.activations.chunks();
        let outputs =
            chunks.map(|index| SampledOutputs::new(&sampler, wanted, index)).collect::<Result<_>>()?;
        let channels = wanted.teacher.shape(wanted.target).channels;
        Ok(Self { sampler, moments, clamp: wanted.clamp, channels, outputs })
    }

    /// The covariances of every channel group.
    pub(super) fn grams(&self) -> Result<Vec<Gram>> {
        let wanted = self.sums(|_, block| block.wanted.clone())?;
        let gram = |(inputs, wanted): (&Arc<Inputs>, _)| Gram { inputs: Arc::clone(inputs), wanted };
        Ok(self.moments.iter().zip(wanted).map(gram).collect())
    }

    /// Whether the layer's activation hides some outputs.
    pub(super) fn is_clamped(&self) -> bool {
        self.clamp.iter().any(|bound| bound.is_finite())
    }

    /// The outputs to want instead, one map per channel group being what the layer now yields: where both lie
    /// beyond the same bound of the activation, the difference is hidden and what it yields is right.
    ///
    /// A minimisation by majorisation of the error after the activation (Zhang et al., arXiv 1505.06798, take
    /// the same nonlinearity into account by an auxiliary variable).
    pub(super) fn hidden_errors_allowed(&self, now: &[Linear]) -> Result<Vec<Wanted>> {
        self.sums(|group, block| {
            let mut wanted = now[group].apply(&block.inputs);
            for column in 0..wanted.ncols() {
                let target = block.wanted.col_as_slice(column);
                for (output, value) in wanted.col_as_slice_mut(column).iter_mut().enumerate() {
                    let residual = block.residual.as_ref().map_or(0.0, |residual| residual[(output, column)]);
                    let bounds = self.clamp.map(|bound| bound - residual);
                    *value = visible(target[output], *value, bounds);
                }
            }
            wanted
        })
    }

    /// Sums over all sampled positions of the outputs that `wanted` gives for a block of a channel group.
    fn sums(&self, wanted: impl Fn(usize, &SampleColumns) -> Mat<f32> + Sync) -> Result<Vec<Wanted>> {
        let Patches { groups, .. } = self.sampler.patches;
        let outputs = self.channels / groups;
        let mut sums: Vec<WantedSums> =
            (0..groups).map(|_| WantedSums::new(self.sampler.patches.len(), outputs)).collect();
        for chunks in self.sampler.chunks() {
            let blocks: Vec<ChunkBlocks<(SampleColumns, Mat<f32>)>> =
                chunks.into_par_iter().map(|index| self.blocks(index, &wanted)).collect::<Result<_>>()?;
            sums.par_iter_mut().enumerate().for_each(|(group, sums)| {
                let blocks = blocks.iter().flat_map(|chunk| &chunk[group]);
                sums.add(&blocks.map(|(columns, wanted)| columns.wanting(wanted)).collect::<Vec<_>>());
            });
        }
        let means = self.moments.iter().map(|inputs| inputs.centred_means());
        Ok(sums.into_iter().zip(means).map(|(sums, means)| sums.finish(&means)).collect())
    }

    fn blocks(
        &self,
        index: usize,
        wanted: impl Fn(usize, &SampleColumns) -> Mat<f32> + Sync,
    ) -> Result<ChunkBlocks<(SampleColumns, Mat<f32>)>> {
        let SampledOutputs { wanted: values, residuals, corrections } = &self.outputs[index];
        self.sampler.blocks(index, |group, places, inputs| {
            let outputs = self.channels / self.sampler.patches.groups;
            let of = |values: &[f32]| {
                let mut columns = Mat::zeros(outputs, places.len());
                for (column, place) in places.clone().enumerate() {
                    let values = &values[place * self.channels + group * outputs..][..outputs];
                    columns.col_as_slice_mut(column).copy_from_slice(values);
                }
                columns
            };
            let columns = SampleColumns {
                inputs,
                wanted: of(values),
                residual: (!residuals.is_empty()).then(|| of(residuals)),
                corrections: (!corrections.is_empty()).then(|| of(corrections)),
            };
            let wanted = wanted(group, &columns);
            (columns, wanted)
        })
    }
}

/// At the sampled places of a chunk: per place and channel.
#[derive(Default)]
struct SampledOutputs {
    wanted: Vec<f32>,
    /// What is added to each output afterwards; empty if nothing.
    residuals: Vec<f32>,
    /// By how much that is wrong; empty if nothing is added.
    corrections: Vec<f32>,
}

impl SampledOutputs {
    fn new(sampler: &Sampler, wanted: &WantedOutputs, index: usize) -> Result<Self> {
        let first = index * CHUNK;
        let images = CHUNK.min(sampler.activations.images() - first);
        let of_image = |image: usize| Self::of_image(sampler, wanted, first + image);
        let parts: Vec<Self> = (0..images).into_par_iter().map(of_image).collect::<Result<_>>()?;
        let join = |part: fn(&Self) -> &Vec<f32>| parts.iter().flat_map(part).copied().collect();
        Ok(Self {
            wanted: join(|part| &part.wanted),
            residuals: join(|part| &part.residuals),
            corrections: join(|part| &part.corrections),
        })
    }

    fn of_image(sampler: &Sampler, wanted: &WantedOutputs, image: usize) -> Result<Self> {
        let positions = sampler.patches.positions();
        let places: Vec<usize> = sampler.places_of(image).collect();
        let channels = wanted.teacher.shape(wanted.target).channels;
        let at_places = |values: &[f32]| -> Vec<f32> {
            let mut taken = vec![0.0; places.len() * channels];
            for (channel, values) in values.chunks_exact(positions).enumerate() {
                let taken = taken[channel..].iter_mut().step_by(channels);
                taken.zip(&places).for_each(|(taken, &place)| *taken = values[place]);
            }
            taken
        };
        let mut outputs =
            Self { wanted: at_places(&wanted.teacher.image(wanted.target, image)?), ..Self::default() };
        if let Some((spool, zero, scale, node)) = wanted.residual {
            let codes = spool.image(image)?;
            let real = |&code: &u8| ((f64::from(code) - f64::from(zero)) * scale) as f32;
            outputs.residuals = places
                .iter()
                .flat_map(|place| codes[place * channels..][..channels].iter().map(real))
                .collect();
            let full = at_places(&wanted.teacher.image(node, image)?);
            outputs.corrections =
                full.iter().zip(&outputs.residuals).map(|(full, real)| full - real).collect();
            let corrected = outputs.wanted.iter_mut().zip(&outputs.corrections);
            corrected.for_each(|(wanted, correction)| *wanted += correction);
        }
        Ok(outputs)
    }
}

/// Sampled positions of one channel group as columns.
struct SampleColumns {
    inputs: Mat<f32>,
    wanted: Mat<f32>,
    residual: Option<Mat<f32>>,
    corrections: Option<Mat<f32>>,
}

impl SampleColumns {
    fn wanting<'a>(&'a self, wanted: &'a Mat<f32>) -> WantedBlock<'a> {
        WantedBlock { inputs: &self.inputs, wanted, corrections: self.corrections.as_ref() }
    }
}

/// The output to want given what is wanted and what there is, if an activation with `bounds` follows.
fn visible(wanted: f32, now: f32, [low, high]: [f32; 2]) -> f32 {
    if wanted <= low {
        now.min(low)
    } else if wanted >= high {
        now.max(high)
    } else {
        wanted
    }
}

/// `count` of `positions`, evenly spread, shifted from image to image.
fn sampled(positions: usize, count: usize, image: usize) -> impl Iterator<Item = usize> + use<> {
    let shift = image * 7919 % positions;
    (0..count).map(move |index| (index * positions / count + shift) % positions)
}

#[cfg(test)]
mod tests;
