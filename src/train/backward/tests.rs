use super::*;
use crate::choices::{Choices, noise};
use crate::graph::arbitrary::node_id;
use crate::graph::{Affine, BatchNorm, Binary, Conv, GroupNorm, Pad, Slice, Unary, evaluate};
use crate::index::Per;
use crate::tensor::{Span, Window};
use crate::train::parameters::{parameters, parameters_mut};
use ndarray::Array4;
use proptest::prelude::*;

/// Half the distance over which differences are taken.
const EPSILON: f32 = 1.0 / 64.0;

/// Values at least a sixteenth away from every multiple of an eighth, where functions may have corners.
fn smooth(length: usize, seed: u64) -> Vec<f32> {
    noise(length, seed).into_iter().map(|x| (x * 32.0).round() / 8.0 + 1.0 / 16.0).collect()
}

/// Different values, so that every maximum has a margin.
fn distinct(length: usize, seed: u64) -> Vec<f32> {
    let mut order: Vec<(f32, usize)> = noise(length, seed).into_iter().zip(0..).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut values = vec![0.0; length];
    order.iter().enumerate().for_each(|(rank, (_, place))| values[*place] = rank as f32 / 8.0);
    values
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn moved(values: &[f32], direction: &[f32], by: f32) -> Vec<f32> {
    values.iter().zip(direction).map(|(value, step)| value + by * step).collect()
}

fn shape_of(op: &Op, inputs: &[(Vec<f32>, Shape)]) -> Option<Shape> {
    use crate::graph::{Graph, Node};
    let first = inputs[0].1;
    // Every other operand is a part of the first.
    let mut nodes = Per::from(vec![Node { name: "input".into(), op: Op::Input, inputs: vec![] }]);
    for (index, (_, shape)) in inputs.iter().enumerate().skip(1) {
        let end = [shape.channels, shape.height, shape.width];
        let slice = Slice { start: [0; 3], end, step: [1; 3] };
        nodes.push(Node { name: format!("part{index}"), op: Op::Slice(slice), inputs: vec![node_id(0)] });
    }
    let operands = nodes.ids().collect();
    let output = nodes.push(Node { name: "op".into(), op: op.clone(), inputs: operands });
    Graph { name: "one".into(), input: first, nodes, output }
        .shapes()
        .ok()
        .and_then(|shapes| shapes.last().copied())
}

/// Compares gradients along a random direction with differences of the function, for inputs and for parameters.
fn check(op: &Op, inputs: &[(Vec<f32>, Shape)], seed: u64) {
    let Some(output) = shape_of(op, inputs) else { return };
    let gradient = noise(output.len(), seed);
    let value = |op: &Op, inputs: &[(Vec<f32>, Shape)]| {
        let views: Vec<_> = inputs.iter().map(|(values, shape)| (values.as_slice(), *shape)).collect();
        dot(&evaluate(op, &views, output).unwrap(), &gradient)
    };
    let views = inputs.iter().map(|(values, shape)| (values.as_slice(), *shape)).collect();
    let example = Example { inputs: views, gradient: &gradient };
    let wanted = WantedGradients { inputs: true, parameters: true };
    let found = backward(op, &[example], output, wanted).unwrap();
    let agree = |slope: f64, difference: f64| {
        let size = slope.abs().max(difference.abs()).max((output.len() as f64).sqrt() * 0.1);
        assert!((slope - difference).abs() < 0.01 * size, "{op:?}: {slope} instead of {difference}");
    };
    for (place, (values, _)) in inputs.iter().enumerate() {
        let direction = noise(values.len(), seed ^ 77 ^ place as u64);
        let at = |by: f32| {
            let mut inputs = inputs.to_vec();
            inputs[place].0 = moved(values, &direction, by);
            value(op, &inputs)
        };
        let difference = (at(EPSILON) - at(-EPSILON)) / f64::from(2.0 * EPSILON);
        agree(dot(&found.inputs[0][place], &direction), difference);
    }
    assert_eq!(found.parameters.len(), parameters(op).len());
    for (place, (_, values)) in parameters(op).into_iter().enumerate() {
        let direction = noise(values.len(), seed ^ 99 ^ place as u64);
        let at = |by: f32| {
            let mut op = op.clone();
            parameters_mut(&mut op)[place].1.copy_from_slice(&moved(values, &direction, by));
            value(&op, inputs)
        };
        let difference = (at(EPSILON) - at(-EPSILON)) / f64::from(2.0 * EPSILON);
        agree(dot(&found.parameters[place], &direction), difference);
    }
}

fn convolution(
    choices: &mut Choices,
    groups: usize,
    per_group: usize,
    per_output: usize,
    window: Window,
) -> Conv {
    let outputs = groups * per_output;
    let dim = (outputs, per_group, window.kernel[0], window.kernel[1]);
    Conv {
        weight: Array4::from_shape_vec(dim, choices.values(outputs * per_group * window.area())).unwrap(),
        gain: choices.values(outputs),
        bias: choices.values(outputs),
        window,
        groups,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn convolutions(
        (groups, per_group, per_output) in (1usize..=3, 1usize..=3, 1usize..=3),
        (height, width) in (1usize..=9, 1usize..=9),
        seed: u64,
    ) {
        let mut choices = Choices(seed);
        let window = Window { ceil: false, ..choices.window() };
        let conv = convolution(&mut choices, groups, per_group, per_output, window);
        let shape = Shape::new(groups * per_group, height, width);
        check(&Op::Conv(conv), &[(noise(shape.len(), seed ^ 3), shape)], seed);
    }

    #[test]
    fn pools((height, width) in (1usize..=9, 1usize..=9), seed: u64) {
        let window = Choices(seed).window();
        let shape = Shape::new(2, height, width);
        let inputs = [(distinct(shape.len(), seed), shape)];
        check(&Op::MaxPool(window), &inputs, seed);
        check(&Op::AveragePool { window, count_include_pad: true }, &inputs, seed);
        if evaluate(&Op::MaxPool(window), &[(&inputs[0].0, shape)], shape).is_ok_and(|v| v.iter().all(|v| v.is_finite())) {
            check(&Op::AveragePool { window, count_include_pad: false }, &inputs, seed);
        }
        check(&Op::GlobalAveragePool, &inputs, seed);
    }

    #[test]
    fn arithmetic(which in 0usize..5, seed: u64) {
        let shape = Shape::new(3, 2, 4);
        let other = [shape, Shape::flat(3), Shape::new(1, 2, 4), Shape::new(3, 1, 4), Shape::flat(1)][which];
        let (a, b) = (smooth(shape.len(), seed), smooth(other.len(), seed ^ 1));
        let b: Vec<f32> = b.into_iter().map(|x| if x.abs() < 1.0 { 1.5 + x } else { x }).collect();
        for binary in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div] {
            check(&Op::Binary(binary), &[(a.clone(), shape), (b.clone(), other)], seed);
        }
    }

    #[test]
    fn normalisations(groups in 1usize..=2, seed: u64) {
        let shape = Shape::new(4, 3, 2);
        let mut choices = Choices(seed);
        let inputs = [(choices.values(shape.len()), shape)];
        for span in [Span::Image, Span::Position] {
            let norm =
                GroupNorm { groups, span, gamma: choices.values(4), beta: choices.values(4), epsilon: 0.1 };
            check(&Op::GroupNorm(norm), &inputs, seed);
        }
        let variance = choices.values(4).iter().map(|x| x.abs()).collect();
        let [gamma, beta, mean] = [0; 3].map(|_| choices.values(4));
        check(&Op::BatchNorm(BatchNorm { gamma, beta, mean, variance, epsilon: 0.1 }), &inputs, seed);
        for length in [1, 4] {
            let affine = Affine { scale: choices.values(length), shift: choices.values(length) };
            check(&Op::Affine(affine), &inputs, seed);
            check(&Op::PRelu(choices.values(length)), &[(smooth(shape.len(), seed), shape)], seed);
        }
    }
}

#[test]
fn functions_of_one_number() {
    let shape = Shape::new(1, 16, 16);
    let all = [
        Unary::Relu,
        Unary::LeakyRelu(0.25),
        Unary::Clip(-1.0, 2.0),
        Unary::HardSwish,
        Unary::HardSigmoid(0.25, 0.5),
        Unary::Sigmoid,
        Unary::Silu,
        Unary::Tanh,
        Unary::Elu(0.5),
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::Erf,
        Unary::Softplus,
        Unary::Exp,
        Unary::Abs,
        Unary::Pow(2.0),
    ];
    for (seed, unary) in all.into_iter().enumerate() {
        check(&Op::Unary(unary), &[(smooth(shape.len(), seed as u64), shape)], seed as u64);
    }
    let positive = smooth(shape.len(), 1).into_iter().map(|x| 1.0 + x.abs()).collect::<Vec<_>>();
    for unary in [Unary::Log, Unary::Sqrt, Unary::Reciprocal, Unary::Pow(-1.5)] {
        check(&Op::Unary(unary), &[(positive.clone(), shape)], 5);
    }
}

#[test]
fn moving_values() {
    let shape = Shape::new(4, 3, 5);
    let inputs = [(noise(shape.len(), 1), shape)];
    check(&Op::Slice(Slice { start: [1, 0, 1], end: [4, 3, 5], step: [2, 1, 3] }), &inputs, 2);
    check(&Op::Pad(Pad { before: [1, 0, 2], after: [0, 1, 1], value: 3.0 }), &inputs, 3);
    check(&Op::ChannelShuffle { groups: 2 }, &inputs, 4);
    check(&Op::Flatten, &inputs, 5);
    let part = Shape::new(2, 3, 5);
    check(&Op::Concat, &[inputs[0].clone(), (noise(part.len(), 6), part)], 7);
}

/// Gradients add up over images, whichever are taken together in a matrix product.
#[test]
fn images_add_up() {
    let mut choices = Choices(3);
    let shape = Shape::new(6, 7, 7);
    for (groups, kernel) in [(1, [3, 3]), (2, [1, 1]), (6, [3, 3])] {
        let conv = convolution(&mut choices, groups, 6 / groups, 2, Window::new(kernel));
        let output = shape_of(&Op::Conv(conv.clone()), &[(vec![0.0; shape.len()], shape)]).unwrap();
        let data: Vec<_> =
            (0..5).map(|_| (choices.values(shape.len()), choices.values(output.len()))).collect();
        let examples: Vec<Example> =
            data.iter().map(|(x, dy)| Example { inputs: vec![(x, shape)], gradient: dy }).collect();
        let wanted = WantedGradients { inputs: true, parameters: true };
        let op = Op::Conv(conv);
        let whole = backward(&op, &examples, output, wanted).unwrap();
        let mut sums = Vec::new();
        for (example, inputs) in examples.iter().zip(&whole.inputs) {
            let single = backward(&op, std::slice::from_ref(example), output, wanted).unwrap();
            let close = single.inputs[0][0].iter().zip(&inputs[0]).all(|(a, b)| (a - b).abs() < 1e-4);
            assert!(close);
            add_all(&mut sums, single.parameters);
        }
        for (sum, whole) in sums.iter().flatten().zip(whole.parameters.iter().flatten()) {
            assert!((sum - whole).abs() < 1e-3, "{sum} {whole}");
        }
        let only =
            backward(&op, &examples, output, WantedGradients { inputs: false, parameters: true }).unwrap();
        assert!(only.inputs.is_empty() && only.parameters == whole.parameters);
    }
}

/// Gradients of inputs and of weights, gains being ones, output by output.
fn plain_gradients(conv: &Conv, (x, shape): ValueView<'_>, output: Shape, dy: &[f32]) -> [Vec<f32>; 2] {
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; conv.weight.len()]);
    let (weights, area) = (conv.weight.as_slice().unwrap(), conv.window.area());
    for (place, dy) in dy.iter().enumerate() {
        let (channel, position) = (place / output.positions(), place % output.positions());
        let at = [position / output.width, position % output.width];
        for (input, tap) in (0..shape.channels).flat_map(|input| (0..area).map(move |tap| (input, tap))) {
            if let Some([row, column]) = conv.window.source(at, tap, [shape.height, shape.width]) {
                let weight = (channel * shape.channels + input) * area + tap;
                let read = (input * shape.height + row) * shape.width + column;
                dx[read] += dy * weights[weight];
                dw[weight] += dy * x[read];
            }
        }
    }
    [dx, dw]
}

/// Several panels of outputs, rows turned in several parts, patches of some channels after others.
#[test]
fn large_convolutions_equal_their_definition() {
    let mut choices = Choices(8);
    let (square, one) = (Window::new([3, 3]).with_pads([1; 4]), Window::new([1, 1]));
    let cases = [
        (3, 50, 24, square),
        (2, 97, 25, square.with_stride([2, 2])),
        (5, 49, 23, one),
        (5, 20, 23, one.with_stride([2, 2])),
        (460, 3, 4, square),
        (460, 3, 5, square.with_stride([2, 2])),
    ];
    for (inputs, outputs, size, window) in cases {
        let conv = convolution(&mut choices, 1, inputs, outputs, window);
        let conv = Conv { gain: vec![1.0; outputs], ..conv };
        let shape = Shape::new(inputs, size, size);
        let [height, width] = window.output(size, size).unwrap();
        let output = Shape::new(outputs, height, width);
        let (x, dy) = (choices.values(shape.len()), choices.values(output.len()));
        let [dx, dw] = plain_gradients(&conv, (&x, shape), output, &dy);
        let example = Example { inputs: vec![(&x, shape)], gradient: &dy };
        let wanted = WantedGradients { inputs: true, parameters: true };
        let found = backward(&Op::Conv(conv), &[example], output, wanted).unwrap();
        for (found, expected) in [(&found.inputs[0][0], dx), (&found.parameters[0], dw)] {
            let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-3;
            assert!(found.len() == expected.len() && found.iter().zip(&expected).all(close), "{window:?}");
        }
    }
}

/// Statistics of the batch depend on every image: differences of the whole batch.
#[test]
fn batch_statistics() {
    let shape = Shape::new(2, 2, 3);
    let mut choices = Choices(11);
    let norm = BatchNorm {
        gamma: choices.values(2),
        beta: choices.values(2),
        mean: vec![0.0; 2],
        variance: vec![1.0; 2],
        epsilon: 0.1,
    };
    let batch: Vec<Vec<f32>> = (0..3).map(|_| choices.values(shape.len())).collect();
    let seeds: Vec<Vec<f32>> = (0..3).map(|_| choices.values(shape.len())).collect();
    let slices = |batch: &[Vec<f32>]| -> f64 {
        let views: Vec<&[f32]> = batch.iter().map(Vec::as_slice).collect();
        batch_norm(&norm, &views, shape).0.iter().zip(&seeds).map(|(y, dy)| dot(y, dy)).sum()
    };
    let views: Vec<&[f32]> = batch.iter().map(Vec::as_slice).collect();
    let gradients: Vec<&[f32]> = seeds.iter().map(Vec::as_slice).collect();
    let (_, moments) = batch_norm(&norm, &views, shape);
    let found = batch_norm_by(&norm, &moments, &views, &gradients, shape);
    for image in 0..3 {
        let direction = choices.values(shape.len());
        let at = |by: f32| {
            let mut batch = batch.clone();
            batch[image] = moved(&batch[image], &direction, by);
            slices(&batch)
        };
        let difference = (at(EPSILON) - at(-EPSILON)) / f64::from(2.0 * EPSILON);
        let slope = dot(&found.inputs[image][0], &direction);
        assert!((slope - difference).abs() < 2e-3, "{slope} instead of {difference}");
    }
    // Running statistics as torch.nn.BatchNorm2d(momentum=0.1) moves them: the variance of a sample.
    let mut running = norm.clone();
    moments.blend_into(&mut running, 0.1);
    let variance = 0.9 + 0.1 * moments.variance[0] * 18.0 / 17.0;
    assert!((f64::from(running.variance[0]) - variance).abs() < 1e-6);
    assert!((f64::from(running.mean[0]) - 0.1 * moments.mean[0]).abs() < 1e-6);
}

/// The cases of `fixtures/train/make_gradients.py`, which writes their parameters.
fn stored_cases() -> Vec<(&'static str, Op)> {
    let conv = |outputs: usize, inputs: usize, groups: usize, window: Window| {
        let weight = Array4::zeros((outputs, inputs, window.kernel[0], window.kernel[1]));
        Op::Conv(Conv { weight, gain: vec![0.0; outputs], bias: vec![0.0; outputs], window, groups })
    };
    let square = Window::new([3, 3]);
    let norm = |groups: usize, span: Span| {
        Op::GroupNorm(GroupNorm { groups, span, gamma: vec![0.0; 4], beta: vec![0.0; 4], epsilon: 1e-3 })
    };
    let pool = square.with_stride([2, 2]).with_pads([1; 4]);
    let average = |count_include_pad| Op::AveragePool { window: pool, count_include_pad };
    let mut cases = vec![
        ("conv", conv(5, 4, 1, square.with_pads([1; 4]))),
        ("conv_strided", conv(5, 4, 1, square.with_stride([2, 2]).with_pads([1; 4]))),
        ("conv_dilated", conv(5, 4, 1, Window { dilation: [2, 2], ..square.with_pads([2; 4]) })),
        ("conv_grouped", conv(6, 2, 2, Window::new([3, 2]))),
        ("conv_pointwise", conv(5, 4, 1, Window::new([1, 1]))),
        ("conv_depthwise", conv(4, 1, 4, square.with_stride([2, 2]).with_pads([1; 4]))),
        ("group_norm", norm(2, Span::Image)),
        ("layer_norm", norm(1, Span::Position)),
        ("affine", Op::Affine(Affine { scale: vec![0.0; 4], shift: vec![0.0; 4] })),
        ("prelu", Op::PRelu(vec![0.0; 4])),
        ("concat", Op::Concat),
        ("slice", Op::Slice(Slice { start: [1, 0, 1], end: [4, 7, 6], step: [2, 1, 3] })),
        ("pad", Op::Pad(Pad { before: [1, 0, 2], after: [0, 1, 1], value: 3.0 })),
        ("max_pool", Op::MaxPool(pool)),
        ("average_pool", average(false)),
        ("average_pool_padded", average(true)),
        ("global_average_pool", Op::GlobalAveragePool),
        ("flatten", Op::Flatten),
        ("channel_shuffle", Op::ChannelShuffle { groups: 2 }),
    ];
    let unaries = [
        ("relu", Unary::Relu),
        ("leaky_relu", Unary::LeakyRelu(0.1)),
        ("clip", Unary::Clip(-1.0, 1.5)),
        ("hard_swish", Unary::HardSwish),
        ("hard_sigmoid", Unary::HardSigmoid(1.0 / 6.0, 0.5)),
        ("sigmoid", Unary::Sigmoid),
        ("silu", Unary::Silu),
        ("tanh", Unary::Tanh),
        ("elu", Unary::Elu(0.5)),
        ("gelu", Unary::Gelu),
        ("gelu_tanh", Unary::GeluTanh),
        ("erf", Unary::Erf),
        ("softplus", Unary::Softplus),
        ("exp", Unary::Exp),
        ("abs", Unary::Abs),
        ("pow", Unary::Pow(3.0)),
        ("log", Unary::Log),
        ("sqrt", Unary::Sqrt),
        ("reciprocal", Unary::Reciprocal),
    ];
    cases.extend(unaries.map(|(name, unary)| (name, Op::Unary(unary))));
    let binaries = [
        ("add", Binary::Add),
        ("add_broadcast", Binary::Add),
        ("sub", Binary::Sub),
        ("sub_broadcast", Binary::Sub),
        ("mul", Binary::Mul),
        ("mul_broadcast", Binary::Mul),
        ("div", Binary::Div),
        ("div_broadcast", Binary::Div),
    ];
    cases.extend(binaries.map(|(name, binary)| (name, Op::Binary(binary))));
    cases
}

struct Stored<'a>(safetensors::SafeTensors<'a>);

impl Stored<'_> {
    fn values(&self, name: &str) -> Option<Vec<f32>> {
        Some(bytemuck::pod_collect_to_vec(self.0.tensor(name).ok()?.data()))
    }

    /// A tensor's two images and the shape of each.
    fn images(&self, name: &str) -> Option<(Vec<Vec<f32>>, Shape)> {
        let tensor = self.0.tensor(name).ok()?;
        let &[_, channels, height, width] = tensor.shape() else { return None };
        let shape = Shape::new(channels, height, width);
        Some((self.values(name)?.chunks(shape.len()).map(<[f32]>::to_vec).collect(), shape))
    }
}

#[track_caller]
fn assert_close(name: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 2e-5 * largest, "{name}: {a} instead of {b}");
    }
}

#[test]
fn gradients_equal_pytorch() {
    let bytes = include_bytes!("../../../fixtures/train/gradients.safetensors");
    let stored = Stored(safetensors::SafeTensors::deserialize(bytes).unwrap());
    let mut cases = stored_cases();
    let norm = BatchNorm {
        gamma: vec![0.0; 4],
        beta: vec![0.0; 4],
        mean: stored.values("batch_norm.mean").unwrap(),
        variance: stored.values("batch_norm.variance").unwrap(),
        epsilon: 1e-3,
    };
    cases.push(("batch_norm", Op::BatchNorm(norm.clone())));
    for (name, mut op) in cases {
        for (place, (_, values)) in parameters_mut(&mut op).into_iter().enumerate() {
            values.copy_from_slice(&stored.values(&format!("{name}.p{place}")).unwrap());
        }
        let inputs: Vec<_> = (0..2).filter_map(|place| stored.images(&format!("{name}.x{place}"))).collect();
        let (gradients, output) = stored.images(&format!("{name}.dy")).unwrap();
        let example = |image: usize| Example {
            inputs: inputs.iter().map(|(values, shape)| (values[image].as_slice(), *shape)).collect(),
            gradient: &gradients[image],
        };
        let wanted = WantedGradients { inputs: true, parameters: true };
        let found = backward(&op, &[example(0), example(1)], output, wanted).unwrap();
        for place in 0..inputs.len() {
            let (expected, _) = stored.images(&format!("{name}.dx{place}")).unwrap();
            for (found, expected) in found.inputs.iter().zip(&expected) {
                assert_close(name, &found[place], expected);
            }
        }
        for (place, found) in found.parameters.iter().enumerate() {
            assert_close(name, found, &stored.values(&format!("{name}.dp{place}")).unwrap());
        }
    }
    let name = "batch_norm_batch";
    let [gamma, beta] = ["p0", "p1"].map(|key| stored.values(&format!("{name}.{key}")).unwrap());
    let norm = BatchNorm { gamma, beta, ..norm };
    let [(values, shape), (gradients, _)] =
        ["x0", "dy"].map(|key| stored.images(&format!("{name}.{key}")).unwrap());
    let [values, gradients] =
        [&values, &gradients].map(|images| images.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let (_, moments) = batch_norm(&norm, &values, shape);
    let found = batch_norm_by(&norm, &moments, &values, &gradients, shape);
    let (expected, _) = stored.images(&format!("{name}.dx0")).unwrap();
    (0..2).for_each(|image| assert_close(name, &found.inputs[image][0], &expected[image]));
    let parameters = ["dp0", "dp1"].map(|key| stored.values(&format!("{name}.{key}")).unwrap());
    found
        .parameters
        .iter()
        .zip(&parameters)
        .for_each(|(found, expected)| assert_close(name, found, expected));
}
