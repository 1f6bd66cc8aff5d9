//! Convolution inputs as matrices: one line per channel and kernel position, one column per output position.

use super::taps::outputs_reading;
use crate::tensor::{Shape, Window};
use std::ops::Range;

/// Size of a matrix of patches: small enough to stay in the second-level cache.
pub(crate) const PATCH_VALUES: usize = 1 << 18;

/// Part of the columns of a matrix of patches.
#[derive(Debug)]
pub(crate) struct Columns<'a> {
    /// The matrix, line after line.
    pub values: &'a mut [f32],
    /// Columns of the whole matrix.
    pub stride: usize,
    /// The first of these columns.
    pub first: usize,
}

impl Columns<'_> {
    fn lines(&mut self, columns: usize) -> impl Iterator<Item = &mut [f32]> {
        let first = self.first;
        self.values.chunks_exact_mut(self.stride).map(move |line| &mut line[first..][..columns])
    }
}

/// Writes the inputs of output `rows` of one image, zeros where the window is outside.
pub(crate) fn gather(
    window: &Window,
    (values, shape): (&[f32], Shape),
    output: Shape,
    rows: Range<usize>,
    mut patches: Columns<'_>,
) {
    let lines = patches.lines(rows.len() * output.width);
    for (line, (plane, tap)) in lines.zip(plane_taps(window, shape)) {
        let plane = &values[plane * shape.positions()..][..shape.positions()];
        for (row, part) in rows.clone().zip(line.chunks_exact_mut(output.width)) {
            let columns = reading(window, tap, row, shape, output);
            part[..columns.start].fill(0.0);
            part[columns.end..].fill(0.0);
            if !columns.is_empty() {
                let start = tap_start(window, tap, row, columns.start, shape.width);
                copy_strided(&mut part[columns], &plane[start..], window.stride[1]);
            }
        }
    }
}

/// The adjoint of [`gather`]: adds every element of the patches to the input that it was read from.
pub(crate) fn scatter(
    window: &Window,
    (values, shape): (&mut [f32], Shape),
    output: Shape,
    rows: Range<usize>,
    mut patches: Columns<'_>,
) {
    let lines = patches.lines(rows.len() * output.width);
    for (line, (plane, tap)) in lines.zip(plane_taps(window, shape)) {
        let plane = &mut values[plane * shape.positions()..][..shape.positions()];
        for (row, part) in rows.clone().zip(line.chunks_exact(output.width)) {
            let columns = reading(window, tap, row, shape, output);
            if !columns.is_empty() {
                let start = tap_start(window, tap, row, columns.start, shape.width);
                add_strided(&mut plane[start..], &part[columns], window.stride[1]);
            }
        }
    }
}

/// The channel and the kernel position of every line of patches.
fn plane_taps(window: &Window, shape: Shape) -> impl Iterator<Item = (usize, [usize; 2])> + use<> {
    let window = *window;
    (0..shape.channels).flat_map(move |plane| taps(&window).map(move |tap| (plane, tap)))
}

/// The columns of an output row for which a kernel position is inside the input.
fn reading(window: &Window, tap: [usize; 2], row: usize, shape: Shape, output: Shape) -> Range<usize> {
    let inside = outputs_reading(window, 0, tap[0], shape.height, output.height).contains(&row);
    if inside { outputs_reading(window, 1, tap[1], shape.width, output.width) } else { 0..0 }
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

fn copy_strided(target: &mut [f32], source: &[f32], stride: usize) {
    if stride == 1 {
        target.copy_from_slice(&source[..target.len()]);
    } else {
        target.iter_mut().zip(source.iter().step_by(stride)).for_each(|(target, source)| *target = *source);
    }
}

fn add_strided(target: &mut [f32], source: &[f32], stride: usize) {
    if stride == 1 {
        target.iter_mut().zip(source).for_each(|(target, source)| *target += source);
    } else {
        target.iter_mut().step_by(stride).zip(source).for_each(|(target, source)| *target += source);
    }
}
