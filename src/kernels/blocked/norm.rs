//! Normalisation of groups of channels in the blocked layout.

use super::{Isa, Slot, Task, TaskContext};
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

impl Task for GroupNormTask {
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

    unsafe fn run(&self, chunk: usize, context: &TaskContext) {
        let shape = self.output.map.shape;
        self.isa.width.run(|| match self.norm.span {
            Span::Position => {
                for x in 0..shape.width {
                    // SAFETY: the row is this chunk's own.
                    (0..self.norm.groups).for_each(|group| unsafe {
                        self.together(group, chunk..chunk + 1, x..x + 1, context)
                    });
                }
            }
            // SAFETY: the group's channels are this chunk's own.
            Span::Image => unsafe { self.together(chunk, 0..shape.height, 0..shape.width, context) },
        });
    }
}

impl GroupNormTask {
    /// Normalises a group's channels at some positions.
    ///
    /// # Safety
    /// Nobody else uses these channels of these positions of the output, or writes those of the input.
    #[inline(always)]
    unsafe fn together(
        &self,
        group: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        context: &TaskContext,
    ) {
        let mut moments = Moments::default();
        let places = || rows.clone().flat_map(|y| columns.clone().map(move |x| [y, x]));
        for position in places() {
            for channels in self.pieces(group) {
                // SAFETY: as the caller promises.
                moments.add(unsafe { self.read(context, &channels, position) }, self.zero_point);
            }
        }
        let standard = moments.standard(self.norm.epsilon);
        for position in places() {
            for channels in self.pieces(group) {
                // SAFETY: as the caller promises.
                unsafe { self.write(context, &channels, position, standard) };
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

    #[inline(always)]
    unsafe fn read<'a>(
        &self,
        context: &TaskContext<'a>,
        channels: &Range<usize>,
        [y, x]: [usize; 2],
    ) -> &'a [u8] {
        let place = self.input.start + self.input.map.offset(channels.start, y, x);
        // SAFETY: the channels are of one block of the input, which has the blocks of the output.
        unsafe { std::slice::from_raw_parts(context.memory.at(place), channels.len()) }
    }

    #[inline(always)]
    unsafe fn write(
        &self,
        context: &TaskContext,
        channels: &Range<usize>,
        [y, x]: [usize; 2],
        standard: Standard,
    ) {
        let place = self.output.start + self.output.map.offset(channels.start, y, x);
        // SAFETY: the channels are of one block, and nobody else uses them.
        let target = unsafe { std::slice::from_raw_parts_mut(context.memory.at(place), channels.len()) };
        let normalised = Normalised { norm: &self.norm, zero_point: self.zero_point, output: self.quantizer };
        // SAFETY: as the caller promises.
        normalised.codes(standard, channels.start, unsafe { self.read(context, channels, [y, x]) }, target);
    }
}
