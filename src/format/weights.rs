//! Codes of two and four bits: packing, checking, expansion to `i8`.

use super::{PackedConv, PackedWeights};
use std::ops::Range;

/// Largest scale of four-bit codes: `7·18` still fits an `i8`.
pub(crate) const MAX_INT4_SCALE: u8 = 18;
/// Largest four-bit code.
pub(crate) const MAX_INT4_CODE: i8 = 7;

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
        && packed.iter().fold(0, |wrong, byte| wrong | byte & !(byte << 1) & 0b1010_1010) == 0
        && tail.is_none_or(|byte| byte >> (2 * (len % 4)) == 0)
}

/// Packs codes −7 to 7 two to a byte, the first in the low half; an unused half is zero.
pub(crate) fn pack_int4(codes: &[i8]) -> Vec<u8> {
    let byte = |two: &[i8]| (two[0] as u8 & 15) | two.get(1).map_or(0, |&code| (code as u8 & 15) << 4);
    codes.chunks(2).map(byte).collect()
}

/// Whether `packed` holds exactly `len` codes −7 to 7 and nothing else.
pub(super) fn int4_is_valid(packed: &[u8], len: usize) -> bool {
    let tail = packed.last().filter(|_| !len.is_multiple_of(2));
    packed.len() == len.div_ceil(2)
        && packed.iter().all(|byte| byte & 15 != 8 && byte >> 4 != 8)
        && tail.is_none_or(|byte| byte >> 4 == 0)
}

fn code(packed: &[u8], index: usize) -> i8 {
    FOUR[usize::from(packed[index / 4])][index % 4]
}

/// The four codes of each byte.
static FOUR: [[i8; 4]; 256] = {
    let mut table = [[0; 4]; 256];
    let mut index = 0;
    while index < 4 * 256 {
        table[index / 4][index % 4] = [0, 1, 0, -1][((index / 4) >> (2 * (index % 4))) & 3];
        index += 1;
    }
    table
};

/// How many of the codes in `range` are not zero.
fn ones(packed: &[u8], range: Range<usize>) -> i64 {
    if range.start.is_multiple_of(4) && range.len().is_multiple_of(4) {
        // The lower bit of a code says whether it is other than zero.
        let bytes = &packed[range.start / 4..range.end / 4];
        return bytes.iter().map(|byte| i64::from((byte & 0b0101_0101).count_ones())).sum();
    }
    range.filter(|&index| code(packed, index) != 0).count() as i64
}

fn int4_code(packed: &[u8], index: usize) -> i8 {
    // The upper half with its sign.
    (packed[index / 2] << (4 * (1 - index % 2))) as i8 >> 4
}

impl PackedConv {
    /// Number of weights.
    pub fn weight_count(&self) -> usize {
        self.outputs * self.channel_len()
    }

    /// The weights as `i8` in the order output channel, row, column, input channel.
    pub fn expand(&self) -> Vec<i8> {
        let mut weights = self.codes();
        self.groups(0..self.outputs, |scale, range| {
            weights[range].iter_mut().for_each(|weight| *weight *= scale as i8);
        });
        weights
    }

    /// The weights without their scales.
    fn codes(&self) -> Vec<i8> {
        let count = self.weight_count();
        let mut all = Vec::with_capacity(count + 3);
        match &self.weights {
            PackedWeights::Ternary { codes, .. } => {
                codes.iter().for_each(|&byte| all.extend_from_slice(&FOUR[usize::from(byte)]));
            }
            PackedWeights::Int4 { codes, .. } => {
                codes
                    .iter()
                    .for_each(|&byte| all.extend_from_slice(&[(byte << 4) as i8 >> 4, byte as i8 >> 4]));
            }
            PackedWeights::Int8 { codes } => all.extend_from_slice(codes),
        }
        all.truncate(count);
        all
    }

    /// Sum of the magnitudes of one output channel's weights.
    pub(super) fn magnitude(&self, channel: usize) -> i64 {
        let mut sum = 0;
        self.groups(channel..channel + 1, |scale, range| {
            let codes: i64 = match &self.weights {
                PackedWeights::Ternary { codes, .. } => ones(codes, range),
                _ => range.map(|index| i64::from(self.code(index).unsigned_abs())).sum(),
            };
            sum += i64::from(scale) * codes;
        });
        sum
    }

    fn code(&self, index: usize) -> i8 {
        match &self.weights {
            PackedWeights::Ternary { codes, .. } => code(codes, index),
            PackedWeights::Int4 { codes, .. } => int4_code(codes, index),
            PackedWeights::Int8 { codes } => codes[index],
        }
    }

    /// Calls `visit` with the scale and the places of the weights of each group of `channels`, in order; weights
    /// without groups have scale 1.
    fn groups(&self, channels: Range<usize>, mut visit: impl FnMut(u8, Range<usize>)) {
        let (group, scales) = match &self.weights {
            PackedWeights::Ternary { group, scales, .. } => (*group, scales),
            PackedWeights::Int4 { group: Some(group), scales, .. } => (*group, scales),
            PackedWeights::Int4 { group: None, .. } | PackedWeights::Int8 { .. } => {
                return visit(1, channels.start * self.channel_len()..channels.end * self.channel_len());
            }
        };
        let (groups, taps) = (self.group_inputs.div_ceil(group), self.window.area());
        for run in channels.start * taps..channels.end * taps {
            let (first, end) = (run * self.group_inputs, (run + 1) * self.group_inputs);
            for (index, &scale) in scales[run * groups..][..groups].iter().enumerate() {
                let start = first + index * group;
                visit(scale, start..end.min(start.saturating_add(group)));
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
        fn four_bit_codes_survive_packing(codes in prop::collection::vec(-7i8..=7, 0..20)) {
            let packed = pack_int4(&codes);
            prop_assert!(int4_is_valid(&packed, codes.len()));
            let unpacked: Vec<i8> = (0..codes.len()).map(|index| int4_code(&packed, index)).collect();
            prop_assert_eq!(unpacked, codes);
        }

        #[test]
        fn only_canonical_four_bit_bytes_are_valid(byte: u8, len in 1usize..=2) {
            let canonical = byte & 15 != 8 && byte >> 4 != 8 && (len == 2 || byte >> 4 == 0);
            prop_assert_eq!(int4_is_valid(&[byte], len), canonical);
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
        assert!(codes_are_valid(&[], 0) && int4_is_valid(&[], 0));
        assert!(!int4_is_valid(&[0], 3) && !int4_is_valid(&[0, 0], 2));
    }
}
