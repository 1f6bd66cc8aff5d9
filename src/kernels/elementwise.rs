//! Tables, sums and products of activations.

use super::offset;
use crate::fixed::{requantize, rescale, to_code};
use crate::format::{Multiplier, Quantizer, Rescale};
use crate::tensor::{Batch, Shape};

/// Looks every code up, in one table of 256 entries or in one per channel.
pub(crate) fn table(input: &Batch<u8>, entries: &[u8]) -> Batch<u8> {
    let tables = entries.chunks_exact(256).cycle();
    let data = input.data.iter().zip(tables).map(|(&code, table)| table[usize::from(code)]).collect();
    Batch { images: input.images, shape: input.shape, data }
}

/// `a + b` in the units of `output`.
pub(crate) fn add(operands: [(&Batch<u8>, Rescale, u8); 2], fraction: u8, output: &Quantizer) -> Batch<u8> {
    let [(a, left, a_zero), (b, right, b_zero)] = operands;
    let offset = offset(output.zero_point, fraction);
    broadcast(a, b, |a, b| {
        let left = rescale(a, a_zero, left.shift, left.value);
        let right = rescale(b, b_zero, right.shift, right.value);
        to_code(left.saturating_add(right), offset, fraction, 0, output.max)
    })
}

/// `a · b` in the units of `output`.
pub(crate) fn mul(operands: [(&Batch<u8>, u8); 2], by: Multiplier, output: &Quantizer) -> Batch<u8> {
    let [(a, a_zero), (b, b_zero)] = operands;
    broadcast(a, b, |a, b| {
        let product = (i32::from(a) - i32::from(a_zero)) * (i32::from(b) - i32::from(b_zero));
        let value = requantize(product, by.shift, by.value);
        to_code(value, offset(output.zero_point, 0), 0, 0, output.max)
    })
}

/// The numbers of `input` in the codes of `output`.
pub(crate) fn narrow(input: &Batch<u8>, zero_point: u8, by: Rescale, output: &Quantizer) -> Batch<u8> {
    let offset = offset(output.zero_point, 0);
    let code = |&code: &u8| to_code(rescale(code, zero_point, by.shift, by.value), offset, 0, 0, output.max);
    Batch { images: input.images, shape: input.shape, data: input.data.iter().map(code).collect() }
}

/// Applies `f` to each element of `a` and its counterpart in `b`, whose extents may be 1.
fn broadcast(a: &Batch<u8>, b: &Batch<u8>, f: impl Fn(u8, u8) -> u8) -> Batch<u8> {
    let steps = steps(a.shape, b.shape);
    let mut data = Vec::with_capacity(a.data.len());
    for image in 0..a.images {
        let (a_image, b_image) = (a.image(image), b.image(image));
        let mut codes = a_image.iter();
        for y in 0..a.shape.height {
            for x in 0..a.shape.width {
                let start = y * steps[0] + x * steps[1];
                let row = codes.by_ref().take(a.shape.channels).enumerate();
                data.extend(row.map(|(c, &code)| f(code, b_image[start + c * steps[2]])));
            }
        }
    }
    Batch { images: a.images, shape: a.shape, data }
}

/// Distance in `b` of neighbouring rows, columns and channels of `a`.
fn steps(a: Shape, b: Shape) -> [usize; 3] {
    let step = |extent: usize, own: usize, distance| if extent == own { distance } else { 0 };
    [
        step(a.height, b.height, b.width * b.channels),
        step(a.width, b.width, b.channels),
        step(a.channels, b.channels, 1),
    ]
}
