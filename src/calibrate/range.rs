//! From what was observed to a quantizer.

use super::histogram::Histogram;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Quantizer;
use std::fmt;
use std::str::FromStr;

/// Shares of the observed range that the error search tries: 1, 0.99, … down to this many hundredths.
const SMALLEST_SHARE: usize = 15;

/// How the range of an activation tensor is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum RangeMethod {
    /// From the smallest to the largest value.
    MinMax,
    /// Leaves out the given percentage's complement of the values with the largest magnitudes.
    Percentile(f64),
    /// The range whose quantization has the least mean squared error.
    #[default]
    Mse,
    /// For tensors of fewer than 8 bits, the range whose quantization has the least effect on the outputs of the
    /// convolutions that read them; [`RangeMethod::Mse`] for others.
    Output,
    /// A given range.
    Fixed(f64, f64),
}

impl RangeMethod {
    /// Refuses numbers that are no range.
    pub(crate) fn check(self) -> Result<()> {
        let fine = match self {
            Self::MinMax | Self::Mse | Self::Output => true,
            Self::Percentile(share) => share > 50.0 && share <= 100.0,
            Self::Fixed(low, high) => {
                low.is_finite() && high.is_finite() && low <= 0.0 && high >= 0.0 && low < high
            }
        };
        if fine { Ok(()) } else { Err(unknown_range(&self.to_string())) }
    }
}

impl fmt::Display for RangeMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MinMax => f.write_str("minmax"),
            Self::Percentile(share) => write!(f, "percentile:{share}"),
            Self::Mse => f.write_str("mse"),
            Self::Output => f.write_str("output"),
            Self::Fixed(low, high) => write!(f, "{low}..{high}"),
        }
    }
}

impl FromStr for RangeMethod {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| text.parse::<f64>().ok();
        let percentile = text.strip_prefix("percentile:").and_then(number);
        let fixed = text.split_once("..").and_then(|(low, high)| number(low).zip(number(high)));
        let method = match (text, percentile, fixed) {
            ("minmax", ..) => Self::MinMax,
            ("mse", ..) => Self::Mse,
            ("output", ..) => Self::Output,
            (_, Some(share), _) => Self::Percentile(share),
            (_, _, Some((low, high))) => Self::Fixed(low, high),
            _ => return Err(unknown_range(text)),
        };
        method.check().map(|()| method)
    }
}

fn unknown_range(text: &str) -> Error {
    let message = format!(
        "unknown range '{text}'; use mse, output, minmax, percentile:P with P above 50 and at most 100, \
         or LOW..HIGH around zero"
    );
    Error::new(ErrorKind::Argument, message)
}

/// What a pattern can set for an activation tensor: its bits or its range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ActivationRule {
    /// 2 to 8 bits.
    Bits(u8),
    /// How the range is chosen.
    Range(RangeMethod),
}

impl ActivationRule {
    /// Refuses bits that codes cannot have, and numbers that are no range.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Bits(2..=8) => Ok(()),
            Self::Bits(bits) => {
                let message = format!("{bits} activation bits; give 2 to 8");
                Err(Error::new(ErrorKind::Argument, message))
            }
            Self::Range(method) => method.check(),
        }
    }
}

impl fmt::Display for ActivationRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bits(bits) => write!(f, "{bits}"),
            Self::Range(method) => method.fmt(f),
        }
    }
}

impl FromStr for ActivationRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(bits @ 2..=8) => Ok(Self::Bits(bits)),
            _ => text.parse().map(Self::Range),
        }
    }
}

/// The quantizer of a tensor with the given distribution and `bits` of 2 to 8.
pub(crate) fn quantizer_for(histogram: &Histogram, method: RangeMethod, bits: u8) -> Quantizer {
    let max = ((1u32 << bits) - 1) as u8;
    let [low, high] = match method {
        RangeMethod::MinMax => histogram.extremes(),
        RangeMethod::Percentile(share) => percentile(histogram, share),
        RangeMethod::Mse | RangeMethod::Output => return least_error(histogram, max),
        RangeMethod::Fixed(low, high) => [low, high],
    };
    affine([low, high], max)
}

/// The quantizer that spans `low..high`, widened to hold zero; zero has a code of its own.
fn affine([low, high]: [f64; 2], max: u8) -> Quantizer {
    let (low, high) = (low.min(0.0), high.max(0.0));
    let scale = ((high - low) / f64::from(max)).max(f64::from(f32::MIN_POSITIVE));
    let scale = if high > low { scale } else { 1.0 };
    let zero_point = (-low / scale).round().clamp(0.0, f64::from(max)) as u8;
    Quantizer { scale, zero_point, max }
}

fn percentile(histogram: &Histogram, share: f64) -> [f64; 2] {
    let [min, max] = histogram.extremes();
    let outside = histogram.total() as f64 * (1.0 - share / 100.0);
    let edge = |mut bins: Box<dyn Iterator<Item = (f64, u64)> + '_>, allowed: f64, end: f64| {
        let mut seen = 0.0;
        let inner = bins.find(|&(_, count)| {
            seen += count as f64;
            seen > allowed
        });
        inner.map_or(end, |(centre, _)| if centre.abs() < end.abs() { centre } else { end })
    };
    let allowed = if min < 0.0 { outside / 2.0 } else { outside };
    let high = edge(Box::new(histogram.bins().rev()), allowed, max);
    let low = if min < 0.0 { edge(Box::new(histogram.bins()), allowed, min) } else { min };
    [low, high]
}

fn least_error(histogram: &Histogram, max: u8) -> Quantizer {
    let [low, high] = histogram.extremes();
    let shares = (SMALLEST_SHARE..=100).rev().map(|percent| percent as f64 / 100.0);
    let candidates = shares.map(|share| affine([low * share, high * share], max));
    let scored = candidates.map(|quantizer| (squared_error(histogram, &quantizer), quantizer));
    // Ties go to the wider range, which comes first.
    let best = scored.reduce(|best, next| if next.0 < best.0 { next } else { best });
    best.map_or_else(|| affine([low, high], max), |(_, quantizer)| quantizer)
}

fn squared_error(histogram: &Histogram, quantizer: &Quantizer) -> f64 {
    histogram.bins().map(|(value, count)| (value - round_trip(value, quantizer)).powi(2) * count as f64).sum()
}

/// The value that the code nearest to `value` stands for.
fn round_trip(value: f64, quantizer: &Quantizer) -> f64 {
    let zero = f64::from(quantizer.zero_point);
    let code = ((value / quantizer.scale).round() + zero).clamp(0.0, f64::from(quantizer.max));
    (code - zero) * quantizer.scale
}

/// The values that the codes nearest to `values` stand for.
pub(crate) fn rounded(values: &[f32], quantizer: &Quantizer) -> Vec<f32> {
    values.iter().map(|&value| round_trip(f64::from(value), quantizer) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[f32]) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.extend(values);
        histogram
    }

    #[test]
    fn minmax_spans_the_data_and_zero() {
        let q = quantizer_for(&histogram(&[1.0, 5.1]), RangeMethod::MinMax, 8);
        assert_eq!((q.zero_point, q.max), (0, 255));
        assert!((q.scale - 0.02).abs() < 1e-6);
        let q = quantizer_for(&histogram(&[-1.0, 2.0]), RangeMethod::MinMax, 4);
        assert_eq!((q.zero_point, q.max), (5, 15));
        let q = quantizer_for(&histogram(&[-3.0, -1.0]), RangeMethod::MinMax, 8);
        assert_eq!(q.zero_point, 255);
    }

    #[test]
    fn percentile_ignores_outliers() {
        let mut values: Vec<f32> = (0..1000).map(|i| i as f32 / 1000.0).collect();
        values.push(100.0);
        let q = quantizer_for(&histogram(&values), RangeMethod::Percentile(99.0), 8);
        assert!((0.9..1.1).contains(&(q.scale * 255.0)), "{q:?}");
        let q = quantizer_for(&histogram(&values), RangeMethod::Percentile(100.0), 8);
        assert!((q.scale * 255.0 - 100.0).abs() < 1.0);
    }

    #[test]
    fn least_error_is_no_worse_than_minmax() {
        let mut values: Vec<f32> = (0..10_000).map(|i| (i % 997) as f32 / 997.0 - 0.3).collect();
        values.extend([6.0, -2.0]);
        let histogram = histogram(&values);
        for bits in [4, 8] {
            let error = |method| squared_error(&histogram, &quantizer_for(&histogram, method, bits));
            assert!(error(RangeMethod::Mse) <= error(RangeMethod::MinMax));
        }
        assert!(quantizer_for(&histogram, RangeMethod::Mse, 4).scale < 0.2);
    }

    #[test]
    fn constants_and_nothing_give_usable_quantizers() {
        for values in [vec![], vec![0.0; 9], vec![2.5; 9], vec![-2.5; 9], vec![1e-45]] {
            for method in [RangeMethod::MinMax, RangeMethod::Mse, RangeMethod::Percentile(99.9)] {
                let q = quantizer_for(&histogram(&values), method, 8);
                assert!(q.scale > 0.0 && q.scale.is_finite(), "{values:?} {method}");
            }
        }
        let q = quantizer_for(&histogram(&[2.5; 9]), RangeMethod::Mse, 8);
        assert!((round_trip(2.5, &q) - 2.5).abs() < 0.02);
    }

    #[test]
    fn rules_survive_text() {
        for text in ["2", "4", "5", "8", "mse", "output", "minmax", "percentile:99.9", "-1..6.5"] {
            assert_eq!(text.parse::<ActivationRule>().unwrap().to_string(), text);
        }
        for text in ["1", "9", "percentile:0", "percentile:nan", "1..2", "2..1", "kl", "-inf..1"] {
            assert!(text.parse::<ActivationRule>().is_err(), "{text}");
        }
    }
}
