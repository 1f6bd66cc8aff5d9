//! Learned precision: budgets hold or nothing is made, and what is made runs as it was learned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod broken;
mod digits;

use broken::Break;
use digits::{images, network};
use fgq::{
    Course, LearnOptions, Learning, MemoryBudgets, Parametrization, PixelImages, Session, Summary, learn,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The network has 74 208 weights and tensors of up to 1024 values.
const BUDGETS: MemoryBudgets =
    MemoryBudgets { weights: Some(20_000), largest_activation: Some(512), activations: None };

fn options(epochs: usize) -> LearnOptions {
    let defaults = LearnOptions::default();
    let course = Course { epochs, batch: 16, rate: 2e-2, flips: false, mix: 0.0, ..defaults.course };
    LearnOptions { course, budgets: BUDGETS, ..defaults }
}

fn learned(options: &LearnOptions, threads: usize) -> fgq::Result<Learning> {
    let (graph, preprocess) = network();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| learn(graph, &preprocess, &images("train", 400), options, &()))
}

#[test]
fn budgets_hold_and_digits_are_still_read() {
    let learning = learned(&options(12), 2).unwrap();
    let (conversion, memory) = learning.best.unwrap();
    assert!(memory.is_within(&BUDGETS), "{memory:?}");
    assert!(!learning.curve[0].memory.is_within(&BUDGETS) && learning.curve.len() == 12);
    let model = conversion.model;
    let summary = Summary::new(&model, 0).unwrap();
    let codes: usize = summary.layers.iter().map(|layer| layer.bytes.codes).sum();
    assert_eq!(codes as u64, memory.weights);
    let shapes = model.shapes().unwrap();
    let inner = model.nodes.iter().zip(&shapes).skip(1).take(model.nodes.len() - 2);
    let bits = |max: u8| u64::from(u8::BITS - max.leading_zeros());
    let bytes = |(node, shape): (&fgq::PackedNode, &fgq::Shape)| {
        (shape.len() as u64 * bits(node.quantizer.max)).div_ceil(8)
    };
    assert_eq!(inner.clone().map(bytes).max().unwrap(), memory.largest_activation);
    assert_eq!(inner.map(bytes).sum::<u64>(), memory.activations);
    let steps = model.nodes.iter().skip(1).take(model.nodes.len() - 2).map(|node| node.quantizer.scale);
    assert!(steps.clone().all(|step| step.log2().fract() == 0.0), "{:?}", steps.collect::<Vec<_>>());
    assert_eq!(model.provenance.options["learned_max_weights"], "20000");
    let test = images("test", 500);
    let logits = Session::new(&model).unwrap().run(&test.pixels.concat()).unwrap();
    let right = (0..500).filter(|&image| logits.top(image, 1)[0] == test.labels[image]).count();
    assert!(right > 470, "{right} of 500");
}

#[test]
fn threads_change_nothing_and_seeds_do() {
    let options = options(2);
    let curve = |options: &LearnOptions, threads| learned(options, threads).unwrap().curve;
    let one = curve(&options, 1);
    assert_eq!(one, curve(&options, 2));
    let other = LearnOptions { course: Course { seed: 1, ..options.course.clone() }, ..options };
    assert_ne!(one, curve(&other, 2));
}

#[test]
fn what_no_epoch_holds_makes_no_model() {
    let budgets = MemoryBudgets { weights: Some(1000), ..BUDGETS };
    let learning = learned(&LearnOptions { budgets, ..options(1) }, 2).unwrap();
    assert!(learning.best.is_none() && learning.curve.len() == 1);
}

#[test]
fn fixed_bits_stay_in_every_parametrization() {
    for parametrization in [Parametrization::U3, Parametrization::P3] {
        let options = LearnOptions {
            fixed: Some([3, 5]),
            parametrization,
            budgets: MemoryBudgets::default(),
            ..options(1)
        };
        let (conversion, _) = learned(&options, 2).unwrap().best.unwrap();
        let layers = Summary::new(&conversion.model, 0).unwrap().layers;
        let expected = if parametrization == Parametrization::U3 { "int3" } else { "pow2:3" };
        assert!(layers.iter().all(|layer| layer.precision.to_string() == expected));
        let bits: Vec<u8> = layers.iter().map(|layer| layer.input_bits).collect();
        assert_eq!(bits, [8, 5, 5, 5, 5, 5, 5, 5]);
    }
}

#[test]
fn every_parametrization_learns() {
    for parametrization in Parametrization::ALL {
        let options = LearnOptions { parametrization, budgets: MemoryBudgets::default(), ..options(2) };
        let curve = learned(&options, 2).unwrap().curve;
        let [first, second] = [0, 1].map(|epoch| curve[epoch].epoch.loss.unwrap());
        assert!(second < first, "{parametrization}: {curve:?}");
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let refused = |options: LearnOptions| learned(&options, 2).unwrap_err().to_string();
    for (fixed, parametrization, word) in [
        ([1, 4], Parametrization::U3, "give 2 to 8"),
        ([9, 4], Parametrization::U1, "give 2 to 8"),
        ([5, 4], Parametrization::P3, "give 2 to 4"),
        ([4, 1], Parametrization::P3, "activations of 1 bits"),
        ([4, 9], Parametrization::U2, "activations of 9 bits"),
    ] {
        let message = refused(LearnOptions { fixed: Some(fixed), parametrization, ..options(1) });
        assert!(message.contains(word), "{message}");
    }
    assert!(refused(LearnOptions { smoothing: 1.0, ..options(1) }).contains("`smoothing = 1`"));
    assert!(refused(LearnOptions { smoothing: f64::NAN, ..options(1) }).contains("`smoothing"));
    let nothing = LearnOptions { labels: false, imitates: false, ..options(1) };
    assert!(refused(nothing).contains("nothing to learn from"));
    assert!(refused(options(0)).contains("`epochs = 0`"));
    let (graph, preprocess) = network();
    let unlabelled = PixelImages { labels: Vec::new(), ..images("train", 40) };
    let error = learn(graph.clone(), &preprocess, &unlabelled, &options(1), &()).unwrap_err();
    assert!(error.to_string().contains("has no label"), "{error}");
    let few = images("train", 3);
    let error = learn(graph, &preprocess, &few, &options(1), &()).unwrap_err();
    assert!(error.to_string().contains("too few images"), "{error}");
}

/// With budgets, so that bits are free at first and stay later.
#[test]
fn learning_goes_on_from_a_checkpoint_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let straight = learned(&options(4), 2).unwrap();
    let options = LearnOptions { checkpoint: Some(folder.path().join("c")), ..options(4) };
    let (graph, preprocess) = network();
    // 350 are learned from: in the first epoch, and in later ones.
    for seen in [100, 500, 1200] {
        let progress = Break::after(seen);
        let broken = || learn(graph.clone(), &preprocess, &images("train", 400), &options, &progress);
        assert!(catch_unwind(AssertUnwindSafe(broken)).is_err());
    }
    assert!(options.checkpoint.as_ref().unwrap().exists());
    let resumed = learned(&options, 2).unwrap();
    assert_eq!(resumed.curve, straight.curve);
    let model = |learning: Learning| learning.best.map(|(conversion, _)| conversion.model);
    assert_eq!(model(resumed), model(straight));
    let budgets = MemoryBudgets { weights: Some(30_000), ..BUDGETS };
    let error = learned(&LearnOptions { budgets, ..options }, 2).unwrap_err();
    assert!(error.to_string().contains("another training"), "{error}");
}
