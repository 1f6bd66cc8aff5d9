//! Arithmetic on two tensors, and functions with parameters per channel.

use super::Single;
use crate::graph::{Affine, Binary, ValueView};
use crate::tensor::Shape;

/// Gradients of both operands.
pub(super) fn binary(
    binary: Binary,
    a: ValueView<'_>,
    b: ValueView<'_>,
    output: Shape,
    gradient: &[f32],
) -> Vec<Vec<f32>> {
    if a.1 == b.1 && matches!(binary, Binary::Add) {
        return vec![gradient.to_vec(); 2];
    }
    let (mut left, mut right) = (vec![0.0; a.0.len()], vec![0.0; b.0.len()]);
    let mut place = 0;
    for channel in 0..output.channels {
        for row in 0..output.height {
            let (first, second) = (line_start(a.1, channel, row), line_start(b.1, channel, row));
            for column in 0..output.width {
                let (i, j) = (first + column % a.1.width, second + column % b.1.width);
                let (dy, x, y) = (gradient[place], a.0[i], b.0[j]);
                let (dx, dz) = match binary {
                    Binary::Add => (dy, dy),
                    Binary::Sub => (dy, -dy),
                    Binary::Mul => (dy * y, dy * x),
                    Binary::Div => (dy / y, -dy * x / (y * y)),
                };
                left[i] += dx;
                right[j] += dz;
                place += 1;
            }
        }
    }
    vec![left, right]
}

/// Where a row starts in a tensor whose extents of 1 are repeated.
fn line_start(shape: Shape, channel: usize, row: usize) -> usize {
    (channel % shape.channels * shape.height + row % shape.height) * shape.width
}

/// Gradients of the input, and of scale and shift.
pub(super) fn affine(affine: &Affine, (values, shape): ValueView<'_>, gradient: &[f32]) -> Single {
    let mut input = Vec::with_capacity(values.len());
    let mut parameters = vec![vec![0.0; affine.scale.len()], vec![0.0; affine.shift.len()]];
    for (channel, (xs, dys)) in planes(values, gradient, shape).enumerate() {
        let scale = affine.scale[channel % affine.scale.len()];
        input.extend(dys.iter().map(|dy| scale * dy));
        parameters[0][channel % affine.scale.len()] += dot(xs, dys);
        parameters[1][channel % affine.shift.len()] += dys.iter().sum::<f32>();
    }
    (vec![input], parameters)
}

/// Gradients of the input, and of the slopes.
pub(super) fn prelu(slopes: &[f32], (values, shape): ValueView<'_>, gradient: &[f32]) -> Single {
    let mut input = Vec::with_capacity(values.len());
    let mut parameter = vec![0.0; slopes.len()];
    for (channel, (xs, dys)) in planes(values, gradient, shape).enumerate() {
        let slope = slopes[channel % slopes.len()];
        input.extend(xs.iter().zip(dys).map(|(&x, &dy)| if x > 0.0 { dy } else { slope * dy }));
        parameter[channel % slopes.len()] += xs.iter().zip(dys).map(|(x, dy)| x.min(0.0) * dy).sum::<f32>();
    }
    (vec![input], vec![parameter])
}

fn planes<'a>(a: &'a [f32], b: &'a [f32], shape: Shape) -> impl Iterator<Item = (&'a [f32], &'a [f32])> {
    a.chunks_exact(shape.positions()).zip(b.chunks_exact(shape.positions()))
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
