//! Ternarization of a whole weight tensor.

use super::closed_form::{Solution, solve};
use crate::error::{Error, ErrorKind, Result};
use ndarray::{Array2, ArrayD, ArrayView, Axis, Dimension, IxDyn};
use rayon::prelude::*;

/// Options of [`ternarize_tensor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TernarizeOptions {
    group: usize,
}

impl TernarizeOptions {
    /// Groups of `group` consecutive input channels share a scale; a shorter last group is allowed.
    pub const fn group(group: usize) -> Self {
        Self { group }
    }
}

/// A ternary weight tensor: `w ≈ factor[o] · scale[g] · code`.
///
/// Groups are runs of consecutive input channels (axis 1) at one position of the remaining axes of one
/// output channel (axis 0).
#[derive(Debug, Clone, PartialEq)]
pub struct TernaryTensor {
    dims: Vec<usize>,
    group: usize,
    /// Output channel, position, input channel.
    codes: Vec<i8>,
    /// Output channel, position, group.
    scales: Vec<u8>,
    factors: Vec<f32>,
    relative_error: f64,
}

/// Approximates a weight tensor by ternary codes with one 8-bit scale per group, without any data.
///
/// `weights` has the output channel first and the input channel second, as convolutions (`O×I×H×W`) and
/// fully connected layers (`O×I`) have. Each group's codes minimise the squared error exactly
/// (Mellempudi et al., arXiv 1705.01462, equation 4); scales are then rounded to `0..=127` times one
/// factor per output channel.
///
/// # Errors
/// A tensor of rank below 2, a group size of zero, or a NaN or infinite weight (its index is named).
///
/// # Examples
/// ```
/// use fgq::{TernarizeOptions, ternarize_tensor};
/// use ndarray::array;
///
/// let weights = array![[0.9_f32, -1.1, 0.1, 1.0], [0.0, 0.0, 2.0, 0.0]];
/// let t = ternarize_tensor(weights.view(), &TernarizeOptions::group(4))?;
/// assert_eq!(t.codes(), array![[1, -1, 0, 1], [0, 0, 1, 0]].into_dyn());
/// assert!((t.dequantize()[[0, 1]] + 1.0).abs() < 0.01);
/// # Ok::<(), fgq::Error>(())
/// ```
pub fn ternarize_tensor<D: Dimension>(
    weights: ArrayView<'_, f32, D>,
    options: &TernarizeOptions,
) -> Result<TernaryTensor> {
    check(&weights, options.group)?;
    let dims = weights.shape().to_vec();
    let weights = weights.into_dyn();
    let channels: Vec<Channel> = (0..dims[0])
        .into_par_iter()
        .map(|output| ternarize_channel(&rows(&weights, output), dims[1], options.group))
        .collect();
    Ok(assemble(dims, options.group, &channels))
}

fn check<D: Dimension>(weights: &ArrayView<'_, f32, D>, group: usize) -> Result<()> {
    if weights.ndim() < 2 {
        let message = format!("weights of rank {}; give output and input channels", weights.ndim());
        return Err(Error::new(ErrorKind::Shape, message));
    }
    if group == 0 {
        return Err(Error::new(ErrorKind::Argument, "a group size of 0; give at least 1"));
    }
    let flat = || weights.iter().enumerate().find(|(_, weight)| !weight.is_finite());
    match flat() {
        None => Ok(()),
        Some((index, weight)) => {
            let index = unravel(index, weights.shape());
            let message = format!("weight {index:?} is {weight}; weights must be finite");
            Err(Error::new(ErrorKind::NonFinite, message))
        }
    }
}

fn unravel(mut index: usize, dims: &[usize]) -> Vec<usize> {
    let mut place: Vec<usize> = dims
        .iter()
        .rev()
        .map(|&extent| {
            let digit = index % extent;
            index /= extent;
            digit
        })
        .collect();
    place.reverse();
    place
}

/// The weights of one output channel in the order position, input channel.
fn rows(weights: &ArrayView<'_, f32, IxDyn>, output: usize) -> Vec<f32> {
    let mut channel = weights.index_axis(Axis(0), output);
    let axes: Vec<usize> = (1..channel.ndim()).chain([0]).collect();
    channel = channel.permuted_axes(IxDyn(&axes));
    channel.iter().copied().collect()
}

struct Channel {
    codes: Vec<i8>,
    scales: Vec<u8>,
    factor: f32,
    /// Sum of squared errors and of squared weights.
    squares: [f64; 2],
}

fn ternarize_channel(weights: &[f32], inputs: usize, group: usize) -> Channel {
    let groups = || weights.chunks(inputs.max(1)).flat_map(|run| run.chunks(group));
    let mut sorted = Vec::with_capacity(group.min(inputs));
    let solutions: Vec<Solution> =
        groups().map(|weights| solve(weights.iter().map(|&weight| f64::from(weight)), &mut sorted)).collect();
    let factor = factor(solutions.iter().map(|solution| solution.scale).fold(0.0, f64::max));
    let mut channel =
        Channel { codes: Vec::with_capacity(weights.len()), scales: Vec::new(), factor, squares: [0.0; 2] };
    for (weights, solution) in groups().zip(&solutions) {
        channel.push(weights, solution);
    }
    channel
}

impl Channel {
    fn push(&mut self, weights: &[f32], solution: &Solution) {
        let scale = (solution.scale / f64::from(self.factor)).round().min(127.0) as u8;
        let value = f64::from(scale) * f64::from(self.factor);
        for &weight in weights {
            let code = if scale == 0 { 0 } else { solution.code(weight) };
            self.squares[0] += (f64::from(weight) - f64::from(code) * value).powi(2);
            self.squares[1] += f64::from(weight).powi(2);
            self.codes.push(code);
        }
        self.scales.push(scale);
    }
}

/// The `f32` nearest to a 127th of `largest`, or the next one if that falls short; 1 for nothing at all.
fn factor(largest: f64) -> f32 {
    if largest == 0.0 {
        return 1.0;
    }
    let factor = (largest / 127.0) as f32;
    if f64::from(factor) * 127.5 < largest { factor.next_up() } else { factor }
}

fn assemble(dims: Vec<usize>, group: usize, channels: &[Channel]) -> TernaryTensor {
    let [error, total] =
        channels.iter().fold([0.0; 2], |[e, t], channel| [e + channel.squares[0], t + channel.squares[1]]);
    TernaryTensor {
        dims,
        group,
        codes: channels.iter().flat_map(|channel| &channel.codes).copied().collect(),
        scales: channels.iter().flat_map(|channel| &channel.scales).copied().collect(),
        factors: channels.iter().map(|channel| channel.factor).collect(),
        relative_error: if total > 0.0 { error / total } else { 0.0 },
    }
}

impl TernaryTensor {
    /// The codes −1, 0, +1 in the shape of the weights.
    pub fn codes(&self) -> ArrayD<i8> {
        self.in_weight_order(&self.codes)
    }

    /// The 8-bit scales, `0..=127`: a row per output channel, in it positions and groups in storage order.
    pub fn scales(&self) -> Array2<u8> {
        let rows = self.factors.len();
        let columns = self.scales.len().checked_div(rows).unwrap_or(0);
        Array2::from_shape_fn((rows, columns), |(row, column)| self.scales[row * columns + column])
    }

    /// The real factor of each output channel.
    pub fn factors(&self) -> &[f32] {
        &self.factors
    }

    /// Number of consecutive input channels that share a scale.
    pub fn group(&self) -> usize {
        self.group
    }

    /// `Σ (w − ŵ)² / Σ w²` over the whole tensor; 0 for a tensor of zeros.
    pub fn relative_error(&self) -> f64 {
        self.relative_error
    }

    /// Share of codes that are zero, 0 to 1.
    pub fn zero_share(&self) -> f64 {
        let zeros = self.codes.iter().filter(|&&code| code == 0).count();
        zeros as f64 / self.codes.len().max(1) as f64
    }

    /// The approximated weights, in the shape of the weights.
    pub fn dequantize(&self) -> ArrayD<f32> {
        let values: Vec<f32> = (0..self.codes.len()).map(|index| self.value(index)).collect();
        self.in_weight_order(&values)
    }

    /// Codes in storage order: output channel, position, input channel.
    pub(crate) fn stored_codes(&self) -> &[i8] {
        &self.codes
    }

    /// Scales in storage order: output channel, position, group.
    pub(crate) fn stored_scales(&self) -> &[u8] {
        &self.scales
    }

    fn value(&self, index: usize) -> f32 {
        let inputs = self.dims[1];
        let (run, input) = (index / inputs, index % inputs);
        let output = index * self.factors.len() / self.codes.len();
        let scale = self.scales[run * inputs.div_ceil(self.group) + input / self.group];
        let value = f64::from(self.factors[output]) * f64::from(scale) * f64::from(self.codes[index]);
        value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
    }

    fn in_weight_order<T: Copy>(&self, stored: &[T]) -> ArrayD<T> {
        let inputs = self.dims[1];
        let positions: usize = self.dims[2..].iter().product();
        let at = |index: usize| {
            let (output, rest) = (index / (inputs * positions), index % (inputs * positions));
            let (input, position) = (rest / positions, rest % positions);
            stored[(output * positions + position) * inputs + input]
        };
        let mut index = 0;
        ArrayD::from_shape_simple_fn(IxDyn(&self.dims), || {
            index += 1;
            at(index - 1)
        })
    }
}
