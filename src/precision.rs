//! The one table of how weights are stored.
//!
//! A weight of output channel `o` is `f_o · Σ a_g · l`: a real factor per channel, in each plane a whole scale per group
//! of consecutive input channels, and one of a few whole levels. A precision says which levels, how large the groups,
//! how many bits a scale has, how many planes.

mod rounding;

pub(crate) use rounding::Rounding;

use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// Largest magnitude of a weight in integers: it is an `i8`, and −128 has no opposite.
pub(crate) const LARGEST_WEIGHT: u8 = 127;
/// Most bits of a group's scale.
pub(crate) const WIDEST_SCALE: u8 = 8;
/// Bits of the groups' scales where nothing says otherwise: fewer lose accuracy, more only make the file larger
/// (`docs/method.md`).
pub(crate) const USUAL_SCALE: u8 = 4;
/// Most planes.
pub(crate) const MOST_PLANES: u8 = 3;
/// Bits of the codes of powers of two: with more the largest would not fit an `i8`.
const POWER_BITS: std::ops::RangeInclusive<u8> = 2..=4;

/// The whole numbers that codes stand for: code `i` stands for the `i`-th of them in ascending order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Levels {
    /// Bit `level + 128`.
    members: [u64; 4],
}

impl Levels {
    /// All whole numbers from `−largest` to `largest`, which is at least 1 and at most 127.
    pub(crate) fn linear(largest: u8) -> Self {
        let largest = largest.clamp(1, LARGEST_WEIGHT) as i8;
        Self::none().with(-largest..=largest)
    }

    /// Zero and the first powers of two, `magnitudes` of them, of both signs.
    fn powers(magnitudes: u8) -> Self {
        Self::none().with((0..magnitudes).flat_map(|power| [1 << power, -(1 << power)]).chain([0]))
    }

    /// Levels in ascending order; `None` unless there are at least two, each above the one before and none −128.
    pub(crate) fn listed(levels: &[i8]) -> Option<Self> {
        let ascending = levels.windows(2).all(|pair| pair[0] < pair[1]);
        let valid = ascending && levels.len() > 1 && !levels.contains(&i8::MIN);
        valid.then(|| Self::none().with(levels.iter().copied()))
    }

    const fn none() -> Self {
        Self { members: [0; 4] }
    }

    fn with(mut self, levels: impl IntoIterator<Item = i8>) -> Self {
        for level in levels {
            let place = (i16::from(level) + 128) as usize;
            self.members[place / 64] |= 1 << (place % 64);
        }
        self
    }

    pub(crate) fn contains(self, level: i8) -> bool {
        let place = (i16::from(level) + 128) as usize;
        self.members[place / 64] >> (place % 64) & 1 == 1
    }

    /// The levels in ascending order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = i8> {
        (-(LARGEST_WEIGHT as i8)..=LARGEST_WEIGHT as i8).filter(move |&level| self.contains(level))
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.members.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The largest magnitude.
    pub fn largest(self) -> u8 {
        self.iter().map(i8::unsigned_abs).max().unwrap_or(0)
    }

    /// Whether these are all whole numbers from the least to its opposite.
    pub(crate) fn are_linear(self) -> bool {
        self == Self::linear(self.largest())
    }

    /// Whether multiplying by any of them takes a sign and a shift at most.
    fn are_powers(self) -> bool {
        self.iter().all(|level| level == 0 || level.unsigned_abs().is_power_of_two())
    }

    /// Bits of a code on its own.
    pub(crate) fn bits(self) -> u32 {
        usize::BITS - (self.count().max(2) - 1).leading_zeros()
    }
}

impl fmt::Debug for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.are_linear() {
            true => write!(f, "[-{0}..={0}]", self.largest()),
            false => f.debug_list().entries(self.iter()).finish(),
        }
    }
}

/// Weights that share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grouping {
    /// Group size: how many consecutive input channels, at one kernel position of one filter.
    pub size: usize,
    /// Bits of a scale, 1 to 8.
    pub scale_bits: u8,
}

/// How the weights of a layer are stored.
///
/// | name | levels | scales |
/// |---|---|---|
/// | `ternary:N` | −1, 0, 1 | 8 bits for every N input channels, at most 127 |
/// | `ternary:N/S` | −1, 0, 1 | S bits for every N input channels |
/// | `ternary:N*2`, `ternary:N/S*3` | −1, 0, 1 | two or three planes, each with its own codes and scales, added up |
/// | `int2` … `int8` | −1 … 1, −3 … 3, … −127 … 127 | none |
/// | `int4:N`, `int4:N/S` | the same | 8 or S bits for every N input channels, as far as products stay within ±127 |
/// | `pow2:2` … `pow2:4` | 0, ±1; 0, ±1, ±2, ±4; 0, ±1 … ±64 | none |
///
/// # Examples
/// ```
/// let precision: fgq::Precision = "ternary:64/4".parse()?;
/// assert_eq!(precision.group(), Some(64));
/// assert_eq!(precision.to_string(), "ternary:64/4");
/// # Ok::<(), fgq::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Precision {
    levels: Levels,
    grouping: Option<Grouping>,
    planes: u8,
}

impl Precision {
    /// Codes −1, 0, +1 with an 8-bit scale for every `group` consecutive input channels.
    pub fn ternary(group: usize) -> Self {
        let grouping = Grouping { size: group, scale_bits: WIDEST_SCALE };
        Self { levels: Levels::linear(1), grouping: Some(grouping), planes: 1 }
    }

    /// Codes of `bits` bits, 2 to 8, symmetric around zero; one real factor per output channel.
    pub fn int(bits: u8) -> Self {
        let largest = ((1u16 << (bits.clamp(2, 8) - 1)) - 1) as u8;
        Self { levels: Levels::linear(largest), grouping: None, planes: 1 }
    }

    /// Zero and powers of two with codes of `bits` bits, 2 to 4; one real factor per output channel.
    pub fn powers(bits: u8) -> Self {
        let bits = bits.clamp(*POWER_BITS.start(), *POWER_BITS.end());
        Self { levels: Levels::powers((1 << (bits - 1)) - 1), grouping: None, planes: 1 }
    }

    /// Eight bits, one real factor per output channel.
    pub fn int8() -> Self {
        Self::int(8)
    }

    /// The same with scales of `bits` bits, 1 to 8, if it has scales.
    #[must_use]
    pub fn with_scale_bits(self, bits: u8) -> Self {
        let grouping =
            self.grouping.map(|grouping| Grouping { scale_bits: bits.clamp(1, WIDEST_SCALE), ..grouping });
        Self { grouping, ..self }
    }

    /// The same with so many planes, if it has several.
    pub(crate) fn with_planes(self, planes: u8) -> Self {
        Self { planes: planes.clamp(1, self.planes), ..self }
    }

    /// What a file states; `None` if it cannot be stored.
    pub(crate) fn of(levels: Levels, grouping: Option<Grouping>, planes: u8) -> Option<Self> {
        let scales = grouping
            .is_none_or(|grouping| grouping.size > 0 && (1..=WIDEST_SCALE).contains(&grouping.scale_bits));
        let planes_valid = (1..=MOST_PLANES).contains(&planes) && (planes == 1 || grouping.is_some());
        (scales && planes_valid).then_some(Self { levels, grouping, planes })
    }

    /// What codes stand for.
    pub fn levels(self) -> Levels {
        self.levels
    }

    /// How many consecutive input channels share a scale, and the bits of that; `None` where only output channels have
    /// factors.
    pub fn grouping(self) -> Option<Grouping> {
        self.grouping
    }

    /// How many consecutive input channels share a scale.
    pub fn group(self) -> Option<usize> {
        self.grouping.map(|grouping| grouping.size)
    }

    /// How many such approximations are added up, usually one.
    pub fn planes(self) -> usize {
        usize::from(self.planes)
    }

    /// Whether the levels are −1, 0 and 1 and groups have scales.
    pub fn is_ternary(self) -> bool {
        self.grouping.is_some() && self.levels == Levels::linear(1)
    }

    /// The same with groups no longer than runs of `inputs` input channels.
    pub(crate) fn within(self, inputs: usize) -> Self {
        let grouping = self.grouping.map(|g| Grouping { size: g.size.min(inputs.max(1)), ..g });
        Self { grouping, ..self }
    }

    /// The largest scale of a group, over all planes: its bits and those of the weights allow no more.
    pub(crate) fn largest_scale(self) -> u8 {
        let by_bits = self.grouping.map_or(1, |grouping| ((1u16 << grouping.scale_bits) - 1) as u8);
        by_bits.min(self.room())
    }

    /// What the scales of a group, over all planes, may add up to: products stay within `i8`.
    pub(crate) fn room(self) -> u8 {
        LARGEST_WEIGHT / self.levels.largest().max(1)
    }

    /// The largest scale in each plane, so that they may be added up: each half of the one before.
    pub(crate) fn plane_scales(self) -> Vec<u8> {
        let whole = u16::from(self.room());
        let parts = (1u16 << self.planes) - 1;
        let share = |plane: usize| (whole << (self.planes() - 1 - plane)) / parts;
        (0..self.planes()).map(|plane| share(plane).min(u16::from(self.largest_scale())) as u8).collect()
    }

    /// Bits of the codes and scales of `weights` weights in runs of `inputs` input channels: whole bytes of each.
    pub(crate) fn bits(self, weights: u64, inputs: u64) -> u64 {
        let inputs = inputs.max(1);
        let scales = self.grouping.map_or(0, |grouping| {
            let groups = weights.div_ceil(inputs).saturating_mul(inputs.div_ceil(grouping.size as u64));
            let bits = u64::from(self.planes).saturating_mul(groups);
            bits.saturating_mul(u64::from(grouping.scale_bits)).div_ceil(8).saturating_mul(8)
        });
        let codes = u64::from(self.planes).saturating_mul(weights);
        (8 * CodePacking::of(self.levels).bytes(codes)).saturating_add(scales)
    }

    /// Multiplications by weights or scales, of which there are `products` products with activations. Levels that are
    /// powers of two need none, groups one each.
    pub(crate) fn multiplications(self, products: u64, inputs: u64) -> u64 {
        if !self.levels.are_powers() {
            return u64::from(self.planes).saturating_mul(products);
        }
        let inputs = inputs.max(1);
        let groups = |grouping: Grouping| {
            let groups = products.div_ceil(inputs).saturating_mul(inputs.div_ceil(grouping.size as u64));
            groups.saturating_mul(u64::from(self.planes))
        };
        self.grouping.map_or(0, groups)
    }
}

/// How codes lie in bytes: digits of a whole number to the base of the number of levels where that takes fewer bytes,
/// else bits one after another, from the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CodePacking {
    /// So many digits a byte.
    Digits(u32),
    /// Bits of a code.
    Bits(u32),
}

impl CodePacking {
    pub(crate) fn of(levels: Levels) -> Self {
        let base = levels.count() as u32;
        let digits = (1..=8).take_while(|&digits| base.pow(digits) <= 256).last().unwrap_or(1);
        if digits * levels.bits() > 8 { Self::Digits(digits) } else { Self::Bits(levels.bits()) }
    }

    /// Bytes of so many codes.
    pub(crate) fn bytes(self, codes: u64) -> u64 {
        match self {
            Self::Digits(digits) => codes.div_ceil(u64::from(digits)),
            Self::Bits(bits) => codes.saturating_mul(u64::from(bits)).div_ceil(8),
        }
    }
}

/// How the weights of a layer lie one after another: output channel, kernel position, input channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrangement {
    /// Output channels.
    pub outputs: usize,
    /// Kernel positions.
    pub positions: usize,
    /// Input channels of a channel group.
    pub inputs: usize,
}

impl Arrangement {
    /// Weights of one output channel.
    pub(crate) fn channel_len(&self) -> usize {
        self.positions * self.inputs
    }

    /// Weights of all.
    pub(crate) fn len(&self) -> usize {
        self.outputs * self.channel_len()
    }

    /// Groups of one output channel; 0 without groups.
    pub(crate) fn channel_groups(&self, precision: Precision) -> usize {
        precision.group().map_or(0, |group| self.positions * self.inputs.div_ceil(group))
    }

    /// Calls `visit` with the number and the weights of every group of some output channels, in order; without groups,
    /// with every whole channel.
    pub(crate) fn groups(
        &self,
        precision: Precision,
        channels: Range<usize>,
        mut visit: impl FnMut(usize, Range<usize>),
    ) {
        let Some(size) = precision.group() else {
            let len = self.channel_len();
            return channels.for_each(|channel| visit(channel, channel * len..(channel + 1) * len));
        };
        let mut number = channels.start * self.channel_groups(precision);
        for run in channels.start * self.positions..channels.end * self.positions {
            let end = (run + 1) * self.inputs;
            for start in (run * self.inputs..end).step_by(size) {
                visit(number, start..end.min(start.saturating_add(size)));
                number += 1;
            }
        }
    }

    /// Levels times their scales, planes added up: the weights as integers. `levels` and `scales` hold plane after plane.
    pub(crate) fn expand(&self, precision: Precision, levels: &[i8], scales: &[u8]) -> Vec<i8> {
        let len = self.len();
        let mut weights = levels[..len].to_vec();
        if precision.grouping.is_none() {
            return weights;
        }
        let groups = self.outputs * self.channel_groups(precision);
        self.groups(precision, 0..self.outputs, |group, range| {
            let scale = scales[group] as i8;
            weights[range].iter_mut().for_each(|weight| *weight *= scale);
        });
        for plane in 1..precision.planes() {
            let (levels, scales) = (&levels[plane * len..], &scales[plane * groups..]);
            self.groups(precision, 0..self.outputs, |group, range| {
                let scale = scales[group] as i8;
                let levels = &levels[range.clone()];
                weights[range].iter_mut().zip(levels).for_each(|(weight, level)| *weight += level * scale);
            });
        }
        weights
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.levels.bits();
        if self.is_ternary() {
            f.write_str("ternary")?;
        } else if self.levels == Self::int(bits as u8).levels {
            write!(f, "int{bits}")?;
        } else if POWER_BITS.contains(&(bits as u8)) && self.levels == Levels::powers((1 << (bits - 1)) - 1) {
            write!(f, "pow2:{bits}")?;
        } else {
            write!(f, "levels{:?}", self.levels)?;
        }
        if let Some(Grouping { size, scale_bits }) = self.grouping {
            write!(f, ":{size}")?;
            if scale_bits != WIDEST_SCALE {
                write!(f, "/{scale_bits}")?;
            }
        }
        if self.planes > 1 { write!(f, "*{}", self.planes) } else { Ok(()) }
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| {
            let known = "use int2 to int8, intB:N, ternary:N or pow2:B (B from 2 to 4), with N at least 1; /S after N \
                         for scales of S bits, *2 or *3 behind ternary:N for planes";
            Error::new(ErrorKind::Argument, format!("unknown precision '{text}'; {known}"))
        })
    }
}

fn parse(text: &str) -> Option<Precision> {
    if let Some(bits) = text.strip_prefix("pow2:") {
        let bits = number(bits).filter(|bits| POWER_BITS.contains(bits))?;
        return Some(Precision::powers(bits));
    }
    if let Some(rest) = text.strip_prefix("ternary:") {
        let (rest, planes) = match rest.split_once('*') {
            Some((rest, planes)) => (rest, number(planes).filter(|&planes| planes > 1)?),
            None => (rest, 1),
        };
        return Precision::of(Levels::linear(1), Some(grouping(rest)?), planes);
    }
    let rest = text.strip_prefix("int")?;
    let (bits, group) = rest.split_once(':').map_or((rest, None), |(bits, group)| (bits, Some(group)));
    let bits = number(bits).filter(|bits| (2..=8).contains(bits))?;
    let group = match group {
        Some(group) => Some(grouping(group)?),
        None => None,
    };
    Precision::of(Precision::int(bits).levels, group, 1)
}

fn grouping(text: &str) -> Option<Grouping> {
    let (size, bits) = text.split_once('/').map_or((text, None), |(size, bits)| (size, Some(bits)));
    let scale_bits = bits.map_or(Some(WIDEST_SCALE), number)?;
    Some(Grouping { size: number(size)?, scale_bits })
}

/// A whole number without sign or leading zero.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.starts_with(|first: char| first.is_ascii_digit() && first != '0');
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests;
