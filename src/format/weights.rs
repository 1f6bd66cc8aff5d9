//! Two-bit codes: packing, checking, expansion to `i8`.

use super::{PackedConv, PackedWeights};
use std::ops::Range;

/// Packs codes −1, 0, +1 four to a byte, the first in the lowest bits; unused bits are zero.
pub(crate) fn pack_codes(codes: &[i8]) -> Vec<u8> {
    let byte = |four: &[i8]| {
        let bits = four.iter().enumerate().map(|(place, &code)| (code as u8 & 3) << (2 * place));
        bits.fold(0, |byte, bits| byte | bits)
    };
    codes.chunks(4).map(byte).collect()
}

/// Whether `packed` holds exactly `len` valid codes and nothing else.
pub(super) fn codes_are_valid(packed: &[u8], len: usize) -> bool {
    let tail = packed.last().filter(|_| !len.is_multiple_of(4));
    packed.len() == len.div_ceil(4)
        && packed.iter().all(|byte| byte & !(byte << 1) & 0b1010_1010 == 0)
        && tail.is_none_or(|byte| byte >> (2 * (len % 4)) == 0)
}

fn code(packed: &[u8], index: usize) -> i8 {
    [0, 1, 0, -1][usize::from(packed[index / 4] >> (2 * (index % 4)) & 3)]
}

impl PackedConv {
    /// Number of weights.
    pub fn weight_count(&self) -> usize {
        self.outputs * self.channel_len()
    }

    /// The weights as `i8` in the order output channel, row, column, input channel.
    pub fn expand(&self) -> Vec<i8> {
        match &self.weights {
            PackedWeights::Int8 { codes } => codes.clone(),
            PackedWeights::Ternary { codes, .. } => {
                let mut weights = Vec::with_capacity(self.weight_count());
                self.ternary_groups(0..self.outputs, |scale, range| {
                    weights.extend(range.map(|index| code(codes, index) * scale as i8));
                });
                weights
            }
        }
    }

    /// Sum of the magnitudes of one output channel's weights.
    pub(super) fn magnitude(&self, channel: usize) -> i64 {
        match &self.weights {
            PackedWeights::Int8 { codes } => {
                let weights = &codes[channel * self.channel_len()..][..self.channel_len()];
                weights.iter().map(|weight| i64::from(weight.unsigned_abs())).sum()
            }
            PackedWeights::Ternary { codes, .. } => {
                let mut sum = 0;
                self.ternary_groups(channel..channel + 1, |scale, range| {
                    let ones = range.filter(|&index| code(codes, index) != 0).count();
                    sum += i64::from(scale) * ones as i64;
                });
                sum
            }
        }
    }

    /// Calls `visit` with the scale and the places of the weights of each group of `channels`, in order.
    fn ternary_groups(&self, channels: Range<usize>, mut visit: impl FnMut(u8, Range<usize>)) {
        let PackedWeights::Ternary { group, scales, .. } = &self.weights else { return };
        let (groups, taps) = (self.group_inputs.div_ceil(*group), self.window.area());
        for run in channels.start * taps..channels.end * taps {
            let (first, end) = (run * self.group_inputs, (run + 1) * self.group_inputs);
            for (index, &scale) in scales[run * groups..][..groups].iter().enumerate() {
                let start = first + index * group;
                visit(scale, start..end.min(start.saturating_add(*group)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn codes_survive_packing(codes in prop::collection::vec(-1i8..=1, 0..40)) {
            let packed = pack_codes(&codes);
            prop_assert!(codes_are_valid(&packed, codes.len()));
            let unpacked: Vec<i8> = (0..codes.len()).map(|index| code(&packed, index)).collect();
            prop_assert_eq!(unpacked, codes);
        }

        #[test]
        fn only_canonical_bytes_are_valid(byte: u8, len in 1usize..=4) {
            let codes = (0..4).map(|place| byte >> (2 * place) & 3);
            let canonical = codes.enumerate().all(|(place, code)| code != 2 && (place < len || code == 0));
            prop_assert_eq!(codes_are_valid(&[byte], len), canonical);
        }
    }

    #[test]
    fn wrong_length_is_invalid() {
        assert!(!codes_are_valid(&[0, 0], 4));
        assert!(!codes_are_valid(&[], 1));
        assert!(codes_are_valid(&[], 0));
    }
}
