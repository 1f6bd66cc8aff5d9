use super::*;
use crate::convert::{ConvertOptions, NestedFitted};
use crate::data::PixelImages;
use crate::format::arbitrary::preprocess;
use crate::graph::arbitrary::{Choices, classifier, noise};
use crate::pack::pack_graph;
use crate::precision::Precision;
use crate::train::simulate::tests::{compare, images};

/// Networks that switch, at all their widths and pairs.
fn each_network(mut visit: impl FnMut(NestedGraph, &Graph, &PixelImages)) {
    let mut networks = 0;
    for seed in 0..40 {
        let graph = classifier(seed);
        let (preprocess, images) = (preprocess(graph.input), images(seed, &graph));
        let planes = 2 + (seed % 2) as usize;
        let nested: Precision = format!("ternary:4*{planes}").parse().unwrap();
        let bits = if seed % 4 < 2 { vec![3, 5, 8] } else { Vec::new() };
        let convs = graph.nodes.iter().filter(|node| matches!(node.op, Op::Conv(_))).skip(1);
        let overrides = convs.map(|conv| (conv.name.parse().unwrap(), nested)).collect();
        let options = ConvertOptions {
            nested: Some(nested),
            nested_activations: bits.into_iter().take(planes).collect(),
            overrides,
            ..ConvertOptions::default()
        };
        if let Ok(fitted) = NestedFitted::new(graph, &preprocess, &images, &options, &()) {
            visit(fitted.nested, &fitted.full.graph, &images);
            networks += 1;
        }
    }
    assert!(networks > 10, "{networks}");
}

/// At every width and pair it computes what the integer runtime does, and without training nothing changes but the
/// precision of gains and biases.
#[test]
fn every_variant_is_simulated() {
    each_network(|nested, trained, images| {
        let mut student = NestedStudent::new(&nested, trained, SwitchingStages::default(), 0);
        let refined = student.refined(&nested);
        assert_eq!(refined.variants.len(), nested.variants.len());
        for after in &refined.variants {
            let graph = &after.graph;
            for (id, node) in graph.nodes.enumerate() {
                let before = nested.before[id].map_or(0, |before| after.places[before]);
                let pair = [before, after.places[id]];
                // What depends on no width is that of all planes.
                let varies = nested.keys(id) != [1, 1];
                let variant = if varies { nested.with_pair(id, pair).unwrap() } else { nested.widths - 1 };
                let before = &nested.variants[variant].graph.nodes[id];
                let (QuantizedOp::Conv(before), QuantizedOp::Conv(after)) = (&before.op, &node.op) else {
                    continue;
                };
                assert_eq!(before.weights, after.weights);
                let largest = before.bias.iter().fold(0.0f64, |largest, bias| largest.max(bias.abs()));
                let mut biases = before.bias.iter().zip(&after.bias);
                assert!(biases.all(|(a, b)| (a - b).abs() <= 1e-5 * largest), "{} {pair:?}", node.name);
            }
            for &[copy, reader] in &nested.copies {
                let before = &nested.variants[after.places[reader]].graph.nodes[copy].quantizer;
                let found = &graph.nodes[copy].quantizer;
                assert_eq!((before.max, before.zero_point), (found.max, found.zero_point));
                assert!((before.scale / found.scale - 1.0).abs() < 1e-6);
            }
            let places = after.places.clone();
            student.take(DrawnWidths { weights: places.clone(), activations: places });
            let model = pack_graph(graph, &preprocess(graph.input)).unwrap();
            images
                .pixels
                .iter()
                .take(2)
                .for_each(|pixels| compare(graph, &student.simulation, &model, pixels));
        }
    });
}

/// Widths come from high to low in the whole network, with all planes at first; in the end a layer has a random width every
/// other time.
#[test]
fn stages_follow_one_another() {
    each_network(|nested, trained, _| {
        let stages = SwitchingStages { activations: 0.2, uniform: 0.6 };
        let mut student = NestedStudent::new(&nested, trained, stages, 7);
        let (widths, own) = (nested.widths, nested.own.clone());
        let mut random = 0;
        let draws = 600;
        for draw in 0..draws {
            let progress = draw as f64 / draws as f64;
            student.refresh(progress);
            let DrawnWidths { weights, activations } = &student.drawn;
            let uniform = widths - 1 - draw % widths;
            let others = |places: &PerOperator<usize>, of: usize| {
                own.iter().filter(|&&layer| places[layer] != of).count()
            };
            if progress < 0.2 {
                assert_eq!([others(weights, widths - 1), others(activations, uniform)], [0, 0]);
            } else if progress < 0.6 {
                assert_eq!([others(weights, uniform), others(activations, uniform)], [0, 0]);
            } else {
                random += others(weights, uniform);
            }
        }
        // A quarter is drawn on average, of which one in `widths` is the uniform width again.
        let expected = 0.4 * draws as f64 * own.len() as f64 / 4.0 * (1.0 - 1.0 / widths as f64);
        assert!((random as f64 / expected - 1.0).abs() < 0.5, "{random} instead of {expected}");
    });
}

/// Gains and biases in use depend on those of the width and on what the pair changes: differences against gradients.
#[test]
fn gradients_of_pairs_equal_differences() {
    each_network(|nested, trained, _| {
        let mut student = NestedStudent::new(&nested, trained, SwitchingStages::default(), 0);
        let mut seed = 0;
        for layer in &mut student.layers {
            let mut real = |count: usize| {
                seed += 1;
                noise(count, seed)
            };
            let channels = layer.uniform[0].gain.len();
            for affine in layer.uniform.iter_mut().chain(&mut layer.pairs) {
                *affine = ChannelAffine { gain: real(channels), bias: real(channels) };
            }
            let (affines, widths) = (layer.uniform.len() + layer.pairs.len(), nested.widths);
            let gradient = [real(layer.arrangement.len()), real(channels), real(channels)];
            for variant in &nested.variants {
                let places = &variant.places;
                let value = |layer: &NestedLayer| {
                    let found = layer.affine(places);
                    let dot =
                        |values: &[f32], dy: &[f32]| values.iter().zip(dy).map(|(v, d)| v * d).sum::<f32>();
                    dot(&found.gain, &gradient[1]) + dot(&found.bias, &gradient[2])
                };
                let before = value(layer);
                let learned = layer.learned(places, gradient.clone()).into_iter().take(2 * affines);
                let gradients: Vec<Vec<f32>> = learned.map(|it| it.gradient).collect();
                for (tensor, gradients) in gradients.iter().enumerate() {
                    // The diagonal of pairs stays nothing.
                    let pair = (tensor / 2).checked_sub(widths);
                    if pair.is_some_and(|pair| pair / widths == pair % widths) {
                        assert!(gradients.iter().all(|&gradient| gradient == 0.0));
                        continue;
                    }
                    for (channel, gradient) in gradients.iter().enumerate() {
                        let moved = |layer: &mut NestedLayer, by: f32| {
                            let nothing = gradient_of_nothing(layer);
                            layer.learned(places, nothing)[tensor].values[channel] += by;
                        };
                        moved(layer, 0.5);
                        let difference = (value(layer) - before) / 0.5;
                        moved(layer, -0.5);
                        assert!((difference - gradient).abs() < 1e-3, "{difference} instead of {gradient}");
                    }
                }
            }
        }
    });
}

fn gradient_of_nothing(layer: &NestedLayer) -> [Vec<f32>; 3] {
    let channels = layer.uniform[0].gain.len();
    [layer.arrangement.len(), channels, channels].map(|count| vec![0.0; count])
}

/// What a checkpoint holds brings everything back, the widths to come too.
#[test]
fn tensors_bring_everything_back() {
    each_network(|nested, trained, _| {
        let student = |seed| NestedStudent::new(&nested, trained, SwitchingStages::default(), seed);
        let (mut first, mut second) = (student(1), student(1));
        let mut choices = Choices(3);
        for _ in 0..5 {
            first.refresh(0.9);
            let gradients = first.network().layers.iter().map(|layer| {
                let parameters = layer.function.parameters().into_iter();
                parameters.map(|(_, values)| noise(values.len(), choices.next())).collect()
            });
            let gradients: Gradients = gradients.collect::<Vec<_>>().into_iter().collect();
            for learned in first.learned(gradients) {
                learned
                    .values
                    .iter_mut()
                    .zip(learned.gradient)
                    .for_each(|(value, dy)| *value += 0.01 * dy.abs());
            }
        }
        second.set(&first.tensors()).unwrap();
        assert_eq!(second.tensors(), first.tensors());
        for _ in 0..3 {
            first.refresh(1.0);
            second.refresh(1.0);
            assert_eq!(first.drawn.weights, second.drawn.weights);
        }
        let [a, b] = [&mut first, &mut second].map(|student| student.refined(&nested));
        for (a, b) in a.variants.iter().zip(&b.variants) {
            let packed = |graph: &QuantizedGraph| pack_graph(graph, &preprocess(graph.input)).unwrap().nodes;
            assert_eq!(packed(&a.graph), packed(&b.graph));
        }
        let tensors = first.tensors();
        assert!(second.set(&tensors[1..]).is_err() && second.set(&tensors[..2]).is_err());
    });
}

#[test]
fn stages_that_end_before_they_begin_are_refused() {
    let stages = |activations: f64, uniform: f64| SwitchingStages { activations, uniform };
    assert!(stages(0.0, 0.0).check().is_ok() && stages(0.3, 1.0).check().is_ok());
    for wrong in [stages(0.5, 0.4), stages(-0.1, 0.5), stages(0.1, 1.1), stages(f64::NAN, 0.5)] {
        assert!(wrong.check().is_err(), "{wrong}");
    }
}
