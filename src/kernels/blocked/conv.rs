//! Convolution: panels of output channels times strips of positions.

use super::narrow::Narrowed;
use super::panels::Panels;
use super::strips::{RowPart, Strips};
use super::{Isa, Map, Memory, PANEL, Rule, STRIPS, Segment, Slot, TILE, Task, TaskContext, Tile, finish};
use crate::kernels::{ConvSpec, Epilogue, portable};
use crate::tensor::Shape;
use crate::threads;
use std::ops::Range;
use std::sync::Arc;

/// Chunks of one convolution for each of several threads, about.
const CHUNKS: usize = 4;
/// Up to this many weights of an output channel, panels change faster than positions.
const SHORT: usize = 128;

/// Where results go.
#[derive(Debug)]
enum Target {
    /// Codes, with the residual if there is one, and a copy of them if there is one.
    Codes { output: Slot, residual: Option<Slot>, narrowed: Option<Box<Narrowed>>, rules: Vec<Rule> },
    /// Sums: for each panel and position [`PANEL`] of them.
    Sums { output: Slot, biases: Vec<[i32; PANEL]> },
}

impl Target {
    /// Where results go.
    fn output(&self) -> &Slot {
        match self {
            Self::Codes { output, .. } | Self::Sums { output, .. } => output,
        }
    }

    /// The copy of the results.
    fn copy(&self) -> Option<&Slot> {
        match self {
            Self::Codes { narrowed: Some(narrowed), .. } => Some(&narrowed.output),
            _ => None,
        }
    }

    /// What is added to the results.
    fn residual(&self) -> Option<&Slot> {
        match self {
            Self::Codes { residual, .. } => residual.as_ref(),
            Self::Sums { .. } => None,
        }
    }

    /// Whether rows follow each other without a gap.
    fn is_ringless(&self) -> bool {
        match self {
            Self::Codes { output, .. } => {
                let slots = [Some(output), self.residual(), self.copy()];
                !slots.into_iter().flatten().any(|slot| slot.map.has_ring())
            }
            Self::Sums { .. } => true,
        }
    }
}

/// The weights of a convolution, laid out for an input.
#[derive(Debug)]
pub(crate) struct ConvWeights {
    isa: &'static Isa,
    depthwise: bool,
    panels: Panels,
    /// What tiles take from codes.
    origin: u8,
    /// For each output channel, the sum that inputs at their zero points have.
    at_zero: Vec<i32>,
}

impl ConvWeights {
    /// Lays out the weights of `spec` for an input of this map.
    pub fn new(isa: &'static Isa, spec: &ConvSpec, map: &Map) -> Self {
        let (origin, depthwise) = (isa.origin(spec), spec.is_depthwise());
        let panels = if depthwise { Panels::depthwise(spec, map) } else { Panels::new(isa, spec, map) };
        Self { isa, depthwise, panels, origin, at_zero: portable::at_zero(spec, origin) }
    }

    /// Bytes of them.
    pub fn bytes(&self) -> usize {
        (0..self.panels.len()).map(|panel| self.panels.bytes(panel)).sum()
    }

    /// Biases of the sums that tiles compute.
    fn bias(&self, spec: &ConvSpec) -> Vec<i32> {
        spec.bias.iter().zip(&self.at_zero).map(|(bias, at_zero)| bias.wrapping_sub(*at_zero)).collect()
    }
}

/// A convolution of one value.
#[derive(Debug)]
pub(crate) struct ConvTask {
    input: Slot,
    target: Target,
    weights: Arc<ConvWeights>,
    strips: Strips,
    /// Bytes that tiles read from the first one of a strip on.
    reach: usize,
    /// Bytes between the inputs of neighbouring positions.
    step: usize,
    shape: Shape,
    chunks: Vec<Chunk>,
}

/// Some panels of some tiles.
#[derive(Debug, Clone)]
struct Chunk {
    panels: Range<usize>,
    tiles: Range<usize>,
}

impl ConvTask {
    /// A convolution from one slot to another, which must have the shapes that `spec` gives, and to a copy. `weights` are
    /// those of `spec`, laid out for the input; it need not hold them any more.
    pub fn codes(
        spec: &ConvSpec,
        weights: Arc<ConvWeights>,
        epilogue: &Epilogue,
        [input, output]: [&Slot; 2],
        residual: Option<&Slot>,
        narrowed: Option<Narrowed>,
    ) -> Self {
        let rules = finish::rules(weights.isa, epilogue, &weights.bias(spec), output.map.block);
        let narrowed = narrowed.map(Box::new);
        let target = Target::Codes { output: output.clone(), residual: residual.cloned(), narrowed, rules };
        Self::new(spec, weights, input, target)
    }

    /// A convolution whose sums are kept in a slot [`of_sums`](Slot::of_sums).
    pub fn sums(spec: &ConvSpec, weights: Arc<ConvWeights>, [input, output]: [&Slot; 2]) -> Self {
        let (isa, bias) = (weights.isa, weights.bias(spec));
        let biases = (0..spec.outputs.div_ceil(PANEL)).map(|panel| finish::plain_bias(isa, &bias, panel));
        let target = Target::Sums { output: output.clone(), biases: biases.collect() };
        Self::new(spec, weights, input, target)
    }

    fn new(spec: &ConvSpec, weights: Arc<ConvWeights>, input: &Slot, target: Target) -> Self {
        let output = &target.output().map;
        assert!(
            target.copy().is_none_or(|copy| (copy.map.shape, copy.map.block) == (output.shape, output.block))
        );
        let (shape, ringless) = (output.shape, target.is_ringless());
        let strips = Strips::new(weights.isa, &spec.window, &input.map, shape, ringless);
        let step = spec.window.stride[1] * input.map.block;
        let reach = strips.len * step + weights.panels.reach();
        let end = strips.strips.iter().map(|strip| strip.input).max().unwrap_or(0) + reach;
        assert!(end <= input.len, "tiles reach {end} of {} bytes", input.len);
        let chunks = chunks(&weights.panels, &strips, input.map.len());
        Self { input: input.clone(), target, weights, strips, reach, step, shape, chunks }
    }

    /// The strips of a tile.
    fn strips_of(&self, tile: usize) -> Range<usize> {
        tile * STRIPS..self.strips.strips.len().min((tile + 1) * STRIPS)
    }

    /// The sums of a tile.
    ///
    /// # Safety
    /// Nobody writes the input meanwhile, and the CPU is in the state that tiles need.
    unsafe fn sum(&self, at: PanelTile, ahead: (*const i8, usize), sums: &mut TileSums, memory: &Memory) {
        let range = self.strips_of(at.tile);
        let strip = |index: usize| &self.strips.strips[index.min(range.end - 1)];
        let strips = [strip(range.start), strip(range.start + 1)];
        let panels = &self.weights.panels;
        let tile = Tile {
            strips: strips.map(|strip| memory.at(&self.input, strip.input, self.reach).cast_const()),
            count: range.len(),
            len: self.strips.len,
            lens: strips.map(|strip| strip.len),
            step: self.step,
            runs: panels.runs(at.panel),
            origin: self.weights.origin,
            short: panels.is_short(at.panel),
            weights: panels.weights(at.panel).as_ptr(),
            ahead: ahead.0,
            lines: ahead.1,
            sums: sums.0.as_mut_ptr().cast(),
        };
        let isa = self.weights.isa;
        let sum = if self.weights.depthwise { isa.depthwise } else { isa.tile };
        // SAFETY: `at` has found all that tiles read of the input; `Panels` holds the runs' weights; the buffer has rows for
        // all positions, as strips are at most half as long; see `Promise`.
        unsafe { sum(&tile) };
    }

    /// The parts of a tile, and their sums.
    fn parts<'a>(
        &'a self,
        tile: usize,
        sums: &'a TileSums,
    ) -> impl Iterator<Item = ([usize; 2], &'a [[i32; PANEL]])> {
        self.strips_of(tile).enumerate().flat_map(move |(place, strip)| {
            let rows = &sums.0[place * self.strips.len..][..self.strips.len];
            let part = |part: &RowPart| ([part.y, part.x], &rows[part.first..][..part.count]);
            self.strips.parts(strip).iter().map(part)
        })
    }

    /// Stores what becomes of a tile's sums.
    ///
    /// # Safety
    /// Nobody else uses the tile's positions of the panel's channels of the output and of the copy meanwhile, or writes
    /// those of the residual.
    unsafe fn finish(&self, PanelTile { panel, tile }: PanelTile, sums: &TileSums, memory: &Memory) {
        match &self.target {
            Target::Codes { output, residual, narrowed, rules } => {
                let (rule, to) = (&rules[panel], PanelSlot::new(output, panel));
                let from = residual.as_ref().map(|slot| PanelSlot::new(slot, panel));
                for ([y, x], sums) in self.parts(tile, sums) {
                    let from = from.as_ref().map(|from| from.at(memory, [y, x], sums.len(), PANEL));
                    let segment = Segment {
                        sums,
                        output: to.at(memory, [y, x], sums.len(), rule.width),
                        output_step: output.map.block,
                        residual: from.map_or(std::ptr::null(), |from| from.cast_const()),
                        residual_step: residual.as_ref().map_or(0, |slot| slot.map.block),
                    };
                    // SAFETY: `at` has found all that is read and written; the rest is as the caller promises; see `Promise`.
                    unsafe { (self.weights.isa.finish)(&segment, rule) };
                    if let Some(narrowed) = narrowed {
                        let (first, extent) = ([panel * PANEL, y, x], [sums.len(), rule.width]);
                        // SAFETY: as the caller promises.
                        unsafe { narrowed.positions(memory, output, first, extent) };
                    }
                }
            }
            Target::Sums { output, biases } => {
                for ([y, x], sums) in self.parts(tile, sums) {
                    let row = size_of_val(&biases[panel]);
                    let position = panel * self.shape.positions() + y * self.shape.width + x;
                    // SAFETY: as the caller promises; different panels and positions are different bytes.
                    let target = unsafe { memory.write(output, position * row, sums.len() * row) };
                    let targets = target.as_chunks_mut().0.iter_mut();
                    for (index, (target, sum)) in targets.zip(sums.as_flattened()).enumerate() {
                        *target = sum.wrapping_add(biases[panel][index % PANEL]).to_ne_bytes();
                    }
                }
            }
        }
    }
}

/// The codes of a panel's channels in a slot.
struct PanelSlot<'a> {
    slot: &'a Slot,
    /// Their place for the first position.
    first: usize,
    pitch: usize,
}

impl<'a> PanelSlot<'a> {
    fn new(slot: &'a Slot, panel: usize) -> Self {
        Self { slot, first: slot.map.offset(panel * PANEL, 0, 0), pitch: slot.map.pitch() }
    }

    /// The address of the first `channels` of them of `count` positions that follow each other from `[y, x]` on.
    fn at(&self, memory: &Memory, [y, x]: [usize; 2], count: usize, channels: usize) -> *mut u8 {
        let block = self.slot.map.block;
        memory.at(self.slot, self.first + y * self.pitch + x * block, (count - 1) * block + channels)
    }
}

/// A tile of a panel.
#[derive(Debug, Clone, Copy)]
struct PanelTile {
    panel: usize,
    tile: usize,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct TileSums([[i32; PANEL]; TILE]);

/// The tiles of one chunk, in order. Sums become codes while those of the next tile are under way.
struct Pipeline<'a> {
    conv: &'a ConvTask,
    memory: &'a Memory,
    buffers: [TileSums; 2],
    /// The buffer of the next tile.
    turn: usize,
    /// The tile whose sums the other buffer holds.
    pending: Option<PanelTile>,
}

impl<'a> Pipeline<'a> {
    fn new(conv: &'a ConvTask, memory: &'a Memory) -> Self {
        let buffers = [TileSums([[0; PANEL]; TILE]); 2];
        Self { conv, memory, buffers, turn: 0, pending: None }
    }

    /// The tiles of a chunk.
    ///
    /// # Safety
    /// Nobody else runs the chunk meanwhile, or writes what it reads, and the CPU is in the state that tiles need.
    unsafe fn run(&mut self, Chunk { panels, tiles }: Chunk) {
        let all = &self.conv.weights.panels;
        if all.bytes(panels.start) <= SHORT * PANEL {
            for (tile, panel) in tiles.flat_map(|tile| panels.clone().map(move |panel| (tile, panel))) {
                // SAFETY: as the caller promises.
                unsafe { self.push(PanelTile { panel, tile }, (std::ptr::null(), 0)) };
            }
        } else {
            for (panel, tile) in panels.flat_map(|panel| tiles.clone().map(move |tile| (panel, tile))) {
                let ahead = all.ahead(panel, tile - tiles.start, tiles.len());
                // SAFETY: as the caller promises.
                unsafe { self.push(PanelTile { panel, tile }, ahead) };
            }
        }
        // SAFETY: as the caller promises.
        unsafe { self.flush() };
    }

    /// Computes the sums of a tile, and stores those of the one before.
    ///
    /// # Safety
    /// As [`Self::run`], for a chunk that has these tiles.
    unsafe fn push(&mut self, place: PanelTile, ahead: (*const i8, usize)) {
        // SAFETY: as the caller promises.
        unsafe { self.conv.sum(place, ahead, &mut self.buffers[self.turn], self.memory) };
        // SAFETY: as the caller promises.
        unsafe { self.flush() };
        self.turn = 1 - self.turn;
        self.pending = Some(place);
    }

    /// Stores the sums of the pending tile.
    ///
    /// # Safety
    /// As [`Self::run`], for a chunk that has this tile.
    unsafe fn flush(&mut self) {
        if let Some(place) = self.pending.take() {
            // SAFETY: as the caller promises.
            unsafe { self.conv.finish(place, &self.buffers[1 - self.turn], self.memory) };
        }
    }
}

// SAFETY: a chunk reads positions of the input and of the residual, and writes its panels' channels of its tiles' positions
// in the output and the copy, whose positions are the same. Each panel and tile is in one chunk, each position in one tile.
unsafe impl Task for ConvTask {
    fn chunks(&self) -> usize {
        self.chunks.len()
    }

    fn work(&self) -> usize {
        self.shape.positions() * self.weights()
    }

    fn weights(&self) -> usize {
        self.weights.bytes()
    }

    fn reads(&self) -> Vec<&Slot> {
        [Some(&self.input), self.target.residual()].into_iter().flatten().collect()
    }

    fn writes(&self) -> Vec<&Slot> {
        [Some(self.target.output()), self.target.copy()].into_iter().flatten().collect()
    }

    unsafe fn run(&self, chunk: usize, context: &TaskContext) {
        let (chunk, steps) = (self.chunks[chunk].clone(), self.weights.panels.steps());
        let mut pipeline = Pipeline::new(self, context.memory);
        // SAFETY: as the caller promises; no chunk writes the input or the residual.
        self.weights.isa.in_mode(self.strips.len, steps, || unsafe { pipeline.run(chunk) });
    }
}

/// Cuts the panels where they weigh more than the input, the positions otherwise, both where that is too coarse.
fn chunks(panels: &Panels, strips: &Strips, input: usize) -> Vec<Chunk> {
    let (panel_count, tiles) = (panels.len(), strips.strips.len().div_ceil(STRIPS));
    let weights: usize = (0..panel_count).map(|panel| panels.bytes(panel)).sum();
    let chunks = match threads::count() {
        0 | 1 => 1,
        threads => CHUNKS * threads,
    };
    let panels_first = weights > input;
    let (by_panel, by_tile) = if panels_first {
        let parts = panel_count.min(chunks);
        (parts, chunks.div_ceil(parts).min(tiles))
    } else {
        let parts = tiles.min(chunks);
        (chunks.div_ceil(parts).min(panel_count), parts)
    };
    // Neighbouring chunks go to one thread: they differ in what matters less.
    let place = |index: usize| match panels_first {
        true => (index / by_tile, index % by_tile),
        false => (index % by_panel, index / by_panel),
    };
    let part = |count: usize, parts: usize, index: usize| index * count / parts..(index + 1) * count / parts;
    let chunk = |index: usize| {
        let (panel, tile) = place(index);
        Chunk { panels: part(panel_count, by_panel, panel), tiles: part(tiles, by_tile, tile) }
    };
    (0..by_panel * by_tile).map(chunk).collect()
}

/// Reads the sums in a slot [`of_sums`](Slot::of_sums) in the order position, channel.
pub(crate) fn read_sums(isa: &Isa, memory: &mut Memory, slot: &Slot, mut visit: impl FnMut(i32)) {
    let (sums, shape) = (memory.bytes()[slot.start..].as_chunks().0, slot.map.shape);
    let mut inverse = [0; PANEL / 4];
    isa.order.iter().enumerate().for_each(|(place, &quad)| inverse[quad] = place);
    for position in 0..shape.positions() {
        for channel in 0..shape.channels {
            let (panel, inside) = (channel / PANEL, channel % PANEL);
            let row = panel * shape.positions() + position;
            visit(i32::from_ne_bytes(sums[row * PANEL + 4 * inverse[inside / 4] + inside % 4]));
        }
    }
}
