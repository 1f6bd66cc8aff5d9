//! Ternarization of a whole weight tensor.

use super::channels::{ChannelLayout, ChannelSlices, Worker};
use crate::error::{Error, ErrorKind, Result};
use crate::precision::LARGEST_WEIGHT;
use ndarray::{Array2, ArrayD, ArrayView, Dimension, IxDyn};
use rayon::prelude::*;

/// Weights of one parallel task, if a channel has no more.
const TASK: usize = 1 << 14;

/// Options of [`ternarize_tensor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TernarizeOptions {
    group: usize,
    largest_scale: u8,
}

impl TernarizeOptions {
    /// Groups of `group` consecutive input channels share a scale; a shorter last group is allowed.
    pub const fn group(group: usize) -> Self {
        Self { group, largest_scale: LARGEST_WEIGHT }
    }

    /// Scales of `bits` bits, 1 to 8, so that the largest is `2^bits − 1` and at most 127.
    #[must_use]
    pub const fn scale_bits(self, bits: u8) -> Self {
        let bits = if bits == 0 { 1 } else { bits };
        let largest = if bits < 7 { (1 << bits) - 1 } else { LARGEST_WEIGHT };
        Self { largest_scale: largest, ..self }
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
/// (Mellempudi et al., arXiv 1705.01462, equation 4); scales are then rounded to `0..=127`, or fewer
/// bits, times one factor per output channel.
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
    let standard = weights.as_standard_layout();
    let mut tensor = TernaryTensor::zeroed(dims, options.group);
    let finite = standard.as_slice().is_none_or(|weights| tensor.fill(weights, options.largest_scale));
    if finite { Ok(tensor) } else { Err(not_finite(&weights)) }
}

fn check<D: Dimension>(weights: &ArrayView<'_, f32, D>, group: usize) -> Result<()> {
    if weights.ndim() < 2 {
        let message = format!("weights of rank {}; give output and input channels", weights.ndim());
        return Err(Error::new(ErrorKind::Shape, message));
    }
    if group == 0 {
        return Err(Error::new(ErrorKind::Argument, "a group size of 0; give at least 1"));
    }
    Ok(())
}

fn not_finite<D: Dimension>(weights: &ArrayView<'_, f32, D>) -> Error {
    let found = weights.iter().enumerate().find(|(_, weight)| !weight.is_finite());
    let (index, weight) = found.map_or((0, f32::NAN), |(index, &weight)| (index, weight));
    let index = unravel(index, weights.shape());
    Error::new(ErrorKind::NonFinite, format!("weight {index:?} is {weight}; weights must be finite"))
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

impl TernaryTensor {
    /// All codes and scales zero.
    fn zeroed(dims: Vec<usize>, group: usize) -> Self {
        let (outputs, weights): (usize, usize) = (dims[0], dims.iter().product());
        let groups = dims[1].div_ceil(group);
        Self {
            codes: vec![0; weights],
            scales: vec![0; weights.checked_div(dims[1]).unwrap_or(0) * groups],
            factors: vec![1.0; outputs],
            relative_error: 0.0,
            dims,
            group,
        }
    }

    /// Approximates `weights`, in the order output channel, input channel, position; false if one is not finite.
    fn fill(&mut self, weights: &[f32], largest_scale: u8) -> bool {
        if weights.is_empty() {
            return true;
        }
        let form = ChannelLayout {
            inputs: self.dims[1],
            positions: self.dims[2..].iter().product(),
            group: self.group.min(self.dims[1]),
            largest_scale,
        };
        let (len, groups) = (form.len(), form.groups());
        let channels = (TASK / len).max(1);
        let mut squares = vec![[0.0; 2]; self.factors.len()];
        let codes = self.codes.par_chunks_mut(channels * len);
        let scales = self.scales.par_chunks_mut(channels * groups);
        let sums = self.factors.par_chunks_mut(channels).zip(squares.par_chunks_mut(channels));
        let tasks = weights.par_chunks(channels * len).zip(codes).zip(scales).zip(sums);
        let finite = tasks
            .map_init(
                || Worker::new(form),
                |worker, (((weights, codes), scales), (factors, squares))| {
                    worker.run(weights, ChannelSlices { codes, scales, factors, squares })
                },
            )
            .all(|finite| finite);
        let [error, total] = squares.iter().fold([0.0; 2], |[e, t], square| [e + square[0], t + square[1]]);
        self.relative_error = if total > 0.0 { error / total } else { 0.0 };
        finite
    }

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
