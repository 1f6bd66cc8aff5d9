//! Operators that only move values: gradients move back.

use crate::graph::{Pad, Slice, ValueView};
use crate::tensor::Shape;

pub(super) fn concat(inputs: &[ValueView<'_>], gradient: &[f32]) -> Vec<Vec<f32>> {
    let mut rest = gradient;
    let part = |(values, _): &ValueView<'_>| {
        let (part, others) = rest.split_at(values.len());
        rest = others;
        part.to_vec()
    };
    inputs.iter().map(part).collect()
}

pub(super) fn slice(slice: &Slice, shape: Shape, gradient: &[f32]) -> Vec<f32> {
    let indices = |axis: usize| (slice.start[axis]..slice.end[axis]).step_by(slice.step[axis]);
    let mut input = vec![0.0; shape.len()];
    let mut gradient = gradient.iter();
    for channel in indices(0) {
        for row in indices(1) {
            let line = &mut input[(channel * shape.height + row) * shape.width..][..shape.width];
            indices(2).zip(&mut gradient).for_each(|(column, dy)| line[column] = *dy);
        }
    }
    input
}

pub(super) fn pad(pad: &Pad, shape: Shape, output: Shape, gradient: &[f32]) -> Vec<f32> {
    let [channels, rows, columns] = pad.before;
    let mut input = Vec::with_capacity(shape.len());
    for plane in gradient.chunks_exact(output.positions()).skip(channels).take(shape.channels) {
        for line in plane.chunks_exact(output.width).skip(rows).take(shape.height) {
            input.extend_from_slice(&line[columns..][..shape.width]);
        }
    }
    input
}

pub(super) fn shuffle(groups: usize, shape: Shape, gradient: &[f32]) -> Vec<f32> {
    let mut input = vec![0.0; shape.len()];
    for (target, plane) in gradient.chunks_exact(shape.positions()).enumerate() {
        let source = target % groups * (shape.channels / groups) + target / groups;
        input[source * shape.positions()..][..shape.positions()].copy_from_slice(plane);
    }
    input
}
