//! Reproducible choices for property tests.

use crate::random::splitmix;
use crate::tensor::Window;

/// A stream of numbers.
pub(crate) struct Choices(pub(crate) u64);

impl Choices {
    pub(crate) fn next(&mut self) -> u64 {
        splitmix(&mut self.0)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// One of `items`.
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    pub(crate) fn pair(&mut self, low: usize, high: usize) -> [usize; 2] {
        [0; 2].map(|_| low + self.below(high - low + 1))
    }

    pub(crate) fn values(&mut self, length: usize) -> Vec<f32> {
        noise(length, self.next())
    }

    pub(crate) fn window(&mut self) -> Window {
        let (kernel, stride, dilation) = (self.pair(1, 3), self.pair(1, 2), self.pair(1, 2));
        let pads = [0; 4].map(|_| self.below(2));
        let ceil = self.below(2) == 0;
        Window { kernel, stride, dilation, pads, ceil }
    }
}

/// Reproducible values in −1..1 without structure.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<f32> {
    let mut choices = Choices(seed);
    (0..length).map(|_| choices.below(1 << 24) as f32 / (1 << 23) as f32 - 1.0).collect()
}
