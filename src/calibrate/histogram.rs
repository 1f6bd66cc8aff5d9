//! A histogram that grows with its data.

/// Bins on each side of zero.
const HALF: usize = 2048;

/// Counts of values in bins of equal width, symmetric around zero, with the exact extremes.
///
/// When a value lies outside, the bin width doubles and neighbouring bins merge, so the result does not
/// depend on the order of the values. Exact zeros are counted apart: after a ReLU they are most of the
/// values, and they are represented without error.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    /// The bins span `−2^exponent .. 2^exponent`.
    exponent: i32,
    min: f32,
    max: f32,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; 2 * HALF],
            exponent: -64,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            total: 0,
        }
    }
}

impl Histogram {
    /// Counts finite values; returns whether all were finite.
    pub(crate) fn extend(&mut self, values: &[f32]) -> bool {
        let (min, max) = extremes(values);
        if !(min.is_finite() && max.is_finite()) {
            return values.is_empty();
        }
        self.min = self.min.min(min);
        self.max = self.max.max(max);
        self.total += values.len() as u64;
        self.reach(min.abs().max(max.abs()));
        let (inverse, half) = (self.inverse_width(), HALF as f32);
        for &value in values.iter().filter(|&&value| value != 0.0) {
            let bin = (value * inverse + half) as usize;
            self.counts[bin.min(2 * HALF - 1)] += 1;
        }
        true
    }

    /// Counts a finite value `count` times.
    pub(crate) fn add(&mut self, value: f32, count: u64) {
        if count == 0 {
            return;
        }
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.total += count;
        self.reach(value.abs());
        if value != 0.0 {
            let bin = (value * self.inverse_width() + HALF as f32) as usize;
            self.counts[bin.min(2 * HALF - 1)] += count;
        }
    }

    /// Adds the counts of another histogram.
    pub(crate) fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        let exponent = self.exponent.max(other.exponent);
        self.grow_to(exponent);
        other.grow_to(exponent);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.total += other.total;
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
    }

    /// Smallest and largest value; zeros if there is none.
    pub(crate) fn extremes(&self) -> [f64; 2] {
        if self.total == 0 { [0.0; 2] } else { [f64::from(self.min), f64::from(self.max)] }
    }

    /// Number of values, zeros included.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Centre and count of every bin with values other than exact zeros, ascending.
    pub(crate) fn bins(&self) -> impl DoubleEndedIterator<Item = (f64, u64)> + Clone {
        let width = f64::from(self.exponent - 11).exp2();
        let occupied = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        occupied.map(move |(bin, &count)| ((bin as f64 + 0.5 - HALF as f64) * width, count))
    }

    fn inverse_width(&self) -> f32 {
        (11.0 - self.exponent as f32).exp2()
    }

    fn reach(&mut self, magnitude: f32) {
        let mut exponent = self.exponent;
        while f64::from(magnitude) >= f64::from(exponent).exp2() {
            exponent += 1;
        }
        self.grow_to(exponent);
    }

    fn grow_to(&mut self, exponent: i32) {
        if self.exponent < exponent && self.counts.iter().all(|&count| count == 0) {
            self.exponent = exponent;
        }
        while self.exponent < exponent {
            let mut grown = vec![0; 2 * HALF];
            for (bin, &count) in self.counts.iter().enumerate() {
                grown[(bin + HALF) / 2] += count;
            }
            self.counts = grown;
            self.exponent += 1;
        }
    }
}

/// Smallest and largest value; NaN if any value is.
fn extremes(values: &[f32]) -> (f32, f32) {
    let fold = |(min, max): (f32, f32), &value: &f32| {
        if value.is_nan() {
            (f32::NAN, f32::NAN)
        } else {
            (if value < min { value } else { min }, if value > max { value } else { max })
        }
    };
    values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), fold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_and_merging_do_not_matter(values in prop::collection::vec(-1e3f32..1e3, 1..50), cut in 0usize..50) {
            let mut whole = Histogram::default();
            whole.extend(&values);
            let (left, right) = values.split_at(cut.min(values.len()));
            let (mut a, mut b) = (Histogram::default(), Histogram::default());
            a.extend(right);
            b.extend(left);
            a.merge(&b);
            prop_assert_eq!(a, whole);
        }

        #[test]
        fn counted_values_are_those_that_come_one_by_one(values in prop::collection::vec(-1e3f32..1e3, 1..20), times in 1usize..4) {
            let (mut whole, mut counted) = (Histogram::default(), Histogram::default());
            whole.extend(&values.repeat(times));
            whole.extend(&[0.0]);
            values.iter().chain([&7e5]).for_each(|&value| counted.add(value, if value > 1e3 { 0 } else { times as u64 }));
            counted.add(0.0, 1);
            prop_assert_eq!(counted, whole);
        }

        #[test]
        fn every_value_is_near_its_bin(value in -1e6f32..1e6) {
            prop_assume!(value != 0.0);
            let mut histogram = Histogram::default();
            histogram.extend(&[value]);
            let (centre, count) = histogram.bins().next().unwrap();
            prop_assert_eq!(count, 1);
            prop_assert!((centre - f64::from(value)).abs() <= f64::from(value).abs() / 512.0);
        }
    }

    #[test]
    fn extremes_are_those_of_the_data_alone() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.extremes(), [0.0, 0.0]);
        histogram.extend(&[3.0, 2.0]);
        assert_eq!(histogram.extremes(), [2.0, 3.0]);
    }

    #[test]
    fn numbers_that_are_not_finite_poison_nothing() {
        let mut histogram = Histogram::default();
        histogram.extend(&[1.0]);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!histogram.extend(&[0.5, bad, 0.25]));
        }
        assert_eq!((histogram.extremes(), histogram.total()), ([1.0, 1.0], 1));
    }

    #[test]
    fn the_largest_and_smallest_floats_are_counted() {
        let mut histogram = Histogram::default();
        assert!(histogram.extend(&[f32::MAX, f32::MIN, 1e-45, 0.0]));
        assert_eq!(histogram.bins().map(|(_, count)| count).sum::<u64>(), 3);
    }
}
