//! What an instruction set provides.

use super::{PANEL, Rule, Segment, Tile};
use crate::kernels::ConvSpec;
use crate::wide::Width;

/// What an instruction set provides: [`Promise`] says what its functions may rely on and what they keep.
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
    /// That all of it is as it should be.
    #[allow(dead_code, reason = "there for who makes it, not to be read")]
    pub promise: Promise,
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

/// The promise that an [`Isa`] keeps the rules below; there is one for each, which cannot be copied to another.
///
/// - The CPU has all instructions of its functions, in whatever place code finds the `Isa`.
/// - Strips are at most [`TILE`](super::TILE) / [`STRIPS`](super::STRIPS) positions long.
/// - `tile` and `depthwise` keep to what [`Tile`] says, `finish` to what [`Segment`] says, and `multiply` uses no memory.
///   They need nothing else; `tile` may need the state that `mode` enters.
/// - `mode.begin` uses no memory, for all lengths of strips and all lengths of runs that `form` makes; nor does `mode.end`.
#[derive(Debug)]
pub(crate) struct Promise(());

impl Promise {
    /// # Safety
    /// The [`Isa`] that it becomes a part of keeps it.
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

/// A state of the CPU that tiles need.
#[derive(Debug)]
pub(crate) struct Mode {
    /// Enters it for tiles with strips of this length and runs of this many steps, all alike.
    pub begin: unsafe fn(usize, usize),
    /// Leaves it, when no tile is under way.
    pub end: unsafe fn(),
}

impl Isa {
    /// What tiles take from the codes of `spec`'s input before they multiply them.
    pub fn origin(&self, spec: &ConvSpec) -> u8 {
        let signed = match self.form {
            Form::Signed => true,
            Form::Short => spec.largest > i8::MAX as u8,
            _ => false,
        };
        if signed && !spec.is_depthwise() { 128 } else { 0 }
    }

    /// Does `work`, which computes tiles with strips of `len` positions and runs of `steps` steps, in the state that they
    /// need.
    pub fn in_mode<T>(&self, len: usize, steps: usize, work: impl FnOnce() -> T) -> T {
        let Some(mode) = &self.mode else { return work() };
        // SAFETY: the CPU has the instructions, see `Promise`.
        unsafe { (mode.begin)(len, steps) };
        let result = work();
        // SAFETY: the state has been entered, and tiles are done.
        unsafe { (mode.end)() };
        result
    }

    /// Multiplies for so many rounds; returns the number of products.
    pub fn multiply(&self, rounds: usize) -> usize {
        // SAFETY: the CPU has the instructions, see `Promise`.
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
    /// The same in runs whose sums of products fit 16 bits, in panels where that takes less time; codes that are `i8`
    /// already are read as they are.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    Short,
    /// One `i8` per weight; every two steps of a channel side by side.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    Eights,
    /// One `i8` per weight, in runs of the same number of bytes, at most 64; filled up with zeros.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    Even,
    /// Small numbers, and a scale of 16 bits for each output channel and run. Sums of a run's pairs of products with
    /// codes fit 16 bits: `2·255·1` for each of 16 steps of signs, `2·255·8` for each of 8 steps of digits, and whole
    /// weights for as many steps as they and the input's largest code allow.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    Scaled,
}
