//! Pooling: the gradient of a window goes to its maximum, or to all of it alike.

use crate::graph::{ValueView, WindowSpan, spans};
use crate::tensor::{Shape, Window};

/// To the first of the largest, in the order of rows.
pub(super) fn max(
    window: &Window,
    (values, shape): ValueView<'_>,
    output: Shape,
    gradient: &[f32],
) -> Vec<f32> {
    let mut input = vec![0.0; shape.len()];
    let planes = values.chunks_exact(shape.positions()).zip(input.chunks_exact_mut(shape.positions()));
    for ((plane, target), gradient) in planes.zip(gradient.chunks_exact(output.positions())) {
        visit(window, shape, output, |place, row, column| {
            let mut best: Option<usize> = None;
            taps(window, shape, row, column, |tap| {
                if best.is_none_or(|best| plane[tap] > plane[best]) {
                    best = Some(tap);
                }
            });
            if let Some(best) = best {
                target[best] += gradient[place];
            }
        });
    }
    input
}

pub(super) fn average(
    window: &Window,
    count_include_pad: bool,
    shape: Shape,
    output: Shape,
    gradient: &[f32],
) -> Vec<f32> {
    let count = |span: &WindowSpan| if count_include_pad { span.padded_taps } else { span.taps };
    let mut input = vec![0.0; shape.len()];
    let planes = input.chunks_exact_mut(shape.positions());
    for (target, gradient) in planes.zip(gradient.chunks_exact(output.positions())) {
        visit(window, shape, output, |place, row, column| {
            let share = gradient[place] / (count(row) * count(column)) as f32;
            taps(window, shape, row, column, |tap| target[tap] += share);
        });
    }
    input
}

pub(super) fn global_average(shape: Shape, gradient: &[f32]) -> Vec<f32> {
    let positions = shape.positions();
    gradient.iter().flat_map(|dy| std::iter::repeat_n(dy / positions as f32, positions)).collect()
}

/// Calls `each` with the place of every output and its window.
fn visit(
    window: &Window,
    shape: Shape,
    output: Shape,
    mut each: impl FnMut(usize, &WindowSpan, &WindowSpan),
) {
    let rows = spans(window, 0, shape.height, output.height);
    let columns = spans(window, 1, shape.width, output.width);
    for (y, row) in rows.iter().enumerate() {
        for (x, column) in columns.iter().enumerate() {
            each(y * output.width + x, row, column);
        }
    }
}

/// Calls `each` with the inputs inside a window, row by row.
fn taps(window: &Window, shape: Shape, row: &WindowSpan, column: &WindowSpan, mut each: impl FnMut(usize)) {
    for y in 0..row.taps {
        for x in 0..column.taps {
            let at = [row.first + y * window.dilation[0], column.first + x * window.dilation[1]];
            each(at[0] * shape.width + at[1]);
        }
    }
}
