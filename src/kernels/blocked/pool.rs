//! Maximum, mean and sum over windows in the blocked layout.

use super::map::BLOCK;
use super::narrow::Narrowed;
use super::{Isa, Memory, Slot, Task, TaskContext, rows};
use crate::fixed::{requantize, to_code};
use crate::format::{Multiplier, Quantizer};
use crate::kernels::{offset, pool};
use crate::tensor::Window;
use crate::wide::Width;
use std::ops::Range;

/// What a window becomes.
#[derive(Debug)]
enum PoolKind {
    Max,
    /// Mean: the multiplier for each count, and how many rows and columns count at each output row and column.
    Mean {
        zero_point: i32,
        by_count: Vec<Multiplier>,
        counts: [Vec<usize>; 2],
        quantizer: Quantizer,
    },
}

/// A pool over windows.
#[derive(Debug)]
pub(crate) struct PoolTask {
    width: Width,
    input: Slot,
    output: Slot,
    /// For each output row, and each output column, the rows and columns of the image in its window.
    rows: Vec<TapRange>,
    columns: Vec<TapRange>,
    kind: PoolKind,
    /// A copy to write with it.
    narrowed: Option<Narrowed>,
}

/// `start, start + step, …`
#[derive(Debug, Clone)]
struct TapRange {
    range: Range<usize>,
    step: usize,
}

impl PoolTask {
    /// Maximum over windows; padding never wins.
    pub fn max(isa: &Isa, window: &Window, input: &Slot, output: &Slot) -> Self {
        Self::new(isa, window, input, output, PoolKind::Max)
    }

    /// Mean over windows; `by_count[n − 1]` turns a sum of `n` distances from zero into an output.
    pub fn average(
        isa: &Isa,
        window: &Window,
        count_include_pad: bool,
        by_count: &[Multiplier],
        (input, zero_point): (&Slot, u8),
        (output, quantizer): (&Slot, Quantizer),
    ) -> Self {
        let counts = pool::counts(input.map.shape, window, count_include_pad, output.map.shape);
        let (zero_point, by_count) = (i32::from(zero_point), by_count.to_vec());
        Self::new(isa, window, input, output, PoolKind::Mean { zero_point, by_count, counts, quantizer })
    }

    /// Mean over all positions.
    pub fn global(
        isa: &Isa,
        by: Multiplier,
        (input, zero_point): (&Slot, u8),
        (output, quantizer): (&Slot, Quantizer),
    ) -> Self {
        let shape = input.map.shape;
        let window = Window::new([shape.height, shape.width]);
        let counts = [vec![1], vec![1]];
        let (zero_point, by_count) = (i32::from(zero_point), vec![by]);
        Self::new(isa, &window, input, output, PoolKind::Mean { zero_point, by_count, counts, quantizer })
    }

    /// Writes a copy too.
    pub fn with(self, narrowed: Option<Narrowed>) -> Self {
        Self { narrowed, ..self }
    }

    fn new(isa: &Isa, window: &Window, input: &Slot, output: &Slot, kind: PoolKind) -> Self {
        let taps = |axis: usize, size: usize, outputs: usize| {
            (0..outputs).map(|index| TapRange::new(window, axis, size, index)).collect()
        };
        let (from, to) = (input.map.shape, output.map.shape);
        let (rows, columns) = (taps(0, from.height, to.height), taps(1, from.width, to.width));
        Self {
            width: isa.width,
            input: input.clone(),
            output: output.clone(),
            rows,
            columns,
            kind,
            narrowed: None,
        }
    }
}

impl TapRange {
    fn new(window: &Window, axis: usize, size: usize, index: usize) -> Self {
        let (step, origin) = (window.dilation[axis].max(1), index * window.stride[axis]);
        let (pad, end) = (window.pads[axis], origin + window.kernel[axis] * step);
        // The first tap that is not in the padding.
        let skipped = pad.saturating_sub(origin).div_ceil(step) * step;
        let start = (origin + skipped).saturating_sub(pad);
        let end = end.saturating_sub(pad).min(size);
        Self { range: start..end.max(start), step }
    }
}

// SAFETY: a chunk reads positions of the input, and writes some rows of the output and the same of the copy.
unsafe impl Task for PoolTask {
    fn chunks(&self) -> usize {
        rows::chunks(&self.output).max(self.output.map.blocks().min(16)).min(rows::rows(&self.output))
    }

    fn work(&self) -> usize {
        self.output.map.shape.len()
    }

    fn reads(&self) -> Vec<&Slot> {
        vec![&self.input]
    }

    fn writes(&self) -> Vec<&Slot> {
        let copy = self.narrowed.iter().map(|narrowed| &narrowed.output);
        copy.chain([&self.output]).collect()
    }

    unsafe fn run(&self, chunk: usize, context: &TaskContext) {
        let memory = context.memory;
        self.width.run(|| {
            for (block, y) in rows::of_chunks(&self.output, chunk, self.chunks()) {
                // SAFETY: the row is this chunk's own.
                let target = unsafe { rows::write(memory, &self.output, block, y) };
                // SAFETY: no chunk writes the input, which has the output's blocks.
                let plane = unsafe { rows::plane(memory, &self.input, block) };
                self.row(plane, y, target);
                if let Some(narrowed) = &self.narrowed {
                    // SAFETY: the copy's row is this chunk's own too.
                    unsafe { narrowed.row(memory, block, y, target) };
                }
            }
        });
    }
}

impl PoolTask {
    /// The codes of a row of a block, of which the input has `plane`.
    #[inline(always)]
    fn row(&self, plane: &[u8], y: usize, codes: &mut [u8]) {
        let size = self.output.map.block;
        for (x, codes) in codes.chunks_exact_mut(size).enumerate() {
            match size {
                BLOCK => self.window::<BLOCK>(plane, [y, x], codes),
                32 => self.window::<32>(plane, [y, x], codes),
                _ => self.window::<16>(plane, [y, x], codes),
            }
        }
    }

    /// The codes of a block of `SIZE` channels at a position.
    #[inline(always)]
    fn window<const SIZE: usize>(&self, plane: &[u8], [y, x]: [usize; 2], codes: &mut [u8]) {
        match &self.kind {
            PoolKind::Max => {
                let mut largest = [0u8; SIZE];
                self.visit(plane, [y, x], |codes: &[u8; SIZE]| {
                    largest.iter_mut().zip(codes).for_each(|(largest, &code)| *largest = code.max(*largest));
                });
                codes.copy_from_slice(&largest);
            }
            PoolKind::Mean { zero_point, by_count, counts, quantizer } => {
                let mut sums = [0i32; SIZE];
                self.visit(plane, [y, x], |codes: &[u8; SIZE]| {
                    sums.iter_mut().zip(codes).for_each(|(sum, &code)| *sum += i32::from(code) - zero_point);
                });
                let by = by_count[(counts[0][y] * counts[1][x]).max(1) - 1];
                let offset = offset(quantizer.zero_point, 0);
                for (code, sum) in codes.iter_mut().zip(sums) {
                    *code = to_code(requantize(sum, by.shift, by.value), offset, 0, 0, quantizer.max);
                }
            }
        }
    }

    /// Calls `visit` with the codes of a block of `SIZE` channels under each tap in the image.
    #[inline(always)]
    fn visit<const SIZE: usize>(&self, plane: &[u8], [y, x]: [usize; 2], mut visit: impl FnMut(&[u8; SIZE])) {
        let (rows, columns, pitch) = (&self.rows[y], &self.columns[x], self.input.map.pitch());
        for row in rows.range.clone().step_by(rows.step) {
            for column in columns.range.clone().step_by(columns.step) {
                let codes = &plane[row * pitch + column * SIZE..];
                codes.first_chunk().into_iter().for_each(&mut visit);
            }
        }
    }
}

/// Sum of the distances from zero over all positions, for each channel.
pub(crate) fn global_sum(memory: &mut Memory, slot: &Slot, zero_point: u8, mut visit: impl FnMut(i32)) {
    let codes = &memory.bytes()[slot.start..];
    for block in 0..slot.map.blocks() {
        let mut sums = [0i32; BLOCK];
        for y in 0..slot.map.shape.height {
            let row = &codes[slot.map.offset(block * slot.map.block, y, 0)..];
            for codes in row.chunks_exact(slot.map.block).take(slot.map.shape.width) {
                sums.iter_mut()
                    .zip(codes)
                    .for_each(|(sum, &code)| *sum += i32::from(code) - i32::from(zero_point));
            }
        }
        let channels = slot.map.block.min(slot.map.shape.channels - block * slot.map.block);
        sums[..channels].iter().for_each(|&sum| visit(sum));
    }
}
