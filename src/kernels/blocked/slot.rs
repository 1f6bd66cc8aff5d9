//! Where a value lies.

use super::map::{BLOCK, Map};
use super::tile::{STRIPS, TILE};
use crate::tensor::Window;

/// A place in a program's memory and what lies there.
#[derive(Debug, Clone)]
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
}

/// Bytes behind a value that the tiles of a convolution may read.
pub(crate) fn slack(window: &Window, block: usize) -> usize {
    TILE / STRIPS * window.stride[1] * block + 2 * BLOCK
}
