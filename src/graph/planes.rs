//! Convolutions without patches: the padded input in planes, one for every phase of the stride, in which all outputs read a
//! tap at one shift.

use super::patches::taps;
use crate::products::SLACK;
use crate::tensor::{Shape, Window};

/// Outputs of a channel from which on reading at a shift is faster than a copy for every kernel position.
const PLANE_POSITIONS: usize = if cfg!(test) { 12 } else { 128 };

/// How the planes of a convolution's input lie, and where its taps read.
///
/// A plane has `pitch` columns; a line of outputs has as many, of which those beyond the output's width mean nothing.
#[derive(Debug)]
pub(crate) struct Planes {
    input: Shape,
    output: Shape,
    stride: [usize; 2],
    pads: [usize; 2],
    pitch: usize,
    rows: usize,
    taps: Vec<Tap>,
}

/// Where a kernel position reads.
#[derive(Debug, Clone, Copy)]
struct Tap {
    phase: usize,
    /// From an output's place in its line to the input's in the plane.
    shift: usize,
}

impl Planes {
    /// Whether planes are faster than patches.
    pub(crate) fn suit(window: &Window, output: Shape) -> bool {
        !window.is_pointwise() && output.positions() >= PLANE_POSITIONS
    }

    /// Of a dense convolution from `input` to `output`, which may be those of one group.
    pub(crate) fn new(window: &Window, input: Shape, output: Shape) -> Self {
        let stride = window.stride;
        let reach = |axis: usize| (window.kernel[axis] - 1) * window.dilation[axis] / stride[axis];
        let pitch = output.width + reach(1);
        let tap = |[row, column]: [usize; 2]| {
            let at = [row * window.dilation[0], column * window.dilation[1]];
            let phase = at[0] % stride[0] * stride[1] + at[1] % stride[1];
            Tap { phase, shift: at[0] / stride[0] * pitch + at[1] / stride[1] }
        };
        let taps = taps(window).map(tap).collect();
        Self {
            input,
            output,
            stride,
            pads: [window.pads[0], window.pads[1]],
            pitch,
            rows: output.height + reach(0),
            taps,
        }
    }

    fn phases(&self) -> usize {
        self.stride[0] * self.stride[1]
    }

    fn plane(&self) -> usize {
        self.rows * self.pitch
    }

    /// Values of a line of outputs.
    pub(crate) fn length(&self) -> usize {
        self.output.height * self.pitch
    }

    /// Where the inputs of each weight start, in the order input channel, row, column.
    pub(crate) fn starts(&self) -> Vec<usize> {
        let channel = |channel: usize| {
            self.taps.iter().map(move |tap| (channel * self.phases() + tap.phase) * self.plane() + tap.shift)
        };
        (0..self.input.channels).flat_map(channel).collect()
    }

    /// Writes the input into planes.
    pub(crate) fn fill(&self, values: &[f32], planes: &mut Vec<f32>) {
        planes.clear();
        planes.resize(self.input.channels * self.phases() * self.plane() + self.pitch + SLACK, 0.0);
        self.each_line(|place, step, inputs| {
            let (targets, source) = (planes[place..].iter_mut(), &values[inputs]);
            targets.zip(source.iter().step_by(step)).for_each(|(target, value)| *target = *value);
        });
    }

    /// The adjoint of [`Planes::fill`]: the input's part of the planes.
    pub(crate) fn take(&self, planes: &[f32], values: &mut [f32]) {
        self.each_line(|place, step, inputs| {
            let targets = values[inputs].iter_mut().step_by(step);
            targets.zip(&planes[place..]).for_each(|(target, value)| *target = *value);
        });
    }

    /// Calls `visit` for every line of a plane that holds inputs: its place, the distance of inputs, and where they lie.
    fn each_line(&self, mut visit: impl FnMut(usize, usize, std::ops::Range<usize>)) {
        let Shape { channels, height, width } = self.input;
        for row in 0..height {
            let padded = row + self.pads[0];
            let (phase, line) = (padded % self.stride[0], padded / self.stride[0]);
            if line >= self.rows {
                continue;
            }
            for column in 0..self.stride[1].min(width) {
                let padded = column + self.pads[1];
                let (phase, first) =
                    (phase * self.stride[1] + padded % self.stride[1], padded / self.stride[1]);
                let fitting = self.pitch.saturating_sub(first);
                let end = width.min(column + fitting * self.stride[1]);
                if fitting == 0 {
                    continue;
                }
                for channel in 0..channels {
                    let place = (channel * self.phases() + phase) * self.plane() + line * self.pitch + first;
                    let start = (channel * height + row) * width;
                    visit(place, self.stride[1], start + column..start + end);
                }
            }
        }
    }

    /// Most places from a line's start to an input that it reads.
    fn margin(&self) -> usize {
        self.taps.iter().map(|tap| tap.shift).max().unwrap_or(0)
    }

    fn spaced(&self) -> usize {
        self.margin() + self.plane()
    }

    /// Writes outputs' gradients as lines with zeros around.
    pub(crate) fn fill_lines(&self, gradient: &[f32], lines: &mut Vec<f32>) {
        lines.clear();
        lines.resize(self.output.channels * self.spaced() + SLACK, 0.0);
        for (start, plane) in
            self.line_starts().into_iter().zip(gradient.chunks_exact(self.output.positions()))
        {
            for (row, values) in plane.chunks_exact(self.output.width).enumerate() {
                lines[start + row * self.pitch..][..values.len()].copy_from_slice(values);
            }
        }
    }

    /// Where the line of each output channel starts in what [`Planes::fill_lines`] writes.
    pub(crate) fn line_starts(&self) -> Vec<usize> {
        (0..self.output.channels).map(|channel| channel * self.spaced() + self.margin()).collect()
    }

    /// For every phase, the weights (output, input, tap) that read it as a matrix from lines of outputs to planes of inputs,
    /// and where the lines start that they take.
    pub(crate) fn adjoint(&self, weights: &[f32]) -> Vec<(Vec<f32>, Vec<usize>)> {
        let (inputs, area) = (self.input.channels, self.taps.len());
        let phase = |phase: usize| {
            let taps: Vec<usize> = (0..area).filter(|&tap| self.taps[tap].phase == phase).collect();
            let mut matrix = Vec::with_capacity(weights.len());
            for input in 0..inputs {
                for output in 0..self.output.channels {
                    matrix.extend(taps.iter().map(|tap| weights[(output * inputs + input) * area + tap]));
                }
            }
            let lines = self.line_starts();
            let starts =
                lines.iter().flat_map(|start| taps.iter().map(move |&tap| start - self.taps[tap].shift));
            (matrix, starts.collect())
        };
        (0..self.phases()).map(phase).collect()
    }

    /// Values of one plane.
    pub(crate) fn plane_length(&self) -> usize {
        self.plane()
    }

    /// Takes what was computed for a phase, plane after plane, to where [`Planes::take`] looks for it.
    pub(crate) fn place_phase(&self, phase: usize, computed: &[f32], planes: &mut [f32]) {
        for (channel, values) in computed.chunks_exact(self.plane()).enumerate() {
            planes[(channel * self.phases() + phase) * self.plane()..][..values.len()]
                .copy_from_slice(values);
        }
    }

    /// Values of all planes.
    pub(crate) fn planes_length(&self) -> usize {
        self.input.channels * self.phases() * self.plane()
    }

    /// The lines of outputs that mean something, row by row.
    pub(crate) fn output_rows<'a>(&self, line: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
        let width = self.output.width;
        line.chunks(self.pitch).map(move |row| &row[..width])
    }
}
