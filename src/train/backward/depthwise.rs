//! Convolutions with one input channel per group, tap by tap.

use crate::graph::{outputs_reading, tap_start, taps};
use crate::tensor::{Shape, Window};
use std::ops::Range;

/// One group.
pub(super) struct Depthwise<'a> {
    pub window: &'a Window,
    pub shape: Shape,
    pub output: Shape,
}

impl Depthwise<'_> {
    /// Adds `Σ dy·x` by weight.
    pub(super) fn add_products(&self, gradient: &[f32], input: &[f32], products: &mut [f32]) {
        let kernels = products.chunks_exact_mut(self.window.area());
        for (kernel, gradient) in kernels.zip(gradient.chunks_exact(self.output.positions())) {
            for (product, tap) in kernel.iter_mut().zip(taps(self.window)) {
                self.rows(tap, |outputs, start| {
                    let source = input[start..].iter().step_by(self.window.stride[1]);
                    *product += gradient[outputs].iter().zip(source).map(|(dy, x)| dy * x).sum::<f32>();
                });
            }
        }
    }

    /// Adds `weight·dy` to the inputs that were read.
    pub(super) fn spread(&self, weights: &[f32], gradient: &[f32], target: &mut [f32]) {
        let kernels = weights.chunks_exact(self.window.area());
        for (kernel, gradient) in kernels.zip(gradient.chunks_exact(self.output.positions())) {
            for (weight, tap) in kernel.iter().zip(taps(self.window)) {
                self.rows(tap, |outputs, start| {
                    let target = target[start..].iter_mut().step_by(self.window.stride[1]);
                    target.zip(&gradient[outputs]).for_each(|(dx, dy)| *dx += weight * dy);
                });
            }
        }
    }

    /// Every row of outputs that read an input through a tap, with the place of the first such input.
    fn rows(&self, tap: [usize; 2], mut visit: impl FnMut(Range<usize>, usize)) {
        let reading =
            |axis: usize, size, outputs| outputs_reading(self.window, axis, tap[axis], size, outputs);
        let columns = reading(1, self.shape.width, self.output.width);
        if columns.is_empty() {
            return;
        }
        for row in reading(0, self.shape.height, self.output.height) {
            let first = row * self.output.width;
            let start = tap_start(self.window, tap, row, columns.start, self.shape.width);
            visit(first + columns.start..first + columns.end, start);
        }
    }
}
