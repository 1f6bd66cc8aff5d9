//! Random networks through the whole pipeline, compared with full precision.

use super::*;
use crate::data::{PixelImages, normalise};
use crate::eval;
use crate::fold::fold;
use crate::format::arbitrary::preprocess;
use crate::format::{LayerFidelity, PackedOp};
use crate::graph::arbitrary::{Choices, classifier, node_id, noise};
use crate::graph::{Conv, Interpreter, Node, Op, Unary, evaluate};
use crate::plan::PlannedLayer;
use crate::runtime::Session;
use crate::tensor::{Shape, Window};
use ndarray::Array4;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

const IMAGES: usize = 16;

fn images(seed: u64, graph: &Graph) -> PixelImages {
    let mut choices = Choices(seed);
    let image = |choices: &mut Choices| (0..graph.input.len()).map(|_| choices.next() as u8).collect();
    PixelImages { pixels: (0..IMAGES).map(|_| image(&mut choices)).collect(), labels: Vec::new() }
}

fn inputs(graph: &Graph, images: &PixelImages) -> Vec<Vec<f32>> {
    let preprocess = preprocess(graph.input);
    let input = |pixels: &Vec<u8>| normalise(pixels, &preprocess).unwrap().into_iter().collect();
    images.pixels.iter().map(input).collect()
}

fn full_precision(graph: &Graph, images: &PixelImages) -> Vec<f64> {
    let interpreter = Interpreter::new(graph).unwrap();
    let logits = inputs(graph, images).into_iter().flat_map(|image| interpreter.run(&image).unwrap());
    logits.map(f64::from).collect()
}

/// Logits in real units.
fn integer(model: &PackedModel, images: &PixelImages) -> Vec<f64> {
    let logits = Session::new(model).unwrap().run(&images.pixels.concat()).unwrap();
    logits.data.into_iter().map(|logit| f64::from(logit) * model.logit_scale).collect()
}

/// Weights rounded to 255 steps of each output channel's range.
fn round_weights(mut graph: Graph) -> Graph {
    for node in &mut graph.nodes {
        let Op::Conv(conv) = &mut node.op else { continue };
        for mut channel in conv.weight.outer_iter_mut() {
            let step = channel.iter().fold(f32::MIN_POSITIVE, |largest, w| largest.max(w.abs())) / 127.0;
            channel.mapv_inplace(|weight| (weight / step).round() * step);
        }
    }
    graph
}

/// Full precision but for weights, and for every value, which is rounded to 256 steps of its range.
fn rounded(graph: &Graph, images: &PixelImages) -> Vec<f64> {
    let (shapes, graph) = (graph.shapes().unwrap(), round_weights(graph.clone()));
    let mut values: HashMap<NodeId, Vec<Vec<f32>>> = HashMap::new();
    for (id, node) in graph.nodes.enumerate() {
        let mut exact = if id == NodeId::INPUT {
            inputs(&graph, images)
        } else {
            let one = |image: usize| {
                let inputs: Vec<_> =
                    node.inputs.iter().map(|i| (values[i][image].as_slice(), shapes[*i])).collect();
                evaluate(&node.op, &inputs, shapes[id]).unwrap()
            };
            (0..images.pixels.len()).map(one).collect()
        };
        if id != graph.output {
            let all = || exact.iter().flatten().copied();
            let (low, high) = (all().fold(0.0, f32::min), all().fold(0.0, f32::max));
            let step = ((high - low) / 255.0).max(f32::MIN_POSITIVE);
            exact.iter_mut().flatten().for_each(|value| *value = (*value / step).round() * step);
        }
        values.insert(id, exact);
    }
    values[&graph.output].concat().into_iter().map(f64::from).collect()
}

fn rms(values: impl Iterator<Item = f64> + Clone) -> f64 {
    (values.clone().map(|value| value * value).sum::<f64>() / values.count() as f64).sqrt()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    rms(a.iter().zip(b).map(|(a, b)| a - b))
}

fn options(graph: &Graph) -> ConvertOptions {
    let has_conv = graph.nodes.iter().any(|node| matches!(node.op, Op::Conv(_)));
    let all = (".*".parse().unwrap(), Precision::int8());
    let overrides = if has_conv { vec![all] } else { vec![] };
    ConvertOptions { overrides, range: RangeMethod::MinMax, ..ConvertOptions::default() }
}

#[track_caller]
fn converted(graph: &Graph, images: &PixelImages, options: &ConvertOptions) -> Result<PackedModel> {
    let conversion = convert(graph.clone(), &preprocess(graph.input), images, options, &())?;
    Ok(conversion.model)
}

/// Eight bits everywhere are as good as full precision with rounded values: whatever is lowered wrongly shows.
#[test]
fn integers_compute_what_the_network_computes() {
    let mut compared = 0;
    for seed in 0..300 {
        let graph = fold(classifier(seed)).unwrap();
        let images = images(seed, &graph);
        let model = match converted(&graph, &images, &options(&graph)) {
            Ok(model) => model,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "seed {seed}: {error}");
                continue;
            }
        };
        // Others may go beyond the ranges.
        let images = fitted(&images);
        let full = full_precision(&graph, &images);
        // A network may well yield nothing but zeros.
        let size = rms(full.iter().copied()).max(1e-3);
        let error = distance(&integer(&model, &images), &full) / size;
        let expected = distance(&rounded(&graph, &images), &full) / size;
        assert!(error <= 2.0 * expected + 0.01, "seed {seed}: error {error}, of rounding alone {expected}");
        compared += 1;
    }
    assert!(compared > 250, "{compared}");
}

#[test]
fn any_precision_runs_and_is_reproducible() {
    let pools = [1, 3].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    for (seed, method) in
        (1000..1080).flat_map(|seed| [(seed, Method::Compensated), (seed, Method::ClosedForm)])
    {
        let graph = classifier(seed);
        let images = images(seed, &graph);
        let options = ConvertOptions {
            group: 1 + seed as usize % 5,
            method,
            activation_bits: 2 + (seed % 7) as u8,
            ..ConvertOptions::default()
        };
        let [one, three] = pools.each_ref().map(|pool| pool.install(|| converted(&graph, &images, &options)));
        let (Ok(one), Ok(three)) = (one, three) else { continue };
        assert_eq!(one.to_bytes().unwrap(), three.to_bytes().unwrap());
        assert!(integer(&one, &images).iter().all(|logit| logit.is_finite()));
    }
}

/// `10·log₁₀` of the variance of the wanted values, each output around its mean, over the squared distance.
fn ratio(wanted: &[f64], values: &[f64], images: usize) -> f64 {
    let outputs = wanted.len() / images;
    let mean = |o: usize| (0..images).map(|i| wanted[i * outputs + o]).sum::<f64>() / images as f64;
    let means: Vec<f64> = (0..wanted.len()).map(|at| mean(at % outputs)).collect();
    20.0 * (distance(wanted, &means) / distance(wanted, values)).log10()
}

/// The images that do not judge.
fn fitted(images: &PixelImages) -> PixelImages {
    let judging = judging(images).pixels;
    let pixels: Vec<Vec<u8>> =
        images.pixels.iter().filter(|image| !judging.contains(image)).cloned().collect();
    PixelImages { labels: vec![0; pixels.len()], pixels }
}

/// The images that judge: a quarter of them all, spread evenly.
fn judging(images: &PixelImages) -> PixelImages {
    let judging = images.spread(IMAGES / 4);
    PixelImages { labels: vec![0; judging.pixels.len()], ..judging }
}

#[test]
fn fidelity_is_what_a_session_shows_on_the_images_held_back() {
    let mut compared = 0;
    for (seed, method) in (0..60).flat_map(|seed| [(seed, Method::Compensated), (seed, Method::ClosedForm)]) {
        let graph = fold(classifier(seed)).unwrap();
        let images = images(seed, &graph);
        let activation_bits = 2 + (seed % 7) as u8;
        let options = ConvertOptions { method, activation_bits, ..ConvertOptions::default() };
        let Ok(model) = converted(&graph, &images, &options) else { continue };
        let (judging, fidelity) = (judging(&images), model.fidelity.as_ref().unwrap());
        assert_eq!((fidelity.images, fidelity.held_back), (judging.len(), true));
        let convolutions = model.nodes.iter().filter(|node| matches!(node.op, PackedOp::Conv(_))).count();
        assert_eq!(fidelity.layers.len(), convolutions);
        let evaluation = eval::evaluate(&model, &judging, Some(&graph), &()).unwrap();
        assert_eq!(Some(evaluation.comparison.unwrap().judgement), fidelity.judgement, "seed {seed}");
        let expected = ratio(&full_precision(&graph, &judging), &integer(&model, &judging), judging.len());
        let Some(logits) = fidelity.logits.filter(|_| expected.is_finite()) else { continue };
        assert!((logits - expected.clamp(-120.0, 120.0)).abs() < 0.02, "seed {seed}: {logits} {expected}");
        if let (Some(last), Some(PackedOp::Conv(_))) =
            (fidelity.layers.last(), model.nodes.last().map(|n| &n.op))
        {
            assert_eq!(last.cumulative, Some(logits), "seed {seed}");
        }
        compared += 1;
    }
    assert!(compared > 80, "{compared}");
}

/// Nothing but the figures may depend on them, and under compensation the choice between ways to fit a layer.
#[test]
fn images_held_back_are_not_fitted() {
    let mut judged = 0;
    for seed in 0..60 {
        let graph = fold(classifier(seed)).unwrap();
        let images = images(seed, &graph);
        let mut others = images.clone();
        for at in (0..IMAGES).filter(|at| at % 4 == 2) {
            others.pixels[at].iter_mut().for_each(|pixel| *pixel = !*pixel);
        }
        assert!(judging(&images).pixels.iter().all(|pixels| !others.pixels.contains(pixels)));
        let options = ConvertOptions {
            method: Method::ClosedForm,
            activation_bits: 4,
            range: RangeMethod::Output,
            channel_ranges: true,
            ..ConvertOptions::default()
        };
        let [one, two] = [&images, &others].map(|images| converted(&graph, images, &options));
        let (Ok(one), Ok(two)) = (one, two) else { continue };
        assert_eq!((&one.nodes, one.logit_scale), (&two.nodes, two.logit_scale), "seed {seed}");
        judged += usize::from(one.fidelity != two.fidelity);
    }
    assert!(judged > 20, "{judged}");
}

/// Images that count how often they are read.
struct Counted {
    images: PixelImages,
    reads: Vec<AtomicUsize>,
}

impl Images for Counted {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn pixels(&self, index: usize, preprocess: &Preprocess) -> Result<Vec<u8>> {
        self.reads[index].fetch_add(1, Ordering::Relaxed);
        self.images.pixels(index, preprocess)
    }

    fn label(&self, index: usize) -> Option<usize> {
        self.images.label(index)
    }

    fn name(&self, index: usize) -> String {
        self.images.name(index)
    }
}

#[test]
fn each_image_is_read_once() {
    let graph = fold(classifier(0)).unwrap();
    let pixels = images(0, &graph).pixels;
    let labels = vec![0; pixels.len()];
    let images = Counted {
        reads: pixels.iter().map(|_| AtomicUsize::new(0)).collect(),
        images: PixelImages { pixels, labels },
    };
    let options = ConvertOptions::default();
    let model = convert(graph.clone(), &preprocess(graph.input), &images, &options, &()).unwrap().model;
    let reads = || images.reads.iter().map(|reads| reads.swap(0, Ordering::Relaxed)).collect::<Vec<_>>();
    assert_eq!(reads(), [1; IMAGES]);
    assert!(eval::evaluate(&model, &images, Some(&graph), &()).unwrap().comparison.is_some());
    assert_eq!(reads(), [1; IMAGES]);
}

/// One to three images are too few to hold one back.
#[test]
fn few_images_are_fitted_and_judge() {
    let graph = fold(classifier(0)).unwrap();
    for (count, held_back) in [(1, 0), (3, 0), (4, 1), (10, 2)] {
        let images = images(0, &graph).spread(count);
        let conversion =
            convert(graph.clone(), &preprocess(graph.input), &images, &ConvertOptions::default(), &())
                .unwrap();
        assert_eq!((conversion.fitted, conversion.held_back), (count - held_back, held_back));
        let fidelity = conversion.model.fidelity.unwrap();
        let judging = if held_back > 0 { held_back } else { count };
        assert_eq!((fidelity.images, fidelity.held_back), (judging, held_back > 0));
        assert_eq!(fidelity.judgement.unwrap().images, judging);
    }
}

/// One convolution from pixels to logits: weights alone make the error.
fn single(group: usize) -> LayerFidelity {
    let input = Shape::new(3, 5, 5);
    let weight = Array4::from_shape_vec((6, 3, 5, 5), noise(6 * 75, 1)).unwrap();
    let conv = Conv { weight, gain: noise(6, 2), bias: noise(6, 3), window: Window::new([5, 5]), groups: 1 };
    let nodes = vec![
        Node { name: "input".into(), op: Op::Input, inputs: vec![] },
        Node { name: "conv".into(), op: Op::Conv(conv), inputs: vec![node_id(0)] },
    ];
    let graph = Graph { name: "single".into(), input, nodes: nodes.into(), output: node_id(1) };
    let precision = if group == 0 { Precision::int8() } else { Precision::ternary(group) };
    let overrides = vec![("conv".parse().unwrap(), precision)];
    let options = ConvertOptions { overrides, ..ConvertOptions::default() };
    let model = converted(&graph, &images(1, &graph), &options).unwrap();
    model.fidelity.unwrap().layers.remove(0)
}

#[test]
fn a_layer_on_pixels_has_the_error_of_its_weights() {
    for (group, weight) in [(0, 40.0..55.0), (4, 8.0..15.0)] {
        let layer = single(group);
        assert!(weight.contains(&layer.weight.unwrap()), "{layer:?}");
        assert!((layer.local.unwrap() - layer.cumulative.unwrap()).abs() < 0.1, "{layer:?}");
        assert_eq!((layer.rounding, layer.saturation), (None, 0.0));
    }
}

/// 1×1 kernels and larger ones have group sizes of their own, and the file says so.
#[test]
fn group_sizes_go_by_kernel() {
    let mut seen = [false; 2];
    for (seed, graph) in (0..600).map(|seed| (seed, classifier(seed))).chain([(1, turns())]) {
        if seen[1] && graph.name != "turns" {
            continue;
        }
        let graph = fold(graph).unwrap();
        let options = ConvertOptions {
            group: 2,
            spatial_group: Some(3),
            method: Method::ClosedForm,
            ..ConvertOptions::default()
        };
        let Ok(model) = converted(&graph, &images(seed, &graph), &options) else { continue };
        assert_eq!(model.provenance.options["group"], "2,3");
        for node in &model.nodes {
            let PackedOp::Conv(conv) = &node.op else { continue };
            let Some(group) = conv.weights.precision.group() else { continue };
            let spatial = conv.window.area() > 1;
            assert_eq!(group, if spatial { 3 } else { 2 });
            seen[usize::from(spatial)] = true;
        }
    }
    assert_eq!(seen, [true; 2]);
}

/// A network with large and small weights by turns in its one inner layer, a wide 1×1 convolution.
fn turns() -> Graph {
    let conv = |outputs: usize, inputs: usize, seed: u64| Conv {
        weight: Array4::from_shape_vec((outputs, inputs, 1, 1), noise(outputs * inputs, seed)).unwrap(),
        gain: vec![1.0; outputs],
        bias: noise(outputs, seed + 1),
        window: Window::new([1, 1]),
        groups: 1,
    };
    let mut middle = conv(12, 96, 3);
    for (channel, mut weights) in middle.weight.axis_iter_mut(ndarray::Axis(1)).enumerate() {
        weights.mapv_inplace(|weight| weight.signum() * [1.0, 0.6][channel % 2]);
    }
    let ops = [
        ("input", Op::Input),
        ("stem", Op::Conv(conv(96, 3, 1))),
        ("relu", Op::Unary(Unary::Relu)),
        ("middle", Op::Conv(middle)),
        ("mean", Op::GlobalAveragePool),
        ("logits", Op::Conv(conv(5, 12, 5))),
    ];
    let node = |(id, (name, op)): (usize, (&str, Op))| {
        let inputs = id.checked_sub(1).map(node_id).into_iter().collect();
        Node { name: name.into(), op, inputs }
    };
    let nodes = ops.into_iter().enumerate().map(node).collect();
    Graph { name: "turns".into(), input: Shape::new(3, 4, 4), nodes, output: node_id(5) }
}

/// Large and small weights by turns lose less once they no longer share groups, in not a byte more.
#[test]
fn channels_change_places_before_conversion() {
    let graph = turns();
    let images = images(1, &graph);
    let [ordered, kept] = [true, false].map(|reorder| {
        let options = ConvertOptions { method: Method::ClosedForm, reorder, ..ConvertOptions::default() };
        converted(&graph, &images, &options).unwrap()
    });
    let weight = |model: &PackedModel| {
        let layers = &model.fidelity.as_ref().unwrap().layers;
        layers.iter().find(|layer| model.nodes[layer.node].name == "middle").unwrap().weight.unwrap()
    };
    assert!(weight(&ordered) > 35.0 && weight(&kept) < 15.0, "{} {}", weight(&ordered), weight(&kept));
    let bytes = |model: &PackedModel| -> Vec<usize> {
        let of_node = |node: &PackedNode| match &node.op {
            PackedOp::Conv(conv) => conv.weights.codes.len() + conv.weights.scales.len(),
            _ => 0,
        };
        model.nodes.iter().map(of_node).collect()
    };
    assert_eq!(bytes(&ordered), bytes(&kept));
    assert_eq!(kept.provenance.options["reorder"], "false");
    assert!(!ordered.provenance.options.contains_key("reorder"));
}

/// Four bits leave 17 times coarser steps: 24 dB, where nothing between layers has steps of its own.
#[test]
fn coarser_activations_make_more_rounding_noise() {
    let (mut differences, all) = (Vec::new(), (".*".parse().unwrap(), Precision::int8()));
    for seed in 0..300 {
        let graph = fold(classifier(seed)).unwrap();
        if graph.nodes.iter().any(|node| matches!(node.op, Op::GroupNorm(_))) {
            continue;
        }
        let images = images(seed, &graph);
        let rule = |bits| vec![(".*".parse().unwrap(), ActivationRule::Bits(bits))];
        let figures = [8, 4].map(|bits| {
            let options = ConvertOptions {
                overrides: vec![all.clone()],
                rules: rule(bits),
                range: RangeMethod::MinMax,
                ..ConvertOptions::default()
            };
            converted(&graph, &images, &options).ok().and_then(|model| model.fidelity)
        });
        let [Some(eight), Some(four)] = figures else { continue };
        for (eight, four) in eight.layers.iter().zip(&four.layers) {
            let (Some(eight), Some(four)) = (eight.rounding, four.rounding) else { continue };
            differences.push(eight - four);
        }
    }
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    assert!(differences.len() > 40 && (mean - 24.6).abs() < 3.5, "{mean} of {}", differences.len());
}

/// A layer whose inputs never differ from zero still yields its bias.
#[test]
fn dead_inputs_leave_the_bias() {
    for seed in [151, 166] {
        let graph = fold(classifier(seed)).unwrap();
        let images = images(seed, &graph);
        let model = converted(&graph, &images, &options(&graph)).unwrap();
        let full = full_precision(&graph, &images);
        assert!(distance(&integer(&model, &images), &full) < 0.01 * rms(full.iter().copied()));
    }
}

/// Images that must not be read.
struct Untouched;

impl Images for Untouched {
    fn len(&self) -> usize {
        9
    }

    fn pixels(&self, _: usize, _: &Preprocess) -> Result<Vec<u8>> {
        panic!("an image is read before everything is checked")
    }

    fn label(&self, _: usize) -> Option<usize> {
        None
    }

    fn name(&self, index: usize) -> String {
        index.to_string()
    }
}

fn plan_of(layer: &str, weights: &str, activation_bits: u8) -> Plan {
    let layer = PlannedLayer {
        name: layer.into(),
        weights: weights.into(),
        activation_bits,
        ..PlannedLayer::default()
    };
    Plan { layers: vec![layer], ..Plan::default() }
}

#[test]
fn everything_is_refused_before_the_first_image_is_read() {
    let graph = classifier(151);
    let is_conv = |node: &&Node| matches!(node.op, Op::Conv(_));
    let layer = graph.nodes.iter().find(is_conv).unwrap().name.clone();
    let good = ConvertOptions::default;
    let none: Pattern = "none.*".parse().unwrap();
    let act = |rule| vec![(layer.parse().unwrap(), rule)];
    let wrong = [
        ConvertOptions { group: 0, ..good() },
        ConvertOptions { spatial_group: Some(0), ..good() },
        ConvertOptions { activation_bits: 99, ..good() },
        ConvertOptions { overrides: vec![(none.clone(), Precision::int8())], ..good() },
        ConvertOptions { rules: vec![(none, ActivationRule::Bits(4))], ..good() },
        ConvertOptions { rules: act(ActivationRule::Bits(99)), ..good() },
        ConvertOptions { rules: act(ActivationRule::Range(RangeMethod::Percentile(0.0))), ..good() },
        ConvertOptions { range: RangeMethod::Fixed(1.0, -1.0), ..good() },
        ConvertOptions { plan: Some(plan_of("none", "int8", 8)), ..good() },
        ConvertOptions { plan: Some(plan_of(&layer, "3 bits", 8)), ..good() },
        ConvertOptions { plan: Some(plan_of(&layer, "int8", 99)), ..good() },
    ];
    for options in wrong {
        let refused = convert(graph.clone(), &preprocess(graph.input), &Untouched, &options, &());
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Argument, "{options:?}");
    }
}

#[test]
fn patterns_and_options_are_checked() {
    let graph = classifier(151);
    let images = images(0, &graph);
    let message = |options: &ConvertOptions| converted(&graph, &images, options).unwrap_err().to_string();
    let none: Pattern = "none.*".parse().unwrap();
    let overrides = vec![(none.clone(), Precision::int8())];
    assert!(message(&ConvertOptions { overrides, ..ConvertOptions::default() }).contains("none.*"));
    let rules = vec![(none, ActivationRule::Bits(4))];
    assert!(message(&ConvertOptions { rules, ..ConvertOptions::default() }).contains("none.*"));
    assert!(message(&ConvertOptions { group: 0, ..ConvertOptions::default() }).contains("group size of 0"));
    let options = ConvertOptions { activation_bits: 9, ..ConvertOptions::default() };
    assert!(message(&options).contains("9 activation bits"));
    let none = PixelImages { pixels: vec![], labels: vec![] };
    let error = converted(&graph, &none, &ConvertOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Image);
}
