//! The shape of all tiles that multiply in vector registers.

use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

/// Brings the line of `address` nearer.
#[inline(always)]
pub(super) fn fetch(address: *const i8) {
    // SAFETY: prefetching reads nothing, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address) };
}

/// Defines a function that computes the sums of a [`Tile`](crate::kernels::blocked::Tile).
///
/// Each line is one position: the strip, the position within it, and its registers, one for each vector of the panel.
/// Every register is a variable of its own, and all is one function: arrays and helper functions may end up in memory.
macro_rules! sums {
    (
        $(#[$feature:meta])* fn $name:ident, $vector:ty, $zero:ident, $set:ident, $load:ident, $store:ident, $dot:ident, $fetch:ident;
        $($strip:literal $position:literal: $($register:ident $lane:literal),+;)+
    ) => {
        $(#[$feature])*
        unsafe fn $name(tile: &Tile) {
            const LANES: usize = PANEL * 4 / size_of::<$vector>();
            $($(let mut $register = $zero();)+)+
            let mut weights: *const $vector = tile.weights.cast();
            let mut ahead = tile.ahead;
            for run in tile.runs {
                for _ in 0..tile.lines {
                    $fetch(ahead);
                    ahead = ahead.wrapping_add(64);
                }
                let mut strips: [*const u8; STRIPS] = tile.strips.map(|strip| strip.wrapping_add(run.offset as usize));
                for _ in 0..run.steps {
                    // SAFETY: the panel holds `LANES` vectors for each step; the slot covers all that runs reach.
                    unsafe {
                        $(
                            let four = strips[$strip].add($position * tile.step).cast::<i32>().read_unaligned();
                            let codes = $set(four);
                            $($register = $dot($register, codes, $load(weights.add($lane)));)+
                        )+
                        weights = weights.add(LANES);
                    }
                    strips = strips.map(|strip| strip.wrapping_add(4));
                }
            }
            $(
                // SAFETY: a row of sums for each position.
                unsafe {
                    let row: *mut $vector = tile.sums.add(($strip * tile.len + $position) * PANEL).cast();
                    $($store(row.add($lane), $register);)+
                }
            )+
        }
    };
}

pub(super) use sums;
