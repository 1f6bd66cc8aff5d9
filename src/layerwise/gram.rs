//! Second moments of a layer's real inputs and of the outputs it should have.

use super::teacher::Teacher;
use crate::calibrate::{CHUNK, Spool};
use crate::error::Result;
use crate::graph::NodeId;
use crate::quantize::QuantizedConv;
use crate::tensor::{Batch, Shape};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use rayon::prelude::*;

/// Columns of one parallel task.
const PANEL: usize = 96;
/// Positions gathered before they are multiplied.
const BLOCK: usize = 1024;
/// Fewest positions sampled, and positions per input of the layer.
const MIN_SAMPLES: usize = 16_384;
const SAMPLES_PER_INPUT: usize = 48;

/// Covariances of one channel group of a convolution, over sampled output positions.
///
/// Inputs are integers, distances from the zero point, so their sums are exact in `f64`.
pub(super) struct Gram {
    /// `inputs × inputs`: covariance of the inputs.
    pub inputs: Mat<f64>,
    /// `inputs × outputs`: covariance of inputs and wanted outputs.
    pub cross: Mat<f64>,
    /// Mean of each input.
    pub input_means: Vec<f64>,
    /// Mean of each wanted output.
    pub output_means: Vec<f64>,
    /// Variance of each wanted output.
    pub output_variances: Vec<f64>,
}

/// Where a layer's inputs and wanted outputs are.
pub(super) struct Samples<'a> {
    pub conv: &'a QuantizedConv,
    /// The integer activations that the layer reads, and their zero point per channel.
    pub inputs: &'a Spool,
    pub zero_points: &'a [u8],
    pub input_shape: Shape,
    /// The full-precision outputs.
    pub teacher: &'a Teacher<'a>,
    pub target: NodeId,
    /// Integer residual (activations, zero point, scale) and the full-precision residual.
    pub residual: Option<(&'a Spool, u8, f64, NodeId)>,
}

impl Samples<'_> {
    /// The covariances of every channel group.
    pub(super) fn gram(&self) -> Result<Vec<Gram>> {
        let (inputs, outputs) =
            (self.conv.window.area() * self.conv.group_inputs, self.conv.outputs / self.conv.groups);
        let mut sums: Vec<Sums> = (0..self.conv.groups).map(|_| Sums::new(inputs, outputs)).collect();
        let shape = self.teacher.shape(self.target);
        let per_image = self.positions_per_image(shape, inputs);
        for index in 0..self.inputs.chunks() {
            let rows = self.chunk_rows(index, shape, per_image)?;
            sums.iter_mut().enumerate().for_each(|(group, sums)| self.add(sums, group, &rows));
        }
        Ok(sums.into_iter().map(Sums::finish).collect())
    }

    fn positions_per_image(&self, shape: Shape, inputs: usize) -> usize {
        let wanted = MIN_SAMPLES.max(SAMPLES_PER_INPUT * inputs);
        wanted.div_ceil(self.inputs.images().max(1)).clamp(1, shape.positions())
    }

    /// The sampled positions of a chunk: batch, image, position, wanted outputs.
    fn chunk_rows(&self, index: usize, shape: Shape, per_image: usize) -> Result<Chunk> {
        let batch = self.inputs.chunk(index)?;
        let targets = self.teacher.chunk(self.target, index)?;
        let residual = match self.residual {
            Some((spool, zero, scale, node)) => {
                Some((spool.chunk(index)?, zero, scale, self.teacher.chunk(node, index)?))
            }
            None => None,
        };
        let mut places = Vec::with_capacity(batch.images * per_image);
        let mut wanted = Vec::with_capacity(batch.images * per_image * shape.channels);
        for (image, target) in targets.iter().enumerate() {
            for position in sampled(shape.positions(), per_image, index * CHUNK + image) {
                places.push((image, position));
                for channel in 0..shape.channels {
                    let at = channel * shape.positions() + position;
                    let mut value = f64::from(target[at]);
                    if let Some((batch, zero, scale, full)) = &residual {
                        let code = batch.image(image)[position * shape.channels + channel];
                        let real = (f64::from(code) - f64::from(*zero)) * scale;
                        value += f64::from(full[image][at]) - real;
                    }
                    wanted.push(value);
                }
            }
        }
        Ok(Chunk { batch, places, wanted, shape })
    }

    fn add(&self, sums: &mut Sums, group: usize, chunk: &Chunk) {
        let (inputs, outputs) = (sums.inputs, sums.outputs);
        for (block, places) in chunk.places.chunks(BLOCK).enumerate() {
            let mut x = Mat::<f64>::zeros(inputs, places.len());
            let mut y = Mat::<f64>::zeros(outputs, places.len());
            for (column, &(image, position)) in places.iter().enumerate() {
                self.gather(chunk, image, position, group, x.col_as_slice_mut(column));
                let row = &chunk.wanted[(block * BLOCK + column) * chunk.shape.channels..][group * outputs..]
                    [..outputs];
                y.col_as_slice_mut(column).copy_from_slice(row);
            }
            sums.add(&x, &y);
        }
    }

    fn gather(&self, chunk: &Chunk, image: usize, position: usize, group: usize, patch: &mut [f64]) {
        let Shape { height, width, channels } = self.input_shape;
        let codes = chunk.batch.image(image);
        let place = [position / chunk.shape.width, position % chunk.shape.width];
        let inputs = self.conv.group_inputs;
        for (tap, patch) in patch.chunks_exact_mut(inputs).enumerate() {
            // Padding has the zero point: a distance of zero.
            let Some([y, x]) = self.conv.window.source(place, tap, [height, width]) else { continue };
            let start = (y * width + x) * channels + group * inputs;
            let zeros = &self.zero_points[group * inputs..];
            for ((value, &code), &zero) in patch.iter_mut().zip(&codes[start..]).zip(zeros) {
                *value = f64::from(code) - f64::from(zero);
            }
        }
    }
}

struct Chunk {
    batch: Batch<u8>,
    places: Vec<(usize, usize)>,
    wanted: Vec<f64>,
    shape: Shape,
}

/// `count` of `positions`, evenly spread, shifted from image to image.
fn sampled(positions: usize, count: usize, image: usize) -> impl Iterator<Item = usize> {
    let shift = image * 7919 % positions;
    (0..count).map(move |index| (index * positions / count + shift) % positions)
}

struct Sums {
    inputs: usize,
    outputs: usize,
    count: f64,
    /// Lower triangle in panels of columns, each from its diagonal down.
    squares: Vec<Mat<f64>>,
    cross: Vec<Mat<f64>>,
    input_sums: Vec<f64>,
    output_sums: Vec<f64>,
    output_squares: Vec<f64>,
}

impl Sums {
    fn new(inputs: usize, outputs: usize) -> Self {
        let panels =
            |total: usize| (0..total).step_by(PANEL).map(move |start| (start, PANEL.min(total - start)));
        Self {
            inputs,
            outputs,
            count: 0.0,
            squares: panels(inputs).map(|(start, width)| Mat::zeros(inputs - start, width)).collect(),
            cross: panels(outputs).map(|(_, width)| Mat::zeros(inputs, width)).collect(),
            input_sums: vec![0.0; inputs],
            output_sums: vec![0.0; outputs],
            output_squares: vec![0.0; outputs],
        }
    }

    fn add(&mut self, x: &Mat<f64>, y: &Mat<f64>) {
        self.count += x.ncols() as f64;
        for column in 0..x.ncols() {
            let sum = |sums: &mut [f64], values: &[f64], power: i32| {
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value.powi(power));
            };
            sum(&mut self.input_sums, x.col_as_slice(column), 1);
            sum(&mut self.output_sums, y.col_as_slice(column), 1);
            sum(&mut self.output_squares, y.col_as_slice(column), 2);
        }
        let squares = self.squares.par_iter_mut().enumerate();
        squares.for_each(|(panel, sums)| {
            let start = panel * PANEL;
            let (rows, columns) = (x.get(start.., ..), x.get(start..start + sums.ncols(), ..));
            matmul(sums.as_mut(), Accum::Add, rows, columns.transpose(), 1.0, Par::Seq);
        });
        self.cross.par_iter_mut().enumerate().for_each(|(panel, sums)| {
            let columns = y.get(panel * PANEL..panel * PANEL + sums.ncols(), ..);
            matmul(sums.as_mut(), Accum::Add, x.as_ref(), columns.transpose(), 1.0, Par::Seq);
        });
    }

    fn finish(self) -> Gram {
        let mean = |sums: &[f64]| -> Vec<f64> { sums.iter().map(|sum| sum / self.count).collect() };
        let (m, n) = (mean(&self.input_sums), mean(&self.output_sums));
        let square = |i: usize, j: usize| {
            let (i, j) = (i.max(j), i.min(j));
            self.squares[j / PANEL][(i - j / PANEL * PANEL, j % PANEL)]
        };
        let inputs = Mat::from_fn(self.inputs, self.inputs, |i, j| square(i, j) / self.count - m[i] * m[j]);
        let cross = Mat::from_fn(self.inputs, self.outputs, |i, o| {
            self.cross[o / PANEL][(i, o % PANEL)] / self.count - m[i] * n[o]
        });
        let variance = |(square, mean): (&f64, &f64)| (square / self.count - mean * mean).max(0.0);
        let output_variances = self.output_squares.iter().zip(&n).map(variance).collect();
        Gram { inputs, cross, input_means: m, output_means: n, output_variances }
    }
}

#[cfg(test)]
mod tests;
