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
    /// Nobody else uses this row of the copy meanwhile.
    pub(super) unsafe fn row(&self, memory: &Memory, block: usize, y: usize, source: &[u8]) {
        // SAFETY: as the caller promises.
        let target = unsafe { rows::write(memory, &self.output, block, y) };
        self.width.run(|| self.codes(source, target));
    }

    /// Narrows `channels` neighbouring channels of `count` positions of a value from `[channel, y, x]` on; the positions
    /// follow each other in the value as in the copy.
    ///
    /// # Safety
    /// Nobody else uses these channels of these positions of the copy meanwhile, or writes those of the value.
    pub(super) unsafe fn positions(
        &self,
        memory: &Memory,
        value: &Slot,
        [channel, y, x]: [usize; 3],
        [count, channels]: [usize; 2],
    ) {
        let place = |slot: &Slot, position: usize| slot.map.offset(channel, y, x) + position * slot.map.block;
        self.width.run(|| {
            for position in 0..count {
                // SAFETY: as the caller promises.
                let source = unsafe { memory.read(value, place(value, position), channels) };
                // SAFETY: as the caller promises.
                let target = unsafe { memory.write(&self.output, place(&self.output, position), channels) };
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

// SAFETY: a chunk reads some rows of the input, and writes the same of the copy.
unsafe impl Task for NarrowTask {
    fn chunks(&self) -> usize {
        rows::chunks(&self.narrowed.output)
    }

    fn work(&self) -> usize {
        self.narrowed.output.map.shape.len()
    }

    fn reads(&self) -> Vec<&Slot> {
        vec![&self.input]
    }

    fn writes(&self) -> Vec<&Slot> {
        vec![&self.narrowed.output]
    }

    unsafe fn run(&self, chunk: usize, context: &TaskContext) {
        let output = &self.narrowed.output;
        for (block, y) in rows::of_chunk(output, chunk) {
            // SAFETY: no chunk writes the input.
            let source =
                unsafe { rows::read(context.memory, &self.input, block, [y, 0], output.map.shape.width) };
            // SAFETY: the row is this chunk's own.
            unsafe { self.narrowed.row(context.memory, block, y, source) };
        }
    }
}
