//! Training after conversion: it helps on images held back, never hurts, and is the same on any number of threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fgq::{
    Channels, ConvertOptions, Course, Epoch, Graph, LoadOptions, Method, PixelImages, Preprocess,
    TuneOptions, Tuning, convert, load, tune,
};
use safetensors::SafeTensors;
use std::path::PathBuf;

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/digits").join(path)
}

fn network() -> (Graph, Preprocess) {
    let graph = load(&fixture("digits-resnet.onnx"), &LoadOptions::default()).unwrap().graph;
    let defaults = Preprocess::default_for(1, 8, 8).unwrap();
    (graph, Preprocess { mean: vec![0.3053], std: vec![0.3758], channels: Channels::Grey, ..defaults })
}

fn images(count: usize) -> PixelImages {
    let bytes = std::fs::read(fixture("digits.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let pixels =
        file.tensor("train_images").unwrap().data().chunks(64).take(count).map(<[u8]>::to_vec).collect();
    PixelImages { pixels, labels: Vec::new() }
}

/// Large groups without compensation leave something to learn.
fn options(course: Course) -> TuneOptions {
    let convert = ConvertOptions { group: 64, method: Method::ClosedForm, ..ConvertOptions::default() };
    TuneOptions { convert, course, labels: false }
}

fn tuned(course: Course, threads: usize) -> Tuning {
    let (graph, preprocess) = network();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| tune(graph, &preprocess, &images(300), &options(course), &()).unwrap())
}

fn course() -> Course {
    Course { epochs: 6, rate: 1e-3, weight_rate: 1.0, flips: false, ..Course::default() }
}

fn divergence(epoch: &Epoch) -> f64 {
    epoch.judgement.unwrap().divergence
}

#[test]
fn images_held_back_agree_more_and_threads_change_nothing() {
    let tuning = tuned(course(), 2);
    let best = tuning.curve.iter().map(divergence).fold(f64::INFINITY, f64::min);
    assert!(tuning.is_improved && best < 0.8 * divergence(&tuning.curve[0]), "{:?}", tuning.curve);
    // What was measured layer by layer is the tuned model.
    let fidelity = tuning.conversion.model.fidelity.as_ref().unwrap();
    assert_eq!(fidelity.judgement.unwrap().divergence, best);
    assert_eq!(tuning.conversion.model.provenance.options["tuned_epochs"], "6");
    let again = tuned(course(), 1);
    assert_eq!(again.conversion.model, tuning.conversion.model);
    assert_eq!(again.curve, tuning.curve);
}

#[test]
fn what_training_spoils_stays_as_it_was_converted() {
    let tuning = tuned(Course { epochs: 1, rate: 0.5, ..course() }, 2);
    assert!(!tuning.is_improved && divergence(&tuning.curve[1]) > divergence(&tuning.curve[0]));
    let (graph, preprocess) = network();
    let options = options(course()).convert;
    let converted = convert(graph, &preprocess, &images(300), &options, &()).unwrap().model;
    assert_eq!(tuning.conversion.model, converted);
}

/// Labels change what is learned, and are asked for before the work begins.
#[test]
fn labels_are_learned_too() {
    let (graph, preprocess) = network();
    let course = Course { epochs: 1, rate: 1e-3, ..course() };
    let options = TuneOptions { labels: true, ..options(course.clone()) };
    let bytes = std::fs::read(fixture("digits.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let classes = file.tensor("train_labels").unwrap();
    let labels = classes.data().iter().take(300).map(|&class| usize::from(class)).collect();
    let labelled = PixelImages { labels, ..images(300) };
    let with = tune(graph.clone(), &preprocess, &labelled, &options, &()).unwrap().curve;
    assert!(with[1].loss.unwrap() > tuned(course, 2).curve[1].loss.unwrap());
    let error = tune(graph, &preprocess, &images(300), &options, &()).unwrap_err();
    assert!(error.to_string().contains("has no label"), "{error}");
    let (graph, preprocess) = network();
    let error =
        tune(graph, &preprocess, &images(3), &TuneOptions { labels: false, ..options }, &()).unwrap_err();
    assert!(error.to_string().contains("too few images"), "{error}");
}

#[test]
fn seeds_matter_and_repeat() {
    let curve = |seed: u64| tuned(Course { epochs: 1, seed, ..course() }, 2).curve;
    assert_eq!(curve(1), curve(1));
    assert_ne!(curve(1), curve(2));
}
