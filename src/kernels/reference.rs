//! The definition of convolution and requantization; clarity before speed.

use super::{ConvSpec, Epilogue};
use crate::tensor::{Batch, Shape};

/// `bias + Σ w·(x − zero point)`; positions in the padding contribute nothing.
pub(super) fn sums(spec: &ConvSpec, input: &Batch<u8>, shape: Shape) -> Batch<i32> {
    let mut output = Batch::zeroed(input.images, shape);
    let places = (0..input.images).flat_map(|n| positions(shape).map(move |p| (n, p)));
    for ((image, position), row) in places.zip(output.data.chunks_exact_mut(shape.channels)) {
        for (channel, sum) in row.iter_mut().enumerate() {
            *sum = spec.bias[channel] + dot(spec, input.image(image), input.shape, position, channel);
        }
    }
    output
}

/// Convolution with every sum stored as a code.
pub(super) fn codes(
    spec: &ConvSpec,
    input: &Batch<u8>,
    shape: Shape,
    residual: Option<&Batch<u8>>,
    epilogue: &Epilogue,
) -> Batch<u8> {
    let sums = sums(spec, input, shape);
    let code = |(index, &sum): (usize, &i32)| {
        epilogue.code(index % shape.channels, sum, residual.map_or(0, |r| r.data[index]))
    };
    Batch { images: input.images, shape, data: sums.data.iter().enumerate().map(code).collect() }
}

fn positions(shape: Shape) -> impl Iterator<Item = [usize; 2]> {
    (0..shape.height).flat_map(move |y| (0..shape.width).map(move |x| [y, x]))
}

fn dot(spec: &ConvSpec, image: &[u8], shape: Shape, position: [usize; 2], channel: usize) -> i32 {
    let first = channel / spec.group_outputs() * spec.group_inputs;
    let weights = &spec.weights[channel * spec.channel_len()..][..spec.channel_len()];
    let mut sum = 0;
    for (tap, weights) in weights.chunks_exact(spec.group_inputs).enumerate() {
        let Some(at) = spec.window.source(position, tap, [shape.height, shape.width]) else { continue };
        let start = (at[0] * shape.width + at[1]) * shape.channels + first;
        let codes = &image[start..][..spec.group_inputs];
        for ((&weight, &code), &zero) in weights.iter().zip(codes).zip(&spec.zero_points[first..]) {
            sum += i32::from(weight) * (i32::from(code) - i32::from(zero));
        }
    }
    sum
}
