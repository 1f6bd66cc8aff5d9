//! Convolutions: matrix products over planes or patches of several images, or direct loops for depthwise ones.

use super::depthwise::Depthwise;
use super::{Backward, Example, WantedGradients};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Conv, PhaseAdjoint, Planes, add_patch_products, each_patches, scatter};
use crate::products::{LANES, Lines, SLACK, add_product, line_starts, product};
use crate::tensor::{Shape, Window};
use crate::wide;
use std::cell::Cell;
use std::ops::Range;

/// Output channels whose weights' gradients are summed together, as many as registers hold.
const PANEL: usize = 3 * LANES;

/// Outputs' positions whose gradients are turned to lie channel by channel at a time.
const TURNED: usize = 512;

thread_local! {
    /// Memory that one image after another uses.
    static SCRATCH: Cell<Scratch> = Cell::default();
}

#[derive(Default)]
struct Scratch {
    /// Inputs in planes, or their gradients.
    planes: Vec<f32>,
    /// Outputs' gradients as lines.
    lines: Vec<f32>,
    /// The same, position by position.
    turned: Vec<f32>,
}

/// A convolution, ready for backward steps.
pub(in crate::train) struct ConvBackward<'a> {
    conv: &'a Conv,
    /// Of one group.
    shape: Shape,
    /// Of one group.
    output: Shape,
    /// Weights of one output channel.
    depth: usize,
    route: Route,
}

/// How the gradients are computed; weights are those with gains.
enum Route {
    /// Inputs and outputs' gradients are read at a shift: for every group and phase.
    Planes { planes: Planes, adjoints: Vec<Vec<PhaseAdjoint>> },
    /// An image is a vector.
    Vectors { weights: Vec<f32> },
    /// Patches of inputs for the weights' gradients. The inputs' gradients are a convolution of the outputs' with
    /// `window`, if there is one; else they are added up where patches were taken.
    Patches { window: Option<Window>, weights: Vec<f32> },
    /// One input channel per group, tap by tap.
    Direct { weights: Vec<f32> },
}

impl<'a> ConvBackward<'a> {
    /// From images of shape `shape` to values of shape `output`.
    pub(in crate::train) fn new(conv: &'a Conv, shape: Shape, output: Shape) -> Result<Self> {
        let of_group = |shape: Shape| Shape { channels: shape.channels / conv.groups, ..shape };
        let depth = conv.weight.dim().1 * conv.window.area();
        let gained = gained_weights(conv)?;
        let (shape, output) = (of_group(shape), of_group(output));
        let groups = || gained.chunks_exact(output.channels * depth);
        let route = if Planes::suit(&conv.window, output) {
            let planes = Planes::new(&conv.window, shape, output);
            let adjoints = groups().map(|weights| planes.adjoint(weights)).collect();
            Route::Planes { planes, adjoints }
        } else if shape.channels == 1 && conv.groups > 1 {
            Route::Direct { weights: gained }
        } else if conv.window.is_pointwise() && shape.positions() == 1 {
            Route::Vectors { weights: gained }
        } else {
            let window = adjoint_window(&conv.window);
            let order = if window.is_some() { reversed } else { transposed };
            let weights = groups().flat_map(|weights| order(weights, shape.channels, conv.window.area()));
            Route::Patches { window, weights: weights.collect() }
        };
        Ok(Self { conv, shape, output, depth, route })
    }

    /// The gradients of some images alone.
    pub(in crate::train) fn whole(&self, examples: &[Example], wanted: WantedGradients) -> Backward {
        let mut sums = if wanted.parameters { self.blank() } else { Vec::new() };
        let inputs = self.step(examples, wanted.inputs, &mut sums);
        Backward {
            inputs: inputs.into_iter().map(|input| vec![input]).collect(),
            parameters: if wanted.parameters { self.parameters(sums) } else { Vec::new() },
        }
    }

    /// Sums to which [`ConvBackward::step`] adds: `Σ dy·x` by weight, and `Σ dy` by output channel.
    pub(in crate::train) fn blank(&self) -> Vec<Vec<f32>> {
        vec![vec![0.0; self.conv.weight.len()], vec![0.0; self.conv.bias.len()]]
    }

    /// Adds what some images contribute to the sums, unless these are empty; gradients of every image's input, if wanted.
    pub(in crate::train) fn step(
        &self,
        examples: &[Example],
        wanted: bool,
        sums: &mut [Vec<f32>],
    ) -> Vec<Vec<f32>> {
        let blank = |_: &Example| vec![0.0; self.conv.groups * self.shape.len()];
        let mut inputs: Vec<Vec<f32>> =
            if wanted { examples.iter().map(blank).collect() } else { Vec::new() };
        let mut none = Vec::new();
        let products = sums.first_mut().unwrap_or(&mut none);
        for group in 0..self.conv.groups {
            let products = products.get_mut(group * self.weights()..(group + 1) * self.weights());
            if let Route::Vectors { weights } = &self.route {
                self.vectors(weights, group, examples, &mut inputs, products);
                continue;
            }
            let mut products = products;
            for (image, example) in examples.iter().enumerate() {
                let input = &example.inputs[0].0[self.own_input(group)];
                let gradient = &example.gradient[self.own_output(group)];
                if let Some(products) = products.as_deref_mut() {
                    self.add_products(input, gradient, products);
                }
                if let Some(target) = inputs.get_mut(image) {
                    self.spread(group, gradient, &mut target[self.own_input(group)]);
                }
            }
        }
        if let Some(bias) = sums.get_mut(1) {
            examples.iter().for_each(|example| self.add_bias(example.gradient, bias));
        }
        inputs
    }

    /// Of `y = gain·s + bias` with `s = W * x`, from the sums: `dW = gain·Σ dy·x`, `dgain = Σ dy·s = ⟨W, Σ dy·x⟩`.
    pub(in crate::train) fn parameters(&self, sums: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
        let Ok([products, bias]) = <[Vec<f32>; 2]>::try_from(sums) else { return Vec::new() };
        let mut products = self.in_order(products);
        let weights = self.conv.weight.as_slice().unwrap_or_default();
        let dot = |(a, b): (&[f32], &[f32])| wide::total(&wide::map_pairs(a, b, |a, b| a * b));
        let gain = weights.chunks_exact(self.depth).zip(products.chunks_exact(self.depth)).map(dot).collect();
        for (row, gain) in products.chunks_exact_mut(self.depth).zip(&self.conv.gain) {
            row.iter_mut().for_each(|product| *product *= gain);
        }
        vec![products, gain, bias]
    }

    /// Sums in the order of the weights: routes that turn gradients leave them by panel, weight, output channel.
    fn in_order(&self, sums: Vec<f32>) -> Vec<f32> {
        if matches!(self.route, Route::Vectors { .. } | Route::Direct { .. }) {
            return sums;
        }
        let mut result = vec![0.0; sums.len()];
        let groups = result.chunks_exact_mut(self.weights()).zip(sums.chunks_exact(self.weights()));
        for (result, sums) in groups {
            for panel in panels(self.output.channels) {
                let own = panel.start * self.depth..panel.end * self.depth;
                for (place, row) in result[own.clone()].chunks_exact_mut(self.depth).enumerate() {
                    let sums = sums[own.clone()][place..].iter().step_by(panel.len());
                    row.iter_mut().zip(sums).for_each(|(target, sum)| *target = *sum);
                }
            }
        }
        result
    }

    /// Weights of a group.
    fn weights(&self) -> usize {
        self.output.channels * self.depth
    }

    fn own_input(&self, group: usize) -> Range<usize> {
        group * self.shape.len()..(group + 1) * self.shape.len()
    }

    fn own_output(&self, group: usize) -> Range<usize> {
        group * self.output.len()..(group + 1) * self.output.len()
    }

    fn add_bias(&self, gradient: &[f32], bias: &mut [f32]) {
        for (sum, plane) in bias.iter_mut().zip(gradient.chunks_exact(self.output.positions())) {
            *sum += wide::total(plane);
        }
    }

    /// Adds `Σ dy·x` by weight of one image's group.
    fn add_products(&self, input: &[f32], gradient: &[f32], products: &mut [f32]) {
        let (window, positions) = (&self.conv.window, self.output.positions());
        let Scratch { mut planes, lines, mut turned } = SCRATCH.take();
        let mut add = |lines: Lines<'_>, pitch: usize, first: usize| {
            self.add_line_products(lines, pitch, gradient, &mut turned, first, products);
        };
        match &self.route {
            Route::Planes { planes: layout, .. } => {
                layout.fill(input, &mut planes);
                add(Lines { data: &planes, starts: layout.starts() }, layout.pitch(), 0);
            }
            Route::Patches { .. } if window.is_pointwise() => {
                let starts = line_starts(self.depth, positions);
                add(Lines { data: input, starts: &starts }, self.output.width, 0);
            }
            Route::Patches { .. } => {
                each_patches(window, (input, self.shape), self.output, |first, patches| {
                    add(patches, self.output.width, first);
                })
            }
            Route::Direct { .. } => self.depthwise().add_products(gradient, input, products),
            Route::Vectors { .. } => {}
        }
        SCRATCH.set(Scratch { planes, lines, turned });
    }

    /// The same where line `k` holds what weight `first + k` met at every output, rows `pitch` apart.
    fn add_line_products(
        &self,
        lines: Lines<'_>,
        pitch: usize,
        gradient: &[f32],
        turned: &mut Vec<f32>,
        first: usize,
        products: &mut [f32],
    ) {
        let Shape { channels, height, width } = self.output;
        let rows = (TURNED / pitch).max(1);
        for start in (0..height).step_by(rows) {
            let rows = start..height.min(start + rows);
            let starts: Vec<usize> = lines.starts.iter().map(|line| line + start * pitch).collect();
            let left = Lines { starts: &starts, ..lines };
            for panel in panels(channels) {
                self.turn(gradient, panel.clone(), rows.clone(), pitch, turned);
                let depth = rows.len() * pitch - (pitch - width);
                let right = Lines { data: turned, starts: &line_starts(depth, panel.len()) };
                let sums = &mut products[panel.start * self.depth + first * panel.len()..];
                add_product(left, right, panel.len(), &mut sums[..starts.len() * panel.len()]);
            }
        }
    }

    /// Gradients of some channels and rows of outputs, position by position; zeros between rows.
    fn turn(
        &self,
        gradient: &[f32],
        channels: Range<usize>,
        rows: Range<usize>,
        pitch: usize,
        turned: &mut Vec<f32>,
    ) {
        let (width, positions, panel) = (self.output.width, self.output.positions(), channels.len());
        turned.resize(rows.len() * pitch * panel + SLACK, 0.0);
        for (target, row) in turned.chunks_exact_mut(pitch * panel).zip(rows) {
            target[width * panel..].fill(0.0);
            for (place, channel) in channels.clone().enumerate() {
                let line = &gradient[channel * positions + row * width..][..width];
                for (column, value) in line.iter().enumerate() {
                    target[column * panel + place] = *value;
                }
            }
        }
    }

    /// Writes the gradients of a group's inputs, given those of its outputs; `input` is zeros before.
    fn spread(&self, group: usize, gradient: &[f32], input: &mut [f32]) {
        let own = group * self.weights()..(group + 1) * self.weights();
        match &self.route {
            Route::Planes { planes: layout, adjoints } => {
                let mut scratch = SCRATCH.take();
                layout.fill_lines(gradient, &mut scratch.lines);
                for adjoint in &adjoints[group] {
                    layout.input_gradients(adjoint, &scratch.lines, &mut scratch.planes, input);
                }
                SCRATCH.set(scratch);
            }
            Route::Patches { window: None, weights } => self.scatter(&weights[own], gradient, input),
            Route::Patches { window: Some(window), weights } if window.is_pointwise() => {
                self.product(&weights[own], gradient, input);
            }
            Route::Patches { window: Some(window), weights } => {
                add_patch_products(window, &weights[own], (gradient, self.output), (input, self.shape));
            }
            Route::Direct { weights } => self.depthwise().spread(&weights[own], gradient, input),
            Route::Vectors { .. } => {}
        }
    }

    /// Products of transposed weights with all outputs' gradients.
    fn product(&self, weights: &[f32], gradient: &[f32], result: &mut [f32]) {
        let (channels, positions) = (self.output.channels, self.output.positions());
        let left = Lines { data: weights, starts: &line_starts(weights.len() / channels, channels) };
        let right = Lines { data: gradient, starts: &line_starts(channels, positions) };
        product(left, right, positions, result);
    }

    /// Adds gradients of patches to the inputs that they were taken from.
    fn scatter(&self, weights: &[f32], gradient: &[f32], input: &mut [f32]) {
        let positions = self.output.positions();
        let mut patches = vec![0.0; self.depth * positions];
        self.product(weights, gradient, &mut patches);
        scatter(&self.conv.window, (input, self.shape), self.output, &patches);
    }

    fn depthwise(&self) -> Depthwise<'_> {
        Depthwise { window: &self.conv.window, shape: self.shape, output: self.output }
    }

    /// Where every image is a vector: products with whole rows of weights.
    fn vectors(
        &self,
        weights: &[f32],
        group: usize,
        examples: &[Example],
        inputs: &mut [Vec<f32>],
        products: Option<&mut [f32]>,
    ) {
        let (images, outputs) = (examples.len(), self.output.channels);
        let gradients = || examples.iter().map(|example| &example.gradient[self.own_output(group)]);
        if let Some(products) = products {
            let lines = examples.iter().flat_map(|example| &example.inputs[0].0[self.own_input(group)]);
            let lines: Vec<f32> = lines.copied().collect();
            let by_output = (0..outputs).flat_map(|output| gradients().map(move |gradient| gradient[output]));
            let by_output: Vec<f32> = by_output.collect();
            let left = Lines { data: &by_output, starts: &line_starts(outputs, images) };
            let right = Lines { data: &lines, starts: &line_starts(images, self.depth) };
            add_product(left, right, self.depth, products);
        }
        let weights = &weights[group * self.weights()..][..self.weights()];
        let right = Lines { data: weights, starts: &line_starts(outputs, self.depth) };
        for (gradient, input) in gradients().zip(inputs) {
            let left = Lines { data: gradient, starts: &[0] };
            product(left, right, self.depth, &mut input[self.own_input(group)]);
        }
    }
}

/// Panels of output channels.
fn panels(channels: usize) -> impl Iterator<Item = Range<usize>> {
    (0..channels).step_by(PANEL).map(move |first| first..channels.min(first + PANEL))
}

/// `gain·W`, output channel by output channel.
fn gained_weights(conv: &Conv) -> Result<Vec<f32>> {
    let weights =
        conv.weight.as_slice().ok_or_else(|| Error::new(ErrorKind::Shape, "weights are not in order"))?;
    let length = weights.len() / conv.gain.len().max(1);
    let rows = weights.chunks_exact(length.max(1)).zip(&conv.gain);
    Ok(rows.flat_map(|(row, gain)| row.iter().map(move |weight| gain * weight)).collect())
}

/// The window of the convolution that goes from outputs' gradients to inputs', where there is one.
fn adjoint_window(window: &Window) -> Option<Window> {
    let reach = [0, 1].map(|axis| (window.kernel[axis] - 1) * window.dilation[axis]);
    let [top, left, bottom, right] = window.pads;
    let pads = [(reach[0], top), (reach[1], left), (reach[0], bottom), (reach[1], right)];
    let fits = window.stride == [1, 1] && pads.iter().all(|(reach, pad)| pad <= reach);
    fits.then(|| Window { pads: pads.map(|(reach, pad)| reach - pad), ..*window })
}

/// From output, input, tap to input, tap, output.
fn transposed(weights: &[f32], inputs: usize, area: usize) -> Vec<f32> {
    let depth = inputs * area;
    (0..depth).flat_map(|line| weights.iter().skip(line).step_by(depth).copied()).collect()
}

/// From output, input, tap to input, output, and tap in reverse.
fn reversed(weights: &[f32], inputs: usize, area: usize) -> Vec<f32> {
    let kernels = |input: usize| weights.chunks_exact(area).skip(input).step_by(inputs);
    (0..inputs).flat_map(|input| kernels(input).flat_map(|kernel| kernel.iter().rev().copied())).collect()
}
