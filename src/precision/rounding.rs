//! Rounding to levels.

use super::Levels;

/// Levels, prepared to find the nearest.
#[derive(Debug, Clone)]
pub(crate) enum Rounding {
    /// All whole numbers up to this magnitude.
    Linear(f64),
    /// Any others, ascending, and what lies in the middle between neighbours.
    Listed { levels: Vec<i8>, middles: Vec<f64> },
}

impl Rounding {
    pub(crate) fn to(levels: Levels) -> Self {
        if levels.are_linear() {
            return Self::Linear(f64::from(levels.largest()));
        }
        let levels: Vec<i8> = levels.iter().collect();
        let middle = |pair: &[i8]| (f64::from(pair[0]) + f64::from(pair[1])) / 2.0;
        Self::Listed { middles: levels.windows(2).map(middle).collect(), levels }
    }

    /// The level nearest to `value / step`; 0 for a step of zero.
    #[inline]
    pub(crate) fn level(&self, value: f64, step: f64) -> i8 {
        if step <= 0.0 {
            return 0;
        }
        match self {
            Self::Linear(largest) => (value / step).round().clamp(-largest, *largest) as i8,
            Self::Listed { levels, middles } => {
                let ratio = value / step;
                levels[middles.partition_point(|middle| *middle < ratio)]
            }
        }
    }
}
