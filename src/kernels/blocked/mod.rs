//! Fast execution: blocked activations in one piece of memory, prepared stages, tiles for each instruction set.

#![allow(unsafe_code)]
// Without tiles for the target nothing of this is used.
#![cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]

mod alone;
pub(crate) mod conv;
pub(crate) mod enter;
mod finish;
mod map;
mod memory;
pub(crate) mod moves;
mod panels;
pub(crate) mod pointwise;
pub(crate) mod pool;
mod program;
mod ring;
mod rows;
mod scaled;
mod strips;

pub(super) use alone::Alone;
pub(crate) use map::Map;
pub(crate) use memory::Memory;
pub(crate) use program::{Context, Program, Task};
pub(crate) use ring::Ring;

use super::vectorized::Width;
use crate::tensor::Window;

/// Output channels of a panel of weights.
pub(crate) const PANEL: usize = 32;
/// Most positions of a tile.
pub(crate) const TILE: usize = 32;
/// Strips of a tile.
pub(crate) const STRIPS: usize = 2;

/// A place in a program's memory and what lies there.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    /// Offset of the first byte, a multiple of 64.
    pub start: usize,
    /// Order of the codes.
    pub map: Map,
    /// Bytes that may be read, behind the map's last ones too.
    pub len: usize,
}

impl Slot {
    /// A place for `map` at the next multiple of 64, with `slack` bytes that may be read behind it.
    pub fn new(start: usize, map: Map, slack: usize) -> Self {
        let len = (map.len() + slack).next_multiple_of(64);
        Self { start: start.next_multiple_of(64), map, len }
    }
}

/// Bytes behind a value that the tiles of a convolution may read.
pub(crate) fn slack(window: &Window, block: usize) -> usize {
    TILE / STRIPS * window.stride[1] * block + 2 * map::BLOCK
}

/// What an instruction set provides. Its functions may be called on CPUs that have it; only [`super::choice`] hands
/// it out.
#[derive(Debug)]
pub(crate) struct Isa {
    /// Lengths of strips, longest first.
    pub strips: &'static [usize],
    /// Whether a strip with fewer positions takes less time, computed at the next such length.
    pub shortens: bool,
    /// How weights are arranged.
    pub form: Form,
    /// Registers for everything but convolutions.
    pub width: Width,
    /// Place `q` of a panel holds channels `4·order[q]..` of the panel.
    pub order: [usize; PANEL / 4],
    /// What has to be done before and after tiles, if anything.
    pub mode: Option<Mode>,
    /// Sums of a tile.
    pub tile: unsafe fn(&Tile),
    /// Sums of a tile in which channel `c` of the output depends on channel `c` of the input only; each run is a tap
    /// and has 32 weights of 32 bits.
    pub depthwise: unsafe fn(&Tile),
    /// Codes of sums.
    pub finish: unsafe fn(&Segment, &Rule),
    /// So many rounds of nothing but multiplications; returns the number of products.
    pub multiply: unsafe fn(usize) -> usize,
}

/// A state of the CPU that tiles need.
#[derive(Debug)]
pub(crate) struct Mode {
    /// Enters it for tiles with strips of this length and runs of this many steps, all alike.
    pub begin: unsafe fn(usize, usize),
    /// Leaves it.
    pub end: unsafe fn(),
}

impl Isa {
    /// Multiplies for so many rounds; returns the number of products.
    pub fn multiply(&self, rounds: usize) -> usize {
        // SAFETY: `choice` hands an instruction set out only where the CPU has it.
        unsafe { (self.multiply)(rounds) }
    }
}

/// How weights are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One `i8` per weight, in runs as long as possible.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    Plain,
    /// The same for tiles that read codes less 128, so that both factors are `i8`; depthwise tiles read codes.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    Signed,
    /// One `i8` per weight; every two steps of a channel side by side.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    Eights,
    /// One `i8` per weight, in runs of the same number of bytes, at most 64; filled up with zeros.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    Even,
    /// Small codes, and a scale of 16 bits for each output channel and run. Sums of a run's pairs of products with
    /// codes fit 16 bits: `2·255·1` for each of 16 steps of ternary codes, `2·255·8` for each of 8 steps of others.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    Scaled,
}

/// Sums of one tile: `strips` × `len` positions, one panel of 32 channels.
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    /// First position of each strip.
    pub strips: [*const u8; STRIPS],
    /// How many of the strips there are.
    pub count: usize,
    /// Most positions of a strip, one of [`Isa::strips`]; the rows of a strip's sums begin this far apart.
    pub len: usize,
    /// Positions of each strip, such lengths too if [`Isa::shortens`].
    pub lens: [usize; STRIPS],
    /// Bytes between neighbouring positions.
    pub step: usize,
    /// Which bytes of a position, and of those around it, meet the weights.
    pub runs: &'a [Run],
    /// The panel.
    pub weights: *const i8,
    /// Weights that will be needed next, and how many lines of them to fetch with each run.
    pub ahead: *const i8,
    pub lines: usize,
    /// `count × len` rows of [`PANEL`] sums.
    pub sums: *mut i32,
}

/// Consecutive bytes that meet consecutive weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Distance from the first byte of the strip.
    pub offset: u32,
    /// Number of steps of four bytes.
    pub steps: u32,
}

/// Neighbouring positions whose sums become codes.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Rows of [`PANEL`] sums.
    pub sums: *const i32,
    /// Number of positions.
    pub count: usize,
    /// Where the codes go.
    pub output: *mut u8,
    /// Bytes between positions of the output.
    pub output_step: usize,
    /// The residual's codes, if there is one.
    pub residual: *const u8,
    /// Bytes between positions of the residual.
    pub residual_step: usize,
}

/// How the sums of one panel become codes, in the order of [`Isa::order`] before packing and of channels after.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(crate) struct Rule {
    /// Added to the sum: bias and rounding.
    pub bias: [i32; PANEL],
    /// Right shifts.
    pub shifts: [i32; PANEL],
    /// Multipliers.
    pub multipliers: [i16; PANEL],
    /// Rescaling of the residual.
    pub residual: Option<ResidualRule>,
    /// Zero point and rounding before the last shift.
    pub offset: i16,
    /// The last shift.
    pub fraction: u8,
    /// Smallest and largest code.
    pub clamp: [u8; 2],
    /// Channels to store, at most [`PANEL`]; those beyond the map's block are no one's.
    pub width: usize,
}

/// How a residual's codes join the sums.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ResidualRule {
    /// Code of zero.
    pub zero_point: i16,
    /// Left shift.
    pub shift: u8,
    /// Multiplier.
    pub multiplier: i16,
}
