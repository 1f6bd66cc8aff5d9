//! Convolution inputs as matrices: one line per channel and kernel position, one column per output position.

use super::taps::outputs_reading;
use crate::products::{LANES, Lines, add_product, line_starts};
use crate::tensor::{Shape, Window};
use std::cell::Cell;
use std::ops::Range;

thread_local! {
    /// The patch matrix, kept so that not every convolution pays for fresh memory.
    static PATCHES: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Size of a matrix of patches: small enough to stay in the second-level cache.
const PATCH_VALUES: usize = 1 << 16;

/// Writes the inputs of all outputs of one image, zeros where the window is outside; lines are `stride` apart.
fn gather(
    window: &Window,
    (values, shape): (&[f32], Shape),
    output: Shape,
    (patches, stride): (&mut [f32], usize),
) {
    for (line, (plane, tap)) in patches.chunks_exact_mut(stride).zip(plane_taps(window, shape)) {
        let plane = &values[plane * shape.positions()..][..shape.positions()];
        let [rows, columns] = reading(window, tap, shape, output);
        for (row, part) in line.chunks_exact_mut(output.width).take(output.height).enumerate() {
            if rows.contains(&row) && !columns.is_empty() {
                let start = tap_start(window, tap, row, columns.start, shape.width);
                part[..columns.start].fill(0.0);
                part[columns.end..].fill(0.0);
                copy_strided(&mut part[columns.clone()], &plane[start..], window.stride[1]);
            } else {
                part.fill(0.0);
            }
        }
    }
}

/// The adjoint of gathering: adds every element of the patches, lines one after another, to the input that it was read from.
pub(crate) fn scatter(window: &Window, (values, shape): (&mut [f32], Shape), output: Shape, patches: &[f32]) {
    for (line, (plane, tap)) in patches.chunks_exact(output.positions()).zip(plane_taps(window, shape)) {
        let plane = &mut values[plane * shape.positions()..][..shape.positions()];
        let [rows, columns] = reading(window, tap, shape, output);
        for (row, part) in line.chunks_exact(output.width).enumerate() {
            if rows.contains(&row) && !columns.is_empty() {
                let start = tap_start(window, tap, row, columns.start, shape.width);
                add_strided(&mut plane[start..], &part[columns.clone()], window.stride[1]);
            }
        }
    }
}

/// Calls `visit` with patches of some input channels after others: the first line, and lines of all output positions, which
/// go on to whole vectors.
pub(crate) fn each_patches(
    window: &Window,
    (values, shape): (&[f32], Shape),
    output: Shape,
    mut visit: impl FnMut(usize, Lines<'_>),
) {
    let area = window.area();
    let stride = output.positions().next_multiple_of(LANES);
    let channels = (PATCH_VALUES / (area * stride)).clamp(1, shape.channels);
    let mut patches = PATCHES.take();
    for first in (0..shape.channels).step_by(channels) {
        let part = Shape { channels: channels.min(shape.channels - first), ..shape };
        let input = (&values[first * shape.positions()..][..part.len()], part);
        patches.resize(part.channels * area * stride, 0.0);
        gather(window, input, output, (&mut patches, stride));
        visit(first * area, Lines { data: &patches, starts: &line_starts(part.channels * area, stride) });
    }
    PATCHES.set(patches);
}

/// Adds the products of weights with patches.
pub(crate) fn add_patch_products(
    window: &Window,
    weights: &[f32],
    input: (&[f32], Shape),
    (result, output): (&mut [f32], Shape),
) {
    let depth = input.1.channels * window.area();
    each_patches(window, input, output, |first, right| {
        let rows: Vec<usize> = (0..output.channels).map(|channel| channel * depth + first).collect();
        add_product(Lines { data: weights, starts: &rows }, right, output.positions(), result);
    });
}

/// The channel and the kernel position of every line of patches.
fn plane_taps(window: &Window, shape: Shape) -> impl Iterator<Item = (usize, [usize; 2])> + use<> {
    let window = *window;
    (0..shape.channels).flat_map(move |plane| taps(&window).map(move |tap| (plane, tap)))
}

/// The rows and columns of outputs for which a kernel position is inside the input.
fn reading(window: &Window, tap: [usize; 2], shape: Shape, output: Shape) -> [Range<usize>; 2] {
    [
        outputs_reading(window, 0, tap[0], shape.height, output.height),
        outputs_reading(window, 1, tap[1], shape.width, output.width),
    ]
}

/// Where in its plane the input lies that kernel position `tap` reads for output `row` and `column`.
pub(crate) fn tap_start(window: &Window, tap: [usize; 2], row: usize, column: usize, width: usize) -> usize {
    let coordinate = |axis: usize, index: usize| {
        (index * window.stride[axis] + tap[axis] * window.dilation[axis]).saturating_sub(window.pads[axis])
    };
    coordinate(0, row) * width + coordinate(1, column)
}

/// All kernel positions: row and column.
pub(crate) fn taps(window: &Window) -> impl Iterator<Item = [usize; 2]> + use<> {
    let [rows, columns] = window.kernel;
    (0..rows).flat_map(move |row| (0..columns).map(move |column| [row, column]))
}

pub(super) fn copy_strided(target: &mut [f32], source: &[f32], stride: usize) {
    if stride == 1 {
        copy_row(source, target);
    } else {
        target.iter_mut().zip(source.iter().step_by(stride)).for_each(|(target, source)| *target = *source);
    }
}

/// As much as both have; rows are so short that a call would take longer.
pub(super) fn copy_row(source: &[f32], target: &mut [f32]) {
    let length = source.len().min(target.len());
    let (blocks, rest) = source[..length].as_chunks::<8>();
    let (targets, target_rest) = target[..length].as_chunks_mut::<8>();
    targets.iter_mut().zip(blocks).for_each(|(target, block)| *target = *block);
    if !rest.is_empty() {
        target_rest.copy_from_slice(rest);
    }
}

fn add_strided(target: &mut [f32], source: &[f32], stride: usize) {
    if stride == 1 {
        target.iter_mut().zip(source).for_each(|(target, source)| *target += source);
    } else {
        target.iter_mut().step_by(stride).zip(source).for_each(|(target, source)| *target += source);
    }
}
