use super::sums::PANEL;
use super::*;
use crate::format::Preprocess;
use crate::format::arbitrary::preprocess;
use crate::graph::arbitrary::{Choices, node_id, noise};
use crate::graph::{Conv, Graph, Node, Op};
use crate::quantize::OperatorId;
use crate::tensor::Window;
use ndarray::Array4;

/// More than one chunk, and more rows in a chunk than a block has.
const IMAGES: usize = CHUNK + 4;
const GROUPS: usize = 2;
const GROUP_INPUTS: usize = 2;
const OUTPUTS: usize = 6;
const ZERO_POINT: u8 = 117;
const RESIDUAL_SCALE: f64 = 0.013;

/// Padding differs on all sides, strides and dilations differ between the axes.
fn window() -> Window {
    Window { dilation: [1, 2], ..Window::new([3, 2]).with_stride([2, 1]).with_pads([1, 2, 0, 1]) }
}

/// A full-precision convolution (node 1) and a second one (node 2) whose values are the residual.
fn graph() -> Graph {
    let conv = |seed| {
        let weight = noise(OUTPUTS * 3 * 6, seed);
        Op::Conv(Conv {
            weight: Array4::from_shape_vec((OUTPUTS, 3, 3, 2), weight).unwrap(),
            gain: vec![1.0; OUTPUTS],
            bias: noise(OUTPUTS, seed + 1),
            window: window(),
            groups: 1,
        })
    };
    let node = |name: &str, op, inputs| Node { name: name.into(), op, inputs };
    let nodes = vec![
        node("input", Op::Input, vec![]),
        node("conv", conv(5), vec![node_id(0)]),
        node("residual", conv(8), vec![node_id(0)]),
    ];
    Graph { name: "gram".into(), input: Shape::new(3, 21, 9), nodes: nodes.into(), output: node_id(2) }
}

/// A patch and the outputs wanted of it.
type SampleRow = (Vec<f64>, Vec<f64>);

const UNBOUNDED: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

fn spool(shape: Shape, seed: u64) -> Spool {
    let mut choices = Choices(seed);
    let mut spool = Spool::new(shape, IMAGES).unwrap();
    let codes: Vec<u8> = (0..IMAGES * shape.len()).map(|_| choices.next() as u8).collect();
    codes.chunks(CHUNK * shape.len()).for_each(|chunk| spool.push(chunk).unwrap());
    spool
}

struct Scene {
    graph: Graph,
    preprocess: Preprocess,
    inputs: Spool,
    residual: Spool,
    input_shape: Shape,
    output_shape: Shape,
}

impl Scene {
    fn new() -> Self {
        let graph = graph();
        let input_shape = Shape::new(4, 21, 9);
        let output_shape = graph.shapes().unwrap()[node_id(1)];
        let (inputs, residual) = (spool(input_shape, 1), spool(output_shape, 2));
        Self { preprocess: preprocess(graph.input), graph, inputs, residual, input_shape, output_shape }
    }

    fn teacher(&self) -> Teacher<'_> {
        let mut teacher = Teacher::new(&self.graph, &self.preprocess, &[1, 2].map(node_id)).unwrap();
        teacher.start(&spool(self.graph.input, 3)).unwrap();
        teacher.advance_to(node_id(2)).unwrap();
        teacher
    }

    fn patches(&self, window: Window) -> Patches {
        let output = [self.output_shape.height, self.output_shape.width];
        Patches { input: OperatorId::INPUT, window, groups: GROUPS, group_inputs: GROUP_INPUTS, output }
    }

    fn sampler(&self) -> Sampler<'_> {
        self.sampler_of(self.patches(window()), self.patches(window()))
    }

    fn sampler_of(&self, patches: Patches, host: Patches) -> Sampler<'_> {
        let zero_point = ZERO_POINT;
        Sampler { patches, host, activations: &self.inputs, shape: self.input_shape, zero_point }
    }

    fn samples<'a>(
        &'a self,
        clamp: [f32; 2],
        teacher: &'a Teacher<'a>,
        residual: Option<(&'a Spool, u8, f64, NodeId)>,
    ) -> Samples<'a> {
        let sampler = self.sampler();
        let moments = sampler.moments().unwrap();
        Samples::new(sampler, moments, &WantedOutputs { teacher, target: node_id(1), residual, clamp })
            .unwrap()
    }

    /// Patches and wanted outputs of all positions, padded inputs written out.
    fn rows(&self, teacher: &Teacher, group: usize, with_residual: bool) -> Vec<SampleRow> {
        let mut rows = Vec::new();
        for image in 0..IMAGES {
            let (chunk, at) = (image / CHUNK, image % CHUNK);
            let (inputs, residual) = (self.inputs.chunk(chunk).unwrap(), self.residual.chunk(chunk).unwrap());
            let (wanted, full) =
                (teacher.chunk(node_id(1), chunk).unwrap(), teacher.chunk(node_id(2), chunk).unwrap());
            for position in 0..self.output_shape.positions() {
                let patch = self.patch(inputs.image(at), position, group);
                let output = |output: usize| {
                    let channel = group * OUTPUTS / GROUPS + output;
                    let index = channel * self.output_shape.positions() + position;
                    let code = residual.image(at)[position * OUTPUTS + channel];
                    let correction = f64::from(full[at][index]) - (f64::from(code) - 100.0) * RESIDUAL_SCALE;
                    f64::from(wanted[at][index]) + if with_residual { correction } else { 0.0 }
                };
                rows.push((patch, (0..OUTPUTS / GROUPS).map(output).collect()));
            }
        }
        rows
    }

    /// By how much real residuals are wrong, at all positions; zeros if there are none.
    fn corrections(&self, teacher: &Teacher, group: usize, with_residual: bool) -> Vec<Vec<f64>> {
        let [with, without] = [with_residual, false].map(|with| self.rows(teacher, group, with));
        let correction = |((_, with), (_, without)): (&SampleRow, &SampleRow)| {
            with.iter().zip(without).map(|(with, without)| with - without).collect()
        };
        with.iter().zip(&without).map(correction).collect()
    }

    /// Real residuals of all positions.
    fn residuals(&self, group: usize) -> Vec<Vec<f64>> {
        let mut rows = Vec::new();
        for image in 0..IMAGES {
            let residual = self.residual.chunk(image / CHUNK).unwrap();
            let codes = residual.image(image % CHUNK).chunks(OUTPUTS);
            rows.extend(codes.map(|codes| {
                let own = &codes[group * OUTPUTS / GROUPS..][..OUTPUTS / GROUPS];
                own.iter().map(|&code| (f64::from(code) - 100.0) * RESIDUAL_SCALE).collect()
            }));
        }
        rows
    }

    fn patch(&self, codes: &[u8], position: usize, group: usize) -> Vec<f64> {
        let Shape { height, width, channels } = self.input_shape;
        let (row, column) = (position / self.output_shape.width * 2, position % self.output_shape.width);
        let mut patch = Vec::new();
        for (y, x) in (0..3).flat_map(|y| [(y, 0), (y, 2)]) {
            let (y, x) = (row as isize + y as isize - 1, column as isize + x - 2);
            let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
            for channel in group * GROUP_INPUTS..(group + 1) * GROUP_INPUTS {
                let code = |()| f64::from(codes[(y as usize * width + x as usize) * channels + channel]);
                patch.push(if inside { code(()) - f64::from(ZERO_POINT) } else { 0.0 });
            }
        }
        patch
    }
}

fn means(rows: &[SampleRow], pick: impl Fn(&SampleRow) -> f64) -> f64 {
    rows.iter().map(pick).sum::<f64>() / rows.len() as f64
}

#[track_caller]
fn near(ours: f64, expected: f64) {
    assert!((ours - expected).abs() <= 1e-8 * (1.0 + expected.abs()), "{ours} {expected}");
}

/// Products with wanted outputs are summed in `f32` within a block.
#[track_caller]
fn nearly(ours: f64, expected: f64, size: f64) {
    assert!((ours - expected).abs() <= 3e-6 * (size + expected.abs()), "{ours} {expected}");
}

fn compare(gram: &Gram, rows: &[SampleRow], corrections: &[Vec<f64>]) {
    let (inputs, outputs) = (gram.inputs.means.len(), gram.wanted.means.len());
    assert_eq!((inputs, outputs), (rows[0].0.len(), rows[0].1.len()));
    let x: Vec<f64> = (0..inputs).map(|i| means(rows, |row| row.0[i])).collect();
    let y: Vec<f64> = (0..outputs).map(|o| means(rows, |row| row.1[o])).collect();
    for i in 0..inputs {
        near(gram.inputs.means[i], x[i]);
        for j in 0..inputs {
            near(gram.inputs.covariance[(i, j)], means(rows, |row| (row.0[i] - x[i]) * (row.0[j] - x[j])));
        }
        for (o, mean) in y.iter().enumerate() {
            let cross = means(rows, |row| (row.0[i] - x[i]) * (row.1[o] - mean));
            nearly(gram.wanted.cross[(i, o)], cross, 128.0);
        }
    }
    for (o, &mean) in y.iter().enumerate() {
        nearly(gram.wanted.means[o], mean, 1.0);
        let own: Vec<f64> =
            rows.iter().zip(corrections).map(|(row, correction)| row.1[o] - correction[o]).collect();
        let own_mean = own.iter().sum::<f64>() / own.len() as f64;
        let variance = own.iter().map(|own| (own - own_mean).powi(2)).sum::<f64>() / own.len() as f64;
        nearly(gram.wanted.variances[o], variance, 1.0);
    }
}

/// So few positions are all sampled.
#[test]
fn covariances_are_those_of_two_passes() {
    let scene = Scene::new();
    let teacher = scene.teacher();
    for residual in [None, Some((&scene.residual, 100, RESIDUAL_SCALE, node_id(2)))] {
        let samples = scene.samples(UNBOUNDED, &teacher, residual);
        let grams = samples.grams().unwrap();
        assert_eq!(grams.len(), GROUPS);
        for (group, gram) in grams.iter().enumerate() {
            let corrections = scene.corrections(&teacher, group, residual.is_some());
            compare(gram, &scene.rows(&teacher, group, residual.is_some()), &corrections);
        }
    }
}

/// Single taps and columns of taps: the same bits, as the sums are integers.
#[test]
fn parts_of_moments_are_the_moments_of_parts() {
    let scene = Scene::new();
    let wide = scene.patches(window());
    let moments = scene.sampler().moments().unwrap();
    let parts = [
        ([1, 1], [1, 2]),
        ([1, 1], [1, 0]),
        ([1, 1], [0, 2]),
        ([1, 1], [0, 0]),
        ([3, 1], [1, 2]),
        ([3, 1], [1, 0]),
    ];
    for (kernel, [top, left]) in parts {
        let narrow = scene.patches(Window { kernel, pads: [top, left, 0, 0], ..window() });
        let inputs = narrow.within(&wide).unwrap();
        let own = scene.sampler_of(narrow, wide).moments().unwrap();
        for (own, moments) in own.iter().zip(&moments) {
            let part = moments.part(&inputs);
            assert_eq!(part.means, own.means);
            assert_eq!(part.covariance, own.covariance);
        }
    }
}

#[test]
fn errors_beyond_a_bound_of_the_activation_are_wanted() {
    let bounds = [0.0, 6.0];
    let cases = [
        (2.0, -1.0, 2.0),
        (2.0, 9.0, 2.0),
        (-2.0, -5.0, -5.0),
        (-2.0, 3.0, 0.0),
        (7.0, 9.0, 9.0),
        (7.0, 3.0, 6.0),
        (0.0, -1.0, -1.0),
    ];
    for (wanted, now, expected) in cases {
        assert_eq!(visible(wanted, now, bounds), expected, "{wanted} {now}");
    }
}

/// The bounds are those of the output with the residual added.
#[test]
fn hidden_errors_are_those_of_two_passes() {
    let scene = Scene::new();
    let clamp = [-0.3, 0.4];
    let teacher = scene.teacher();
    for residual in [None, Some((&scene.residual, 100, RESIDUAL_SCALE, node_id(2)))] {
        let samples = scene.samples(clamp, &teacher, residual);
        let mut grams = samples.grams().unwrap();
        let map = |group: usize| {
            let values = noise(12 * OUTPUTS / GROUPS, 30 + group as u64);
            let weights = Mat::from_fn(OUTPUTS / GROUPS, 12, |o, i| values[i * 3 + o] / 200.0);
            Linear { weights, bias: vec![0.1; OUTPUTS / GROUPS] }
        };
        let now: Vec<Linear> = (0..GROUPS).map(map).collect();
        let wanted = samples.hidden_errors_allowed(&now).unwrap();
        for (group, (gram, wanted)) in grams.iter_mut().zip(wanted).enumerate() {
            gram.wanted = wanted;
            let mut rows = scene.rows(&teacher, group, residual.is_some());
            let residuals = scene.residuals(group);
            for ((patch, outputs), residuals) in rows.iter_mut().zip(residuals) {
                for (output, value) in outputs.iter_mut().enumerate() {
                    let centred = patch.iter().map(|x| x + f64::from(ZERO_POINT) - CENTRE);
                    let product = |(i, x): (usize, f64)| f64::from(now[group].weights[(output, i)]) * x;
                    let now = 0.1 + centred.enumerate().map(product).sum::<f64>();
                    let residual = if residual.is_some() { residuals[output] } else { 0.0 };
                    let bounds = clamp.map(|bound| bound - residual as f32);
                    *value = f64::from(visible(*value as f32, now as f32, bounds));
                }
            }
            compare(gram, &rows, &scene.corrections(&teacher, group, residual.is_some()));
        }
    }
}

#[test]
fn sums_in_panels_are_sums() {
    let (inputs, outputs, columns) = (2 * PANEL + 5, PANEL + 3, 30);
    let matrix = |rows: usize, seed| {
        let values = noise(rows * columns, seed);
        Mat::from_fn(rows, columns, |i, j| (10.0 * values[i * columns + j]).round())
    };
    let (x, y) = (matrix(inputs, 1), matrix(outputs, 2));
    let (mut inputs, mut wanted) = (InputSums::new(inputs), WantedSums::new(inputs, outputs));
    inputs.add(&[&x]);
    wanted.add(&[WantedBlock { inputs: &x, wanted: &y, corrections: None }]);
    let column = |matrix: &Mat<f32>, j: usize| {
        matrix.col_as_slice(j).iter().copied().map(f64::from).collect::<Vec<_>>()
    };
    let rows: Vec<_> = (0..columns).map(|j| (column(&x, j), column(&y, j))).collect();
    let inputs = Arc::new(inputs.finish(0.0));
    let none = vec![vec![0.0; PANEL + 3]; columns];
    compare(&Gram { wanted: wanted.finish(&inputs.means), inputs }, &rows, &none);
}

#[test]
fn samples_are_distinct_and_spread() {
    for (positions, count) in [(1, 1), (49, 49), (49, 10), (1024, 17), (7919, 100)] {
        for image in 0..5 {
            let mut places: Vec<usize> = sampled(positions, count, image).collect();
            assert!(places.iter().all(|&place| place < positions));
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), count);
            let gaps = places.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(gaps.max().unwrap_or(1) <= positions.div_ceil(count));
        }
    }
}
