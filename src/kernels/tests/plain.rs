//! Pools, sums, products, tables and movements against their definitions.

use super::super::{elementwise, layout, norm, pool};
use super::*;
use crate::format::{PackedNorm, PackedSlice, Quantizer};
use crate::tensor::{Span, Window};
use proptest::prelude::*;

fn shape(choices: &mut Choices) -> Shape {
    let channels = choices.pick(&[1, 2, 3, 4, 5, 16, 17]);
    Shape::new(channels, 1 + choices.below(7), 1 + choices.below(7))
}

fn quantizer(choices: &mut Choices) -> Quantizer {
    let max = choices.pick(&[3, 15, 127, 255]);
    Quantizer { scale: 1.0, zero_point: zero_point(choices).min(max), max }
}

fn window(choices: &mut Choices, input: Shape) -> (Window, Shape) {
    loop {
        let mut pair = |low: usize, high: usize| [0; 2].map(|_| low + choices.below(high - low + 1));
        let (kernel, stride, dilation) = (pair(1, 4), pair(1, 3), pair(1, 2));
        let (before, after) = (pair(0, 2), pair(0, 2));
        let pads = [before[0], before[1], after[0], after[1]];
        let window = Window { kernel, stride, dilation, pads, ceil: choices.below(2) == 0 };
        if let Ok([height, width]) = window.output(input.height, input.width) {
            return (window, Shape::new(input.channels, height, width));
        }
    }
}

/// Whether padded index `place` lies under the window of output `position`.
fn under(window: &Window, axis: usize, position: usize, place: usize) -> bool {
    let start = position * window.stride[axis];
    place >= start
        && (place - start).is_multiple_of(window.dilation[axis])
        && (place - start) / window.dilation[axis] < window.kernel[axis]
}

/// The input positions under the window of output `[y, x]`, and how many positions of the padded input are.
fn covered(window: &Window, input: Shape, [y, x]: [usize; 2]) -> (Vec<[usize; 2]>, usize) {
    let [top, left, bottom, right] = window.pads;
    let (mut inside, mut padded) = (Vec::new(), 0);
    for row in 0..top + input.height + bottom {
        for column in 0..left + input.width + right {
            if under(window, 0, y, row) && under(window, 1, x, column) {
                padded += 1;
                if (top..top + input.height).contains(&row) && (left..left + input.width).contains(&column) {
                    inside.push([row - top, column - left]);
                }
            }
        }
    }
    (inside, padded)
}

proptest! {
    #[test]
    fn maximum_over_windows(seed: u64) {
        let mut choices = Choices(seed);
        let input = shape(&mut choices);
        let input = batch(&mut choices, 2, input);
        let (window, shape) = window(&mut choices, input.shape);
        let output = pool::max(&input, &window, shape);
        for [n, y, x, c] in indices(2, shape) {
            let (inside, _) = covered(&window, input.shape, [y, x]);
            let largest = inside.into_iter().map(|[y, x]| at(&input, [n, y, x, c])).max();
            prop_assert_eq!(at(&output, [n, y, x, c]), largest.unwrap_or(0));
        }
    }

    #[test]
    fn mean_over_windows(seed: u64, include_pad: bool) {
        let mut choices = Choices(seed);
        let (input, zero) = (shape(&mut choices), zero_point(&mut choices));
        let input = batch(&mut choices, 2, input);
        let (window, shape) = window(&mut choices, input.shape);
        let quantizer = quantizer(&mut choices);
        let by_count: Vec<Multiplier> = (0..window.area()).map(|_| multiplier(&mut choices, 10)).collect();
        let output = pool::average((&input, zero), &window, include_pad, &by_count, shape, &quantizer);
        for [n, y, x, c] in indices(2, shape) {
            let (inside, padded) = covered(&window, input.shape, [y, x]);
            let count = if include_pad { padded } else { inside.len() };
            let distance = |[y, x]: [usize; 2]| i64::from(at(&input, [n, y, x, c])) - i64::from(zero);
            let sum: i64 = inside.into_iter().map(distance).sum();
            let code = at(&output, [n, y, x, c]);
            if count == 0 {
                prop_assert_eq!(code, quantizer.zero_point);
            } else {
                let by = by_count[count - 1];
                assert_code(code, scaled(sum, by), scaled_error(by), quantizer.zero_point, 0, [0, quantizer.max]);
            }
        }
    }

    #[test]
    fn mean_and_sum_over_all_positions(seed: u64) {
        let mut choices = Choices(seed);
        let (input, zero) = (shape(&mut choices), zero_point(&mut choices));
        let input = batch(&mut choices, 2, input);
        let (by, quantizer) = (multiplier(&mut choices, 10), quantizer(&mut choices));
        let sums = pool::global_sum(&input, zero);
        let means = pool::global_average(&input, zero, by, &quantizer);
        prop_assert_eq!((sums.shape, means.shape), (Shape::flat(input.shape.channels), sums.shape));
        for [n, _, _, c] in indices(2, sums.shape) {
            let own = indices(2, input.shape).filter(|index| (index[0], index[3]) == (n, c));
            let sum: i64 = own.map(|index| i64::from(at(&input, index)) - i64::from(zero)).sum();
            prop_assert_eq!(i64::from(at(&sums, [n, 0, 0, c])), sum);
            let code = at(&means, [n, 0, 0, c]);
            assert_code(code, scaled(sum, by), scaled_error(by), quantizer.zero_point, 0, [0, quantizer.max]);
        }
    }

    #[test]
    fn groups_normalised_by_their_own_moments(seed: u64) {
        let mut choices = Choices(seed);
        let choices = &mut choices;
        let (groups, size) = (1 + choices.below(3), 1 + choices.below(5));
        let shape = Shape::new(groups * size, 1 + choices.below(4), 1 + choices.below(4));
        let (input, zero, quantizer) = (batch(choices, 2, shape), zero_point(choices), quantizer(choices));
        let norm = PackedNorm {
            groups,
            span: choices.pick(&[Span::Position, Span::Image]),
            epsilon: choices.pick(&[1, 7, 1000, 1 << 40]),
            fraction: choices.below(7) as u8,
            multipliers: (0..shape.channels).map(|_| multiplier(choices, 20)).collect(),
            bias: (0..shape.channels).map(|_| choices.pick(&[0, 1, -1, 300, i16::MAX, i16::MIN])).collect(),
        };
        let output = norm::group_norm((&input, zero), &norm, &quantizer);
        for index in indices(2, shape) {
            let together = |other: &[usize; 4]| {
                let same = norm.span == Span::Image || other[1..3] == index[1..3];
                same && other[0] == index[0] && other[3] / size == index[3] / size
            };
            let distance = |index: [usize; 4]| f64::from(at(&input, index)) - f64::from(zero);
            let own: Vec<f64> = indices(2, shape).filter(together).map(distance).collect();
            let count = own.len() as f64;
            let mean = own.iter().sum::<f64>() / count;
            let variance = own.iter().map(|value| (value - mean).powi(2)).sum::<f64>() * count;
            let value = (distance(index) - mean) * count / (variance + norm.epsilon as f64).sqrt() * 65536.0;
            let by = norm.multipliers[index[3]];
            let exact = clamp16(value / f64::from(by.shift).exp2()) * f64::from(by.value) / 32768.0;
            let error = scaled_error(by) + f64::from(by.value).abs() / 32768.0 / f64::from(by.shift).exp2();
            let exact = clamp16(exact + f64::from(norm.bias[index[3]]));
            let code = at(&output, index);
            assert_code(code, exact, error, quantizer.zero_point, norm.fraction, [0, quantizer.max]);
        }
    }

    #[test]
    fn sums_and_products_with_broadcast(seed: u64) {
        let mut choices = Choices(seed);
        let choices = &mut choices;
        let a_shape = shape(choices);
        let mut extent = |own: usize| choices.pick(&[own, 1]);
        let b_shape = Shape::new(extent(a_shape.channels), extent(a_shape.height), extent(a_shape.width));
        let (a, b) = (batch(choices, 2, a_shape), batch(choices, 2, b_shape));
        let zeros = [zero_point(choices), zero_point(choices)];
        let (scales, by) = ([rescale(choices), rescale(choices)], multiplier(choices, 16));
        let (quantizer, fraction) = (quantizer(choices), choices.pick(&[0, 4]));
        let sum = elementwise::add([(&a, scales[0], zeros[0]), (&b, scales[1], zeros[1])], fraction, &quantizer);
        let product = elementwise::mul([(&a, zeros[0]), (&b, zeros[1])], by, &quantizer);
        prop_assert_eq!((sum.shape, product.shape), (a_shape, a_shape));
        for [n, y, x, c] in indices(2, a_shape) {
            let left = at(&a, [n, y, x, c]);
            let right = at(&b, [n, y % b_shape.height, x % b_shape.width, c % b_shape.channels]);
            let range = [0, quantizer.max];
            let value = clamp16(rescaled(left, zeros[0], scales[0]) + rescaled(right, zeros[1], scales[1]));
            assert_code(at(&sum, [n, y, x, c]), value, 1.0, quantizer.zero_point, fraction, range);
            let distance = |code: u8, zero: u8| i64::from(code) - i64::from(zero);
            let value = scaled(distance(left, zeros[0]) * distance(right, zeros[1]), by);
            let code = at(&product, [n, y, x, c]);
            assert_code(code, value, scaled_error(by), quantizer.zero_point, 0, range);
        }
    }

    #[test]
    fn narrowing_rounds_once(seed: u64) {
        let mut choices = Choices(seed);
        let choices = &mut choices;
        let shape = shape(choices);
        let (input, zero) = (batch(choices, 2, shape), zero_point(choices));
        let (by, quantizer) = (rescale(choices), quantizer(choices));
        let output = elementwise::narrow(&input, zero, by, &quantizer);
        prop_assert_eq!((output.images, output.shape), (2, shape));
        for (&code, &narrow) in input.data.iter().zip(&output.data) {
            let value = rescaled(code, zero, by);
            assert_code(narrow, value, 0.5, quantizer.zero_point, 0, [0, quantizer.max]);
        }
    }

    #[test]
    fn tables_for_one_and_for_all_channels(seed: u64) {
        let mut choices = Choices(seed);
        let shape = shape(&mut choices);
        let input = batch(&mut choices, 2, shape);
        for tables in [1, shape.channels] {
            let entries: Vec<u8> = (0..256 * tables).map(|_| choices.next() as u8).collect();
            let output = elementwise::table(&input, &entries);
            for index in indices(2, shape) {
                let table = index[3] % tables;
                prop_assert_eq!(at(&output, index), entries[table * 256 + usize::from(at(&input, index))]);
            }
        }
    }

    #[test]
    fn concatenation_and_its_inverse(seed: u64) {
        let mut choices = Choices(seed);
        let map = shape(&mut choices);
        let parts: Vec<Batch<u8>> = (0..1 + choices.below(3))
            .map(|_| {
                let shape = Shape { channels: 1 + choices.below(5), ..map };
                batch(&mut choices, 2, shape)
            })
            .collect();
        let channels = parts.iter().map(|part| part.shape.channels).sum();
        let whole = layout::concat(&parts.iter().collect::<Vec<_>>(), Shape { channels, ..map });
        let mut first = 0;
        for part in &parts {
            for [n, y, x, c] in indices(2, part.shape) {
                prop_assert_eq!(at(&whole, [n, y, x, first + c]), at(part, [n, y, x, c]));
            }
            let end = first + part.shape.channels;
            let own =
                PackedSlice { start: [first, 0, 0], end: [end, map.height, map.width], step: [1, 1, 1] };
            prop_assert_eq!(&layout::slice(&whole, &own, part.shape), part);
            first = end;
        }
    }

    #[test]
    fn slices_take_every_step(seed: u64) {
        let mut choices = Choices(seed);
        let shape = shape(&mut choices);
        let input = batch(&mut choices, 2, shape);
        let extents = [shape.channels, shape.height, shape.width];
        let start = extents.map(|extent| choices.below(extent));
        let end: [usize; 3] = std::array::from_fn(|i| start[i] + 1 + choices.below(extents[i] - start[i]));
        let step = [0; 3].map(|_| 1 + choices.below(3));
        // By enumeration: what a loop `for i in start..end by step` visits.
        let visited: [Vec<usize>; 3] =
            std::array::from_fn(|i| (start[i]..end[i]).step_by(step[i]).collect());
        let out = Shape::new(visited[0].len(), visited[1].len(), visited[2].len());
        let output = layout::slice(&input, &PackedSlice { start, end, step }, out);
        for [n, y, x, c] in indices(2, out) {
            let source = [n, visited[1][y], visited[2][x], visited[0][c]];
            prop_assert_eq!(at(&output, [n, y, x, c]), at(&input, source));
        }
    }

    #[test]
    fn padding_surrounds(seed: u64, fill: u8) {
        let mut choices = Choices(seed);
        let shape = shape(&mut choices);
        let input = batch(&mut choices, 2, shape);
        let (before, after) = ([0; 3].map(|_| choices.below(3)), [0; 3].map(|_| choices.below(3)));
        let extents: [usize; 3] =
            std::array::from_fn(|i| [shape.channels, shape.height, shape.width][i] + before[i] + after[i]);
        let out = Shape::new(extents[0], extents[1], extents[2]);
        let output = layout::pad(&input, before, fill, out);
        let mut expected = Batch { images: 2, shape: out, data: vec![fill; 2 * out.len()] };
        for [n, y, x, c] in indices(2, shape) {
            let place = ((n * out.height + y + before[1]) * out.width + x + before[2]) * out.channels;
            expected.data[place + c + before[0]] = at(&input, [n, y, x, c]);
        }
        prop_assert_eq!(output, expected);
    }

    #[test]
    fn shuffles_move_each_channel(seed: u64) {
        let mut choices = Choices(seed);
        let (groups, size) = (1 + choices.below(5), 1 + choices.below(5));
        let shape = Shape { channels: groups * size, ..shape(&mut choices) };
        let input = batch(&mut choices, 2, shape);
        let output = layout::shuffle(&input, groups);
        for [n, y, x, c] in indices(2, shape) {
            let (g, i) = (c / size, c % size);
            prop_assert_eq!(at(&output, [n, y, x, i * groups + g]), at(&input, [n, y, x, c]));
        }
    }

    #[test]
    fn flattening_counts_channel_row_column(seed: u64) {
        let mut choices = Choices(seed);
        let shape = shape(&mut choices);
        let input = batch(&mut choices, 2, shape);
        let output = layout::flatten(&input);
        prop_assert_eq!(output.shape, Shape::flat(shape.len()));
        for [n, y, x, c] in indices(2, shape) {
            let place = (c * shape.height + y) * shape.width + x;
            prop_assert_eq!(at(&output, [n, 0, 0, place]), at(&input, [n, y, x, c]));
        }
    }
}
