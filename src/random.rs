//! Seeded randomness (splitmix64): a number depends on the seed and on what it is for, never on threads.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream that `seed` and a path of numbers (step, image, layer …) lead to.
    pub(crate) fn new(seed: u64, path: &[u64]) -> Self {
        path.iter().fold(Self(seed), |mut random, &step| {
            Self(random.next() ^ step.wrapping_mul(0xD6E8_FEB8_6659_FD93))
        })
    }

    pub(crate) fn next(&mut self) -> u64 {
        splitmix(&mut self.0)
    }

    /// A number below `bound`, which is positive.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// A number from 0 to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The numbers below `count` in a random order (Fisher and Yates).
    pub(crate) fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

/// The next number of a stream.
pub(crate) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_permutations_and_differ_by_path() {
        let order = |path: &[u64]| Random::new(7, path).order(50);
        let mut sorted = order(&[1]);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_eq!(order(&[1]), order(&[1]));
        assert!(order(&[1]) != order(&[2]) && order(&[1, 2]) != order(&[2, 1]));
    }

    #[test]
    fn every_number_below_a_bound_is_as_likely() {
        let mut random = Random::new(1, &[]);
        let mut counts = [0; 5];
        (0..10_000).for_each(|_| counts[random.below(5)] += 1);
        assert!(counts.iter().all(|count| (1800..2200).contains(count)), "{counts:?}");
        assert!((0..1000).all(|_| (0.0..1.0).contains(&random.unit())));
    }
}
