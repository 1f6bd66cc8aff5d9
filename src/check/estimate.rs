//! How long a conversion takes and how much memory it needs, about.

use super::Forecast;
use crate::layerwise::Method;
use crate::precision::Precision;
use crate::report::Layer;

/// Processor time on the machine of `docs/results.md`, fitted to nine conversions from ResNet-8 to ResNet-50, all of which
/// take 0.7 to 1.4 times what these say. Seconds for an activation of an image,
const ACTIVATION: f64 = 66e-9;
/// for a product in the covariance of a layer's inputs,
const COVARIANCE: f64 = 14e-12;
/// and for the search for codes: an output with `k` weights takes `k^1.5` of this.
const SEARCH: f64 = 174e-9;
/// What a conversion needs in any case, in bytes.
const LEAST_MEMORY: f64 = 60e6;
/// Bytes that a weight needs: trained, converted and on the way.
const WEIGHT_MEMORY: f64 = 12.0;
/// Largest activation that stays in memory, in bytes.
const IN_MEMORY: f64 = 64e6;
/// Share of all activations that are still to be read, about, when most are.
const ALIVE: f64 = 0.4;

/// What a conversion takes; each figure may be wrong by a factor of two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Seconds of processor time, all threads together.
    pub seconds: f64,
    /// Bytes of memory at most.
    pub memory: f64,
}

impl Forecast {
    /// What one conversion with so many images takes; choosing precisions by images takes several.
    pub fn estimate(&self, images: usize, method: Method) -> Estimate {
        let (layers, images) = (&self.summary.layers, images as f64);
        let is_fitted = |layer: &Layer| method == Method::Compensated && layer.precision != Precision::int8();
        let fitted = || layers.iter().filter(|layer| is_fitted(layer)).map(Sizes::of);
        let activations = || layers.iter().map(|layer| Sizes::of(layer).activations * images);
        let squares = |sizes: Sizes| sizes.positions * sizes.weights.powi(2);
        let seconds = ACTIVATION * activations().sum::<f64>()
            + COVARIANCE * images * fitted().map(squares).sum::<f64>()
            + SEARCH * fitted().map(|sizes| sizes.outputs * sizes.weights.powf(1.5)).sum::<f64>();
        let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
        let memory = LEAST_MEMORY
            + WEIGHT_MEMORY * self.summary.weights() as f64
            + 24.0 * largest(&mut fitted().map(|sizes| sizes.weights.powi(2)))
            + ALIVE * activations().map(|bytes| bytes.min(IN_MEMORY)).sum::<f64>()
            + 2.0 * (4.0 * largest(&mut activations())).min(IN_MEMORY);
        Estimate { seconds, memory }
    }
}

/// Sizes of a layer.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    outputs: f64,
    /// Of one output.
    weights: f64,
    /// Of the output's map.
    positions: f64,
    activations: f64,
}

impl Sizes {
    fn of(layer: &Layer) -> Self {
        let outputs = layer.shape[0] as f64;
        let positions = layer.products as f64 / layer.weights.max(1) as f64;
        let weights = layer.weights as f64 / outputs.max(1.0);
        Self { outputs, weights, positions, activations: outputs * positions }
    }
}
