//! The codes of padding around a value.

use super::Slot;
use super::memory::Memory;

/// The ring of one value.
#[derive(Debug)]
pub(crate) struct Ring {
    slot: Slot,
    /// One code per channel of every block.
    codes: Vec<u8>,
}

impl Ring {
    /// The ring of `slot`, if it has one, with the zero point of each channel, or one for all.
    pub fn new(slot: &Slot, zero_points: &[u8]) -> Option<Self> {
        let channels = slot.map.blocks() * slot.map.block;
        let mut codes: Vec<u8> = zero_points.iter().copied().cycle().take(slot.map.shape.channels).collect();
        codes.resize(channels, 0);
        slot.map.has_ring().then(|| Self { slot: slot.clone(), codes })
    }

    /// Writes the codes.
    ///
    /// # Safety
    /// `memory` covers the slot; nobody else touches the ring.
    pub unsafe fn fill(&self, memory: &Memory) {
        let map = &self.slot.map;
        let [top, left, _, right] = map.ring;
        for block in 0..map.blocks() {
            for row in 0..map.rows() {
                let image = row >= top && row < top + map.shape.height;
                let columns = if image { left } else { map.columns() };
                // SAFETY: rows and columns lie within the map.
                unsafe {
                    self.fill_columns(memory, block, row, 0, columns);
                    if image {
                        self.fill_columns(memory, block, row, map.columns() - right, right);
                    }
                }
            }
        }
    }

    unsafe fn fill_columns(&self, memory: &Memory, block: usize, row: usize, column: usize, count: usize) {
        let map = &self.slot.map;
        let codes = &self.codes[block * map.block..][..map.block];
        let first = memory.at(self.slot.start + map.place(block * map.block, row, column));
        for column in 0..count {
            // SAFETY: `count` columns from `first` lie within the map's row.
            unsafe { codes.as_ptr().copy_to_nonoverlapping(first.add(column * map.block), map.block) };
        }
    }
}
