//! Convolutions: matrix products over planes or patches of the input, or a direct loop for depthwise ones.

use super::super::Conv;
use super::super::patches::{add_patch_products, copy_row, tap_start, taps};
use super::super::planes::Planes;
use super::super::taps::outputs_reading;
use super::{ValueView, layout_error};
use crate::error::Result;
use crate::products::{Lines, line_starts, product};
use crate::tensor::{Shape, Window};
use crate::wide;
use ndarray::linalg::general_mat_vec_mul;
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1};
use std::borrow::Cow;
use std::cell::Cell;

thread_local! {
    /// Planes of inputs and lines of outputs, kept so that not every convolution pays for fresh memory.
    static SCRATCH: Cell<[Vec<f32>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
}

/// The convolution of one image.
pub(super) fn conv(conv: &Conv, input: ValueView<'_>, output: Shape) -> Result<Vec<f32>> {
    if Planes::suit(&conv.window, output) {
        return Ok(in_planes(conv, input, output));
    }
    let depthwise = conv.weight.dim().1 == 1 && conv.groups > 1;
    let mut values = if depthwise { direct(conv, input, output) } else { by_products(conv, input, output)? };
    for (channel, plane) in values.chunks_exact_mut(output.positions()).enumerate() {
        let (gain, bias) = (conv.gain[channel], conv.bias[channel]);
        wide::replace(plane, |value| gain * value + bias);
    }
    Ok(values)
}

/// A convolution with one input channel per group, tap by tap.
fn direct(conv: &Conv, (values, shape): ValueView<'_>, output: Shape) -> Vec<f32> {
    let per_input = output.channels / conv.groups;
    let mut result = vec![0.0; output.len()];
    for (channel, plane) in result.chunks_exact_mut(output.positions()).enumerate() {
        let input = &values[channel / per_input * shape.positions()..][..shape.positions()];
        for tap in taps(&conv.window) {
            let weight = conv.weight[[channel, 0, tap[0], tap[1]]];
            add_tap(&conv.window, tap, weight, (input, shape), (plane, output));
        }
    }
    result
}

/// Adds `weight` times the inputs that kernel position `tap` reads to one output plane.
fn add_tap(window: &Window, tap: [usize; 2], weight: f32, input: ValueView<'_>, output: (&mut [f32], Shape)) {
    let ((values, shape), (plane, output)) = (input, output);
    let columns = outputs_reading(window, 1, tap[1], shape.width, output.width);
    for row in outputs_reading(window, 0, tap[0], shape.height, output.height) {
        let target = &mut plane[row * output.width..][..output.width][columns.clone()];
        let source =
            values.get(tap_start(window, tap, row, columns.start, shape.width)..).unwrap_or_default();
        for (target, source) in target.iter_mut().zip(source.iter().step_by(window.stride[1])) {
            *target += weight * source;
        }
    }
}

/// A convolution as products of every group's weights with patches of its input, or with the input itself.
fn by_products(conv: &Conv, (values, shape): ValueView<'_>, output: Shape) -> Result<Vec<f32>> {
    let weights = weights_in_order(conv);
    let mut result = vec![0.0; output.len()];
    let of_group = |shape: Shape| Shape { channels: shape.channels / conv.groups, ..shape };
    let (shape, output) = (of_group(shape), of_group(output));
    let depth = shape.channels * conv.window.area();
    let rows = line_starts(output.channels, depth);
    let groups = values.chunks_exact(shape.len()).zip(weights.chunks_exact(output.channels * depth));
    for ((input, weights), result) in groups.zip(result.chunks_exact_mut(output.len())) {
        if !conv.window.is_pointwise() {
            add_patch_products(&conv.window, weights, (input, shape), (result, output));
        } else if output.positions() == 1 {
            multiply_vector(weights, input, result)?;
        } else {
            let starts = line_starts(depth, output.positions());
            let [left, right] =
                [Lines { data: weights, starts: &rows }, Lines { data: input, starts: &starts }];
            product(left, right, output.positions(), result);
        }
    }
    Ok(result)
}

fn weights_in_order(conv: &Conv) -> Cow<'_, [f32]> {
    let copied = || Cow::Owned(conv.weight.iter().copied().collect());
    conv.weight.as_slice().map_or_else(copied, Cow::Borrowed)
}

fn multiply_vector(weights: &[f32], input: &[f32], result: &mut [f32]) -> Result<()> {
    let matrix = ArrayView2::from_shape((result.len(), input.len()), weights).map_err(layout_error)?;
    general_mat_vec_mul(1.0, &matrix, &ArrayView1::from(input), 0.0, &mut ArrayViewMut1::from(result));
    Ok(())
}

/// A convolution as products of every group's weights with its padded input, read at a shift for every kernel position.
fn in_planes(conv: &Conv, (values, shape): ValueView<'_>, output: Shape) -> Vec<f32> {
    let weights = weights_in_order(conv);
    let of_group = |shape: Shape| Shape { channels: shape.channels / conv.groups, ..shape };
    let (shape, output) = (of_group(shape), of_group(output));
    let planes = Planes::new(&conv.window, shape, output);
    let rows = line_starts(output.channels, planes.starts().len());
    let [mut padded, mut lines] = SCRATCH.take();
    lines.resize(output.channels * planes.length(), 0.0);
    let mut result = vec![0.0; conv.groups * output.len()];
    let mut targets = result.chunks_exact_mut(output.positions());
    let mut scales = conv.gain.iter().zip(&conv.bias);
    let groups =
        values.chunks_exact(shape.len()).zip(weights.chunks_exact(output.channels * planes.starts().len()));
    for (values, weights) in groups {
        planes.fill(values, &mut padded);
        let left = Lines { data: weights, starts: &rows };
        product(left, Lines { data: &padded, starts: planes.starts() }, planes.length(), &mut lines);
        for ((line, plane), (gain, bias)) in
            lines.chunks_exact_mut(planes.length()).zip(&mut targets).zip(&mut scales)
        {
            wide::replace(line, |value| gain * value + bias);
            planes
                .output_rows(line)
                .zip(plane.chunks_exact_mut(output.width))
                .for_each(|(row, target)| copy_row(row, target));
        }
    }
    SCRATCH.set([padded, lines]);
    result
}
