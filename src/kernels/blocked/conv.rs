//! Convolution: panels of output channels times strips of positions.

use super::narrow::Narrowed;
use super::panels::Panels;
use super::strips::Strips;
use super::{Isa, Map, Memory, PANEL, Rule, STRIPS, Segment, Slot, TILE, Task, TaskContext, Tile, finish};
use crate::kernels::{ConvSpec, Epilogue, portable};
use crate::tensor::Shape;
use crate::threads;
use std::mem::MaybeUninit;
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
    /// Sums: for each panel and position [`PANEL`] of them, `start` bytes from the beginning.
    Sums { start: usize, biases: Vec<[i32; PANEL]> },
}

impl Target {
    /// Whether rows follow each other without a gap.
    fn is_ringless(&self) -> bool {
        match self {
            Self::Codes { output, residual, narrowed, .. } => {
                let copy = narrowed.as_ref().map(|narrowed| &narrowed.output);
                let slots = [Some(output), residual.as_ref(), copy];
                !slots.into_iter().flatten().any(|slot| slot.map.has_ring())
            }
            Self::Sums { .. } => true,
        }
    }
}

/// The weights of a convolution, laid out for an input.
#[derive(Debug)]
pub(crate) struct ConvWeights {
    tile: unsafe fn(&Tile),
    panels: Panels,
    /// What tiles take from codes.
    origin: u8,
    /// For each output channel, the sum that inputs at their zero points have.
    at_zero: Vec<i32>,
}

impl ConvWeights {
    /// Lays out the weights of `spec` for an input of this map.
    pub fn new(isa: &Isa, spec: &ConvSpec, map: &Map) -> Self {
        let (panels, tile) = match spec.is_depthwise() {
            true => (Panels::depthwise(spec, map), isa.depthwise),
            false => (Panels::new(isa, spec, map), isa.tile),
        };
        let origin = isa.origin(spec);
        Self { tile, panels, origin, at_zero: portable::at_zero(spec, origin) }
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
    isa: &'static Isa,
    input: Slot,
    target: Target,
    weights: Arc<ConvWeights>,
    strips: Strips,
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
        isa: &'static Isa,
        spec: &ConvSpec,
        weights: Arc<ConvWeights>,
        epilogue: &Epilogue,
        [input, output]: [&Slot; 2],
        residual: Option<&Slot>,
        narrowed: Option<Narrowed>,
    ) -> Self {
        let rules = finish::rules(isa, epilogue, &weights.bias(spec), output.map.block);
        let narrowed = narrowed.map(Box::new);
        let target = Target::Codes { output: output.clone(), residual: residual.cloned(), narrowed, rules };
        Self::new(isa, spec, weights, input, output.map.shape, target)
    }

    /// A convolution whose sums are kept from `start` on; see [`sums_len`].
    pub fn sums(
        isa: &'static Isa,
        spec: &ConvSpec,
        weights: Arc<ConvWeights>,
        input: &Slot,
        shape: Shape,
        start: usize,
    ) -> Self {
        let bias = weights.bias(spec);
        let biases = (0..spec.outputs.div_ceil(PANEL)).map(|panel| finish::plain_bias(isa, &bias, panel));
        let target = Target::Sums { start, biases: biases.collect() };
        Self::new(isa, spec, weights, input, shape, target)
    }

    fn new(
        isa: &'static Isa,
        spec: &ConvSpec,
        weights: Arc<ConvWeights>,
        input: &Slot,
        shape: Shape,
        target: Target,
    ) -> Self {
        let strips = Strips::new(isa, &spec.window, &input.map, shape, target.is_ringless());
        let step = spec.window.stride[1] * input.map.block;
        let chunks = chunks(&weights.panels, &strips, input.map.len());
        let this = Self { isa, input: input.clone(), target, weights, strips, step, shape, chunks };
        let input = &this.input;
        assert!(this.reach() <= input.len, "tiles reach {} of {} bytes", this.reach(), input.len);
        this
    }

    /// The end of what tiles may read.
    fn reach(&self) -> usize {
        let last = self.strips.strips.iter().map(|strip| strip.input).max().unwrap_or(0);
        last + self.strips.len * self.step + self.weights.panels.reach()
    }

    /// The strips of a tile.
    fn strips_of(&self, tile: usize) -> Range<usize> {
        tile * STRIPS..self.strips.strips.len().min((tile + 1) * STRIPS)
    }

    unsafe fn sum(&self, at: PanelTile, ahead: (*const i8, usize), sums: &mut TileSums, memory: &Memory) {
        let range = self.strips_of(at.tile);
        let strip = |index: usize| &self.strips.strips[index.min(range.end - 1)];
        let strips = [strip(range.start), strip(range.start + 1)];
        let panels = &self.weights.panels;
        let tile = Tile {
            strips: strips.map(|strip| memory.at(self.input.start + strip.input).cast_const()),
            count: range.len(),
            len: self.strips.len,
            lens: strips.map(|strip| strip.len),
            step: self.step,
            runs: panels.runs(at.panel),
            origin: self.weights.origin,
            short: panels.is_short(at.panel),
            weights: panels.weights(at.panel),
            ahead: ahead.0,
            lines: ahead.1,
            sums: sums.0.as_mut_ptr().cast(),
        };
        // SAFETY: the slot covers what the runs reach from any strip.
        unsafe { (self.weights.tile)(&tile) };
    }

    unsafe fn finish(&self, at: PanelTile, sums: &TileSums, memory: &Memory) {
        for (place, strip) in self.strips_of(at.tile).enumerate() {
            for part in self.strips.parts(strip) {
                let first = (place * self.strips.len + part.first) * PANEL;
                // SAFETY: `sum` has written a row for each position of the tile.
                let sums = unsafe {
                    let first = sums.0.as_ptr().cast::<i32>().add(first);
                    std::slice::from_raw_parts(first, part.count * PANEL)
                };
                // SAFETY: the part's positions and the panel's channels are this chunk's own.
                unsafe { self.store(at.panel, [part.y, part.x], sums, memory) };
            }
        }
    }

    unsafe fn store(&self, panel: usize, [y, x]: [usize; 2], sums: &[i32], memory: &Memory) {
        let channel = panel * PANEL;
        match &self.target {
            Target::Codes { output, residual, narrowed, rules } => {
                let place = |slot: &Slot| memory.at(slot.start + slot.map.offset(channel, y, x));
                let segment = Segment {
                    sums: sums.as_ptr(),
                    count: sums.len() / PANEL,
                    output: place(output),
                    output_step: output.map.block,
                    residual: residual.as_ref().map_or(std::ptr::null(), |slot| place(slot).cast_const()),
                    residual_step: residual.as_ref().map_or(0, |slot| slot.map.block),
                };
                // SAFETY: the positions lie within the output's map.
                unsafe { (self.isa.finish)(&segment, &rules[panel]) };
                if let Some(narrowed) = narrowed {
                    let extent = [segment.count, rules[panel].width];
                    // SAFETY: the positions follow each other in both, and these channels are this chunk's own.
                    unsafe { narrowed.positions(memory, [channel, y, x], extent, segment.output) };
                }
            }
            Target::Sums { start, biases } => {
                let position = panel * self.shape.positions() + y * self.shape.width + x;
                let target: *mut i32 = memory.at(start + position * PANEL * 4).cast();
                for (index, sum) in sums.iter().enumerate() {
                    // SAFETY: the region of sums has room for every panel and position.
                    unsafe { target.add(index).write(sum.wrapping_add(biases[panel][index % PANEL])) };
                }
            }
        }
    }
}

/// A tile of a panel.
#[derive(Debug, Clone, Copy)]
struct PanelTile {
    panel: usize,
    tile: usize,
}

#[repr(C, align(64))]
struct TileSums(MaybeUninit<[i32; TILE * PANEL]>);

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
        let buffers = [const { TileSums(MaybeUninit::uninit()) }; 2];
        Self { conv, memory, buffers, turn: 0, pending: None }
    }

    unsafe fn push(&mut self, panel: usize, tile: usize, ahead: (*const i8, usize)) {
        let place = PanelTile { panel, tile };
        // SAFETY: as the caller promises.
        unsafe {
            self.conv.sum(place, ahead, &mut self.buffers[self.turn], self.memory);
            self.flush();
        }
        self.turn = 1 - self.turn;
        self.pending = Some(place);
    }

    unsafe fn flush(&mut self) {
        if let Some(place) = self.pending.take() {
            // SAFETY: as the caller promises; the pending tile has been summed.
            unsafe { self.conv.finish(place, &self.buffers[1 - self.turn], self.memory) };
        }
    }
}

impl Task for ConvTask {
    fn chunks(&self) -> usize {
        self.chunks.len()
    }

    fn work(&self) -> usize {
        self.shape.positions() * self.weights()
    }

    fn weights(&self) -> usize {
        self.weights.bytes()
    }

    unsafe fn run(&self, chunk: usize, context: &TaskContext) {
        let Chunk { panels, tiles } = self.chunks[chunk].clone();
        let all = &self.weights.panels;
        let short = all.bytes(panels.start) <= SHORT * PANEL;
        let mut pipeline = Pipeline::new(self, context.memory);
        // SAFETY: `choice` hands an instruction set out only where the CPU has it; chunks are disjoint.
        unsafe {
            if let Some(mode) = &self.isa.mode {
                (mode.begin)(self.strips.len, all.steps());
            }
            if short {
                for tile in tiles {
                    panels.clone().for_each(|panel| pipeline.push(panel, tile, (std::ptr::null(), 0)));
                }
            } else {
                for panel in panels {
                    for tile in tiles.clone() {
                        let ahead = all.ahead(panel, tile - tiles.start, tiles.len());
                        pipeline.push(panel, tile, ahead);
                    }
                }
            }
            pipeline.flush();
            if let Some(mode) = &self.isa.mode {
                (mode.end)();
            }
        }
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

/// Bytes that the sums of a convolution take.
pub(crate) fn sums_len(outputs: usize, shape: Shape) -> usize {
    outputs.div_ceil(PANEL) * PANEL * shape.positions() * 4
}

/// Reads sums in the order position, channel.
pub(crate) fn read_sums(
    isa: &Isa,
    memory: &mut Memory,
    start: usize,
    shape: Shape,
    mut visit: impl FnMut(i32),
) {
    let mut inverse = [0; PANEL / 4];
    isa.order.iter().enumerate().for_each(|(place, &quad)| inverse[quad] = place);
    for position in 0..shape.positions() {
        for channel in 0..shape.channels {
            let (panel, inside) = (channel / PANEL, channel % PANEL);
            let row = panel * shape.positions() + position;
            let place = row * PANEL + 4 * inverse[inside / 4] + inside % 4;
            // SAFETY: sums lie at whole multiples of four bytes within the memory; nobody else has it.
            visit(unsafe { memory.at(start + 4 * place).cast::<i32>().read() });
        }
    }
}
