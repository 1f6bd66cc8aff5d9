//! Convolutions: matrix products over patches of several images, or direct loops for depthwise ones.

use super::{Backward, Example, WantedGradients};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{
    Columns, Conv, PATCH_VALUES, Planes, gather, layout_error, outputs_reading, scatter, tap_start, taps,
};
use crate::products::{Lines, SLACK, add_dots, product};
use crate::tensor::{Shape, Window};
use crate::wide::sums;
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};
use std::ops::Range;

/// Gradients of inputs, and of weights, gain and bias.
pub(super) fn conv(
    conv: &Conv,
    examples: &[Example],
    output: Shape,
    wanted: WantedGradients,
) -> Result<Backward> {
    let gained = gained_weights(conv)?;
    let mut sums = if wanted.parameters { vec![0.0; gained.len()] } else { Vec::new() };
    let shape = examples.first().and_then(|example| example.inputs.first()).map(|(_, shape)| *shape);
    let shape = shape.ok_or_else(super::operands)?;
    let blank = |_| vec![0.0; shape.len()];
    let mut inputs: Vec<Vec<f32>> =
        if wanted.inputs { examples.iter().map(blank).collect() } else { Vec::new() };
    let depthwise = conv.weight.dim().1 == 1 && conv.groups > 1;
    let layer = Dense::new(conv, shape, output);
    if Planes::suit(&conv.window, output) {
        layer.in_planes(&gained, examples, &mut inputs, &mut sums);
    } else if depthwise {
        let layer =
            Depthwise { window: &conv.window, multiplier: output.channels / conv.groups, shape, output };
        for (image, example) in examples.iter().enumerate() {
            let target = inputs.get_mut(image).map(Vec::as_mut_slice);
            layer.image(&gained, example, target, &mut sums);
        }
    } else {
        for group in 0..conv.groups {
            layer.group(group, &gained, examples, &mut inputs, &mut sums)?;
        }
    }
    Ok(Backward {
        inputs: inputs.into_iter().map(|input| vec![input]).collect(),
        parameters: if wanted.parameters { parameters(conv, sums, examples, output) } else { Vec::new() },
    })
}

/// `gain·W`, output channel by output channel.
fn gained_weights(conv: &Conv) -> Result<Vec<f32>> {
    let weights =
        conv.weight.as_slice().ok_or_else(|| Error::new(ErrorKind::Shape, "weights are not in order"))?;
    let length = weights.len() / conv.gain.len().max(1);
    let rows = weights.chunks_exact(length.max(1)).zip(&conv.gain);
    Ok(rows.flat_map(|(row, gain)| row.iter().map(move |weight| gain * weight)).collect())
}

/// Of `y = gain·s + bias` with `s = W * x`, from `Σ dy·x` by weight: `dW = gain·Σ dy·x`, `dgain = Σ dy·s = ⟨W, Σ dy·x⟩`.
fn parameters(conv: &Conv, mut products: Vec<f32>, examples: &[Example], output: Shape) -> Vec<Vec<f32>> {
    let length = (products.len() / output.channels.max(1)).max(1);
    let weights = conv.weight.as_slice().unwrap_or_default();
    let dot = |(a, b): (&[f32], &[f32])| {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
    };
    let gain = weights.chunks_exact(length).zip(products.chunks_exact(length)).map(dot).collect();
    for (row, gain) in products.chunks_exact_mut(length).zip(&conv.gain) {
        row.iter_mut().for_each(|product| *product *= gain);
    }
    let mut bias = vec![0.0f32; output.channels];
    for example in examples {
        for (sum, plane) in bias.iter_mut().zip(example.gradient.chunks_exact(output.positions())) {
            *sum += sums(plane.len(), |place| [f64::from(plane[place])])[0] as f32;
        }
    }
    vec![products, gain, bias]
}

/// A convolution whose groups are matrix products.
struct Dense<'a> {
    window: &'a Window,
    /// Of one group.
    shape: Shape,
    /// Of one group.
    output: Shape,
    /// Weights of one output channel.
    depth: usize,
}

/// Some output rows of some images.
struct RowBlock<'e, 'a> {
    examples: &'e [Example<'a>],
    rows: Range<usize>,
}

impl<'w> Dense<'w> {
    fn new(conv: &'w Conv, shape: Shape, output: Shape) -> Self {
        let of_group = |shape: Shape| Shape { channels: shape.channels / conv.groups, ..shape };
        let depth = conv.weight.dim().1 * conv.window.area();
        Self { window: &conv.window, shape: of_group(shape), output: of_group(output), depth }
    }

    fn group(
        &self,
        group: usize,
        gained: &[f32],
        examples: &[Example],
        inputs: &mut [Vec<f32>],
        sums: &mut [f32],
    ) -> Result<()> {
        let weights = self.output.channels * self.depth;
        let own = group * weights..(group + 1) * weights;
        let weight = matrix(&gained[own.clone()], self.output.channels)?;
        let mut sum =
            if sums.is_empty() { None } else { Some(matrix_mut(&mut sums[own], self.output.channels)?) };
        let lines = (PATCH_VALUES / (self.depth * self.output.width)).max(1);
        let images = (lines / self.output.height).max(1);
        let rows = lines.min(self.output.height);
        let mut patches = Vec::new();
        let mut gradients = Vec::new();
        for first in (0..examples.len()).step_by(images) {
            let examples = &examples[first..examples.len().min(first + images)];
            for start in (0..self.output.height).step_by(rows) {
                let block = RowBlock { examples, rows: start..self.output.height.min(start + rows) };
                self.gather_gradients(&block, group, &mut gradients);
                let gradient = matrix(&gradients, self.output.channels)?;
                if let Some(sum) = &mut sum {
                    self.gather_inputs(&block, group, &mut patches);
                    general_mat_mul(1.0, &gradient, &matrix(&patches, self.depth)?.t(), 1.0, sum);
                }
                if !inputs.is_empty() {
                    patches.resize(self.depth * gradient.ncols(), 0.0);
                    general_mat_mul(
                        1.0,
                        &weight.t(),
                        &gradient,
                        0.0,
                        &mut matrix_mut(&mut patches, self.depth)?,
                    );
                    self.scatter_inputs(&block, group, &mut patches, &mut inputs[first..]);
                }
            }
        }
        Ok(())
    }

    /// All groups without patches: inputs and outputs' gradients are read at a shift.
    fn in_planes(&self, gained: &[f32], examples: &[Example], inputs: &mut [Vec<f32>], sums: &mut [f32]) {
        let planes = Planes::new(self.window, self.shape, self.output);
        let [starts, line_starts] = [planes.starts(), planes.line_starts()];
        let (mut values, mut lines, mut computed) = (Vec::new(), Vec::new(), Vec::new());
        for (group, weights) in gained.chunks_exact(self.output.channels * self.depth).enumerate() {
            let adjoint = if inputs.is_empty() { Vec::new() } else { planes.adjoint(weights) };
            let [own_input, own_output] =
                [&self.shape, &self.output].map(|s| group * s.len()..(group + 1) * s.len());
            for (image, example) in examples.iter().enumerate() {
                planes.fill_lines(&example.gradient[own_output.clone()], &mut lines);
                if let Some(sums) = sums.get_mut(group * weights.len()..(group + 1) * weights.len()) {
                    planes.fill(&example.inputs[0].0[own_input.clone()], &mut values);
                    let left = Lines { data: &lines, starts: &line_starts };
                    add_dots(left, Lines { data: &values, starts: &starts }, planes.length(), sums);
                }
                let Some(input) = inputs.get_mut(image) else { continue };
                values.resize(planes.planes_length() + SLACK, 0.0);
                computed.resize(self.shape.channels * planes.plane_length(), 0.0);
                for (phase, (matrix, starts)) in adjoint.iter().enumerate() {
                    if starts.is_empty() {
                        computed.fill(0.0);
                    } else {
                        product(matrix, starts, &lines, planes.plane_length(), &mut computed);
                    }
                    planes.place_phase(phase, &computed, &mut values);
                }
                planes.take(&values, &mut input[own_input.clone()]);
            }
        }
    }

    /// The gradients of a group's outputs: one line per channel, image after image.
    fn gather_gradients(&self, block: &RowBlock, group: usize, lines: &mut Vec<f32>) {
        lines.clear();
        let (positions, width) = (self.output.positions(), self.output.width);
        let columns = block.rows.start * width..block.rows.end * width;
        for channel in group * self.output.channels..(group + 1) * self.output.channels {
            for example in block.examples {
                lines.extend_from_slice(&example.gradient[channel * positions..][columns.clone()]);
            }
        }
    }

    fn gather_inputs(&self, block: &RowBlock, group: usize, patches: &mut Vec<f32>) {
        let columns = block.rows.len() * self.output.width;
        let stride = columns * block.examples.len();
        patches.resize(self.depth * stride, 0.0);
        for (image, example) in block.examples.iter().enumerate() {
            let (values, _) = example.inputs[0];
            let input = (&values[group * self.shape.len()..][..self.shape.len()], self.shape);
            let target = Columns { values: patches, stride, first: image * columns };
            gather(self.window, input, self.output, block.rows.clone(), target);
        }
    }

    fn scatter_inputs(&self, block: &RowBlock, group: usize, patches: &mut [f32], inputs: &mut [Vec<f32>]) {
        let columns = block.rows.len() * self.output.width;
        let stride = columns * block.examples.len();
        for (image, input) in inputs.iter_mut().take(block.examples.len()).enumerate() {
            let source = Columns { values: patches, stride, first: image * columns };
            let target = &mut input[group * self.shape.len()..][..self.shape.len()];
            scatter(self.window, (target, self.shape), self.output, block.rows.clone(), source);
        }
    }
}

fn matrix(values: &[f32], rows: usize) -> Result<ArrayView2<'_, f32>> {
    ArrayView2::from_shape((rows, values.len() / rows.max(1)), values).map_err(layout_error)
}

fn matrix_mut(values: &mut [f32], rows: usize) -> Result<ArrayViewMut2<'_, f32>> {
    ArrayViewMut2::from_shape((rows, values.len() / rows.max(1)), values).map_err(layout_error)
}

/// A convolution with one input channel per group.
struct Depthwise<'a> {
    window: &'a Window,
    /// Output channels per input channel.
    multiplier: usize,
    shape: Shape,
    output: Shape,
}

impl Depthwise<'_> {
    fn image(&self, gained: &[f32], example: &Example, mut target: Option<&mut [f32]>, sums: &mut [f32]) {
        let (positions, area) = (self.shape.positions(), self.window.area());
        for (channel, gradient) in example.gradient.chunks_exact(self.output.positions()).enumerate() {
            let own = channel / self.multiplier * positions..(channel / self.multiplier + 1) * positions;
            let input = &example.inputs[0].0[own.clone()];
            for (index, tap) in taps(self.window).enumerate() {
                let weight = channel * area + index;
                if let Some(sum) = sums.get_mut(weight) {
                    *sum += self.correlate(tap, gradient, input);
                }
                if let Some(target) = &mut target {
                    self.spread(tap, gained[weight], gradient, &mut target[own.clone()]);
                }
            }
        }
    }

    /// `Σ dy·x` over the outputs that read an input through this tap.
    fn correlate(&self, tap: [usize; 2], gradient: &[f32], input: &[f32]) -> f32 {
        let mut sum = 0.0;
        self.rows(tap, |outputs, start| {
            let source = input[start..].iter().step_by(self.window.stride[1]);
            sum += gradient[outputs].iter().zip(source).map(|(dy, x)| dy * x).sum::<f32>();
        });
        sum
    }

    /// Adds `weight·dy` to the inputs that were read through this tap.
    fn spread(&self, tap: [usize; 2], weight: f32, gradient: &[f32], target: &mut [f32]) {
        self.rows(tap, |outputs, start| {
            let target = target[start..].iter_mut().step_by(self.window.stride[1]);
            target.zip(&gradient[outputs]).for_each(|(dx, dy)| *dx += weight * dy);
        });
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
