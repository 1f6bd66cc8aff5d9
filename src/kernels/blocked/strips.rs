//! Which positions are computed together.

use super::{Isa, Map};
use crate::tensor::{Shape, Window};
use std::ops::Range;

/// What a strip costs besides its positions, in positions.
const FIXED: usize = 3;

/// Positions at equal distances in the input.
#[derive(Debug, Clone)]
pub(super) struct Strip {
    /// Place of the first position's first tap, from the input's start.
    pub input: usize,
    /// Positions to compute.
    pub len: usize,
    /// Its parts that are positions of the output.
    pub segments: Range<usize>,
}

/// Neighbouring positions of an output row, or of several where they follow each other without a gap.
#[derive(Debug, Clone)]
pub(super) struct RowPart {
    /// First position within the strip.
    pub first: usize,
    /// Number of positions.
    pub count: usize,
    /// First position in the output.
    pub y: usize,
    pub x: usize,
}

/// All positions of an output, cut into strips.
#[derive(Debug, Clone)]
pub(super) struct Strips {
    /// Positions of a strip.
    pub len: usize,
    pub strips: Vec<Strip>,
    pub parts: Vec<RowPart>,
}

impl Strips {
    /// The way that takes the least time. `ringless` says that rows of the results follow each other without a gap.
    pub fn new(isa: &Isa, window: &Window, input: &Map, output: Shape, ringless: bool) -> Self {
        let by_rows = isa.strips.iter().map(|&len| Self::of_rows(window, input, output, len));
        let flat = isa.strips.iter().filter_map(|&len| Self::flat(window, input, output, len));
        let first = Self::of_rows(window, input, output, isa.strips[0]).fitted(isa);
        let better = |best: Self, next: Self| if next.cost(isa) < best.cost(isa) { next } else { best };
        by_rows.chain(flat).map(|strips| strips.fitted(isa)).fold(first, better).joined(ringless, output)
    }

    /// Every strip at a length that `isa` offers.
    fn fitted(mut self, isa: &Isa) -> Self {
        for index in 0..self.strips.len() {
            let used = self.parts(index).last().map_or(1, |part| part.first + part.count);
            let offered = isa.strips.iter().copied().filter(|&len| isa.shortens && len >= used);
            self.strips[index].len = offered.min().unwrap_or(self.len).min(self.len);
        }
        self
    }

    /// Parts that follow each other, in the strip and in the results, made one.
    fn joined(mut self, ringless: bool, output: Shape) -> Self {
        if !ringless {
            return self;
        }
        let old = std::mem::take(&mut self.parts);
        for strip in &mut self.strips {
            let first = self.parts.len();
            for part in &old[strip.segments.clone()] {
                match self.parts[first..].last_mut() {
                    Some(last) if last.first + last.count == part.first => last.count += part.count,
                    _ => self.parts.push(part.clone()),
                }
            }
            strip.segments = first..self.parts.len();
        }
        debug_assert!(
            self.parts.iter().all(|part| part.y * output.width + part.x + part.count <= output.positions())
        );
        self
    }

    /// Positions that could be computed in the time that all strips take, and the number of those computed.
    fn cost(&self, isa: &Isa) -> (usize, usize) {
        let time = |strip: &Strip| FIXED + if isa.shortens { strip.len } else { isa.strips[0] };
        (self.strips.iter().map(time).sum(), self.strips.iter().map(|strip| strip.len).sum())
    }

    /// Strips end with the rows.
    fn of_rows(window: &Window, input: &Map, output: Shape, len: usize) -> Self {
        let mut this = Self { len, strips: Vec::new(), parts: Vec::new() };
        for y in 0..output.height {
            for x in (0..output.width).step_by(len) {
                let count = len.min(output.width - x);
                let place = input.place(0, y * window.stride[0], x * window.stride[1]);
                this.push(place, vec![RowPart { first: 0, count, y, x }]);
            }
        }
        this
    }

    /// Strips run over the ends of rows, across the ring, where rows of input and output have the same distance.
    fn flat(window: &Window, input: &Map, output: Shape, len: usize) -> Option<Self> {
        let columns = input.columns();
        if window.stride != [1, 1] {
            return None;
        }
        let mut this = Self { len, strips: Vec::new(), parts: Vec::new() };
        let end = (output.height - 1) * columns + output.width;
        for start in (0..end).step_by(len) {
            let mut parts: Vec<RowPart> = Vec::new();
            for (first, place) in (start..end.min(start + len)).enumerate() {
                let (y, x) = (place / columns, place % columns);
                match parts.last_mut() {
                    _ if x >= output.width => {}
                    Some(part) if part.y == y => part.count += 1,
                    _ => parts.push(RowPart { first, count: 1, y, x }),
                }
            }
            this.push(start * input.block, parts);
        }
        Some(this)
    }

    fn push(&mut self, input: usize, parts: Vec<RowPart>) {
        let first = self.parts.len();
        self.parts.extend(parts);
        self.strips.push(Strip { input, len: self.len, segments: first..self.parts.len() });
    }

    /// The parts of a strip.
    pub fn parts(&self, strip: usize) -> &[RowPart] {
        &self.parts[self.strips[strip].segments.clone()]
    }
}
