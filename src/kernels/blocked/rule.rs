//! How sums become codes.

use super::PANEL;

/// Neighbouring positions whose sums become codes.
///
/// # Safety
/// Whoever gives a segment and a [`Rule`] to [`Isa::finish`](super::Isa::finish) promises, and that function may rely on:
/// - At every position of `output` the rule's [`width`](Rule::width) codes may be written, and nobody else uses them.
/// - If the rule has a residual, at every position of `residual` [`PANEL`] codes may be read, and nobody writes them.
/// - The CPU has the instructions of the function.
///
/// The codes need not be aligned.
#[derive(Debug)]
pub(crate) struct Segment<'a> {
    /// The sums of every position.
    pub sums: &'a [[i32; PANEL]],
    /// Where the codes go.
    pub output: *mut u8,
    /// Bytes between positions of the output.
    pub output_step: usize,
    /// The residual's codes, if the rule has one.
    pub residual: *const u8,
    /// Bytes between positions of the residual.
    pub residual_step: usize,
}

/// How the sums of one panel become codes, in the order of [`Isa::order`](super::Isa::order) before packing and of channels after.
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
    /// Channels to store, 16 or [`PANEL`]; those beyond the map's block are no one's.
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
