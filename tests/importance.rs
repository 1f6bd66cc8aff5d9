//! Learned importance: layers are ordered as by the damage that is measured, and threads change nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod digits;

use digits::network;
use fgq::{
    Course, Indicator, IndicatorOptions, Indicators, LayerIndicators, PixelImages, Precision, indicate,
};
use std::collections::BTreeSet;

/// Without labels.
fn images(count: usize) -> PixelImages {
    PixelImages { labels: Vec::new(), ..digits::images("train", count) }
}

const BITS: [u8; 3] = [4, 3, 2];

fn options(indicator: Indicator, course: Course) -> IndicatorOptions {
    IndicatorOptions {
        indicator,
        precisions: BITS.map(Precision::int).to_vec(),
        activation_bits: BITS.to_vec(),
        course,
        ..IndicatorOptions::default()
    }
}

fn found(count: usize, options: &IndicatorOptions, threads: usize) -> Indicators {
    let (graph, preprocess) = network();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let known = Indicators::default();
    pool.install(|| {
        indicate(graph, &preprocess, &images(count), options, known, &mut |_| Ok(()), &()).unwrap()
    })
}

fn course(epochs: usize) -> Course {
    Course { epochs, flips: false, ..Course::joint() }
}

fn ranks(figures: &[f64]) -> Vec<f64> {
    figures.iter().map(|a| figures.iter().filter(|b| *b < a).count() as f64).collect()
}

/// Spearman's rank correlation.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (ma, mb) = (mean(&a), mean(&b));
    let product = |x: &[f64], mx: f64, y: &[f64], my: f64| {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>()
    };
    product(&a, ma, &b, mb) / (product(&a, ma, &a, ma) * product(&b, mb, &b, mb)).sqrt()
}

/// The two layers whose figures are largest.
fn first_two(figures: &[f64]) -> BTreeSet<usize> {
    let ranks = ranks(figures);
    (0..figures.len()).filter(|&layer| ranks[layer] >= (figures.len() - 2) as f64).collect()
}

#[test]
fn layers_are_ordered_as_divergence_orders_them() {
    let of = |indicator: Indicator, count: usize, epochs: usize| {
        found(count, &options(indicator, course(epochs)), 2)
    };
    let (steps, damage) = (of(Indicator::Learned, 240, 1), of(Indicator::LearnedDamage, 500, 2));
    let measured = of(Indicator::Divergence, 256, 1);
    let inner = &measured.layers[..measured.layers.len() - 1];
    assert!(steps.complete && steps.learned && damage.learned && !measured.learned);
    let names =
        |layers: &[LayerIndicators]| layers.iter().map(|layer| layer.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&steps.layers), names(inner), "all but the first convolution and the classifier");
    for layer in steps.layers.iter().chain(&damage.layers) {
        assert!(layer.weight["int2"] > layer.weight["int3"] && layer.activation["2"] > layer.activation["3"]);
    }
    let weights = |layers: &[LayerIndicators], name: &str| -> Vec<f64> {
        layers.iter().map(|layer| layer.weight[name]).collect()
    };
    for name in ["int2", "int3", "int4"] {
        let alike = correlation(&weights(&steps.layers, name), &weights(inner, name));
        assert!(alike > 0.5, "{name}: {alike}");
    }
    assert_eq!(first_two(&weights(&damage.layers, "int2")), first_two(&weights(inner, "int2")));
}

#[test]
fn threads_change_nothing_and_seeds_do() {
    let options = |seed: u64| options(Indicator::Learned, Course { seed, ..course(1) });
    let one = found(80, &options(0), 1);
    assert_eq!(found(80, &options(0), 2), one);
    assert_ne!(found(80, &options(1), 2).layers, one.layers);
    // Nor does the order of candidates, or one that is there twice.
    let mut turned = options(0);
    turned.precisions.reverse();
    turned.activation_bits.push(2);
    assert_eq!(found(80, &turned, 2).layers, one.layers);
}

#[test]
fn what_cannot_be_learned_is_refused() {
    let (graph, preprocess) = network();
    let refused = |options: IndicatorOptions| {
        let known = Indicators::default();
        let save = &mut |_: &Indicators| Ok(());
        indicate(graph.clone(), &preprocess, &images(8), &options, known, save, &()).unwrap_err().to_string()
    };
    let learned = || options(Indicator::Learned, course(1));
    for precision in ["ternary:4", "int4:8", "pow2:3"] {
        let precisions = vec![precision.parse().unwrap()];
        let message = refused(IndicatorOptions { precisions, ..learned() });
        assert!(message.contains("no single step") && message.contains(precision), "{message}");
    }
    let message = refused(IndicatorOptions { course: Course { epochs: 0, ..course(1) }, ..learned() });
    assert!(message.contains("`epochs = 0`"), "{message}");
}
