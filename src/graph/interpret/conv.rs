//! Convolutions: matrix products over planes or patches of the input, or a direct loop for depthwise ones.

use super::super::Conv;
use super::super::patches::{Columns, PATCH_VALUES, gather, tap_start, taps};
use super::super::planes::Planes;
use super::super::taps::outputs_reading;
use super::{ValueView, layout_error};
use crate::error::{Error, ErrorKind, Result};
use crate::products::product;
use crate::tensor::{Shape, Window};
use crate::wide::Width;
use ndarray::linalg::{general_mat_mul, general_mat_vec_mul};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};
use std::cell::Cell;

thread_local! {
    /// The patch matrix, kept so that not every convolution pays for fresh memory.
    static PATCHES: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// The convolution of one image.
pub(super) fn conv(conv: &Conv, input: ValueView<'_>, output: Shape) -> Result<Vec<f32>> {
    let depthwise = conv.weight.dim().1 == 1 && conv.groups > 1;
    let mut values = if Planes::suit(&conv.window, output) {
        in_planes(conv, input, output)?
    } else if depthwise {
        direct(conv, input, output)
    } else {
        by_products(conv, input, output)?
    };
    for (channel, plane) in values.chunks_exact_mut(output.positions()).enumerate() {
        let (gain, bias) = (conv.gain[channel], conv.bias[channel]);
        Width::widest().run(
            #[inline(always)]
            || plane.iter_mut().for_each(|value| *value = gain * *value + bias),
        );
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

/// A convolution as one matrix product per group and block of output rows.
fn by_products(conv: &Conv, (values, shape): ValueView<'_>, output: Shape) -> Result<Vec<f32>> {
    let (outputs, per_group, ..) = conv.weight.dim();
    let weight = conv.weight.to_shape((outputs, per_group * conv.window.area())).map_err(layout_error)?;
    let mut result = Array2::zeros((outputs, output.positions()));
    let group_shape = Shape { channels: per_group, ..shape };
    let rows = outputs / conv.groups;
    for (group, input) in values.chunks_exact(group_shape.len()).enumerate() {
        let range = s![group * rows..(group + 1) * rows, ..];
        let (weight, target) = (weight.slice(range), result.slice_mut(range));
        if conv.window.is_pointwise() {
            let input =
                ArrayView2::from_shape((per_group, output.positions()), input).map_err(layout_error)?;
            multiply(weight, input, target);
        } else {
            multiply_patches(&conv.window, weight, (input, group_shape), target, output)?;
        }
    }
    Ok(result.into_raw_vec_and_offset().0)
}

/// A convolution as products of every group's weights with its padded input, read at a shift for every kernel position.
fn in_planes(conv: &Conv, (values, shape): ValueView<'_>, output: Shape) -> Result<Vec<f32>> {
    let weights = conv.weight.as_standard_layout();
    let weights =
        weights.as_slice().ok_or_else(|| Error::new(ErrorKind::Shape, "weights are not in order"))?;
    let of_group = |shape: Shape| Shape { channels: shape.channels / conv.groups, ..shape };
    let (shape, output) = (of_group(shape), of_group(output));
    let planes = Planes::new(&conv.window, shape, output);
    let starts = planes.starts();
    let mut padded = PATCHES.take();
    let mut lines = vec![0.0; output.channels * planes.length()];
    let mut result = Vec::with_capacity(conv.groups * output.len());
    let groups = values.chunks_exact(shape.len()).zip(weights.chunks_exact(output.channels * starts.len()));
    for (values, weights) in groups {
        planes.fill(values, &mut padded);
        product(weights, &starts, &padded, planes.length(), &mut lines);
        for line in lines.chunks_exact(planes.length()) {
            planes.output_rows(line).for_each(|row| result.extend_from_slice(row));
        }
    }
    PATCHES.set(padded);
    Ok(result)
}

fn multiply_patches(
    window: &Window,
    weight: ArrayView2<'_, f32>,
    input: ValueView<'_>,
    mut target: ArrayViewMut2<'_, f32>,
    output: Shape,
) -> Result<()> {
    let depth = weight.ncols();
    let rows = (PATCH_VALUES / (depth * output.width)).clamp(1, output.height);
    let mut patches = PATCHES.take();
    patches.resize(patches.len().max(depth * rows * output.width), 0.0);
    for start in (0..output.height).step_by(rows) {
        let rows = start..output.height.min(start + rows);
        let columns = rows.len() * output.width;
        let block = &mut patches[..depth * columns];
        let whole = Columns { values: &mut *block, stride: columns, first: 0 };
        gather(window, input, output, rows.clone(), whole);
        let block = ArrayView2::from_shape((depth, columns), &*block).map_err(layout_error)?;
        let first = start * output.width;
        multiply(weight, block, target.slice_mut(s![.., first..first + columns]));
    }
    PATCHES.set(patches);
    Ok(())
}

fn multiply(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, mut target: ArrayViewMut2<'_, f32>) {
    if b.ncols() == 1 {
        general_mat_vec_mul(1.0, &a, &b.column(0), 0.0, &mut target.column_mut(0));
    } else {
        general_mat_mul(1.0, &a, &b, 0.0, &mut target);
    }
}
