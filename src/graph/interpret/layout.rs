//! Operators that only move values.

use super::super::{Pad, Slice};
use super::ValueView;
use crate::tensor::Shape;

/// Concatenation over channels.
pub(super) fn concat(inputs: &[ValueView<'_>], output: Shape) -> Vec<f32> {
    let mut result = Vec::with_capacity(output.len());
    inputs.iter().for_each(|(values, _)| result.extend_from_slice(values));
    result
}

/// Every `step`-th element between `start` and `end` of each axis.
pub(super) fn slice(slice: &Slice, (values, shape): ValueView<'_>, output: Shape) -> Vec<f32> {
    let indices = |axis: usize| (slice.start[axis]..slice.end[axis]).step_by(slice.step[axis]);
    let mut result = Vec::with_capacity(output.len());
    for channel in indices(0) {
        for row in indices(1) {
            let line = &values[(channel * shape.height + row) * shape.width..][..shape.width];
            result.extend(line[slice.start[2]..slice.end[2]].iter().step_by(slice.step[2]));
        }
    }
    result
}

/// The input surrounded by a constant.
pub(super) fn pad(pad: &Pad, (values, shape): ValueView<'_>, output: Shape) -> Vec<f32> {
    let mut result = vec![pad.value; output.len()];
    let [channels, rows, _] = pad.before;
    let planes = result.chunks_exact_mut(output.positions()).skip(channels);
    for (target, source) in planes.zip(values.chunks_exact(shape.positions())) {
        let lines = target.chunks_exact_mut(output.width).skip(rows);
        for (target, source) in lines.zip(source.chunks_exact(shape.width)) {
            target[pad.before[2]..][..shape.width].copy_from_slice(source);
        }
    }
    result
}

/// Channel `g·(C/groups) + i` moves to `i·groups + g`.
pub(super) fn shuffle(groups: usize, (values, shape): ValueView<'_>, output: Shape) -> Vec<f32> {
    let mut result = Vec::with_capacity(output.len());
    for target in 0..shape.channels {
        let source = target % groups * (shape.channels / groups) + target / groups;
        result.extend_from_slice(&values[source * shape.positions()..][..shape.positions()]);
    }
    result
}
