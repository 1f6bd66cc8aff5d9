//! From sums to codes.

use crate::fixed::{requantize, rescale, to_code};
use crate::format::{Multiplier, Rescale};

/// What becomes of a sum that is stored as an activation code.
#[derive(Debug, Clone)]
pub(crate) struct Epilogue {
    /// Per output channel.
    pub multipliers: Vec<Multiplier>,
    /// Rescaling of the residual and its zero point.
    pub residual: Option<(Rescale, u8)>,
    /// Fraction bits before the zero point is added.
    pub fraction: u8,
    /// Zero point of the output.
    pub zero_point: u8,
    /// Smallest and largest code stored.
    pub clamp: [u8; 2],
}

impl Epilogue {
    /// The code of one sum; `residual` is ignored where there is none.
    #[inline]
    pub(super) fn code(&self, channel: usize, sum: i32, residual: u8) -> u8 {
        let Multiplier { shift, value } = self.multipliers[channel];
        let mut result = requantize(sum, shift, value);
        if let Some((scale, zero_point)) = self.residual {
            result = result.saturating_add(rescale(residual, zero_point, scale.shift, scale.value));
        }
        to_code(result, offset(self.zero_point, self.fraction), self.fraction, self.clamp[0], self.clamp[1])
    }
}

/// Zero point and rounding half in units of `2^−fraction` codes.
#[inline]
pub(crate) fn offset(zero_point: u8, fraction: u8) -> i16 {
    (i16::from(zero_point) << fraction) + ((1i16 << fraction) >> 1)
}
