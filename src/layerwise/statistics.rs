//! Statistics re-estimation: the affine of a layer, so that mean and variance of its outputs match full
//! precision on the calibration images.

use crate::calibrate::ChannelStatistics;
use crate::format::PackedOp;
use crate::pack::Packing;
use crate::quantize::QuantizedConv;
use crate::tensor::Batch;

/// A gain changes by at most this factor.
const MAX_CHANGE: f64 = 8.0;

/// Exact sums of each channel of 32-bit sums.
pub(super) struct SumStatistics {
    count: i128,
    sums: Vec<i64>,
    squares: Vec<i128>,
}

impl SumStatistics {
    pub(super) fn new(channels: usize) -> Self {
        Self { count: 0, sums: vec![0; channels], squares: vec![0; channels] }
    }

    pub(super) fn add(&mut self, batch: &Batch<i32>) {
        for row in batch.data.chunks_exact(self.sums.len()) {
            for ((sum, square), &value) in self.sums.iter_mut().zip(&mut self.squares).zip(row) {
                *sum += i64::from(value);
                *square += i128::from(i64::from(value) * i64::from(value));
            }
            self.count += 1;
        }
    }

    fn mean(&self, channel: usize) -> f64 {
        self.sums[channel] as f64 / self.count as f64
    }

    fn deviation(&self, channel: usize) -> f64 {
        let sum = i128::from(self.sums[channel]);
        let variance = self.count * self.squares[channel] - sum * sum;
        (variance as f64).sqrt() / self.count as f64
    }
}

/// What re-estimation gives back to the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matched {
    Mean,
    MeanAndVariance,
}

/// Sets bias, and gain, so that the outputs have the mean, and variance, of full precision.
pub(super) fn match_statistics(
    conv: &mut QuantizedConv,
    sums: &SumStatistics,
    full: &ChannelStatistics,
    packing: &Packing,
    matched: Matched,
) {
    let PackedOp::Conv(packed) = &packing.node.op else { return };
    for channel in 0..conv.outputs {
        let unit = packing.units[channel];
        let deviation = sums.deviation(channel) * unit.abs();
        let change = if matched == Matched::MeanAndVariance {
            change(full.variance(channel).sqrt(), deviation)
        } else {
            1.0
        };
        let mean = (sums.mean(channel) - f64::from(packed.bias[channel])) * unit;
        conv.gain[channel] *= change;
        conv.bias[channel] = full.mean(channel) - change * mean;
    }
}

/// The factor of a gain that gives outputs the wanted deviation.
pub(super) fn change(wanted: f64, deviation: f64) -> f64 {
    let change = if deviation > 0.0 && wanted > 0.0 { wanted / deviation } else { 1.0 };
    change.clamp(1.0 / MAX_CHANGE, MAX_CHANGE)
}
