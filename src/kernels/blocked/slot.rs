//! Where a value lies.

use super::PANEL;
use super::map::{BLOCK, Map};
use super::tile::{STRIPS, TILE};
use crate::tensor::{Shape, Window};

/// Bytes between slots, which nobody may touch: none but in builds that look for such mistakes.
pub(crate) const GAP: usize = if cfg!(fgq_redzones) { 64 } else { 0 };

/// A place in a program's memory and what lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Offset of the first byte, a multiple of 64.
    pub start: usize,
    /// Order of the codes.
    pub map: Map,
    /// Bytes that may be read, behind the map's last ones too.
    pub len: usize,
}

impl Slot {
    /// A place for `map` at the next multiple of 64, with `slack` bytes that may be read behind it.
    pub fn new(start: usize, map: Map, slack: usize) -> Self {
        let len = (map.len() + slack).next_multiple_of(64);
        Self { start: start.next_multiple_of(64), map, len }
    }

    /// A place for the sums of a convolution with results of this shape: for each panel and position [`PANEL`] of them.
    pub fn of_sums(start: usize, shape: Shape) -> Self {
        let sums = shape.channels.next_multiple_of(PANEL) * shape.positions();
        let slot = Self::new(start, Map::new(shape, [0; 4]), 0);
        Self { len: (sums * size_of::<i32>()).next_multiple_of(64), ..slot }
    }

    /// The place behind its last byte.
    pub fn end(&self) -> usize {
        self.start.saturating_add(self.len)
    }

    /// Where another one may begin.
    pub fn next(&self) -> usize {
        self.end() + GAP
    }

    /// Whether it has no byte in common with another one.
    pub fn is_apart(&self, other: &Self) -> bool {
        self.end() <= other.start || other.end() <= self.start
    }

    /// Whether it begins where lines do, and no place of its map overflows, so that different positions are different
    /// bytes.
    pub fn is_sound(&self) -> bool {
        self.start.is_multiple_of(64) && self.map.is_sound()
    }
}

/// Bytes behind a value that the tiles of a convolution may read.
pub(crate) fn slack(window: &Window, block: usize) -> usize {
    TILE / STRIPS * window.stride[1] * block + 2 * BLOCK
}
