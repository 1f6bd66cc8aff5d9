//! Images in the order row, column, channel, and the blocked layout.

use super::{Memory, Slot, Task, TaskContext};
use crate::tensor::Shape;

/// Brings one image from outside into the blocked layout.
#[derive(Debug)]
pub(crate) struct EnterTask {
    /// Which of the images.
    pub index: usize,
    /// Where it goes.
    pub output: Slot,
}

/// Rows of a chunk.
const ROWS: usize = 16;

// SAFETY: a chunk reads no slot, and writes some rows of the output.
unsafe impl Task for EnterTask {
    fn chunks(&self) -> usize {
        self.output.map.shape.height.div_ceil(ROWS)
    }

    fn work(&self) -> usize {
        self.output.map.shape.len()
    }

    fn reads(&self) -> Vec<&Slot> {
        Vec::new()
    }

    fn writes(&self) -> Vec<&Slot> {
        vec![&self.output]
    }

    unsafe fn run(&self, chunk: usize, context: &TaskContext) {
        let (memory, map, pixels) = (context.memory, &self.output.map, context.inputs[self.index]);
        let Shape { channels, height, width } = map.shape;
        for y in chunk * ROWS..height.min((chunk + 1) * ROWS) {
            let row = &pixels[y * width * channels..][..width * channels];
            if map.block == channels {
                // SAFETY: the row's positions are this chunk's own, and there is one block.
                unsafe { memory.write(&self.output, map.offset(0, y, 0), row.len()) }.copy_from_slice(row);
                continue;
            }
            for (x, pixel) in row.chunks_exact(channels).enumerate() {
                for (block, codes) in pixel.chunks(map.block).enumerate() {
                    let place = map.offset(block * map.block, y, x);
                    // SAFETY: a block's part of one position of the row, which is this chunk's own.
                    unsafe { memory.write(&self.output, place, codes.len()) }.copy_from_slice(codes);
                }
            }
        }
    }
}

/// Copies a value out, in the order row, column, channel.
pub(crate) fn leave(memory: &mut Memory, slot: &Slot, codes: &mut [u8]) {
    let (memory, map) = (memory.bytes(), &slot.map);
    let positions = (0..map.shape.height).flat_map(|y| (0..map.shape.width).map(move |x| [y, x]));
    for ([y, x], pixel) in positions.zip(codes.chunks_exact_mut(map.shape.channels)) {
        for (block, codes) in pixel.chunks_mut(map.block).enumerate() {
            let place = slot.start + map.offset(block * map.block, y, x);
            codes.copy_from_slice(&memory[place..][..codes.len()]);
        }
    }
}
