//! The same numbers in the codes of another quantizer, in a pass of its own or with the stage that writes them.

use super::{Memory, Slot, Task, TaskContext, rows};
use crate::fixed::{rescale, to_code};
use crate::format::{Quantizer, Rescale};
use crate::kernels::offset;
use crate::wide::Width;

/// Codes that are narrowed at once; blocks and panels are multiples.
const AT_ONCE: usize = 16;

/// A narrowed copy of a value, which has the value's blocks and positions.
#[derive(Debug, Clone)]
pub(crate) struct Narrowed {
    pub width: Width,
    /// The value's zero point.
    pub zero_point: u8,
    pub by: Rescale,
    /// Where the copy lies, and how its codes represent numbers.
    pub output: Slot,
    pub quantizer: Quantizer,
}

impl Narrowed {
    #[inline(always)]
    fn codes(&self, source: &[u8], target: &mut [u8]) {
        let (Rescale { shift, value }, Quantizer { zero_point, max, .. }) = (self.by, self.quantizer);
        let offset = offset(zero_point, 0);
        for (target, source) in target.chunks_exact_mut(AT_ONCE).zip(source.chunks_exact(AT_ONCE)) {
            for (target, &code) in target.iter_mut().zip(source) {
                *target = to_code(rescale(code, self.zero_point, shift, value), offset, 0, 0, max);
            }
        }
    }

    /// Narrows a row of a block.
    ///
    /// # Safety
    /// The row is the copy's, and nobody else uses it.
    pub(super) unsafe fn row(&self, context: &TaskContext, block: usize, y: usize, source: &[u8]) {
        // SAFETY: as the caller promises.
        let target = unsafe { rows::write(context, &self.output, block, y) };
        self.width.run(|| self.codes(source, target));
    }

    /// Narrows `channels` neighbouring channels of `count` positions from `[channel, y, x]` on, which lie at `source`.
    ///
    /// # Safety
    /// The positions follow each other in the value as in the copy, and nobody else uses these channels.
    pub(super) unsafe fn positions(
        &self,
        memory: &Memory,
        [channel, y, x]: [usize; 3],
        [count, channels]: [usize; 2],
        source: *const u8,
    ) {
        let map = &self.output.map;
        let target = memory.at(self.output.start + map.offset(channel, y, x));
        self.width.run(|| {
            for place in (0..count).map(|position| position * map.block) {
                // SAFETY: as the caller promises.
                let (source, target) = unsafe {
                    let source = std::slice::from_raw_parts(source.add(place), channels);
                    (source, std::slice::from_raw_parts_mut(target.add(place), channels))
                };
                self.codes(source, target);
            }
        });
    }
}

/// A pass that narrows.
#[derive(Debug)]
pub(crate) struct NarrowTask {
    pub input: Slot,
    pub narrowed: Narrowed,
}

impl Task for NarrowTask {
    fn chunks(&self) -> usize {
        rows::chunks(&self.narrowed.output)
    }

    fn work(&self) -> usize {
        self.narrowed.output.map.shape.len()
    }

    unsafe fn run(&self, chunk: usize, context: &TaskContext) {
        let output = &self.narrowed.output;
        for (block, y) in rows::of_chunk(output, chunk) {
            // SAFETY: the row is this chunk's own, and that of the input has the same blocks and positions.
            unsafe {
                let source = rows::read(context, &self.input, block, [y, 0], output.map.shape.width);
                self.narrowed.row(context, block, y, source);
            }
        }
    }
}
