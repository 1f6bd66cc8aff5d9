//! Kernels against definitions written differently, and against one another.

#![allow(clippy::float_arithmetic)]

mod conv;
mod memory;
mod plain;

use super::offset;
use crate::choices::Choices;
use crate::format::{Multiplier, Rescale};
use crate::tensor::{Batch, Shape};

/// Channel counts around the edges of tiles, vectors and tasks.
const CHANNELS: [usize; 16] = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65];

/// Codes without structure, or now and then only the largest.
fn codes(choices: &mut Choices, len: usize) -> Vec<u8> {
    match choices.below(5) {
        0 => vec![255; len],
        1 => (0..len).map(|_| choices.pick(&[0, 255])).collect(),
        _ => (0..len).map(|_| choices.next() as u8).collect(),
    }
}

fn batch(choices: &mut Choices, images: usize, shape: Shape) -> Batch<u8> {
    Batch { images, shape, data: codes(choices, images * shape.len()) }
}

fn zero_point(choices: &mut Choices) -> u8 {
    let any = choices.next() as u8;
    choices.pick(&[0, 255, 128, any])
}

fn multiplier(choices: &mut Choices, largest_shift: usize) -> Multiplier {
    let any = (choices.next() as i16).max(-32767);
    Multiplier {
        shift: choices.below(largest_shift + 1) as u8,
        value: choices.pick(&[32767, -32767, 0, any, any, any]),
    }
}

fn rescale(choices: &mut Choices) -> Rescale {
    let Multiplier { shift, value } = multiplier(choices, 7);
    Rescale { shift, value }
}

fn at<T: Copy>(batch: &Batch<T>, [image, row, column, channel]: [usize; 4]) -> T {
    let Shape { channels, height, width } = batch.shape;
    batch.data[((image * height + row) * width + column) * channels + channel]
}

/// Every index of a batch, in storage order.
fn indices(images: usize, shape: Shape) -> impl Iterator<Item = [usize; 4]> {
    let Shape { channels, height, width } = shape;
    (0..images * shape.len()).map(move |i| {
        [i / (channels * width * height), i / (channels * width) % height, i / channels % width, i % channels]
    })
}

fn clamp16(value: f64) -> f64 {
    value.clamp(-32768.0, 32767.0)
}

/// `sum` times the real factor, in real arithmetic, saturated where the format says so.
fn scaled(sum: i64, by: Multiplier) -> f64 {
    clamp16(sum as f64 / f64::from(by.shift).exp2()) * f64::from(by.value) / 32768.0
}

/// Largest rounding error of an integer counterpart of [`scaled`].
fn scaled_error(by: Multiplier) -> f64 {
    let shifted = if by.shift > 0 { 0.5 } else { 0.0 };
    shifted * f64::from(by.value).abs() / 32768.0 + 0.5
}

/// A distance from zero times the real factor.
fn rescaled(code: u8, zero: u8, by: Rescale) -> f64 {
    (f64::from(code) - f64::from(zero)) * f64::from(by.shift).exp2() * f64::from(by.value) / 32768.0
}

/// Asserts that `code` is the real `value` (in units of `2^−fraction` codes, `error` uncertain), with its zero point.
fn assert_code(code: u8, value: f64, error: f64, zero: u8, fraction: u8, [low, high]: [u8; 2]) {
    let unit = f64::from(fraction).exp2();
    let exact = clamp16(value + f64::from(offset(zero, 0)) * unit) / unit;
    let rounding = if fraction > 0 { 0.5 } else { 0.0 };
    let nearest = exact.clamp(f64::from(low), f64::from(high));
    let difference = (f64::from(code) - nearest).abs();
    assert!(difference <= error / unit + rounding + 1e-9, "{code} for {nearest}: {difference}");
}
