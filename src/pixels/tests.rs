//! Resampling against a direct floating-point definition, and windows against the whole.

use super::{Picture, resize};
use crate::format::Interpolation;
use proptest::prelude::*;

fn picture(height: usize, width: usize, channels: usize, seed: u64) -> Picture {
    let mix = |i: usize| (i as u64 + 1).wrapping_mul(seed | 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
    Picture { height, width, channels, data: (0..height * width * channels).map(|i| mix(i) as u8).collect() }
}

fn filter(kind: Interpolation) -> (f64, fn(f64) -> f64) {
    match kind {
        Interpolation::Bicubic => (2.0, |x| match x.abs() {
            x if x < 1.0 => 1.5 * x.powi(3) - 2.5 * x.powi(2) + 1.0,
            x if x < 2.0 => -0.5 * x.powi(3) + 2.5 * x.powi(2) - 4.0 * x + 2.0,
            _ => 0.0,
        }),
        _ => (1.0, |x| (1.0 - x.abs()).max(0.0)),
    }
}

/// The weights of output `i` over all source pixels, without rounding or clipping to a support.
fn weights(source: usize, target: usize, i: usize, kind: Interpolation) -> Vec<f64> {
    let (radius, f) = filter(kind);
    let scale = source as f64 / target as f64;
    let stretch = scale.max(1.0);
    let distance = |x: usize| (x as f64 + 0.5 - (i as f64 + 0.5) * scale) / stretch;
    let all: Vec<f64> =
        (0..source).map(|x| if distance(x).abs() < radius { f(distance(x)) } else { 0.0 }).collect();
    let total: f64 = all.iter().sum();
    all.iter().map(|w| w / total).collect()
}

fn brute(p: &Picture, y: usize, x: usize, c: usize, [height, width]: [usize; 2], kind: Interpolation) -> f64 {
    let across = weights(p.width, width, x, kind);
    let down = weights(p.height, height, y, kind);
    let at = |row: usize, column: usize| f64::from(p.data[(row * p.width + column) * p.channels + c]);
    let row_sum =
        |row: usize| (0..p.width).map(|col| across[col] * at(row, col)).sum::<f64>().clamp(0.0, 255.0);
    (0..p.height).map(|row| down[row] * row_sum(row)).sum::<f64>().clamp(0.0, 255.0)
}

fn smooth() -> impl Strategy<Value = Interpolation> {
    prop_oneof![Just(Interpolation::Bilinear), Just(Interpolation::Bicubic)]
}

fn any_filter() -> impl Strategy<Value = Interpolation> {
    prop_oneof![smooth(), Just(Interpolation::Nearest)]
}

proptest! {
    #[test]
    fn near_the_definition(
        (height, width) in (1usize..24, 1usize..24), (to_height, to_width) in (1usize..24, 1usize..24), seed: u64, kind in smooth(),
    ) {
        let source = picture(height, width, 3, seed);
        let to = [to_height, to_width];
        // The order of passes matters where the first is clipped, so only across first has this definition.
        prop_assume!(height as i64 - to_height as i64 <= (2 * (width as i64 - to_width as i64)).max(0));
        let found = resize(&source, to, [0..to_height, 0..to_width], kind);
        for (i, &value) in found.data.iter().enumerate() {
            let (y, x, c) = (i / 3 / to_width, i / 3 % to_width, i % 3);
            let exact = brute(&source, y, x, c, to, kind);
            prop_assert!((f64::from(value) - exact).abs() < 1.3, "{value} for {exact} at {y} {x}");
        }
    }

    #[test]
    fn a_window_is_cut_from_the_whole(
        (height, width) in (1usize..40, 1usize..40), (to_height, to_width) in (1usize..40, 1usize..40), seed: u64,
        kind in any_filter(), channels in prop_oneof![Just(1usize), Just(3)], [a, b, c, d]: [prop::sample::Index; 4],
    ) {
        let source = picture(height, width, channels, seed);
        let to = [to_height, to_width];
        let range = |a: prop::sample::Index, b: prop::sample::Index, n: usize| {
            let (a, b) = (a.index(n), b.index(n));
            a.min(b)..a.max(b) + 1
        };
        let (rows, columns) = (range(a, b, to_height), range(c, d, to_width));
        let whole = resize(&source, to, [0..to_height, 0..to_width], kind);
        let part = resize(&source, to, [rows.clone(), columns.clone()], kind);
        let cut: Vec<u8> = rows
            .flat_map(|y| whole.data[(y * to_width + columns.start) * channels..][..columns.len() * channels].to_vec())
            .collect();
        prop_assert_eq!(part.data, cut);
    }

    #[test]
    fn flat_colour_stays_flat(height in 1usize..60, width in 1usize..60, to in 1usize..60, value: u8, kind in any_filter()) {
        let source = Picture { height, width, channels: 1, data: vec![value; height * width] };
        let found = resize(&source, [to, to], [0..to, 0..to], kind);
        prop_assert!(found.data.iter().all(|&v| v == value));
    }

    #[test]
    fn the_same_size_changes_nothing(height in 1usize..30, width in 1usize..30, seed: u64, kind in any_filter()) {
        let source = picture(height, width, 3, seed);
        prop_assert_eq!(&resize(&source, [height, width], [0..height, 0..width], kind), &source);
    }
}
