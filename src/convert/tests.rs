//! Random networks through the whole pipeline, compared with full precision.

use super::*;
use crate::data::{PixelImages, normalise};
use crate::format::arbitrary::preprocess;
use crate::graph::arbitrary::{Choices, classifier};
use crate::graph::{Interpreter, Op, evaluate};
use crate::runtime::Session;
use std::collections::HashMap;

const IMAGES: usize = 6;

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
    for (id, node) in graph.nodes.iter().enumerate() {
        let mut exact = if id == 0 {
            inputs(&graph, images)
        } else {
            let one = |image: usize| {
                let inputs: Vec<_> =
                    node.inputs.iter().map(|i| (values[i][image].as_slice(), shapes[*i])).collect();
                evaluate(&node.op, &inputs, shapes[id]).unwrap()
            };
            (0..IMAGES).map(one).collect()
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
    let all = (".*".parse().unwrap(), Precision::Int8);
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
            activation_bits: [4, 8][seed as usize % 2],
            ..ConvertOptions::default()
        };
        let [one, three] = pools.each_ref().map(|pool| pool.install(|| converted(&graph, &images, &options)));
        let (Ok(one), Ok(three)) = (one, three) else { continue };
        assert_eq!(one.to_bytes().unwrap(), three.to_bytes().unwrap());
        assert!(integer(&one, &images).iter().all(|logit| logit.is_finite()));
    }
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

#[test]
fn patterns_and_options_are_checked() {
    let graph = classifier(151);
    let images = images(0, &graph);
    let message = |options: &ConvertOptions| converted(&graph, &images, options).unwrap_err().to_string();
    let none: Pattern = "none.*".parse().unwrap();
    let overrides = vec![(none.clone(), Precision::Int8)];
    assert!(message(&ConvertOptions { overrides, ..ConvertOptions::default() }).contains("none.*"));
    let rules = vec![(none, ActivationRule::Bits(4))];
    assert!(message(&ConvertOptions { rules, ..ConvertOptions::default() }).contains("none.*"));
    assert!(message(&ConvertOptions { group: 0, ..ConvertOptions::default() }).contains("group size of 0"));
    let options = ConvertOptions { activation_bits: 5, ..ConvertOptions::default() };
    assert!(message(&options).contains("5 activation bits"));
    let none = PixelImages { pixels: vec![], labels: vec![] };
    let error = converted(&graph, &none, &ConvertOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Image);
}
