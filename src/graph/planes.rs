//! Convolutions without patches: the padded input in planes, one for every phase of the stride, in which all outputs read a
//! tap at one shift.

use super::patches::{copy_row, copy_strided, taps};
use crate::products::{Lines, SLACK, line_starts, product};
use crate::tensor::{Shape, Window};
use std::ops::Range;

/// Outputs of a channel from which on reading at a shift is faster than a copy for every kernel position.
const PLANE_POSITIONS: usize = 32;

/// How the planes of a convolution's input lie, and where its taps read.
///
/// A plane has `pitch` columns; a line of outputs has as many, of which those beyond the output's width mean nothing.
/// Padding at the end of a row is the padding before the next one, and padding below a plane that above the next.
#[derive(Debug)]
pub(crate) struct Planes {
    input: Shape,
    output: Shape,
    axes: [PlaneAxis; 2],
    taps: Vec<Tap>,
    starts: Vec<usize>,
}

/// Rows or columns of planes.
#[derive(Debug, Clone, Copy)]
struct PlaneAxis {
    stride: usize,
    pad: usize,
    /// Of the input.
    size: usize,
    /// Furthest tap from the first.
    reach: usize,
    /// Rows or columns of a plane.
    extent: usize,
}

/// Where a kernel position reads.
#[derive(Debug, Clone, Copy)]
struct Tap {
    phase: usize,
    /// From an output's place in its line to the input's in the plane.
    shift: usize,
}

/// From gradients of outputs to those of the inputs of one phase.
#[derive(Debug)]
pub(crate) struct PhaseAdjoint {
    phase: usize,
    /// By input channel, output channel, tap.
    weights: Vec<f32>,
    /// Where the weights of an input channel start.
    weight_starts: Vec<usize>,
    /// Where the lines start that these meet, for the first row of a plane that holds inputs.
    starts: Vec<usize>,
    /// Rows of a plane that hold inputs.
    rows: Range<usize>,
}

impl PlaneAxis {
    fn new(window: &Window, axis: usize, size: usize, outputs: usize) -> Self {
        let stride = window.stride[axis];
        let reach = (window.kernel[axis] - 1) * window.dilation[axis] / stride;
        let mut own = Self { stride, pad: window.pads[axis], size, reach, extent: outputs + reach };
        let blank = |phase: usize| {
            let places = own.places(phase);
            if places.is_empty() { own.extent } else { places.start.min(own.extent - places.end) }
        };
        let shared = (0..stride).map(blank).min().unwrap_or(0);
        own.extent = outputs.max(own.extent - shared);
        own
    }

    /// The first input of a phase.
    fn first(&self, phase: usize) -> usize {
        (phase + self.stride - self.pad % self.stride) % self.stride
    }

    /// Rows or columns that hold a phase's inputs.
    fn places(&self, phase: usize) -> Range<usize> {
        let first = self.first(phase);
        let start = (first + self.pad) / self.stride;
        let inputs = self.size.saturating_sub(first).div_ceil(self.stride);
        start.min(self.extent)..(start + inputs).min(self.extent)
    }
}

impl Planes {
    /// Whether planes are faster than patches.
    pub(crate) fn suit(window: &Window, output: Shape) -> bool {
        !window.is_pointwise() && output.positions() >= PLANE_POSITIONS
    }

    /// Of a dense convolution from `input` to `output`, which may be those of one group.
    pub(crate) fn new(window: &Window, input: Shape, output: Shape) -> Self {
        let axes = [
            PlaneAxis::new(window, 0, input.height, output.height),
            PlaneAxis::new(window, 1, input.width, output.width),
        ];
        let [rows, columns] = window.stride;
        let tap = |[row, column]: [usize; 2]| {
            let at = [row * window.dilation[0], column * window.dilation[1]];
            let phase = at[0] % rows * columns + at[1] % columns;
            Tap { phase, shift: at[0] / rows * axes[1].extent + at[1] / columns }
        };
        let (phases, plane) = (rows * columns, axes[0].extent * axes[1].extent);
        let mut own = Self { input, output, axes, taps: taps(window).map(tap).collect(), starts: Vec::new() };
        let channel = |channel: usize| {
            own.taps.iter().map(move |tap| (channel * phases + tap.phase) * plane + tap.shift)
        };
        own.starts = (0..input.channels).flat_map(channel).collect();
        own
    }

    fn phases(&self) -> usize {
        self.axes[0].stride * self.axes[1].stride
    }

    /// From a row of outputs to the next in a line.
    pub(crate) fn pitch(&self) -> usize {
        self.axes[1].extent
    }

    fn plane(&self) -> usize {
        self.axes[0].extent * self.pitch()
    }

    /// Values of a line of outputs.
    pub(crate) fn length(&self) -> usize {
        self.output.height * self.pitch()
    }

    /// Where the inputs of each weight start, in the order input channel, row, column.
    pub(crate) fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Writes the input into planes.
    pub(crate) fn fill(&self, values: &[f32], planes: &mut Vec<f32>) {
        planes.clear();
        planes.resize(self.input.channels * self.phases() * self.plane() + self.margin() + SLACK, 0.0);
        for phase in (0..self.phases()).filter(|&phase| self.taps.iter().any(|tap| tap.phase == phase)) {
            self.each_line(phase, |channel, place, inputs, step| {
                let plane = (channel * self.phases() + phase) * self.plane();
                let count = inputs.len().div_ceil(step);
                copy_strided(&mut planes[plane + place..][..count], &values[inputs], step);
            });
        }
    }

    /// Calls `visit` for every line of inputs of a phase: its channel, its place in the plane, where the inputs lie, and
    /// how far apart.
    fn each_line(&self, phase: usize, mut visit: impl FnMut(usize, usize, Range<usize>, usize)) {
        let [rows, columns] = self.axes;
        let phases = [phase / columns.stride, phase % columns.stride];
        let [lines, places] = [rows.places(phases[0]), columns.places(phases[1])];
        if places.is_empty() {
            return;
        }
        let last = (places.len() - 1) * columns.stride;
        for channel in 0..self.input.channels {
            for (index, line) in lines.clone().enumerate() {
                let row = rows.first(phases[0]) + index * rows.stride;
                let start = (channel * rows.size + row) * columns.size + columns.first(phases[1]);
                visit(channel, line * self.pitch() + places.start, start..start + last + 1, columns.stride);
            }
        }
    }

    /// Most places from a line's start to an input that it reads.
    fn margin(&self) -> usize {
        self.axes[0].reach * self.pitch() + self.axes[1].reach
    }

    /// Writes outputs' gradients as lines with zeros around.
    pub(crate) fn fill_lines(&self, gradient: &[f32], lines: &mut Vec<f32>) {
        lines.clear();
        lines.resize(self.output.channels * self.spaced() + self.margin() + SLACK, 0.0);
        let (width, positions) = (self.output.width, self.output.positions());
        for (start, plane) in self.line_starts().into_iter().zip(gradient.chunks_exact(positions)) {
            for (line, row) in lines[start..].chunks_mut(self.pitch()).zip(plane.chunks_exact(width)) {
                copy_row(row, line);
            }
        }
    }

    /// Distance of lines of outputs, zeros between.
    fn spaced(&self) -> usize {
        self.margin() + self.length()
    }

    /// Where the line of each output channel starts in what [`Planes::fill_lines`] writes.
    fn line_starts(&self) -> Vec<usize> {
        (0..self.output.channels).map(|channel| channel * self.spaced() + self.margin()).collect()
    }

    /// For every phase, what the gradients of its inputs are made of, from weights in the order output, input, tap.
    pub(crate) fn adjoint(&self, weights: &[f32]) -> Vec<PhaseAdjoint> {
        (0..self.phases()).map(|phase| self.phase_adjoint(phase, weights)).collect()
    }

    fn phase_adjoint(&self, phase: usize, weights: &[f32]) -> PhaseAdjoint {
        let (inputs, area) = (self.input.channels, self.taps.len());
        let taps: Vec<usize> = (0..area).filter(|&tap| self.taps[tap].phase == phase).collect();
        let mut matrix = Vec::with_capacity(inputs * self.output.channels * taps.len());
        for input in 0..inputs {
            for output in 0..self.output.channels {
                matrix.extend(taps.iter().map(|tap| weights[(output * inputs + input) * area + tap]));
            }
        }
        let rows = self.axes[0].places(phase / self.axes[1].stride);
        let first = rows.start * self.pitch();
        let lines = self.line_starts().into_iter();
        let starts: Vec<usize> =
            lines.flat_map(|line| taps.iter().map(move |&tap| line + first - self.taps[tap].shift)).collect();
        PhaseAdjoint {
            phase,
            weights: matrix,
            weight_starts: line_starts(inputs, starts.len()),
            starts,
            rows,
        }
    }

    /// Writes the gradients of a phase's inputs, given the lines of [`Planes::fill_lines`]; `computed` is for its use.
    pub(crate) fn input_gradients(
        &self,
        adjoint: &PhaseAdjoint,
        lines: &[f32],
        computed: &mut Vec<f32>,
        values: &mut [f32],
    ) {
        let length = adjoint.rows.len() * self.pitch();
        if adjoint.starts.is_empty() || length == 0 {
            return;
        }
        computed.resize(self.input.channels * length, 0.0);
        let left = Lines { data: &adjoint.weights, starts: &adjoint.weight_starts };
        product(left, Lines { data: lines, starts: &adjoint.starts }, length, computed);
        let first = adjoint.rows.start * self.pitch();
        self.each_line(adjoint.phase, |channel, place, inputs, step| {
            let line = &computed[channel * length + place - first..];
            if step == 1 {
                copy_row(line, &mut values[inputs]);
            } else {
                values[inputs]
                    .iter_mut()
                    .step_by(step)
                    .zip(line)
                    .for_each(|(target, value)| *target = *value);
            }
        });
    }

    /// The outputs of a line, row by row.
    pub(crate) fn output_rows<'a>(&self, line: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
        let width = self.output.width;
        line.chunks(self.pitch()).map(move |row| &row[..width])
    }
}
