//! Normalisation by an image's own mean and variance, which are computed in 64 bits.

use super::super::GroupNorm;
use super::ValueView;
use crate::tensor::Span;

/// Every group of channels normalised, at each position or over all of them.
pub(super) fn group_norm(norm: &GroupNorm, (values, shape): ValueView<'_>) -> Vec<f32> {
    let (positions, size) = (shape.positions(), shape.channels / norm.groups);
    let mut result = vec![0.0; values.len()];
    for group in 0..norm.groups {
        let channels = group * size..(group + 1) * size;
        match norm.span {
            Span::Image => {
                let places = channels.start * positions..channels.end * positions;
                normalise(norm, values, &mut result, positions, places);
            }
            Span::Position => {
                for position in 0..positions {
                    let places = channels.clone().map(|channel| channel * positions + position);
                    normalise(norm, values, &mut result, positions, places);
                }
            }
        }
    }
    result
}

/// Normalises the values at `places` together.
fn normalise(
    norm: &GroupNorm,
    values: &[f32],
    result: &mut [f32],
    positions: usize,
    places: impl Iterator<Item = usize> + Clone,
) {
    let own = || places.clone().map(|place| f64::from(values[place]));
    let count = places.clone().count() as f64;
    let mean = own().sum::<f64>() / count;
    let variance = own().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let factor = 1.0 / (variance + f64::from(norm.epsilon)).sqrt();
    for place in places {
        let channel = place / positions;
        let normalised = (f64::from(values[place]) - mean) * factor;
        result[place] = (f64::from(norm.gamma[channel]) * normalised + f64::from(norm.beta[channel])) as f32;
    }
}
