//! Normalisation of groups of channels in the blocked layout.

use super::{Isa, Memory, Slot, Task, TaskContext};
use crate::format::{PackedNorm, Quantizer};
use crate::kernels::norm::{Moments, Normalised, Standard};
use crate::tensor::Span;
use std::ops::Range;

/// Groups of channels, less their mean, divided by their deviation.
#[derive(Debug)]
pub(crate) struct GroupNormTask {
    pub isa: &'static Isa,
    pub input: Slot,
    pub zero_point: u8,
    pub output: Slot,
    pub quantizer: Quantizer,
    pub norm: PackedNorm,
}

// SAFETY: a chunk reads positions of the input, and writes channels of the output: those of a row, or of a group.
unsafe impl Task for GroupNormTask {
    /// Rows, or groups where all positions are normalised together.
    fn chunks(&self) -> usize {
        match self.norm.span {
            Span::Position => self.output.map.shape.height,
            Span::Image => self.norm.groups,
        }
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
        let (memory, shape) = (context.memory, self.output.map.shape);
        self.isa.width.run(|| match self.norm.span {
            Span::Position => {
                for (x, group) in
                    (0..shape.width).flat_map(|x| (0..self.norm.groups).map(move |group| (x, group)))
                {
                    // SAFETY: the row is this chunk's own; no chunk writes the input.
                    unsafe { self.together(group, chunk..chunk + 1, x..x + 1, memory) };
                }
            }
            // SAFETY: the group's channels are this chunk's own; no chunk writes the input.
            Span::Image => unsafe { self.together(chunk, 0..shape.height, 0..shape.width, memory) },
        });
    }
}

impl GroupNormTask {
    /// Normalises a group's channels at some positions.
    ///
    /// # Safety
    /// Nobody else uses these channels of these positions of the output meanwhile, or writes those of the input.
    #[inline(always)]
    unsafe fn together(&self, group: usize, rows: Range<usize>, columns: Range<usize>, memory: &Memory) {
        let mut moments = Moments::default();
        let places = || rows.clone().flat_map(|y| columns.clone().map(move |x| [y, x]));
        for [y, x] in places() {
            for channels in self.pieces(group) {
                let place = self.input.map.offset(channels.start, y, x);
                // SAFETY: as the caller promises.
                moments.add(unsafe { memory.read(&self.input, place, channels.len()) }, self.zero_point);
            }
        }
        let standard = moments.standard(self.norm.epsilon);
        for position in places() {
            for channels in self.pieces(group) {
                // SAFETY: as the caller promises.
                unsafe { self.normalise(memory, &channels, position, standard) };
            }
        }
    }

    /// The channels of a group that lie in one block each.
    #[inline(always)]
    fn pieces(&self, group: usize) -> impl Iterator<Item = Range<usize>> {
        let (size, block) = (self.output.map.shape.channels / self.norm.groups, self.output.map.block);
        let (first, end) = (group * size, (group + 1) * size);
        (first / block..end.div_ceil(block))
            .map(move |index| first.max(index * block)..end.min((index + 1) * block))
    }

    /// Normalises channels of one block, which the input has too, at a position.
    ///
    /// # Safety
    /// Nobody else uses these channels of the output meanwhile, or writes those of the input.
    #[inline(always)]
    unsafe fn normalise(
        &self,
        memory: &Memory,
        channels: &Range<usize>,
        [y, x]: [usize; 2],
        standard: Standard,
    ) {
        let place = |slot: &Slot| slot.map.offset(channels.start, y, x);
        // SAFETY: as the caller promises.
        let source = unsafe { memory.read(&self.input, place(&self.input), channels.len()) };
        // SAFETY: as the caller promises.
        let target = unsafe { memory.write(&self.output, place(&self.output), channels.len()) };
        let normalised = Normalised { norm: &self.norm, zero_point: self.zero_point, output: self.quantizer };
        normalised.codes(standard, channels.start, source, target);
    }
}
