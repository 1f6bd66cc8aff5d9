//! CRC-32 as zlib computes it.

/// The polynomial, its bits in reverse.
const POLYNOMIAL: u32 = 0xEDB8_8320;
/// Bytes that are taken at once.
const STEP: usize = 16;

/// What a byte contributes when `place` bytes follow it.
static TABLES: [[u32; 256]; STEP] = tables();

const fn tables() -> [[u32; 256]; STEP] {
    let mut tables = [[0; 256]; STEP];
    let mut index = 0;
    while index < STEP * 256 {
        let (place, byte) = (index / 256, index % 256);
        tables[place][byte] =
            if place == 0 { shifted(byte as u32) } else { next(tables[place - 1][byte], &tables[0]) };
        index += 1;
    }
    tables
}

/// The remainder of a byte that eight zero bits follow.
const fn shifted(byte: u32) -> u32 {
    let (mut rest, mut bit) = (byte, 0);
    while bit < 8 {
        rest = (rest >> 1) ^ if rest & 1 == 1 { POLYNOMIAL } else { 0 };
        bit += 1;
    }
    rest
}

/// The remainder when one more zero byte follows.
const fn next(rest: u32, table: &[u32; 256]) -> u32 {
    (rest >> 8) ^ table[(rest & 255) as usize]
}

/// The checksum of `parts`, one after another.
pub(super) fn crc32<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    !parts.into_iter().fold(u32::MAX, update)
}

fn update(rest: u32, bytes: &[u8]) -> u32 {
    let (steps, tail) = bytes.as_chunks::<STEP>();
    let rest = steps.iter().fold(rest, |rest, step| {
        let mut step = *step;
        rest.to_le_bytes().iter().zip(&mut step).for_each(|(rest, byte)| *byte ^= rest);
        let parts = step.iter().zip(TABLES.iter().rev()).map(|(&byte, table)| table[usize::from(byte)]);
        parts.fold(0, |sum, part| sum ^ part)
    });
    tail.iter().fold(rest, |rest, &byte| next(rest ^ u32::from(byte), &TABLES[0]))
}

#[cfg(test)]
mod tests {
    use super::crc32;
    use proptest::prelude::*;

    #[test]
    fn the_check_value_is_right() {
        assert_eq!(crc32([&b"123456789"[..]]), 0xCBF4_3926);
        assert_eq!(crc32([]), 0);
    }

    proptest! {
        #[test]
        fn another_implementation_agrees(bytes in prop::collection::vec(any::<u8>(), 0..100), cut: prop::sample::Index) {
            let (left, right) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(crc32([left, right]), crc32fast::hash(&bytes));
        }
    }
}
