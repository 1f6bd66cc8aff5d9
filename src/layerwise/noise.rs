//! Signal and noise of approximated values.

use crate::calibrate::ChannelStatistics;
use crate::format::MAX_DECIBELS;
use crate::tensor::Shape;
use crate::wide::sums;

/// Sums over images: what is approximated, and squared distances from it.
pub(super) struct NoiseSums {
    signal: ChannelStatistics,
    channels: usize,
    values: usize,
    /// With converted weights on full precision's inputs.
    pub local: f64,
    /// With trained weights on rounded inputs.
    pub rounding: f64,
    /// Of the integer runtime.
    pub cumulative: f64,
    /// Integer outputs at a bound of their range.
    pub saturated: usize,
}

impl NoiseSums {
    /// Of no image.
    pub(super) fn new(shape: Shape) -> Self {
        Self::with(ChannelStatistics::none(shape.channels), shape.channels, 0)
    }

    /// Of one image of full-precision values, without noise.
    pub(super) fn of(values: &[f32], shape: Shape) -> Self {
        Self::with(ChannelStatistics::of(values, shape), shape.channels, values.len())
    }

    fn with(signal: ChannelStatistics, channels: usize, values: usize) -> Self {
        Self { signal, channels, values, local: 0.0, rounding: 0.0, cumulative: 0.0, saturated: 0 }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.signal.merge(&other.signal);
        self.values += other.values;
        self.local += other.local;
        self.rounding += other.rounding;
        self.cumulative += other.cumulative;
        self.saturated += other.saturated;
    }

    /// Mean variance of the channels over the mean of a sum of squared distances, in dB.
    pub(super) fn ratio(&self, noise: f64) -> Option<f64> {
        let variance: f64 = (0..self.channels).map(|channel| self.signal.variance(channel)).sum();
        decibels(variance / self.channels as f64, noise / self.values as f64)
    }

    /// Share of outputs at a bound, to four digits.
    pub(super) fn saturation(&self) -> f64 {
        (1e4 * self.saturated as f64 / self.values as f64).round() / 1e4
    }
}

/// `10·log₁₀(signal/noise)` to two digits; none if there is no signal.
pub(super) fn decibels(signal: f64, noise: f64) -> Option<f64> {
    let ratio = (10.0 * (signal / noise).log10()).clamp(-MAX_DECIBELS, MAX_DECIBELS);
    (signal > 0.0 && !ratio.is_nan()).then(|| (100.0 * ratio).round() / 100.0)
}

pub(super) fn squared_distance(wanted: &[f32], values: &[f64]) -> f64 {
    let len = wanted.len().min(values.len());
    let (wanted, values) = (&wanted[..len], &values[..len]);
    let [sum] = sums(len, |at| [(f64::from(wanted[at]) - values[at]).powi(2)]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_as_good_as_zero_decibels() {
        let shape = Shape::new(2, 1, 2);
        let (wanted, mean) = ([1.0, 3.0, 10.0, 14.0], [2.0, 2.0, 12.0, 12.0]);
        let mut sums = NoiseSums::new(shape);
        sums.add(&NoiseSums { local: squared_distance(&wanted, &mean), ..NoiseSums::of(&wanted, shape) });
        assert_eq!(sums.ratio(sums.local), Some(0.0));
        assert_eq!(sums.ratio(sums.local / 100.0), Some(20.0));
        assert_eq!(sums.ratio(0.0), Some(MAX_DECIBELS));
        assert_eq!(sums.ratio(f64::INFINITY), Some(-MAX_DECIBELS));
    }

    #[test]
    fn what_does_not_vary_has_no_ratio() {
        let shape = Shape::new(1, 1, 2);
        let mut sums = NoiseSums::new(shape);
        sums.add(&NoiseSums::of(&[3.0, 3.0], shape));
        assert_eq!((sums.ratio(0.0), sums.ratio(1.0)), (None, None));
        assert_eq!(decibels(1.0, f64::NAN), None);
    }
}
