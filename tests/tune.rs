//! Training after conversion: it helps on images held back, never hurts, and is the same on any number of threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod broken;
mod digits;

use broken::Break;
use digits::network;
use fgq::{
    BlockError, ConvertOptions, Course, Epoch, Method, PixelImages, Progress, Reconstruction, Session,
    SwitchingStages, TuneOptions, Tuning, convert, tune,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Without labels.
fn images(count: usize) -> PixelImages {
    PixelImages { labels: Vec::new(), ..digits::images("train", count) }
}

/// Large groups without compensation leave something to learn.
fn options(course: Course) -> TuneOptions {
    let convert = ConvertOptions { group: 64, method: Method::ClosedForm, ..ConvertOptions::default() };
    TuneOptions { convert, course, ..TuneOptions::default() }
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
    let labelled = digits::images("train", 300);
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

#[test]
fn training_goes_on_from_a_checkpoint_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let reconstruction = Some(Reconstruction { epochs: 1, ..Reconstruction::default() });
    let course = Course { epochs: 4, reconstruction, ..course() };
    let straight = tuned(course.clone(), 2);
    assert_eq!(straight.curve.len(), 6);
    let options = TuneOptions { checkpoint: Some(folder.path().join("c")), ..options(course) };
    let (graph, preprocess) = network();
    let tuned = |options: &TuneOptions, progress: &dyn Progress| {
        tune(graph.clone(), &preprocess, &images(300), options, progress)
    };
    // 262 or so train: in the first epoch, and in later ones.
    for images in [100, 300, 700] {
        let progress = Break::after(images);
        assert!(catch_unwind(AssertUnwindSafe(|| tuned(&options, &progress))).is_err());
    }
    let resumed = tuned(&options, &()).unwrap();
    assert_eq!(resumed.curve, straight.curve);
    assert_eq!(resumed.blocks, straight.blocks);
    assert_eq!(resumed.conversion.model, straight.conversion.model);
    let other = Course { rate: 2e-3, ..options.course.clone() };
    let error = tuned(&TuneOptions { course: other, ..options }, &()).unwrap_err();
    assert!(error.to_string().contains("another training"), "{error}");
}

/// From codes of large groups without compensation blocks come closer to full precision on images held back.
#[test]
fn blocks_learn_what_full_precision_yields() {
    let reconstruction = Reconstruction { epochs: 6, rate: 3e-3, drop: 0.0, ..Reconstruction::default() };
    for drop in [0.0, 0.3] {
        let reconstruction = Some(Reconstruction { drop, ..reconstruction.clone() });
        let course = Course { epochs: 0, reconstruction, ..course() };
        let tuning = tuned(course.clone(), 2);
        assert!(tuning.blocks.len() > 1 && tuning.blocks.iter().all(|block| block.after <= block.before));
        let [before, after] = [|block: &BlockError| block.before, |block: &BlockError| block.after]
            .map(|of| tuning.blocks.iter().map(of).sum::<f64>());
        assert!(after < 0.9 * before, "{:?}", tuning.blocks);
        assert_eq!(tuning.is_improved, divergence(&tuning.curve[1]) < divergence(&tuning.curve[0]));
        let again = tuned(course, 1);
        assert_eq!((again.blocks, again.conversion.model), (tuning.blocks, tuning.conversion.model));
    }
    let (graph, preprocess) = network();
    let wrong = Some(Reconstruction { drop: 1.5, ..reconstruction });
    let options = options(Course { reconstruction: wrong, ..course() });
    let error = tune(graph, &preprocess, &images(300), &options, &()).unwrap_err();
    assert!(error.to_string().contains("drop"), "{error}");
}

/// Three planes, of which one reads 2 bits.
fn switching(course: Course) -> TuneOptions {
    let convert = ConvertOptions {
        nested: Some("ternary:64*3".parse().unwrap()),
        nested_activations: vec![2, 3, 4],
        ..ConvertOptions::default()
    };
    TuneOptions { convert, course, ..TuneOptions::default() }
}

#[test]
fn all_widths_learn_together_and_go_on_from_a_checkpoint() {
    let (graph, preprocess) = network();
    let course = Course { epochs: 8, rate: 2e-3, ..course() };
    let images = images(300);
    let tuned = |options: &TuneOptions, progress: &dyn Progress, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| tune(graph.clone(), &preprocess, &images, options, progress).unwrap())
    };
    let straight = tuned(&switching(course.clone()), &(), 2);
    let divergences: Vec<f64> = straight.curve.iter().map(divergence).collect();
    let best = divergences.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(straight.is_improved && best < 0.8 * divergences[0], "{divergences:?}");
    let model = &straight.conversion.model;
    let switching_layers = model.switching_layers().count();
    assert!(switching_layers > 3 && model.provenance.options["tuned_stages"] == "0.1,0.5");
    // Every width answers on images that took no part.
    let test = digits::images("test", 200);
    let mut session = Session::new(model).unwrap();
    for (width, least) in [(1, 75), (2, 90), (3, 90)] {
        session.set_bits(None, width).unwrap();
        let logits = session.run(&test.pixels.concat()).unwrap();
        let right = (0..200).filter(|&image| logits.top(image, 1)[0] == test.labels[image]).count();
        assert!(100 * right >= least * 200, "{right} of 200 with {width} planes");
    }
    let folder = tempfile::tempdir().unwrap();
    let options = TuneOptions { checkpoint: Some(folder.path().join("c")), ..switching(course) };
    let broken = Break::after(1000);
    assert!(catch_unwind(AssertUnwindSafe(|| tuned(&options, &broken, 2))).is_err());
    let resumed = tuned(&options, &(), 1);
    assert_eq!(resumed.curve, straight.curve);
    assert_eq!(resumed.conversion.model, straight.conversion.model);
}

#[test]
fn what_a_network_that_switches_cannot_learn_is_refused() {
    let (graph, preprocess) = network();
    let refused = |options: TuneOptions, part: &str| {
        let error = tune(graph.clone(), &preprocess, &images(100), &options, &()).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    };
    let blocks = Course { reconstruction: Some(Reconstruction::default()), ..course() };
    refused(switching(blocks), "reconstruction");
    let stages = SwitchingStages { activations: 0.5, uniform: 0.2 };
    refused(TuneOptions { stages, ..switching(course()) }, "stages");
}
