//! Codes and scales in bytes: packing, checking, unpacking.

use crate::precision::{CodePacking, Levels};
use std::ops::Range;

/// Most digits of a byte: eight to the base of two.
const MOST_DIGITS: usize = 8;

/// Packs levels as codes; unused digits or bits of the last byte are zero.
pub(crate) fn pack(levels: Levels, values: &[i8]) -> Vec<u8> {
    let mut codes = [0; 256];
    levels.iter().enumerate().for_each(|(code, level)| codes[(i16::from(level) + 128) as usize] = code as u8);
    let codes = values.iter().map(|&value| codes[(i16::from(value) + 128) as usize]);
    match CodePacking::of(levels) {
        CodePacking::Bits(bits) => pack_bits(codes, bits),
        CodePacking::Digits(digits) => {
            let codes: Vec<u8> = codes.collect();
            codes
                .chunks(digits as usize)
                .map(|codes| digits_byte(levels.count() as u32, digits, codes))
                .collect()
        }
    }
}

/// Packs numbers below `2^bits` one after another, from the lowest bit.
pub(crate) fn pack_bits(values: impl ExactSizeIterator<Item = u8>, bits: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((values.len() * bits as usize).div_ceil(8));
    let (mut open, mut count) = (0u32, 0);
    for value in values {
        open |= u32::from(value) << count;
        count += bits;
        while count >= 8 {
            bytes.push(open as u8);
            open >>= 8;
            count -= 8;
        }
    }
    if count > 0 {
        bytes.push(open as u8);
    }
    bytes
}

/// `⌈value·256 / base^digits⌉` of the number whose first digit is the highest: its digits are what multiplications by
/// the base carry out of eight bits, one after another.
fn digits_byte(base: u32, digits: u32, codes: &[u8]) -> u8 {
    let whole = base.pow(digits);
    let value = codes.iter().fold(0, |value, &code| value * base + u32::from(code));
    let value = value * base.pow(digits - codes.len() as u32);
    (value * 256).div_ceil(whole) as u8
}

fn digit(byte: usize, place: usize, base: usize) -> usize {
    let rest = (0..place).fold(byte, |rest, _| rest * base % 256);
    (rest * base) >> 8
}

/// Whether `packed` holds exactly `len` codes and nothing else.
pub(super) fn is_canonical(levels: Levels, packed: &[u8], len: usize) -> bool {
    if packed.len() as u64 != CodePacking::of(levels).bytes(len as u64) {
        return false;
    }
    match CodePacking::of(levels) {
        CodePacking::Digits(digits) => digits_are_canonical(levels, digits as usize, packed, len),
        CodePacking::Bits(bits) => {
            tail_is_zero(packed, len, bits) && bits_are_codes(levels, bits, packed, len)
        }
    }
}

/// Whether every number of `bits` bits counts a level.
fn bits_are_codes(levels: Levels, bits: u32, packed: &[u8], len: usize) -> bool {
    let is_code = |code: u8| usize::from(code) < levels.count();
    if !8u32.is_multiple_of(bits) {
        return unpack_bits(packed, bits, 0..len).into_iter().all(is_code);
    }
    let whole = 8 / bits as usize;
    let known: Vec<bool> =
        (0..=255).map(|byte| unpack_bits(&[byte], bits, 0..whole).into_iter().all(is_code)).collect();
    // The zeros behind the last code count a level, too.
    packed.iter().fold(true, |all, &byte| all & known[usize::from(byte)])
}

/// Whether the bits of the last byte behind `len` numbers are zero.
pub(super) fn tail_is_zero(packed: &[u8], len: usize, bits: u32) -> bool {
    let used = len * bits as usize % 8;
    used == 0 || packed.last().is_none_or(|byte| byte >> used == 0)
}

fn digits_are_canonical(levels: Levels, digits: usize, packed: &[u8], len: usize) -> bool {
    let base = levels.count();
    let rounded = |byte: usize| {
        let codes: Vec<u8> = (0..digits).map(|place| digit(byte, place, base) as u8).collect();
        usize::from(digits_byte(base as u32, digits as u32, &codes)) == byte
    };
    let known: Vec<bool> = (0..256).map(rounded).collect();
    let tail = packed.last().filter(|_| !len.is_multiple_of(digits));
    let unused = |&byte: &u8| (len % digits..digits).all(|place| digit(usize::from(byte), place, base) == 0);
    packed.iter().fold(true, |all, &byte| all & known[usize::from(byte)]) && tail.is_none_or(unused)
}

/// Reads packed codes as levels.
pub(super) struct Decoder {
    packing: CodePacking,
    /// The levels of a byte's digits, or first that of a number of bits.
    table: Vec<[i8; MOST_DIGITS]>,
}

impl Decoder {
    pub(super) fn new(levels: Levels) -> Self {
        let (packing, all) = (CodePacking::of(levels), levels.iter().collect::<Vec<i8>>());
        let digits = |byte: usize, count: usize| {
            std::array::from_fn(|place| if place < count { all[digit(byte, place, all.len())] } else { 0 })
        };
        let entry = |byte: usize| match packing {
            CodePacking::Bits(_) => [all.get(byte).copied().unwrap_or(0); MOST_DIGITS],
            CodePacking::Digits(count) => digits(byte, count as usize),
        };
        Self { packing, table: (0..256).map(entry).collect() }
    }

    /// The levels of the codes in `range`.
    pub(super) fn levels(&self, packed: &[u8], range: Range<usize>) -> Vec<i8> {
        let entry = |byte: u8| &self.table[usize::from(byte)];
        match self.packing {
            CodePacking::Bits(bits) => {
                unpack_bits(packed, bits, range).into_iter().map(|code| entry(code)[0]).collect()
            }
            CodePacking::Digits(digits) => {
                let digits = digits as usize;
                let bytes = &packed[range.start / digits..range.end.div_ceil(digits)];
                // Eight levels are copied at a time; those beyond a byte's digits are written over by the next.
                let mut unpacked = vec![0; bytes.len() * digits + MOST_DIGITS];
                for (index, &byte) in bytes.iter().enumerate() {
                    unpacked[index * digits..][..MOST_DIGITS].copy_from_slice(entry(byte));
                }
                unpacked.truncate(range.start % digits + range.len());
                unpacked.drain(..range.start % digits);
                unpacked
            }
        }
    }
}

/// The numbers of `bits` bits at places `range`.
pub(crate) fn unpack_bits(packed: &[u8], bits: u32, range: Range<usize>) -> Vec<u8> {
    match bits {
        8 => packed[range].to_vec(),
        4 if range.start.is_multiple_of(2) => {
            let bytes = &packed[range.start / 2..range.end.div_ceil(2)];
            let mut numbers = vec![0; 2 * bytes.len()];
            let (pairs, _) = numbers.as_chunks_mut::<2>();
            pairs.iter_mut().zip(bytes).for_each(|(pair, byte)| *pair = [byte & 15, byte >> 4]);
            numbers.truncate(range.len());
            numbers
        }
        _ => range.map(|index| number(packed, bits as usize, index)).collect(),
    }
}

fn number(packed: &[u8], bits: usize, index: usize) -> u8 {
    let place = index * bits;
    let low = u16::from(packed[place / 8]);
    let high = packed.get(place / 8 + 1).map_or(0, |&byte| u16::from(byte));
    ((low | high << 8) >> (place % 8)) as u8 & ((1u16 << bits) - 1) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::precision::Precision;
    use proptest::prelude::*;

    const NAMES: [&str; 8] = ["ternary:4", "int2", "int3", "int4", "int5", "int7", "int8", "pow2:4"];

    fn levels(name: &str) -> Levels {
        name.parse::<Precision>().unwrap().levels()
    }

    proptest! {
        #[test]
        fn codes_survive_packing(choices in prop::collection::vec(0usize..256, 0..40), name in 0..NAMES.len(), start in 0usize..40) {
            let levels = levels(NAMES[name]);
            let all: Vec<i8> = levels.iter().collect();
            let values: Vec<i8> = choices.iter().map(|choice| all[choice % all.len()]).collect();
            let packed = pack(levels, &values);
            prop_assert!(is_canonical(levels, &packed, values.len()));
            let decoder = Decoder::new(levels);
            prop_assert_eq!(decoder.levels(&packed, 0..values.len()), &values[..]);
            let start = start.min(values.len());
            prop_assert_eq!(decoder.levels(&packed, start..values.len()), &values[start..]);
        }

        #[test]
        fn scales_survive_packing(values in prop::collection::vec(0u8..=255, 0..40), bits in 1u32..=8) {
            let values: Vec<u8> = values.iter().map(|value| (u32::from(*value) % (1 << bits)) as u8).collect();
            let packed = pack_bits(values.iter().copied(), bits);
            prop_assert!(tail_is_zero(&packed, values.len(), bits));
            prop_assert_eq!(unpack_bits(&packed, bits, 0..values.len()), &values[..]);
            for start in 0..values.len() {
                prop_assert_eq!(unpack_bits(&packed, bits, start..values.len()), &values[start..]);
            }
        }
    }

    #[test]
    fn digits_are_what_the_specification_says() {
        // −1, 0, 1, 1, 0 are the digits 0, 1, 2, 2, 1 of 52 to the base of three; ⌈52·256/243⌉ = 55.
        assert_eq!(pack(levels("ternary:4"), &[-1, 0, 1, 1, 0]), [55]);
        let digits: Vec<u32> = (0..5).map(|n| ((55 * 3u32.pow(n)) % 256 * 3) >> 8).collect();
        assert_eq!(digits, [0, 1, 2, 2, 1]);
        assert_eq!(pack(levels("int3"), &[-3, 3, 0]), [0b11_110_000, 0b0]);
        assert_eq!(pack(levels("int8"), &[-127, 0, 127]), [0, 127, 254]);
    }

    #[test]
    fn every_byte_has_one_form() {
        let valid = |name, len| (0..=255).filter(|&byte| is_canonical(levels(name), &[byte], len)).count();
        assert_eq!([valid("ternary:4", 5), valid("ternary:4", 2), valid("int8", 1)], [243, 9, 255]);
        assert_eq!(
            [valid("int4", 2), valid("int4", 1), valid("int3", 2), valid("int5", 1)],
            [225, 15, 49, 31]
        );
        assert!(!is_canonical(levels("int8"), &[0, 0], 1) && !is_canonical(levels("ternary:4"), &[], 1));
    }
}
