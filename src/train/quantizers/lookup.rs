//! Functions of one code, as the runtime looks them up.

use crate::format::Quantizer;
use crate::tensor::Shape;

/// Entries of a table.
const ENTRIES: usize = 256;

/// A function of the codes of a quantizer.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::train) struct Lookup {
    /// The real result for each of 256 codes, for one or for every channel.
    pub outputs: Vec<f32>,
    /// What the codes stand for.
    pub quantizer: Quantizer,
}

impl Lookup {
    fn code(&self, value: f32) -> usize {
        let code = (f64::from(value) / self.quantizer.scale).round() + f64::from(self.quantizer.zero_point);
        code.clamp(0.0, f64::from(self.quantizer.max)) as usize
    }

    fn entries(&self, channel: usize) -> &[f32] {
        &self.outputs[channel * ENTRIES % self.outputs.len()..][..ENTRIES]
    }

    pub(in crate::train) fn apply(&self, values: &[f32], shape: Shape) -> Vec<f32> {
        let planes = values.chunks_exact(shape.positions()).enumerate();
        planes
            .flat_map(|(channel, plane)| plane.iter().map(move |&x| self.entries(channel)[self.code(x)]))
            .collect()
    }

    /// Gradients of the values: the slope between the neighbouring codes.
    pub(in crate::train) fn backward(&self, values: &[f32], shape: Shape, gradient: &[f32]) -> Vec<f32> {
        let pairs = values.chunks_exact(shape.positions()).zip(gradient.chunks_exact(shape.positions()));
        let slope = |channel: usize, value: f32| {
            let (entries, code) = (self.entries(channel), self.code(value));
            let (below, above) = (code.saturating_sub(1), (code + 1).min(usize::from(self.quantizer.max)));
            let steps = above.saturating_sub(below).max(1) as f32;
            (entries[above] - entries[below]) / (steps * self.quantizer.scale as f32)
        };
        pairs
            .enumerate()
            .flat_map(|(channel, (xs, dys))| xs.iter().zip(dys).map(move |(&x, dy)| dy * slope(channel, x)))
            .collect()
    }
}
