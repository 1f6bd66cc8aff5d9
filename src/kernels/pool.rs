//! Maximum, mean and sum over windows.

use super::offset;
use crate::fixed::{requantize, to_code};
use crate::format::{Multiplier, Quantizer};
use crate::tensor::{Batch, Shape, Window};

/// Maximum over windows; padding never wins.
pub(crate) fn max(input: &Batch<u8>, window: &Window, shape: Shape) -> Batch<u8> {
    over_windows(input, window, shape, |_, codes, row| {
        for (value, &code) in row.iter_mut().zip(codes) {
            *value = code.max(*value);
        }
    })
}

/// Mean over windows; `by_count[n − 1]` turns a sum of `n` distances from zero into an output.
pub(crate) fn average(
    input: (&Batch<u8>, u8),
    window: &Window,
    count_include_pad: bool,
    by_count: &[Multiplier],
    shape: Shape,
    output: &Quantizer,
) -> Batch<u8> {
    let (input, zero_point) = input;
    let sums = window_sums(input, zero_point, window, shape);
    let [rows, columns] = counts(input.shape, window, count_include_pad, shape);
    let counts = rows.iter().flat_map(|row| columns.iter().map(move |column| row * column)).cycle();
    let mut data = Vec::with_capacity(sums.data.len());
    for (row, count) in sums.data.chunks_exact(shape.channels).zip(counts) {
        let by = by_count[count.max(1) - 1];
        data.extend(row.iter().map(|&sum| code(sum, by, output)));
    }
    Batch { images: input.images, shape, data }
}

/// Mean over all positions.
pub(crate) fn global_average(
    input: &Batch<u8>,
    zero_point: u8,
    by: Multiplier,
    output: &Quantizer,
) -> Batch<u8> {
    let sums = global_sum(input, zero_point);
    let data = sums.data.iter().map(|&sum| code(sum, by, output)).collect();
    Batch { images: sums.images, shape: sums.shape, data }
}

/// Sum of the distances from zero over all positions.
pub(crate) fn global_sum(input: &Batch<u8>, zero_point: u8) -> Batch<i32> {
    let mut sums = Batch::zeroed(input.images, Shape::flat(input.shape.channels));
    for (image, totals) in sums.data.chunks_exact_mut(input.shape.channels).enumerate() {
        for row in input.image(image).chunks_exact(input.shape.channels) {
            accumulate(totals, row, zero_point);
        }
    }
    sums
}

fn code(sum: i32, by: Multiplier, output: &Quantizer) -> u8 {
    to_code(requantize(sum, by.shift, by.value), offset(output.zero_point, 0), 0, 0, output.max)
}

fn accumulate(sums: &mut [i32], codes: &[u8], zero_point: u8) {
    for (sum, &code) in sums.iter_mut().zip(codes) {
        *sum += i32::from(code) - i32::from(zero_point);
    }
}

fn window_sums(input: &Batch<u8>, zero_point: u8, window: &Window, shape: Shape) -> Batch<i32> {
    over_windows(input, window, shape, |_, codes, row| accumulate(row, codes, zero_point))
}

/// Calls `visit(tap, input codes, output row)` for every tap inside the image.
fn over_windows<T: Copy + Default>(
    input: &Batch<u8>,
    window: &Window,
    shape: Shape,
    visit: impl Fn(usize, &[u8], &mut [T]),
) -> Batch<T> {
    let mut output = Batch::zeroed(input.images, shape);
    let size = [input.shape.height, input.shape.width];
    for (index, row) in output.data.chunks_exact_mut(shape.channels).enumerate() {
        let place = index % shape.positions();
        let position = [place / shape.width, place % shape.width];
        let image = input.image(index / shape.positions());
        for tap in 0..window.area() {
            if let Some([y, x]) = window.source(position, tap, size) {
                let start = (y * size[1] + x) * shape.channels;
                visit(tap, &image[start..][..shape.channels], row);
            }
        }
    }
    output
}

/// Number of rows and of columns that count in the mean, per output row and column.
pub(crate) fn counts(input: Shape, window: &Window, include_pad: bool, shape: Shape) -> [Vec<usize>; 2] {
    let count = |axis: usize, size: usize, outputs: usize| {
        let (before, after) = (window.pads[axis], window.pads[axis + 2]);
        let counted = if include_pad { 0..before + size + after } else { before..before + size };
        let inside = |position: usize| {
            let taps = (0..window.kernel[axis]).map(|tap| tap * window.dilation[axis]);
            taps.filter(|tap| counted.contains(&(position * window.stride[axis] + tap))).count()
        };
        (0..outputs).map(inside).collect()
    };
    [count(0, input.height, shape.height), count(1, input.width, shape.width)]
}
