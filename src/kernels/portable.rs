//! Convolution as dot products of 16-bit patches, in a form that compilers vectorize.

use super::ConvSpec;
use crate::tensor::{Batch, Shape};
use crate::threads;
use std::hint::black_box;

/// Output positions computed together.
const TILE: usize = 4;
/// Patches are padded to a multiple of this many elements.
const LANES: usize = 16;
/// Output positions of one parallel task.
const TASK: usize = 64;

/// Weights as padded rows of `i16`, zero points moved into the bias.
#[derive(Debug, Clone)]
pub(super) struct PreparedWeights {
    /// One row of `row_len` per output channel, or `taps × channels` for depthwise.
    weights: Vec<i16>,
    row_len: usize,
    bias: Vec<i32>,
    depthwise: bool,
}

impl PreparedWeights {
    pub(super) fn new(spec: &ConvSpec) -> Self {
        let depthwise = spec.group_inputs == 1 && spec.outputs == spec.groups;
        let row_len = spec.channel_len().next_multiple_of(LANES);
        let weights = if depthwise { transposed(spec) } else { padded_rows(spec, row_len) };
        Self { weights, row_len, bias: shifted_bias(spec, 0), depthwise }
    }

    /// Bytes of the weights.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.weights.as_slice())
    }

    /// Calls `store(position, channel, sum)` for every output and collects the results.
    pub(super) fn run<T, F>(&self, spec: &ConvSpec, input: &Batch<u8>, shape: Shape, store: F) -> Batch<T>
    where
        T: Copy + Default + Send,
        F: Fn(usize, usize, i32) -> T + Sync,
    {
        let mut output = Batch::zeroed(input.images, shape);
        if shape.positions() == 1 && input.images == 1 && !self.depthwise {
            self.run_channels(spec, input, shape, &mut output.data, &store);
            return output;
        }
        threads::for_chunks(
            &mut output.data,
            TASK * shape.channels,
            || vec![0i16; TILE * self.row_len],
            |patches, task, rows| {
                let source = ConvInput { spec, input, shape };
                for (tile, rows) in rows.chunks_mut(TILE * shape.channels).enumerate() {
                    self.run_tile(&source, task * TASK + tile * TILE, rows, patches, &store);
                }
            },
        );
        output
    }

    /// One position of one image, split over output channels.
    fn run_channels<T, F>(
        &self,
        spec: &ConvSpec,
        input: &Batch<u8>,
        shape: Shape,
        output: &mut [T],
        store: &F,
    ) where
        T: Copy + Send,
        F: Fn(usize, usize, i32) -> T + Sync,
    {
        let source = ConvInput { spec, input, shape };
        threads::for_chunks(
            output,
            TASK,
            || (usize::MAX, vec![0i16; self.row_len]),
            |(filled, patch), task, outputs| {
                for (offset, output) in outputs.iter_mut().enumerate() {
                    let channel = task * TASK + offset;
                    let group = channel / spec.group_outputs();
                    if *filled != group {
                        source.gather(0, group, patch);
                        *filled = group;
                    }
                    let sum = dot(patch, &self.weights[channel * self.row_len..][..self.row_len]);
                    *output = store(0, channel, sum.wrapping_add(self.bias[channel]));
                }
            },
        );
    }

    fn run_tile<T, F>(&self, source: &ConvInput, first: usize, rows: &mut [T], patches: &mut [i16], store: &F)
    where
        T: Copy,
        F: Fn(usize, usize, i32) -> T,
    {
        if self.depthwise {
            return self.run_depthwise(source, first, rows, store);
        }
        let (channels, per_group) = (source.shape.channels, source.spec.group_outputs());
        let count = rows.len() / channels;
        for group in 0..source.spec.groups {
            for (offset, patch) in patches.chunks_exact_mut(self.row_len).take(count).enumerate() {
                source.gather(first + offset, group, patch);
            }
            for channel in group * per_group..(group + 1) * per_group {
                let weights = &self.weights[channel * self.row_len..][..self.row_len];
                let sums = dots(patches, weights);
                for (offset, sum) in sums.into_iter().enumerate().take(count) {
                    let sum = sum.wrapping_add(self.bias[channel]);
                    rows[offset * channels + channel] = store(first + offset, channel, sum);
                }
            }
        }
    }

    fn run_depthwise<T, F>(&self, source: &ConvInput, first: usize, rows: &mut [T], store: &F)
    where
        F: Fn(usize, usize, i32) -> T,
    {
        let mut sums = vec![0i32; source.shape.channels];
        for (offset, row) in rows.chunks_exact_mut(source.shape.channels).enumerate() {
            sums.copy_from_slice(&self.bias);
            for (tap, weights) in self.weights.chunks_exact(source.shape.channels).enumerate() {
                let codes = source.codes(first + offset, tap);
                for ((sum, &weight), &code) in sums.iter_mut().zip(weights).zip(codes) {
                    *sum = sum.wrapping_add(i32::from(weight) * i32::from(code));
                }
            }
            for (channel, (value, &sum)) in row.iter_mut().zip(&sums).enumerate() {
                *value = store(first + offset, channel, sum);
            }
        }
    }
}

struct ConvInput<'a> {
    spec: &'a ConvSpec,
    input: &'a Batch<u8>,
    shape: Shape,
}

impl ConvInput<'_> {
    /// All input channels under one tap of one output position; padding has the zero points.
    fn codes(&self, position: usize, tap: usize) -> &[u8] {
        let (image, place) = (position / self.shape.positions(), position % self.shape.positions());
        let output = [place / self.shape.width, place % self.shape.width];
        let input = self.input.shape;
        match self.spec.window.source(output, tap, [input.height, input.width]) {
            Some([y, x]) => {
                let start = (y * input.width + x) * input.channels;
                &self.input.image(image)[start..][..input.channels]
            }
            None => &self.spec.zero_points,
        }
    }

    fn gather(&self, position: usize, group: usize, patch: &mut [i16]) {
        let inputs = self.spec.group_inputs;
        for (tap, part) in patch.chunks_exact_mut(inputs).take(self.spec.window.area()).enumerate() {
            let codes = &self.codes(position, tap)[group * inputs..][..inputs];
            for (value, &code) in part.iter_mut().zip(codes) {
                *value = i16::from(code);
            }
        }
    }
}

fn padded_rows(spec: &ConvSpec, row_len: usize) -> Vec<i16> {
    let mut rows = vec![0i16; spec.outputs * row_len];
    let sources = spec.weights.chunks_exact(spec.channel_len());
    for (row, source) in rows.chunks_exact_mut(row_len).zip(sources) {
        for (value, &weight) in row.iter_mut().zip(source) {
            *value = i16::from(weight);
        }
    }
    rows
}

fn transposed(spec: &ConvSpec) -> Vec<i16> {
    let taps = spec.window.area();
    let weight = |tap, channel| i16::from(spec.weights[channel * taps + tap]);
    (0..taps).flat_map(|tap| (0..spec.outputs).map(move |channel| weight(tap, channel))).collect()
}

/// Biases of sums over codes less `origin`: zero points are moved into them.
fn shifted_bias(spec: &ConvSpec, origin: u8) -> Vec<i32> {
    spec.bias.iter().zip(at_zero(spec, origin)).map(|(bias, at_zero)| bias.wrapping_sub(at_zero)).collect()
}

/// For each output channel, the sum over codes less `origin` of an input at its zero points.
pub(super) fn at_zero(spec: &ConvSpec, origin: u8) -> Vec<i32> {
    let zeros: Vec<i16> = spec.zero_points.iter().map(|&zero| i16::from(zero) - i16::from(origin)).collect();
    let sum = |(channel, weights): (usize, &[i8])| {
        let first = channel / spec.group_outputs() * spec.group_inputs;
        let zeros = &zeros[first..][..spec.group_inputs];
        let under_tap = |weights: &[i8]| -> i32 {
            weights.iter().zip(zeros).map(|(&w, &zero)| i32::from(w) * i32::from(zero)).sum()
        };
        weights.chunks_exact(spec.group_inputs).map(under_tap).sum()
    };
    spec.weights.chunks_exact(spec.channel_len()).enumerate().map(sum).collect()
}

/// So many rounds of nothing but dot products that fit the nearest cache; returns the number of products.
pub(super) fn multiply(rounds: usize) -> usize {
    const LEN: usize = 512;
    let (patches, weights) = (vec![1i16; TILE * LEN], vec![1i16; LEN]);
    for _ in 0..rounds {
        black_box(dots(black_box(&patches), black_box(&weights)));
    }
    rounds * TILE * LEN
}

fn dot(patch: &[i16], weights: &[i16]) -> i32 {
    patch.iter().zip(weights).map(|(&x, &w)| i32::from(x) * i32::from(w)).sum()
}

/// Dot products of one weight row with [`TILE`] patches.
#[inline]
fn dots(patches: &[i16], weights: &[i16]) -> [i32; TILE] {
    let len = weights.len();
    let (p0, rest) = patches.split_at(len);
    let (p1, rest) = rest.split_at(len);
    let (p2, p3) = rest.split_at(len);
    let mut sums = [0i32; TILE];
    let places = p0.iter().zip(p1).zip(p2).zip(p3).zip(weights);
    for ((((&x0, &x1), &x2), &x3), &w) in places {
        let w = i32::from(w);
        sums[0] += i32::from(x0) * w;
        sums[1] += i32::from(x1) * w;
        sums[2] += i32::from(x2) * w;
        sums[3] += i32::from(x3) * w;
    }
    sums
}
