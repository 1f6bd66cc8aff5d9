use super::super::{BatchNorm, Binary, Conv, Node, Pad, Slice, Unary};
use super::*;
use crate::graph::arbitrary::{node_id, node_ids, noise};
use crate::tensor::Window;
use ndarray::Array4;
use proptest::prelude::*;

/// A network that applies `op` to its input (as every operand).
fn single(op: Op, operands: usize, input: Shape) -> Graph {
    let nodes = vec![
        Node { name: "input".into(), op: Op::Input, inputs: vec![] },
        Node { name: "op".into(), op, inputs: vec![node_id(0); operands] },
    ];
    Graph { name: "single".into(), input, nodes: nodes.into(), output: node_id(1) }
}

fn apply(op: Op, input: Shape, values: &[f32]) -> Vec<f32> {
    Interpreter::new(&single(op, 1, input)).unwrap().run(values).unwrap()
}

/// The input at padded coordinates, if inside.
fn at(
    values: &[f32],
    shape: Shape,
    pads: [usize; 4],
    channel: usize,
    row: usize,
    column: usize,
) -> Option<f32> {
    let (row, column) = (row.checked_sub(pads[0])?, column.checked_sub(pads[1])?);
    let inside = row < shape.height && column < shape.width;
    inside.then(|| values[(channel * shape.height + row) * shape.width + column])
}

/// Every window position's taps as padded coordinates.
fn window_taps(window: Window, row: usize, column: usize) -> Vec<(usize, usize)> {
    let at =
        |axis: usize, index: usize, tap: usize| index * window.stride[axis] + tap * window.dilation[axis];
    (0..window.kernel[0])
        .flat_map(|y| (0..window.kernel[1]).map(move |x| (y, x)))
        .map(|(y, x)| (at(0, row, y), at(1, column, x)))
        .collect()
}

fn naive_conv(conv: &Conv, shape: Shape, values: &[f32], output: [usize; 2]) -> Vec<f32> {
    let (outputs, per_group, ..) = conv.weight.dim();
    let mut result = Vec::new();
    for channel in 0..outputs {
        let first = channel / (outputs / conv.groups) * per_group;
        for row in 0..output[0] {
            for column in 0..output[1] {
                let mut sum = 0.0;
                for input in 0..per_group {
                    for (tap, (y, x)) in window_taps(conv.window, row, column).into_iter().enumerate() {
                        let weight = conv.weight
                            [[channel, input, tap / conv.window.kernel[1], tap % conv.window.kernel[1]]];
                        sum +=
                            weight * at(values, shape, conv.window.pads, first + input, y, x).unwrap_or(0.0);
                    }
                }
                result.push(conv.gain[channel] * sum + conv.bias[channel]);
            }
        }
    }
    result
}

fn naive_pool(
    window: Window,
    shape: Shape,
    values: &[f32],
    output: [usize; 2],
    reduce: impl Fn(&[Option<f32>], usize) -> f32,
) -> Vec<f32> {
    let (bottom, right) =
        (shape.height + window.pads[0] + window.pads[2], shape.width + window.pads[1] + window.pads[3]);
    let mut result = Vec::new();
    for channel in 0..shape.channels {
        for row in 0..output[0] {
            for column in 0..output[1] {
                let taps = window_taps(window, row, column);
                let padded = taps.iter().filter(|(y, x)| *y < bottom && *x < right).count();
                let inputs = taps
                    .iter()
                    .map(|&(y, x)| at(values, shape, window.pads, channel, y, x))
                    .collect::<Vec<_>>();
                result.push(reduce(&inputs, padded));
            }
        }
    }
    result
}

fn window() -> impl Strategy<Value = Window> {
    let pair = |low: usize, high: usize| [low..=high, low..=high];
    (pair(1, 4), pair(1, 3), pair(1, 3), [0usize..=3, 0..=3, 0..=3, 0..=3], any::<bool>())
        .prop_map(|(kernel, stride, dilation, pads, ceil)| Window { kernel, stride, dilation, pads, ceil })
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + b.abs()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn convolution_equals_the_definition(
        window in window(),
        (groups, per_group, per_output) in (1usize..=4, 1usize..=3, 1usize..=3),
        (height, width) in (1usize..=9, 1usize..=9),
        seed: u64,
    ) {
        let window = Window { ceil: false, ..window };
        let shape = Shape::new(groups * per_group, height, width);
        let outputs = groups * per_output;
        let dim = (outputs, per_group, window.kernel[0], window.kernel[1]);
        let weight = Array4::from_shape_vec(dim, noise(outputs * per_group * window.area(), seed)).unwrap();
        let (gain, bias) = (noise(outputs, seed ^ 1), noise(outputs, seed ^ 2));
        let conv = Conv { weight, gain, bias, window, groups };
        let values = noise(shape.len(), seed ^ 3);
        if let Ok(output) = window.output(height, width) {
            let expected = naive_conv(&conv, shape, &values, output);
            prop_assert!(close(&apply(Op::Conv(conv), shape, &values), &expected));
        }
    }

    #[test]
    fn pools_equal_the_definition(window in window(), (height, width) in (1usize..=9, 1usize..=9), seed: u64) {
        let shape = Shape::new(2, height, width);
        let values = noise(shape.len(), seed);
        let Ok(output) = window.output(height, width) else { return Ok(()) };
        let sum = |taps: &[Option<f32>]| taps.iter().flatten().sum::<f32>();
        let padded_mean = Op::AveragePool { window, count_include_pad: true };
        let expected = naive_pool(window, shape, &values, output, |taps, padded| sum(taps) / padded as f32);
        prop_assert!(close(&apply(padded_mean, shape, &values), &expected));
        if single(Op::MaxPool(window), 1, shape).shapes().is_err() {
            return Ok(());
        }
        let expected = naive_pool(window, shape, &values, output, |taps, _| taps.iter().flatten().copied().fold(f32::MIN, f32::max));
        prop_assert_eq!(apply(Op::MaxPool(window), shape, &values), expected);
        let mean = Op::AveragePool { window, count_include_pad: false };
        let expected = naive_pool(window, shape, &values, output, |taps, _| sum(taps) / taps.iter().flatten().count() as f32);
        prop_assert!(close(&apply(mean, shape, &values), &expected));
    }
}

#[test]
fn convolution_in_several_blocks_of_rows() {
    let shape = Shape::new(64, 40, 40);
    let window = Window::new([3, 3]).with_pads([1; 4]);
    let weight = Array4::from_shape_vec((2, 64, 3, 3), noise(2 * 64 * 9, 1)).unwrap();
    let conv = Conv { weight, gain: vec![1.0; 2], bias: vec![0.0; 2], window, groups: 1 };
    let values = noise(shape.len(), 2);
    assert!(close(
        &apply(Op::Conv(conv.clone()), shape, &values),
        &naive_conv(&conv, shape, &values, [40, 40])
    ));
}

#[test]
fn ceil_overhang_does_not_count_but_padding_does() {
    let window = Window { ceil: true, ..Window::new([2, 2]).with_stride([2, 2]).with_pads([1, 1, 0, 0]) };
    let op = Op::AveragePool { window, count_include_pad: true };
    // Padded extents are 4, windows start at 0 and 2: none overhangs.
    assert_eq!(apply(op, Shape::new(1, 3, 3), &[4.0; 9]), [1.0, 2.0, 2.0, 4.0]);
    let window = Window { ceil: true, ..Window::new([2, 2]).with_stride([2, 2]) };
    let op = Op::AveragePool { window, count_include_pad: true };
    assert_eq!(apply(op, Shape::new(1, 3, 3), &[4.0; 9]), [4.0; 4]);
}

#[test]
fn functions_of_one_number() {
    // Values of PyTorch 2 in double precision at −1.5.
    let cases = [
        (Unary::Relu, 0.0),
        (Unary::LeakyRelu(0.1), -0.15),
        (Unary::Clip(-1.0, 6.0), -1.0),
        (Unary::HardSwish, -0.375),
        (Unary::HardSigmoid(0.2, 0.5), 0.2),
        (Unary::Sigmoid, 0.182_425_52),
        (Unary::Silu, -0.273_638_28),
        (Unary::Tanh, -0.905_148_25),
        (Unary::Elu(2.0), -1.553_739_7),
        (Unary::Gelu, -0.100_210_8),
        (Unary::GeluTanh, -0.100_428_44),
        (Unary::Erf, -0.966_105_15),
        (Unary::Softplus, 0.201_413_28),
        (Unary::Exp, 0.223_130_16),
        (Unary::Abs, 1.5),
        (Unary::Reciprocal, -0.666_666_7),
        (Unary::Pow(2.0), 2.25),
    ];
    for (unary, expected) in cases {
        let result = apply(Op::Unary(unary), Shape::flat(1), &[-1.5])[0];
        assert!((result - expected).abs() <= 2e-7, "{unary:?}: {result} instead of {expected}");
    }
    assert_eq!(apply(Op::Unary(Unary::Log), Shape::flat(1), &[1.0]), [0.0]);
    assert_eq!(apply(Op::Unary(Unary::Sqrt), Shape::flat(1), &[2.25]), [1.5]);
}

#[test]
fn functions_of_one_number_do_not_overflow() {
    for x in [-1e4, 1e4] {
        for unary in
            [Unary::Sigmoid, Unary::Silu, Unary::Softplus, Unary::Gelu, Unary::GeluTanh, Unary::Elu(1.0)]
        {
            assert!(unary.apply(x).is_finite(), "{unary:?} at {x}");
        }
    }
}

#[test]
fn broadcasting_over_any_axis() {
    let shape = Shape::new(2, 2, 2);
    let a = noise(8, 5);
    for other in
        [shape, Shape::flat(2), Shape::flat(1), Shape::new(1, 2, 2), Shape::new(2, 1, 2), Shape::new(1, 2, 1)]
    {
        let b = noise(other.len(), 6);
        let expected = (0..8)
            .map(|index| {
                let (channel, row, column) = (index / 4, index / 2 % 2, index % 2);
                let at = [channel % other.channels, row % other.height, column % other.width];
                a[index] - b[(at[0] * other.height + at[1]) * other.width + at[2]]
            })
            .collect::<Vec<_>>();
        let op = Op::Binary(Binary::Sub);
        assert_eq!(evaluate(&op, &[(&a, shape), (&b, other)], shape).unwrap(), expected);
        let negated = expected.iter().map(|value| -value).collect::<Vec<_>>();
        assert_eq!(evaluate(&op, &[(&b, other), (&a, shape)], shape).unwrap(), negated);
    }
}

#[test]
fn moving_values() {
    let shape = Shape::new(4, 1, 2);
    let values = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
    let slice = Slice { start: [1, 0, 1], end: [4, 1, 2], step: [2, 1, 1] };
    assert_eq!(apply(Op::Slice(slice), shape, &values), [3.0, 7.0]);
    let shuffle = Op::ChannelShuffle { groups: 2 };
    assert_eq!(apply(shuffle, shape, &values), [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
    let pad = Pad { before: [1, 0, 1], after: [0, 1, 0], value: 9.0 };
    let padded = [[9.0; 6], [9.0, 5.0, 6.0, 9.0, 9.0, 9.0]].concat();
    assert_eq!(apply(Op::Pad(pad), Shape::new(1, 1, 2), &[5.0, 6.0]), padded);
    let concat = Interpreter::new(&single(Op::Concat, 2, shape)).unwrap().run(&values).unwrap();
    assert_eq!(concat, [values, values].concat());
    assert_eq!(apply(Op::GlobalAveragePool, shape, &values), [0.5, 2.5, 4.5, 6.5]);
}

#[test]
fn per_channel_functions() {
    let shape = Shape::new(2, 1, 2);
    let values = [1.0, -1.0, 2.0, -2.0];
    assert_eq!(apply(Op::PRelu(vec![0.5, 0.25]), shape, &values), [1.0, -0.5, 2.0, -0.5]);
    assert_eq!(apply(Op::PRelu(vec![0.5]), shape, &values), [1.0, -0.5, 2.0, -1.0]);
    let norm = BatchNorm {
        gamma: vec![2.0, 1.0],
        beta: vec![0.0, 1.0],
        mean: vec![1.0, 0.0],
        variance: vec![3.5, 0.0],
        epsilon: 0.5,
    };
    let expected = [0.0, -2.0, 1.0 + 2.0 * 2f32.sqrt(), 1.0 - 2.0 * 2f32.sqrt()];
    assert!(close(&apply(Op::BatchNorm(norm), shape, &values), &expected));
}

#[test]
fn values_are_freed_after_their_last_reader() {
    let relu = |name: &str, inputs| Node { name: name.into(), op: Op::Unary(Unary::Relu), inputs };
    let add = Node { name: "add".into(), op: Op::Binary(Binary::Add), inputs: node_ids(&[1, 1]) };
    let nodes = vec![
        Node { name: "input".into(), op: Op::Input, inputs: vec![] },
        relu("a", vec![node_id(0)]),
        relu("unused", vec![node_id(0)]),
        add,
    ];
    let graph = Graph { name: "free".into(), input: Shape::flat(2), nodes: nodes.into(), output: node_id(3) };
    let interpreter = Interpreter::new(&graph).unwrap();
    assert_eq!(interpreter.dead_after.as_slice(), [&[][..], &[], &[0, 2], &[1, 3]].map(node_ids));
    let mut seen = Vec::new();
    Interpreter::new(&graph)
        .unwrap()
        .observe(&[1.0, -1.0], |id, values| seen.push((id, values.to_vec())))
        .unwrap();
    assert_eq!(seen[0], (node_id(0), vec![1.0, -1.0]));
    assert_eq!(seen[3], (node_id(3), vec![2.0, 0.0]));
}

#[test]
fn images_are_independent_and_must_fit() {
    let graph = single(Op::Unary(Unary::Tanh), 1, Shape::new(1, 1, 2));
    let interpreter = Interpreter::new(&graph).unwrap();
    let images = (0..9u16).map(|n| Array3::from_elem((1, 1, 2), f32::from(n))).collect::<Vec<_>>();
    let batch = interpreter.run_batch(&images).unwrap();
    for (row, image) in batch.rows().into_iter().zip(&images) {
        assert_eq!(row.to_vec(), interpreter.run(image.as_slice().unwrap()).unwrap());
    }
    assert!(interpreter.run(&[0.0; 3]).is_err());
    assert!(interpreter.run_batch(&[Array3::zeros((1, 1, 1))]).is_err());
}

#[test]
fn evaluate_refuses_wrong_operands() {
    let shape = Shape::flat(2);
    assert!(evaluate(&Op::Flatten, &[(&[1.0], shape)], shape).is_err());
    assert!(evaluate(&Op::Binary(Binary::Add), &[(&[1.0, 2.0], shape)], shape).is_err());
    assert!(evaluate(&Op::Flatten, &[], shape).is_err());
}

#[test]
fn a_run_goes_on_where_one_value_is_all_that_is_read() {
    let mut resumed = 0;
    for seed in 0..40 {
        let graph = crate::graph::arbitrary::classifier(seed);
        let interpreter = Interpreter::new(&graph).unwrap();
        let image = crate::graph::arbitrary::noise(graph.input.len(), seed);
        let logits = interpreter.run(&image).unwrap();
        let mut values = Per::filled(Vec::new(), graph.nodes.len());
        interpreter.observe(&image, |id, value| values[id] = value.to_vec()).unwrap();
        for (cut, value) in values.enumerate().take_while(|&(cut, _)| cut < graph.output) {
            let reads_alone = |id| graph.nodes[id].inputs.iter().all(|&input: &NodeId| input >= cut);
            let alone = graph.nodes.ids_after(cut).all(reads_alone);
            let found = interpreter.resume(cut, value.clone(), graph.output);
            assert!(!alone || found.unwrap() == logits);
            resumed += usize::from(alone);
        }
    }
    assert!(resumed > 40);
}
