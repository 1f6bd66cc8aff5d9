//! Tiles in plain Rust, slow: what tests compare with, and what Miri runs.

#![allow(unsafe_code)]

use super::blocked::{Form, Isa, PANEL, Promise, Rule, Segment, Tile};
use crate::fixed::{multiply_high, saturate_i16, to_code};
use crate::wide::Width;

/// See [`Isa`].
pub(super) static PLAIN: Isa = Isa {
    strips: &[4, 3, 1],
    shortens: true,
    form: Form::Plain,
    width: Width::BASELINE,
    order: [0, 1, 2, 3, 4, 5, 6, 7],
    mode: None,
    // SAFETY: the functions below need no instruction that a CPU may lack, and keep to what they must.
    promise: unsafe { Promise::new() },
    tile,
    depthwise,
    finish,
    multiply,
};

/// Adds `add(row, codes, weights)` of every run to a row of sums, for all positions.
///
/// # Safety
/// As [`Tile`] says, with `bytes(steps)` bytes of weights for each run.
unsafe fn sums(tile: &Tile, bytes: impl Fn(usize) -> usize, add: impl Fn(&mut [i32; PANEL], &[u8], &[i8])) {
    for (strip, position) in (0..tile.count).flat_map(|strip| (0..tile.len).map(move |place| (strip, place)))
    {
        let (mut row, mut weights) = ([0; PANEL], tile.weights);
        for run in tile.runs {
            let steps = run.steps as usize;
            let codes = tile.strips[strip].wrapping_add(position * tile.step + run.offset as usize);
            let len = (4 * steps).next_multiple_of(16).max(PANEL);
            // SAFETY: as many codes may be read, and nobody writes them.
            let codes = unsafe { std::slice::from_raw_parts(codes, len) };
            // SAFETY: the panel has the weights of all runs, and nobody writes them.
            let own = unsafe { std::slice::from_raw_parts(weights, bytes(steps)) };
            add(&mut row, codes, own);
            weights = weights.wrapping_add(bytes(steps));
        }
        let place: *mut [i32; PANEL] = tile.sums.wrapping_add((strip * tile.len + position) * PANEL).cast();
        // SAFETY: there are `count · len` rows.
        unsafe { place.write(row) };
    }
}

/// # Safety
/// As [`Tile`] says.
unsafe fn tile(tile: &Tile) {
    let add = |row: &mut [i32; PANEL], codes: &[u8], weights: &[i8]| {
        for (weights, codes) in weights.chunks_exact(4 * PANEL).zip(codes.chunks_exact(4)) {
            for (sum, weights) in row.iter_mut().zip(weights.chunks_exact(4)) {
                let products = weights.iter().zip(codes).map(|(&w, &code)| i32::from(w) * i32::from(code));
                *sum = products.fold(*sum, i32::wrapping_add);
            }
        }
    };
    // SAFETY: as the caller promises; a step has four weights for each channel.
    unsafe { sums(tile, |steps| steps * 4 * PANEL, add) };
}

/// # Safety
/// As [`Tile`] says.
unsafe fn depthwise(tile: &Tile) {
    let add = |row: &mut [i32; PANEL], codes: &[u8], weights: &[i8]| {
        for ((sum, code), weight) in row.iter_mut().zip(codes).zip(weights.chunks_exact(4)) {
            // A weight fits its lowest byte.
            *sum = sum.wrapping_add(i32::from(weight[0]) * i32::from(*code));
        }
    };
    // SAFETY: as the caller promises; a run has a weight of 32 bits for each channel.
    unsafe { sums(tile, |_| 4 * PANEL, add) };
}

/// # Safety
/// As [`Segment`] says.
unsafe fn finish(segment: &Segment, rule: &Rule) {
    for (position, sums) in segment.sums.iter().enumerate() {
        let mut values: [i16; PANEL] = std::array::from_fn(|channel| {
            let sum = sums[channel].wrapping_add(rule.bias[channel]) >> rule.shifts[channel];
            multiply_high(saturate_i16(sum), rule.multipliers[channel])
        });
        if let Some(by) = &rule.residual {
            let place: *const [u8; PANEL] =
                segment.residual.wrapping_add(position * segment.residual_step).cast();
            // SAFETY: the residual has `PANEL` codes at every position.
            let codes = unsafe { place.read() };
            for (value, code) in values.iter_mut().zip(codes) {
                let distance = (i32::from(code) - i32::from(by.zero_point)) << by.shift;
                *value = value.saturating_add(multiply_high(distance as i16, by.multiplier));
            }
        }
        let target = segment.output.wrapping_add(position * segment.output_step);
        // SAFETY: as many codes may be written at every position, and nobody else uses them.
        let codes = unsafe { std::slice::from_raw_parts_mut(target, rule.width) };
        for (code, value) in codes.iter_mut().zip(values) {
            *code = to_code(value, rule.offset, rule.fraction, rule.clamp[0], rule.clamp[1]);
        }
    }
}

fn multiply(rounds: usize) -> usize {
    super::portable::multiply(rounds)
}
