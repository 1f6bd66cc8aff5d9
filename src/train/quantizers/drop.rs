//! Quantization dropped at random (Wei et al., arXiv 2203.05740, equation 10): weights that fit with and without the
//! rounding of activations lie in flatter places.

/// Which values pass unrounded in a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::train) struct DropMask {
    /// Of 2³².
    share: u32,
    seed: u32,
}

impl DropMask {
    /// A share of 0 to 1 of all values, others in every step; none if it is 0.
    pub(in crate::train) fn new(share: f64, seed: u64, step: u64) -> Option<Self> {
        let share = (share * f64::from(u32::MAX)) as u32;
        let seed = crate::random::Random::new(seed, &[step]).next() as u32;
        (share > 0).then_some(Self { share, seed })
    }

    /// Other values in every layer.
    pub(in crate::train) fn at(self, layer: usize) -> Self {
        Self { seed: self.seed.wrapping_add((layer as u32).wrapping_mul(0x85EB_CA6B)), ..self }
    }

    /// Whether the value at a place passes (a finaliser of MurmurHash3).
    pub(in crate::train) fn spares(self, place: usize) -> bool {
        let mixed = (place as u32).wrapping_mul(0x9E37_79B1) ^ self.seed;
        let mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x85EB_CA6B);
        let mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xC2B2_AE35);
        (mixed ^ (mixed >> 16)) < self.share
    }

    /// The values that pass from `real`, the others from `rounded`.
    pub(in crate::train) fn mixed(self, real: &[f32], mut rounded: Vec<f32>) -> Vec<f32> {
        for (place, (to, from)) in rounded.iter_mut().zip(real).enumerate() {
            if self.spares(place) {
                *to = *from;
            }
        }
        rounded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_share_passes_and_others_in_every_step_and_layer() {
        assert_eq!(DropMask::new(0.0, 1, 2), None);
        let places = |drop: DropMask| (0..10_000).filter(|&place| drop.spares(place)).collect::<Vec<_>>();
        let drop = DropMask::new(0.3, 1, 2).unwrap();
        let found = places(drop);
        assert!((2800..3200).contains(&found.len()), "{}", found.len());
        assert_eq!(places(DropMask::new(0.3, 1, 2).unwrap()), found);
        for other in [DropMask::new(0.3, 1, 3).unwrap(), drop.at(1)] {
            let both = places(other).iter().filter(|place| found.contains(place)).count();
            assert!((700..1100).contains(&both), "{both}");
        }
        assert_eq!(places(DropMask::new(1.0, 1, 2).unwrap()).len(), 10_000);
    }
}
