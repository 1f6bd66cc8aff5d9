//! Tables, sums and products in the blocked layout.

use super::narrow::Narrowed;
use super::{Isa, Slot, Task, TaskContext, rows};
use crate::fixed::{requantize, rescale, to_code};
use crate::format::{Multiplier, Quantizer, Rescale};
use crate::kernels::offset;

/// A function of one code: 256 entries, or 256 per channel.
#[derive(Debug)]
pub(crate) struct TableTask {
    pub input: Slot,
    pub output: Slot,
    pub entries: Vec<u8>,
}

// SAFETY: a chunk reads some rows of the input, and writes the same of the output.
unsafe impl Task for TableTask {
    fn chunks(&self) -> usize {
        rows::chunks(&self.output)
    }

    fn work(&self) -> usize {
        self.output.map.shape.len()
    }

    fn reads(&self) -> Vec<&Slot> {
        vec![&self.input]
    }

    fn writes(&self) -> Vec<&Slot> {
        vec![&self.output]
    }

    unsafe fn run(&self, chunk: usize, context: &TaskContext) {
        let (memory, input, output) = (context.memory, &self.input.map, &self.output.map);
        // Distance between the tables of neighbouring channels.
        let step = if self.entries.len() > 256 { 256 } else { 0 };
        for (block, y) in rows::of_chunk(&self.output, chunk) {
            let first = block * output.block * step;
            let channels = output.block.min(output.shape.channels - block * output.block);
            // SAFETY: the row is this chunk's own.
            let target = unsafe { rows::write(memory, &self.output, block, y) };
            for (x, codes) in target.chunks_exact_mut(output.block).enumerate() {
                // A block of the input holds at least the channels of a block of the output: pixels have one block when
                // there are few channels, all other maps have the same blocks.
                let place = input.offset(block * output.block, y, x);
                // SAFETY: no chunk writes the input.
                let source = unsafe { memory.read(&self.input, place, channels) };
                for (channel, (code, &source)) in codes.iter_mut().zip(source).enumerate() {
                    *code = self.entries[first + channel * step + usize::from(source)];
                }
            }
        }
    }
}

/// What two codes become.
#[derive(Debug)]
pub(crate) enum Formula {
    /// Their sum, each rescaled, with fraction bits.
    Add { left: Rescale, right: Rescale, fraction: u8 },
    /// Their product.
    Mul(Multiplier),
}

/// A sum or product; extents of 1 in the second operand are broadcast.
#[derive(Debug)]
pub(crate) struct BinaryTask {
    pub isa: &'static Isa,
    pub operands: [Slot; 2],
    pub zero_points: [u8; 2],
    pub output: Slot,
    pub formula: Formula,
    pub quantizer: Quantizer,
    /// A copy to write with it.
    pub narrowed: Option<Narrowed>,
}

// SAFETY: a chunk reads positions of the operands, and writes some rows of the output and the same of the copy.
unsafe impl Task for BinaryTask {
    fn chunks(&self) -> usize {
        rows::chunks(&self.output)
    }

    fn work(&self) -> usize {
        self.output.map.shape.len()
    }

    fn reads(&self) -> Vec<&Slot> {
        self.operands.iter().collect()
    }

    fn writes(&self) -> Vec<&Slot> {
        let copy = self.narrowed.iter().map(|narrowed| &narrowed.output);
        copy.chain([&self.output]).collect()
    }

    unsafe fn run(&self, chunk: usize, context: &TaskContext) {
        let memory = context.memory;
        let (size, other) = (self.output.map.block, self.operands[1].map.shape);
        for (block, y) in rows::of_chunk(&self.output, chunk) {
            // SAFETY: the row is this chunk's own.
            let target = unsafe { rows::write(memory, &self.output, block, y) };
            for (x, codes) in target.chunks_exact_mut(size).enumerate() {
                let at = [y.min(other.height - 1), x.min(other.width - 1)];
                let mut row = [0u8; super::map::BLOCK];
                // SAFETY: no chunk writes the operands.
                let left = unsafe { rows::read(memory, &self.operands[0], block, [y, x], 1) };
                // The second operand has the first's blocks, or a single channel.
                if other.channels == self.output.map.shape.channels {
                    // SAFETY: no chunk writes the operands.
                    let right = unsafe { rows::read(memory, &self.operands[1], block, at, 1) };
                    row[..size].copy_from_slice(right);
                } else {
                    // SAFETY: no chunk writes the operands.
                    row.fill(unsafe { rows::read(memory, &self.operands[1], 0, at, 1) }[0]);
                }
                self.isa.width.run(|| self.codes(left, &row[..size], codes));
            }
            if let Some(narrowed) = &self.narrowed {
                // SAFETY: the copy's row is this chunk's own too.
                unsafe { narrowed.row(memory, block, y, target) };
            }
        }
    }
}

impl BinaryTask {
    #[inline(always)]
    fn codes(&self, left: &[u8], right: &[u8], codes: &mut [u8]) {
        let [a_zero, b_zero] = self.zero_points;
        let Quantizer { zero_point, max, .. } = self.quantizer;
        let pairs = codes.iter_mut().zip(left.iter().zip(right));
        match self.formula {
            Formula::Add { left, right, fraction } => {
                let offset = offset(zero_point, fraction);
                pairs.for_each(|(code, (&a, &b))| {
                    let a = rescale(a, a_zero, left.shift, left.value);
                    let b = rescale(b, b_zero, right.shift, right.value);
                    *code = to_code(a.saturating_add(b), offset, fraction, 0, max);
                });
            }
            Formula::Mul(by) => {
                let offset = offset(zero_point, 0);
                pairs.for_each(|(code, (&a, &b))| {
                    let product = (i32::from(a) - i32::from(a_zero)) * (i32::from(b) - i32::from(b_zero));
                    *code = to_code(requantize(product, by.shift, by.value), offset, 0, 0, max);
                });
            }
        }
    }
}
