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

    /// Around which value it lies.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Writes the codes.
    ///
    /// # Safety
    /// Nobody else uses the ring meanwhile.
    pub unsafe fn fill(&self, memory: &Memory) {
        let map = &self.slot.map;
        let [top, left, _, right] = map.ring;
        for block in 0..map.blocks() {
            for row in 0..map.rows() {
                let image = row >= top && row < top + map.shape.height;
                let columns = if image { left } else { map.columns() };
                // SAFETY: as the caller promises; these columns are no positions of the image.
                unsafe { self.fill_columns(memory, block, [row, 0], columns) };
                if image {
                    // SAFETY: the same.
                    unsafe { self.fill_columns(memory, block, [row, map.columns() - right], right) };
                }
            }
        }
    }

    /// Writes the codes of `count` columns of a row of a block.
    ///
    /// # Safety
    /// Nobody else uses them meanwhile.
    unsafe fn fill_columns(&self, memory: &Memory, block: usize, [row, column]: [usize; 2], count: usize) {
        let map = &self.slot.map;
        let codes = &self.codes[block * map.block..][..map.block];
        let place = map.place(block * map.block, row, column);
        // SAFETY: as the caller promises.
        let columns = unsafe { memory.write(&self.slot, place, count * map.block) };
        columns.chunks_exact_mut(map.block).for_each(|column| column.copy_from_slice(codes));
    }
}
