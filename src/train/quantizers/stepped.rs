//! Uniform quantizers whose step is learned, one for all values of a tensor (LSQ: Esser et al., arXiv 1902.08153).

use super::ActivationQuantizer;
use crate::format::Quantizer;

/// The codes of a uniform quantizer without its step: how many levels lie on either side of zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::train) struct SteppedCodes {
    below: u8,
    above: u8,
}

impl SteppedCodes {
    /// Of weights with 2 to 8 bits, as they are packed: as many levels below zero as above.
    pub(in crate::train) fn of_weights(bits: u8) -> Self {
        let above = ((1u16 << (bits - 1)) - 1) as u8;
        Self { below: above, above }
    }

    /// Those of a quantizer.
    pub(in crate::train) fn of(quantizer: &Quantizer) -> Self {
        Self { below: quantizer.zero_point, above: quantizer.max - quantizer.zero_point }
    }

    /// The quantizer with this step.
    pub(in crate::train) fn with(self, step: f32) -> ActivationQuantizer {
        let max = self.below + self.above;
        ActivationQuantizer::new(&Quantizer { scale: f64::from(step), zero_point: self.below, max })
    }

    /// What the gradient of the step of so many values is multiplied by, so that it moves by about the same share as they
    /// do (section 2.2 there).
    pub(in crate::train) fn gradient_scale(self, values: usize) -> f32 {
        1.0 / (f32::from(self.above.max(1)) * values.max(1) as f32).sqrt()
    }

    /// Where the step of weights starts: three standard deviations reach the outermost level (Bhalgat et al., arXiv
    /// 2004.09576).
    pub(in crate::train) fn start_of_weights(self, weights: &[f32]) -> f32 {
        let count = weights.len().max(1) as f64;
        let mean = weights.iter().map(|&w| f64::from(w)).sum::<f64>() / count;
        let variance = weights.iter().map(|&w| (f64::from(w) - mean).powi(2)).sum::<f64>() / count;
        ((mean.abs() + 3.0 * variance.sqrt()) / (f64::from(self.above) + 1.0)) as f32
    }
}
