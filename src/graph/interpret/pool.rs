//! Pooling: rows of a window are combined first, then columns.

use super::super::taps::{WindowSpan, spans};
use super::ValueView;
use crate::tensor::{Shape, Window};

/// Maximum over windows; padding never wins.
pub(super) fn max(window: &Window, input: ValueView<'_>, output: Shape) -> Vec<f32> {
    pool(window, input, output, f32::NEG_INFINITY, |a, b| if b > a { b } else { a }, |value, _, _| value)
}

/// Mean over windows: over the taps inside the input, or also over those in the padding (as zeros).
pub(super) fn average(
    window: &Window,
    count_include_pad: bool,
    input: ValueView<'_>,
    output: Shape,
) -> Vec<f32> {
    let count = |span: &WindowSpan| if count_include_pad { span.padded_taps } else { span.taps };
    pool(
        window,
        input,
        output,
        0.0,
        |a, b| a + b,
        |sum, row, column| sum / (count(row) * count(column)) as f32,
    )
}

/// Mean over all positions of each channel.
pub(super) fn global_average((values, shape): ValueView<'_>) -> Vec<f32> {
    let mean = |plane: &[f32]| (plane.iter().map(|&v| f64::from(v)).sum::<f64>() / plane.len() as f64) as f32;
    values.chunks_exact(shape.positions()).map(mean).collect()
}

fn pool(
    window: &Window,
    (values, shape): ValueView<'_>,
    output: Shape,
    start: f32,
    combine: impl Fn(f32, f32) -> f32,
    finish: impl Fn(f32, &WindowSpan, &WindowSpan) -> f32,
) -> Vec<f32> {
    let rows = spans(window, 0, shape.height, output.height);
    let columns = spans(window, 1, shape.width, output.width);
    let mut result = Vec::with_capacity(output.len());
    let mut line = vec![start; shape.width];
    for plane in values.chunks_exact(shape.positions()) {
        for row in &rows {
            line.fill(start);
            for source in
                plane.chunks_exact(shape.width).skip(row.first).step_by(window.dilation[0]).take(row.taps)
            {
                line.iter_mut().zip(source).for_each(|(value, &source)| *value = combine(*value, source));
            }
            result.extend(columns.iter().map(|column| {
                let taps = line.iter().skip(column.first).step_by(window.dilation[1]).take(column.taps);
                finish(taps.fold(start, |value, &next| combine(value, next)), row, column)
            }));
        }
    }
    result
}
