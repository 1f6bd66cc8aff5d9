//! The shape of all tiles that multiply in vector registers.

use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

/// Brings the line of `address` nearer.
#[inline(always)]
pub(super) fn fetch(address: *const i8) {
    // SAFETY: prefetching reads nothing, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address) };
}

/// Defines a function that computes the sums of a [`Tile`](crate::kernels::blocked::Tile) of strips of `len` positions.
///
/// Each line is one position: the strip, the position within it, and its registers, one for each vector of the panel.
/// Every register is a variable of its own, and all is one function: arrays and helper functions may end up in memory.
macro_rules! sums {
    (
        $(#[$feature:meta])* fn $name:ident, $vector:ty, $zero:ident, $set:ident, $dot:ident;
        $($strip:literal $position:literal: $($register:ident $lane:literal),+;)+
    ) => {
        /// # Safety
        /// As [`Tile`] says.
        $(#[$feature])*
        unsafe fn $name(tile: &Tile) {
            const LANES: usize = PANEL * 4 / size_of::<$vector>();
            $($(let mut $register = $zero();)+)+
            let mut weights: *const $vector = tile.weights.cast();
            let mut ahead = tile.ahead;
            for run in tile.runs {
                for _ in 0..tile.lines {
                    fetch(ahead);
                    ahead = ahead.wrapping_add(64);
                }
                let mut strips: [*const u8; STRIPS] = tile.strips.map(|strip| strip.wrapping_add(run.offset as usize));
                for _ in 0..run.steps {
                    $(
                        let four: *const i32 = strips[$strip].wrapping_add($position * tile.step).cast();
                        // SAFETY: the four bytes of a step at a position.
                        let codes = $set(unsafe { four.read_unaligned() });
                        $(
                            // SAFETY: the weights of a step are `LANES` vectors.
                            $register = $dot($register, codes, unsafe { weights.wrapping_add($lane).read() });
                        )+
                    )+
                    weights = weights.wrapping_add(LANES);
                    strips = strips.map(|strip| strip.wrapping_add(4));
                }
            }
            $(
                let row: *mut $vector = tile.sums.wrapping_add(($strip * tile.len + $position) * PANEL).cast();
                $(
                    // SAFETY: a row of sums for each position is `LANES` vectors.
                    unsafe { row.wrapping_add($lane).write($register) };
                )+
            )+
        }
    };
}

pub(super) use sums;
