//! Operators that only move codes: each channel of the result comes from one place of one input.

use super::{Slot, Task, TaskContext};
use crate::format::PackedSlice;

/// Codes of neighbouring channels that stay neighbours.
#[derive(Debug, Clone)]
struct Piece {
    /// Which input they come from, and the place there for row and column 0; none for the fill.
    source: Option<(usize, usize)>,
    /// Their place in the output for row and column 0.
    target: usize,
    len: usize,
}

/// Moves pieces of positions.
#[derive(Debug)]
pub(crate) struct MoveTask {
    inputs: Vec<Slot>,
    output: Slot,
    pieces: Vec<Piece>,
    /// For each output row the row of the inputs; none for the fill.
    rows: Vec<Option<usize>>,
    /// The same for columns.
    columns: Vec<Option<usize>>,
    fill: u8,
}

impl MoveTask {
    /// `source` names the input, its channel, and a position there, for each channel of the output.
    fn new(
        inputs: &[&Slot],
        output: &Slot,
        source: impl Fn(usize) -> Option<(usize, [usize; 3])>,
        fill: u8,
    ) -> Self {
        let mut pieces: Vec<Piece> = Vec::new();
        for channel in 0..output.map.shape.channels {
            let target = output.map.offset(channel, 0, 0);
            let source = source(channel).map(|(input, [c, y, x])| (input, inputs[input].map.offset(c, y, x)));
            match pieces.last_mut() {
                Some(last) if last.target + last.len == target && last.continues(source) => last.len += 1,
                _ => pieces.push(Piece { source, target, len: 1 }),
            }
        }
        let shape = output.map.shape;
        Self {
            inputs: inputs.iter().copied().cloned().collect(),
            output: output.clone(),
            pieces,
            rows: (0..shape.height).map(Some).collect(),
            columns: (0..shape.width).map(Some).collect(),
            fill,
        }
    }

    /// Concatenation over channels.
    pub fn concat(inputs: &[&Slot], output: &Slot) -> Self {
        let channels: Vec<(usize, usize)> = inputs
            .iter()
            .enumerate()
            .flat_map(|(index, slot)| (0..slot.map.shape.channels).map(move |channel| (index, channel)))
            .collect();
        Self::new(inputs, output, |c| channels.get(c).map(|&(input, channel)| (input, [channel, 0, 0])), 0)
    }

    /// The elements `start, start + step, …` of channels, rows and columns.
    pub fn slice(input: &Slot, slice: &PackedSlice, output: &Slot) -> Self {
        let at = |axis: usize, index: usize| slice.start[axis] + index * slice.step[axis];
        let mut this = Self::new(&[input], output, |c| Some((0, [at(0, c), 0, 0])), 0);
        this.rows.iter_mut().flatten().for_each(|row| *row = at(1, *row));
        this.columns.iter_mut().flatten().for_each(|column| *column = at(2, *column));
        this
    }

    /// Padding of channels, rows and columns with `fill`.
    pub fn pad(input: &Slot, before: [usize; 3], fill: u8, output: &Slot) -> Self {
        let extents = [input.map.shape.channels, input.map.shape.height, input.map.shape.width];
        let at = |axis: usize, index: usize| {
            index.checked_sub(before[axis]).filter(|&index| index < extents[axis])
        };
        let mut this = Self::new(&[input], output, |c| at(0, c).map(|c| (0, [c, 0, 0])), fill);
        this.rows.iter_mut().for_each(|row| *row = row.and_then(|row| at(1, row)));
        this.columns.iter_mut().for_each(|column| *column = column.and_then(|column| at(2, column)));
        this
    }

    /// Channel `g·(C/groups) + i` moves to `i·groups + g`.
    pub fn shuffle(input: &Slot, groups: usize, output: &Slot) -> Self {
        let size = input.map.shape.channels / groups;
        Self::new(&[input], output, |c| Some((0, [c % groups * size + c / groups, 0, 0])), 0)
    }

    /// Channel, row, column order as a flat vector.
    pub fn flatten(input: &Slot, output: &Slot) -> Self {
        let shape = input.map.shape;
        let place = |index: usize| {
            let (channel, position) = (index / shape.positions(), index % shape.positions());
            Some((0, [channel, position / shape.width, position % shape.width]))
        };
        Self::new(&[input], output, place, 0)
    }
}

impl Piece {
    fn continues(&self, source: Option<(usize, usize)>) -> bool {
        match (self.source, source) {
            (Some((own, place)), Some((input, next))) => own == input && place + self.len == next,
            (own, source) => own == source,
        }
    }
}

// SAFETY: a chunk reads positions of the inputs, and writes a row of the output.
unsafe impl Task for MoveTask {
    fn chunks(&self) -> usize {
        self.rows.len()
    }

    fn work(&self) -> usize {
        self.output.map.shape.len()
    }

    fn reads(&self) -> Vec<&Slot> {
        self.inputs.iter().collect()
    }

    fn writes(&self) -> Vec<&Slot> {
        vec![&self.output]
    }

    unsafe fn run(&self, chunk: usize, context: &TaskContext) {
        let (memory, output) = (context.memory, &self.output.map);
        for (x, column) in self.columns.iter().enumerate() {
            let target = chunk * output.pitch() + x * output.block;
            let inside = self.rows[chunk].zip(*column);
            for piece in &self.pieces {
                // SAFETY: the piece's codes lie within one position of a row that is this chunk's own.
                let codes = unsafe { memory.write(&self.output, piece.target + target, piece.len) };
                match (piece.source, inside) {
                    (Some((input, place)), Some((row, column))) => {
                        let slot = &self.inputs[input];
                        let place = place + row * slot.map.pitch() + column * slot.map.block;
                        // SAFETY: no chunk writes the inputs.
                        codes.copy_from_slice(unsafe { memory.read(slot, place, piece.len) });
                    }
                    _ => codes.fill(self.fill),
                }
            }
        }
    }
}
