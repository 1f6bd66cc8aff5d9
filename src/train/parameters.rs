//! What of an operator can be learned.

use crate::graph::Op;

/// A kind of parameter: weight decay and rates differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Weights of convolutions.
    Weight,
    /// Factors: gains of convolutions, gamma of normalisations, scales and slopes.
    Gain,
    /// Offsets.
    Bias,
    /// Steps and ranges of quantizers.
    Step,
}

/// The parameters of an operator.
pub(super) fn parameters(op: &Op) -> Vec<(Kind, &[f32])> {
    match op {
        Op::Conv(conv) => vec![
            (Kind::Weight, conv.weight.as_slice().unwrap_or_default()),
            (Kind::Gain, &conv.gain),
            (Kind::Bias, &conv.bias),
        ],
        Op::BatchNorm(norm) => vec![(Kind::Gain, &norm.gamma), (Kind::Bias, &norm.beta)],
        Op::GroupNorm(norm) => vec![(Kind::Gain, &norm.gamma), (Kind::Bias, &norm.beta)],
        Op::Affine(affine) => vec![(Kind::Gain, &affine.scale), (Kind::Bias, &affine.shift)],
        Op::PRelu(slopes) => vec![(Kind::Gain, slopes)],
        _ => Vec::new(),
    }
}

/// The same, to change them.
pub(super) fn parameters_mut(op: &mut Op) -> Vec<(Kind, &mut [f32])> {
    match op {
        Op::Conv(conv) => vec![
            (Kind::Weight, conv.weight.as_slice_mut().unwrap_or_default()),
            (Kind::Gain, &mut conv.gain),
            (Kind::Bias, &mut conv.bias),
        ],
        Op::BatchNorm(norm) => vec![(Kind::Gain, &mut norm.gamma), (Kind::Bias, &mut norm.beta)],
        Op::GroupNorm(norm) => vec![(Kind::Gain, &mut norm.gamma), (Kind::Bias, &mut norm.beta)],
        Op::Affine(affine) => vec![(Kind::Gain, &mut affine.scale), (Kind::Bias, &mut affine.shift)],
        Op::PRelu(slopes) => vec![(Kind::Gain, slopes)],
        _ => Vec::new(),
    }
}
