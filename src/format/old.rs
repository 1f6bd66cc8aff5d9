//! Weights as versions 1 and 2 of the format store them.

use super::PackedWeights;
use super::record::OldRecord;
use crate::precision::{Grouping, Precision};

impl OldRecord {
    /// The first version that has it.
    pub(super) fn version(&self) -> u32 {
        match self {
            Self::Ternary { .. } | Self::Int8 => 1,
            Self::Int4 { .. } => 2,
        }
    }

    /// What the codes mean; `None` for groups of nothing.
    pub(super) fn precision(&self) -> Option<Precision> {
        let grouped = |like: Precision, size: usize| {
            Precision::of(like.levels(), Some(Grouping { size, scale_bits: 8 }), 1)
        };
        match *self {
            Self::Ternary { group } => grouped(Precision::ternary(1), group),
            Self::Int4 { group: Some(group) } => grouped(Precision::int(4), group),
            Self::Int4 { group: None } => Some(Precision::int(4)),
            Self::Int8 => Some(Precision::int8()),
        }
    }

    /// Codes in a byte.
    pub(super) fn per_byte(&self) -> usize {
        match self {
            Self::Ternary { .. } => 4,
            Self::Int4 { .. } => 2,
            Self::Int8 => 1,
        }
    }

    /// The weights of `count` codes; `None` unless `codes` holds exactly these and nothing else.
    pub(super) fn weights(&self, count: usize, codes: &[u8], scales: &[u8]) -> Option<PackedWeights> {
        let (precision, per_byte) = (self.precision()?, self.per_byte());
        let bits = 8 / per_byte;
        // In two's complement of so many bits, the first in the lowest.
        let level = |index: usize| {
            let place = bits * (index % per_byte);
            ((codes[index / per_byte] >> place) << (8 - bits)) as i8 >> (8 - bits)
        };
        let largest = precision.levels().largest() as i8;
        let levels: Vec<i8> = (0..codes.len() * per_byte).map(level).collect();
        let (own, unused) = levels.split_at_checked(count)?;
        let valid = codes.len() == count.div_ceil(per_byte)
            && own.iter().all(|level| (-largest..=largest).contains(level))
            && unused.iter().all(|&level| level == 0);
        valid.then(|| PackedWeights::pack(precision, own, scales))
    }
}
