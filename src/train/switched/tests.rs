use super::*;
use crate::graph::arbitrary::{classifier, noise};
use crate::graph::{Interpreter, Node};
use crate::train::tape::{BatchValue, Tape};

const IMAGES: usize = 6;

fn images(graph: &Graph) -> BatchValue {
    (0..IMAGES as u64).map(|seed| noise(graph.input.len(), seed)).collect()
}

/// What full precision makes of the images.
fn observe(graph: &Graph) -> (Observation, BatchValue) {
    let interpreter = Interpreter::new(graph).unwrap();
    let count = graph.nodes.len();
    let mut histograms = Per::filled(Histogram::default(), count);
    let mut channels = interpreter.shapes().map(|shape| ChannelStatistics::none(shape.channels));
    for image in images(graph) {
        interpreter
            .observe(&image, |id, values| {
                histograms[id].extend(values);
                channels[id].merge(&ChannelStatistics::of(values, interpreter.shapes()[id]));
            })
            .unwrap();
    }
    let logits = images(graph).iter().map(|image| interpreter.run(image).unwrap()).collect();
    let observation = Observation {
        histograms: histograms.into_iter().map(Some).collect(),
        channels: channels.into_iter().map(Some).collect(),
    };
    (observation, logits)
}

/// Networks without other batch normalization, with their convolutions.
fn networks() -> impl Iterator<Item = (Graph, Vec<NodeId>)> {
    let is_conv = |node: &Node| matches!(node.op, Op::Conv(_));
    let is_norm = |node: &Node| matches!(node.op, Op::BatchNorm(_));
    let graphs = (0..60).map(classifier).filter(move |graph| !graph.nodes.iter().any(is_norm));
    graphs.map(move |graph| {
        let ids = graph.nodes.ids().filter(|&id| is_conv(&graph.nodes[id])).collect();
        (graph, ids)
    })
}

fn bits(weights: &[u8], activations: &[u8]) -> CandidateBits {
    CandidateBits { weights: weights.to_vec(), activations: activations.to_vec() }
}

fn logits(switched: &SwitchedNetwork, graph: &Graph) -> BatchValue {
    let tape = Tape::forward(&switched.network, images(graph), usize::MAX).unwrap();
    tape.outputs().into_iter().map(<[f32]>::to_vec).collect()
}

fn distance(a: &BatchValue, b: &BatchValue) -> f64 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    let squares: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
    squares / b.iter().flatten().map(|&b| f64::from(b).powi(2)).sum::<f64>().max(1e-9)
}

/// Before training more bits are nearer to full precision, and eight are near.
#[test]
fn a_switched_network_starts_at_full_precision() {
    let (mut near, mut ordered, mut compared) = (0, 0, 0);
    for (graph, convs) in networks().filter(|(_, convs)| !convs.is_empty()) {
        let (observation, wanted) = observe(&graph);
        let mut switched =
            SwitchedNetwork::new(&graph, &observation, &convs, bits(&[8, 2], &[8, 2])).unwrap();
        let distances = [0, 1].map(|width| {
            switched.switch(&vec![width; convs.len()]);
            distance(&logits(&switched, &graph), &wanted)
        });
        compared += 1;
        near += usize::from(distances[0] < 0.05);
        ordered += usize::from(distances[0] <= distances[1]);
    }
    assert!(
        compared > 10 && near * 10 >= compared * 8 && ordered * 10 >= compared * 9,
        "{near} {ordered} {compared}"
    );
}

#[test]
fn candidates_are_spread_over_the_widths() {
    let of = |bits: CandidateBits| (0..bits.widths()).map(|width| bits.of_width(width)).collect::<Vec<_>>();
    assert_eq!(of(bits(&[4, 3, 2], &[4, 3, 2])), [[0, 0], [1, 1], [2, 2]]);
    assert_eq!(of(bits(&[8, 4, 3, 2], &[8, 4])), [[0, 0], [1, 0], [2, 1], [3, 1]]);
    assert_eq!(of(bits(&[3], &[8, 4])), [[0, 0], [0, 1]]);
}

/// A pass moves what belongs to its widths alone: gamma and beta as differences say.
#[test]
fn every_width_has_its_own_normalization_and_steps() {
    let mut compared = 0;
    for (graph, convs) in networks().filter(|(_, convs)| !convs.is_empty()) {
        let (observation, _) = observe(&graph);
        let start = || SwitchedNetwork::new(&graph, &observation, &convs, bits(&[4, 3], &[4, 3])).unwrap();
        let widths: Vec<usize> = (0..convs.len()).map(|conv| conv % 2).collect();
        let loss = |switched: &SwitchedNetwork| -> f64 {
            let dot = |logits: &Vec<f32>| -> f64 {
                noise(logits.len(), 5).iter().zip(logits).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            logits(switched, &graph).iter().map(dot).sum()
        };
        let mut switched = start();
        switched.switch(&widths);
        let mut tape = Tape::forward(&switched.network, images(&graph), usize::MAX).unwrap();
        let seeds = tape.outputs().into_iter().map(|logits| noise(logits.len(), 5)).collect();
        let gradients = tape.backward(vec![(switched.network.layers.len() - 1, seeds)]).unwrap();
        switched.accumulate(&gradients, &widths);
        for (conv, &width) in switched.convs.iter().zip(&widths) {
            let other = 1 - width;
            assert!(conv.norms[other].iter().all(|sum| sum.gradient.iter().all(|&g| g == 0.0)));
            assert!(conv.steps.iter().all(|steps| steps.gradient[other] == 0.0));
        }
        // The last convolution: nothing behind it is rounded.
        let last = switched.convs.len() - 1;
        for which in 0..2 {
            let direction = noise(switched.convs[last].norms[widths[last]][which].values.len(), 9);
            let moved = |by: f32| {
                let mut moved = start();
                let values = &mut moved.convs[last].norms[widths[last]][which].values;
                values.iter_mut().zip(&direction).for_each(|(value, step)| *value += by * step);
                moved.switch(&widths);
                loss(&moved)
            };
            let gradient = &switched.convs[last].norms[widths[last]][which].gradient;
            let slope: f64 = gradient.iter().zip(&direction).map(|(a, b)| f64::from(a * b)).sum();
            let found = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            compared += usize::from((found - slope).abs() < 1e-2 * slope.abs().max(1.0));
        }
    }
    assert!(compared > 20, "{compared}");
}
