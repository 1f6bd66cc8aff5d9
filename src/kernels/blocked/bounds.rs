//! How many steps of products fit sums of 16 bits.

use super::panels::{ByteSpan, spans_of, steps_of};
use super::{Isa, Map, PANEL};
use crate::kernels::ConvSpec;
use std::ops::Range;

/// Weights of one step of a panel.
const STEP: usize = 4 * PANEL;

/// The bytes that a panel meets, in spans as long as [`ranges`] allows.
pub(super) fn spans<const NEIGHBOURS: usize>(
    isa: &Isa,
    spec: &ConvSpec,
    map: &Map,
    panel: usize,
    codes: [i32; 2],
) -> Option<Vec<ByteSpan>> {
    let mut parts = Vec::new();
    for span in spans_of(spec, map, panel, usize::MAX, true) {
        let weights = steps_of(isa, spec, map, panel, &span);
        let ranges = isa.width.run(|| ranges::<NEIGHBOURS>(&weights, codes))?;
        parts.extend(ranges.into_iter().map(|steps| span.part(map, 4 * steps.start..4 * steps.end)));
    }
    Some(parts)
}

/// Cuts the steps of a panel into ranges as long as sums of products fit 16 bits, where each sum is over `NEIGHBOURS`
/// neighbouring weights of every step and codes are `codes[0]..=codes[1]`, zero among them. None if the products of a
/// single step may not fit.
#[inline(always)]
fn ranges<const NEIGHBOURS: usize>(weights: &[i8], codes: [i32; 2]) -> Option<Vec<Range<usize>>> {
    let (mut ranges, mut sums) = (Vec::<Range<usize>>::new(), SignedSums::<NEIGHBOURS>::of(&[]));
    for (step, weights) in weights.chunks_exact(STEP).enumerate() {
        let alone = SignedSums::of(weights);
        if !alone.fit(codes) {
            return None;
        }
        let joined = sums.and(&alone);
        match ranges.last_mut() {
            Some(range) if joined.fit(codes) => (range.end, sums) = (step + 1, joined),
            _ => {
                ranges.push(step..step + 1);
                sums = alone;
            }
        }
    }
    Some(ranges)
}

/// For each 16-bit sum the sums of its positive and of its negative weights, as magnitudes.
struct SignedSums<const NEIGHBOURS: usize> {
    positive: [i32; STEP],
    negative: [i32; STEP],
}

impl<const NEIGHBOURS: usize> SignedSums<NEIGHBOURS> {
    #[inline(always)]
    fn of(weights: &[i8]) -> Self {
        let mut this = Self { positive: [0; STEP], negative: [0; STEP] };
        for (sum, weights) in weights.chunks_exact(NEIGHBOURS).enumerate() {
            for &weight in weights {
                this.positive[sum] += i32::from(weight).max(0);
                this.negative[sum] -= i32::from(weight).min(0);
            }
        }
        this
    }

    #[inline(always)]
    fn and(&self, other: &Self) -> Self {
        let sum = |a: &[i32; STEP], b: &[i32; STEP]| std::array::from_fn(|i| a[i] + b[i]);
        Self {
            positive: sum(&self.positive, &other.positive),
            negative: sum(&self.negative, &other.negative),
        }
    }

    /// Whether all sums fit, and so all parts of them.
    #[inline(always)]
    fn fit(&self, [low, high]: [i32; 2]) -> bool {
        let both = self.positive.iter().zip(&self.negative);
        let [most, least] = both.fold([0, 0], |[most, least], (&positive, &negative)| {
            [most.max(positive * high - negative * low), least.min(positive * low - negative * high)]
        });
        most <= i32::from(i16::MAX) && least >= i32::from(i16::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lens(weights: &[i8], largest: i32) -> Option<Vec<usize>> {
        let ranges = ranges::<2>(weights, [0, largest])?;
        let ends = ranges.iter().map(|range| range.end);
        assert!(
            std::iter::once(0)
                .chain(ends)
                .eq(ranges.iter().map(|range| range.start).chain([weights.len() / STEP]))
        );
        Some(ranges.iter().map(|range| range.len()).collect())
    }

    #[test]
    #[cfg_attr(miri, ignore = "about numbers, and long")]
    fn ranges_are_as_long_as_the_largest_weights_allow() {
        for (bound, largest) in [(15i8, 255), (127, 15), (15, 15), (64, 255), (1, 255), (127, 129)] {
            let steps = (32767 / (2 * i32::from(bound) * largest)) as usize;
            for sign in [1, -1] {
                let weights = vec![sign * bound; (2 * steps + 1) * STEP];
                assert_eq!(lens(&weights, largest), Some(vec![steps, steps, 1]), "{bound} {largest}");
            }
        }
        assert_eq!(lens(&[65; STEP], 255), None);
        assert_eq!(lens(&[], 255), Some(vec![]));
    }

    #[test]
    #[cfg_attr(miri, ignore = "about numbers, and long")]
    fn small_weights_and_other_signs_make_ranges_longer() {
        let mut weights = vec![0; 100 * STEP];
        assert_eq!(lens(&weights, 255), Some(vec![100]));
        // Steps 10, 20 and 30 together exceed the sum of lane 5, whose other signs do not help.
        for (step, weight) in [(10, 43), (15, -128), (20, 43), (30, 43)] {
            weights[step * STEP + 10] = weight;
        }
        assert_eq!(lens(&weights, 255), Some(vec![30, 70]));
    }

    #[test]
    fn codes_below_zero_exchange_the_signs() {
        let weights = [vec![-127; STEP], vec![127; STEP]].concat();
        let ranges_of = |codes| ranges::<1>(&weights, codes).unwrap().len();
        assert_eq!([ranges_of([-128, 127]), ranges_of([0, 127]), ranges_of([-128, 0])], [1, 1, 1]);
        let weights = vec![127; 3 * STEP];
        assert_eq!(ranges::<1>(&weights, [-128, 127]).unwrap(), [0..2, 2..3]);
    }
}
