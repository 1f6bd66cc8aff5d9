//! Groups of channels, less their mean, divided by their deviation.

use super::offset;
use crate::fixed::{inverse_root, requantize, standardise, to_code};
use crate::format::{PackedNorm, Quantizer};
use crate::tensor::Batch;

/// Squares of distances whose sum fits 32 bits.
const AT_ONCE: usize = 1 << 14;

/// Sums of the elements that are normalised together.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Moments {
    count: i64,
    sum: i64,
    squares: i64,
}

impl Moments {
    /// Takes up more elements.
    #[inline(always)]
    pub fn add(&mut self, codes: &[u8], zero_point: u8) {
        for codes in codes.chunks(AT_ONCE) {
            let (mut sum, mut squares) = (0i32, 0i32);
            for &code in codes {
                let distance = i32::from(code) - i32::from(zero_point);
                sum += distance;
                squares += distance * distance;
            }
            self.sum += i64::from(sum);
            self.squares += i64::from(squares);
        }
        self.count += codes.len() as i64;
    }

    /// What makes elements normalised values.
    pub fn standard(&self, epsilon: u64) -> Standard {
        let variance = self.count * self.squares - self.sum * self.sum;
        Standard { count: self.count, sum: self.sum, root: inverse_root(variance.unsigned_abs() + epsilon) }
    }
}

/// What makes elements normalised values in units of 2^−16.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standard {
    count: i64,
    sum: i64,
    root: (i64, u32),
}

/// From elements to codes.
#[derive(Debug)]
pub(super) struct Normalised<'a> {
    pub norm: &'a PackedNorm,
    pub zero_point: u8,
    pub output: Quantizer,
}

impl Normalised<'_> {
    /// The codes of neighbouring channels from `first` on.
    #[inline(always)]
    pub fn codes(&self, standard: Standard, first: usize, source: &[u8], target: &mut [u8]) {
        let PackedNorm { multipliers, bias, fraction, .. } = self.norm;
        let (multipliers, bias) = (&multipliers[first..], &bias[first..]);
        let offset = offset(self.output.zero_point, *fraction);
        let pairs = target.iter_mut().zip(source);
        for ((code, &source), (by, &bias)) in pairs.zip(multipliers.iter().zip(bias)) {
            let distance = i64::from(source) - i64::from(self.zero_point);
            let value = standardise(standard.count * distance - standard.sum, standard.root);
            let value = requantize(value, by.shift, by.value).saturating_add(bias);
            *code = to_code(value, offset, *fraction, 0, self.output.max);
        }
    }
}

/// Every group normalised, at each position or over an image.
pub(crate) fn group_norm(
    (input, zero_point): (&Batch<u8>, u8),
    norm: &PackedNorm,
    output: &Quantizer,
) -> Batch<u8> {
    let normalised = Normalised { norm, zero_point, output: *output };
    let channels = input.shape.channels;
    let (size, together) = (channels / norm.groups, norm.span.positions(input.shape.positions()));
    let mut result = Batch::zeroed(input.images, input.shape);
    let parts = result.data.chunks_exact_mut(together * channels);
    for (target, source) in parts.zip(input.data.chunks_exact(together * channels)) {
        for first in (0..channels).step_by(size) {
            let mut moments = Moments::default();
            let own = source.chunks_exact(channels).map(|codes| &codes[first..first + size]);
            own.clone().for_each(|codes| moments.add(codes, zero_point));
            let standard = moments.standard(norm.epsilon);
            for (target, source) in target.chunks_exact_mut(channels).zip(own) {
                normalised.codes(standard, first, source, &mut target[first..first + size]);
            }
        }
    }
    result
}
