//! Random networks through the whole pipeline, compared with full precision.

use super::*;
use crate::data::{PixelImages, normalise};
use crate::format::arbitrary::preprocess;
use crate::graph::arbitrary::{Choices, classifier};
use crate::graph::{Interpreter, evaluate};
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

/// Full precision but for every value, which is rounded to 256 steps of its range.
fn rounded(graph: &Graph, images: &PixelImages) -> Vec<f64> {
    let shapes = graph.shapes().unwrap();
    let mut values: HashMap<NodeId, Vec<Vec<f32>>> = HashMap::new();
    for (id, node) in graph.nodes.iter().enumerate() {
        let mut exact = if id == 0 {
            inputs(graph, images)
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

#[test]
fn explore() {
    let mut worst = Vec::new();
    let mut errors = std::collections::BTreeMap::<String, usize>::new();
    for seed in 0..400 {
        let graph = fold(classifier(seed)).unwrap();
        let images = images(seed, &graph);
        match convert(graph.clone(), &preprocess(graph.input), &images, &options(&graph), &()) {
            Ok(conversion) => {
                let full = full_precision(&graph, &images);
                let size = rms(full.iter().copied());
                let error = distance(&integer(&conversion.model, &images), &full) / size;
                let expected = distance(&rounded(&graph, &images), &full) / size;
                worst.push((error / (expected + 0.005), seed, error, expected));
            }
            Err(error) => *errors.entry(error.to_string()).or_default() += 1,
        }
    }
    worst.sort_by(|a, b| b.0.total_cmp(&a.0));
    for w in worst.iter().take(40) {
        println!("{w:?}");
    }
    println!("median {:?} n {}", worst[worst.len() / 2], worst.len());
    println!("{errors:#?}");
}

#[test]
fn show() {
    let seed: u64 = std::env::var("SEED").unwrap().parse().unwrap();
    let graph = fold(classifier(seed)).unwrap();
    let images = images(seed, &graph);
    let shapes = graph.shapes().unwrap();
    for (n, s) in graph.nodes.iter().zip(&shapes) {
        let text = format!("{:?}", n.op);
        println!("{} {:?} {s} {}", n.name, n.inputs, &text[..text.len().min(700)]);
    }
    let c = convert(graph.clone(), &preprocess(graph.input), &images, &options(&graph), &()).unwrap();
    for n in &c.model.nodes {
        let text = format!("{:?}", n.op);
        println!("{} {:?} {:?} {}", n.name, n.inputs, n.quantizer, &text[..text.len().min(900)]);
    }
    println!("{:?}", full_precision(&graph, &images));
    println!("{:?}", integer(&c.model, &images));
    println!("{:?}", rounded(&graph, &images));
}
