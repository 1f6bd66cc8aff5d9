//! Operators that only move codes.

use crate::format::PackedSlice;
use crate::tensor::{Batch, Shape};

/// Concatenation over channels.
pub(crate) fn concat(inputs: &[&Batch<u8>], shape: Shape) -> Batch<u8> {
    let images = inputs.first().map_or(0, |input| input.images);
    let mut data = Vec::with_capacity(images * shape.len());
    for position in 0..images * shape.positions() {
        for input in inputs {
            let channels = input.shape.channels;
            data.extend_from_slice(&input.data[position * channels..][..channels]);
        }
    }
    Batch { images, shape, data }
}

/// The elements `start, start + step, …` of channels, rows and columns.
pub(crate) fn slice(input: &Batch<u8>, slice: &PackedSlice, shape: Shape) -> Batch<u8> {
    gather(
        input,
        shape,
        |[c, y, x]| {
            let at = |axis: usize, index: usize| Some(slice.start[axis] + index * slice.step[axis]);
            Some([at(0, c)?, at(1, y)?, at(2, x)?])
        },
        0,
    )
}

/// Padding of channels, rows and columns with `zero_point`.
pub(crate) fn pad(input: &Batch<u8>, before: [usize; 3], zero_point: u8, shape: Shape) -> Batch<u8> {
    let extents = [input.shape.channels, input.shape.height, input.shape.width];
    gather(
        input,
        shape,
        |index| {
            let at = |axis: usize| index[axis].checked_sub(before[axis]).filter(|&i| i < extents[axis]);
            Some([at(0)?, at(1)?, at(2)?])
        },
        zero_point,
    )
}

/// Channel `g·(C/groups) + i` moves to `i·groups + g`.
pub(crate) fn shuffle(input: &Batch<u8>, groups: usize) -> Batch<u8> {
    let size = input.shape.channels / groups;
    gather(input, input.shape, |[c, y, x]| Some([c % groups * size + c / groups, y, x]), 0)
}

/// Channel, row, column order as a flat vector.
pub(crate) fn flatten(input: &Batch<u8>) -> Batch<u8> {
    let shape = input.shape;
    let place = |index: usize| {
        let (channel, position) = (index / shape.positions(), index % shape.positions());
        Some([channel, position / shape.width, position % shape.width])
    };
    gather(input, Shape::flat(shape.len()), |[c, _, _]| place(c), 0)
}

/// Output element `[c, y, x]` is the input element that `source` names, or `fill`.
fn gather(
    input: &Batch<u8>,
    shape: Shape,
    source: impl Fn([usize; 3]) -> Option<[usize; 3]>,
    fill: u8,
) -> Batch<u8> {
    let mut data = Vec::with_capacity(input.images * shape.len());
    for image in (0..input.images).map(|image| input.image(image)) {
        for y in 0..shape.height {
            for x in 0..shape.width {
                data.extend((0..shape.channels).map(|c| match source([c, y, x]) {
                    Some([c, y, x]) => image[(y * input.shape.width + x) * input.shape.channels + c],
                    None => fill,
                }));
            }
        }
    }
    Batch { images: input.images, shape, data }
}
