//! Resampling that equals Pillow's to the byte.
//!
//! Pillow resizes 8-bit images in two passes, one per axis, rounding to bytes in between. Each output pixel is
//! a weighted sum of source pixels with 22-bit fixed-point weights. When an image shrinks, the filter is
//! stretched by the same factor, which averages instead of skipping. Only the wanted window of the result is
//! computed, so that extreme proportions cost no memory.

use super::picture::Picture;
use crate::format::Interpolation;
use std::ops::Range;

/// Fractional bits of a weight: a byte and the filter's overshoot leave 22 of 32 bits.
const BITS: u32 = 22;

/// The source pixels of one output pixel along one axis.
struct FilterTaps {
    first: usize,
    weights: Vec<i32>,
}

impl FilterTaps {
    fn end(&self) -> usize {
        self.first + self.weights.len()
    }
}

/// Resizes to `height × width` and returns its window `rows × columns` (not empty, inside the result).
pub fn resize(
    picture: &Picture,
    [height, width]: [usize; 2],
    [rows, columns]: [Range<usize>; 2],
    filter: Interpolation,
) -> Picture {
    let across = axis(picture.width, width, columns, filter);
    let down = axis(picture.height, height, rows, filter);
    let data = match (picture.channels, down_first(picture, height, width)) {
        (1, false) => across_then_down::<1>(picture, &across, &down),
        (1, true) => down_then_across::<1>(picture, &across, &down),
        (_, false) => across_then_down::<3>(picture, &across, &down),
        (_, true) => down_then_across::<3>(picture, &across, &down),
    };
    Picture { height: down.len(), width: across.len(), channels: picture.channels, data }
}

/// Pillow's choice since version 13, when the height loses over twice as many pixels as the width. Older versions
/// always begin across, which changes a few bytes by one.
fn down_first(picture: &Picture, height: usize, width: usize) -> bool {
    let lost = |before: usize, after: usize| before as i64 - after as i64;
    lost(picture.height, height) > (2 * lost(picture.width, width)).max(0)
}

fn across_then_down<const C: usize>(
    picture: &Picture,
    across: &[FilterTaps],
    down: &[FilterTaps],
) -> Vec<u8> {
    let from = down.iter().map(|t| t.first).min().unwrap_or(0);
    let to = down.iter().map(FilterTaps::end).max().unwrap_or(0);
    let stride = picture.width * C;
    let narrowed = pass_across::<C>(&picture.data[from * stride..to * stride], stride, across);
    pass_down(&narrowed, across.len() * C, down, from)
}

fn down_then_across<const C: usize>(
    picture: &Picture,
    across: &[FilterTaps],
    down: &[FilterTaps],
) -> Vec<u8> {
    let stride = picture.width * C;
    pass_across::<C>(&pass_down(&picture.data, stride, down, 0), stride, across)
}

fn pass_across<const C: usize>(rows: &[u8], stride: usize, across: &[FilterTaps]) -> Vec<u8> {
    let mut result = vec![0; rows.len() / stride * across.len() * C];
    for (out, row) in result.chunks_exact_mut(across.len() * C).zip(rows.chunks_exact(stride)) {
        sum_across::<C>(row, across, out);
    }
    result
}

/// `offset` is the index of the first of `rows` in the source of `down`.
fn pass_down(rows: &[u8], stride: usize, down: &[FilterTaps], offset: usize) -> Vec<u8> {
    let mut result = vec![0; down.len() * stride];
    for (out, taps) in result.chunks_exact_mut(stride).zip(down) {
        sum_down(&rows[(taps.first - offset) * stride..], taps, out);
    }
    result
}

fn sum_across<const C: usize>(row: &[u8], across: &[FilterTaps], out: &mut [u8]) {
    for (pixel, taps) in out.chunks_exact_mut(C).zip(across) {
        let mut sums = [1 << (BITS - 1); C];
        for (source, weight) in row[taps.first * C..].chunks_exact(C).zip(&taps.weights) {
            for (sum, &value) in sums.iter_mut().zip(source) {
                *sum += i32::from(value) * weight;
            }
        }
        for (byte, sum) in pixel.iter_mut().zip(sums) {
            *byte = to_byte(sum);
        }
    }
}

fn sum_down(rows: &[u8], taps: &FilterTaps, out: &mut [u8]) {
    let mut sums = vec![1 << (BITS - 1); out.len()];
    for (row, weight) in rows.chunks_exact(out.len()).zip(&taps.weights) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += i32::from(value) * weight;
        }
    }
    for (byte, sum) in out.iter_mut().zip(sums) {
        *byte = to_byte(sum);
    }
}

fn to_byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

/// The taps of outputs `wanted`, of `target` in all, from `source` pixels.
fn axis(source: usize, target: usize, wanted: Range<usize>, filter: Interpolation) -> Vec<FilterTaps> {
    let scale = source as f64 / target as f64;
    match filter {
        Interpolation::Nearest => nearest(source, scale, wanted),
        Interpolation::Bilinear => wanted.map(|i| taps(source, scale, i, 1.0, triangle)).collect(),
        Interpolation::Bicubic => wanted.map(|i| taps(source, scale, i, 2.0, cubic)).collect(),
    }
}

/// Pillow steps from pixel to pixel by addition; the rounding of those steps is part of the result.
fn nearest(source: usize, scale: f64, wanted: Range<usize>) -> Vec<FilterTaps> {
    let positions = std::iter::successors(Some(scale * 0.5), |x| Some(x + scale));
    let taps = |x: f64| FilterTaps { first: (x as usize).min(source - 1), weights: vec![1 << BITS] };
    positions.skip(wanted.start).take(wanted.len()).map(taps).collect()
}

fn taps(source: usize, scale: f64, index: usize, radius: f64, filter: fn(f64) -> f64) -> FilterTaps {
    let stretch = scale.max(1.0);
    let (support, step) = (radius * stretch, 1.0 / stretch);
    let centre = (index as f64 + 0.5) * scale;
    let first = (centre - support + 0.5).max(0.0) as usize;
    let end = ((centre + support + 0.5) as usize).min(source);
    let values: Vec<f64> = (first..end).map(|x| filter((x as f64 - centre + 0.5) * step)).collect();
    let total: f64 = values.iter().sum();
    FilterTaps { first, weights: values.iter().map(|v| fixed(v / total)).collect() }
}

fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << BITS) + 0.5_f64.copysign(weight)) as i32
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// Keys' cubic with a = −0.5, in Pillow's order of operations.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}
