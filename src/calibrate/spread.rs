//! How the values of an activation are spread, for people to look at.

use super::histogram::Histogram;
use crate::format::Quantizer;

/// Equal parts of the span of values.
const PARTS: usize = 48;

/// How the values of an activation tensor are spread over calibration images, and the range that was chosen for its codes.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivationSpread {
    /// Name of the node that makes it.
    pub name: String,
    /// Bits of its codes.
    pub bits: u8,
    /// The real values that the smallest and the largest code stand for.
    pub range: [f64; 2],
    /// The smallest and the largest value.
    pub extremes: [f64; 2],
    /// Number of values.
    pub values: u64,
    /// How many of them are exactly zero.
    pub zeros: u64,
    /// How many lie outside the range by more than half a step.
    pub outside: u64,
    /// How many, without exact zeros, lie in each of as many equal parts from the smallest value to the largest.
    pub counts: Vec<u64>,
}

impl ActivationSpread {
    pub(crate) fn new(name: &str, histogram: &Histogram, quantizer: &Quantizer) -> Self {
        let Quantizer { scale, zero_point, max } = *quantizer;
        let real = |code: u8| (f64::from(code) - f64::from(zero_point)) * scale;
        let (range, extremes) = ([real(0), real(max)], histogram.extremes());
        let is_outside = |value: f64| value < range[0] - scale / 2.0 || value > range[1] + scale / 2.0;
        let outside = histogram.bins().filter(|&(value, _)| is_outside(value)).map(|(_, count)| count).sum();
        let others: u64 = histogram.bins().map(|(_, count)| count).sum();
        Self {
            name: name.to_owned(),
            bits: (u8::BITS - max.leading_zeros()) as u8,
            range,
            extremes,
            values: histogram.total(),
            zeros: histogram.total() - others,
            outside,
            counts: counts(histogram),
        }
    }
}

fn counts(histogram: &Histogram) -> Vec<u64> {
    let [low, high] = histogram.extremes();
    let unit = (high - low).max(f64::MIN_POSITIVE) / PARTS as f64;
    let mut counts = vec![0; PARTS];
    for (value, count) in histogram.bins() {
        counts[(((value - low) / unit) as usize).min(PARTS - 1)] += count;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_counted_once() {
        let mut histogram = Histogram::default();
        histogram.extend(&[0.0, 0.0, -1.0, 1.0, 2.0, 7.0]);
        let spread = ActivationSpread::new("a", &histogram, &Quantizer { scale: 1.0, zero_point: 1, max: 3 });
        assert_eq!((spread.bits, spread.range, spread.extremes), (2, [-1.0, 2.0], [-1.0, 7.0]));
        assert_eq!((spread.values, spread.zeros, spread.outside), (6, 2, 1));
        assert_eq!((spread.counts[0], spread.counts[PARTS - 1], spread.counts.iter().sum()), (1, 1, 4));
    }

    #[test]
    fn what_never_varies_has_a_spread_too() {
        for value in [0.0, 3.0] {
            let mut histogram = Histogram::default();
            histogram.extend(&[value; 4]);
            let spread =
                ActivationSpread::new("a", &histogram, &Quantizer { scale: 1.0, zero_point: 0, max: 255 });
            assert_eq!(spread.zeros + spread.counts.iter().sum::<u64>(), 4);
        }
    }
}
