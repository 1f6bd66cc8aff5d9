//! The weights of a packed convolution: unpacking, expansion to `i8`, magnitudes.

use super::codes::{Decoder, pack, pack_bits, unpack_bits};
use super::{PackedConv, PackedWeights};
use crate::precision::{Arrangement, Precision};
use std::ops::Range;

/// Weights that are expanded at a time, about: what lies between codes and integers stays in the caches.
const AT_ONCE: usize = 1 << 15;

impl PackedWeights {
    /// Packs levels and scales, which lie plane after plane.
    pub(crate) fn pack(precision: Precision, levels: &[i8], scales: &[u8]) -> Self {
        let bits = precision.grouping().map_or(1, |grouping| u32::from(grouping.scale_bits));
        Self {
            precision,
            codes: pack(precision.levels(), levels),
            scales: pack_bits(scales.iter().copied(), bits),
        }
    }

    /// The scales in `range`.
    pub(super) fn unpacked_scales(&self, range: Range<usize>) -> Vec<u8> {
        match self.precision.grouping() {
            Some(grouping) => unpack_bits(&self.scales, u32::from(grouping.scale_bits), range),
            None => Vec::new(),
        }
    }
}

impl PackedConv {
    /// Number of weights.
    pub fn weight_count(&self) -> usize {
        self.outputs * self.channel_len()
    }

    /// How the weights lie one after another.
    pub(crate) fn arrangement(&self) -> Arrangement {
        Arrangement { outputs: self.outputs, positions: self.window.area(), inputs: self.group_inputs }
    }

    /// The weights as `i8` in the order output channel, row, column, input channel.
    pub fn expand(&self) -> Vec<i8> {
        let decoder = self.decoder();
        self.by_channels(|channels| self.expand_channels(&decoder, channels))
    }

    /// The weights as `i8`, of which `expand` makes those of some output channels.
    pub(super) fn by_channels(&self, expand: impl Fn(Range<usize>) -> Vec<i8>) -> Vec<i8> {
        let mut weights = Vec::with_capacity(self.weight_count());
        let count = (AT_ONCE / self.channel_len().max(1)).max(1);
        for start in (0..self.outputs).step_by(count) {
            weights.append(&mut expand(start..self.outputs.min(start + count)));
        }
        weights
    }

    /// What reads the codes.
    pub(super) fn decoder(&self) -> Decoder {
        Decoder::new(self.weights.precision.levels())
    }

    /// Levels and scales of the first planes, plane after plane.
    pub(crate) fn parts(&self, planes: usize) -> (Vec<i8>, Vec<u8>) {
        self.parts_of(&self.decoder(), planes, 0..self.outputs)
    }

    /// The same of some output channels.
    pub(super) fn parts_of(
        &self,
        decoder: &Decoder,
        planes: usize,
        channels: Range<usize>,
    ) -> (Vec<i8>, Vec<u8>) {
        let (precision, all) = (self.weights.precision, self.arrangement());
        let (len, groups) = (all.channel_len(), all.channel_groups(precision));
        let part = |plane: usize, each: usize| {
            let start = plane * self.outputs * each;
            start + channels.start * each..start + channels.end * each
        };
        let (mut levels, mut scales) = (Vec::new(), Vec::new());
        for plane in 0..planes {
            levels.append(&mut decoder.levels(&self.weights.codes, part(plane, len)));
            scales.append(&mut self.weights.unpacked_scales(part(plane, groups)));
        }
        (levels, scales)
    }

    fn expand_channels(&self, decoder: &Decoder, channels: Range<usize>) -> Vec<i8> {
        let (precision, part) =
            (self.weights.precision, Arrangement { outputs: channels.len(), ..self.arrangement() });
        let (levels, scales) = self.parts_of(decoder, precision.planes(), channels);
        part.expand(precision, &levels, &scales)
    }

    /// Sum of the magnitudes of one output channel's weights.
    pub(super) fn magnitude(&self, channel: usize) -> i64 {
        let weights = self.expand_channels(&self.decoder(), channel..channel + 1);
        weights.iter().map(|weight| i64::from(weight.unsigned_abs())).sum()
    }
}
