//! The unit of a convolution's sums: some positions times some channels.

/// Output channels of a panel of weights.
pub(crate) const PANEL: usize = 32;
/// Most positions of a tile.
pub(crate) const TILE: usize = 32;
/// Strips of a tile.
pub(crate) const STRIPS: usize = 2;

/// Sums of one tile: `strips` × `len` positions, one panel of 32 channels.
///
/// # Safety
/// Whoever gives a tile to [`Isa::tile`](super::Isa::tile) or [`Isa::depthwise`](super::Isa::depthwise) promises, and
/// these may rely on:
/// - `count` is 1 or [`STRIPS`]; `len` is one of [`Isa::strips`](super::Isa::strips), and `lens` are at most that.
/// - From each of `strips` on, for each of `len` positions, which are `step` bytes apart, and for each run, so many bytes
///   from its `offset` on may be read as its steps have, in whole registers of 16 bytes, and at least [`PANEL`]; nobody
///   writes them. They need not be aligned.
/// - `weights` is a multiple of 64, and `4 · PANEL` bytes for each step of each run may be read from there on, and another
///   `4 · PANEL` for each run of [`Form::Scaled`](super::Form); nobody writes them. All runs of
///   [`Form::Even`](super::Form) have the same number of steps, and there is one at least.
/// - `sums` is a multiple of 64, and `count × len` rows of [`PANEL`] sums may be written from there on; nobody else uses
///   them.
/// - `ahead` may be any address: it is fetched, but not read.
/// - The CPU has the instructions of the function, and for `tile` it is in the state of [`Mode`](super::Mode).
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    /// First position of each strip; the last strip again where there are fewer.
    pub strips: [*const u8; STRIPS],
    /// How many of the strips there are.
    pub count: usize,
    /// Most positions of a strip, one of [`Isa::strips`](super::Isa::strips); the rows of a strip's sums begin this far apart.
    pub len: usize,
    /// Positions of each strip, such lengths too if [`Isa::shortens`](super::Isa::shortens).
    pub lens: [usize; STRIPS],
    /// Bytes between neighbouring positions.
    pub step: usize,
    /// Which bytes of a position, and of those around it, meet the weights.
    pub runs: &'a [Run],
    /// What is taken from codes before they are multiplied; see [`Isa::origin`](super::Isa::origin).
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    pub origin: u8,
    /// Whether sums of a run's products fit 16 bits; see [`Form::Short`](super::Form).
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    pub short: bool,
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
