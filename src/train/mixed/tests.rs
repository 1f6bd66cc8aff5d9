use super::*;
use crate::calibrate::RangeMethod;
use crate::data::PixelImages;
use crate::format::arbitrary::preprocess;
use crate::format::{Channels, Preprocess};
use crate::graph::arbitrary::{Choices, classifier};
use crate::graph::{Graph, Interpreter};
use crate::pack::pack_graph;
use crate::prepare::{Calibration, Draft, Prepared};
use crate::quantize::Structure;
use crate::runtime::Session;
use crate::source::LoadOptions;
use crate::train::course::Course;
use crate::train::examples::channel_first;
use crate::train::simulate::tests::compare;
use crate::train::tape::Tape;
use crate::train::training::{Lesson, Training, Tutoring};

const RULES: PrecisionRules = PrecisionRules {
    parametrization: Parametrization::U3,
    weight_bits: 4,
    fixed: false,
    budgets: MemoryBudgets { weights: None, largest_activation: None, activations: None },
};

/// The full-precision network, and the quantized one that learning starts from, with so many bits in activations.
fn starting_graph<'a>(
    graph: Graph,
    preprocess: &'a Preprocess,
    images: &PixelImages,
    bits: u8,
) -> Option<(Prepared<'a>, QuantizedGraph)> {
    let choice = Choice { precision: Precision::int8(), reason: Reason::Learned };
    let choices = |graph: &Graph| {
        graph.nodes.iter().map(|node| matches!(node.op, Op::Conv(_)).then_some(choice)).collect()
    };
    let draft = Draft::new(graph, preprocess, |graph| Ok(choices(graph))).ok()?;
    let prepared = draft.calibrate(images, &Calibration::default(), &()).ok()?;
    let Prepared { full, choices, pixels, .. } = &prepared;
    let assemble = |structure: &Structure| {
        full.assemble_as(structure, choices, RangeMethod::default(), &[], &pixels.fitting).ok()
    };
    let mut structure = full.structure.clone();
    for id in free_makers(&assemble(&structure)?) {
        structure.operators[id].bits = bits;
    }
    let quantized = assemble(&structure)?;
    Some((prepared, quantized))
}

fn random(seed: u64, check: impl FnOnce(&QuantizedGraph, &Graph, &Preprocess, &[Vec<u8>])) -> bool {
    let graph = classifier(seed);
    let mut choices = Choices(seed);
    let image = |choices: &mut Choices| (0..graph.input.len()).map(|_| choices.next() as u8).collect();
    let images = PixelImages { pixels: (0..6).map(|_| image(&mut choices)).collect(), labels: Vec::new() };
    let preprocess = preprocess(graph.input);
    let Some((prepared, quantized)) = starting_graph(graph, &preprocess, &images, 8) else { return false };
    check(&quantized, &prepared.full.graph, &preprocess, &images.pixels);
    true
}

/// Every operator of random networks, whose tensors have learned quantizers of their own.
#[test]
fn what_is_learned_runs_on_integers() {
    let mut compared = 0;
    for seed in 0..60 {
        let parametrization = Parametrization::ALL[seed as usize % 6];
        let rules = PrecisionRules { parametrization, weight_bits: 2 + seed as u8 % 3, ..RULES };
        let check = |graph: &QuantizedGraph, trained: &Graph, preprocess: &Preprocess, pixels: &[Vec<u8>]| {
            let mixed = MixedPrecision::new(graph, trained, &rules);
            let mut learned = graph.clone();
            mixed.store(&mut learned);
            let model = pack_graph(&learned, preprocess).unwrap();
            model.shapes().unwrap();
            compare(&learned, &mixed.simulation, &model, &pixels[0]);
        };
        compared += usize::from(random(seed, check));
    }
    assert!(compared > 40, "{compared}");
}

/// Quantizers that others depend on stay.
#[test]
fn only_free_tensors_learn_bits() {
    let mut free = 0;
    for seed in 0..40 {
        random(seed, |graph, trained, _, _| {
            let makers = free_makers(graph);
            free += makers.len();
            let mut learned = graph.clone();
            let rules = PrecisionRules { fixed: true, weight_bits: 2, ..RULES };
            MixedPrecision::new(graph, trained, &rules).store(&mut learned);
            for (id, node) in learned.nodes.enumerate() {
                assert!(!(id == OperatorId::INPUT || learned.nodes.is_last(id)) || !makers.contains(&id));
                if let QuantizedOp::Table { .. } = node.op {
                    assert_eq!(
                        learned.nodes[node.inputs[0]].quantizer,
                        graph.nodes[node.inputs[0]].quantizer
                    );
                }
                if node.keeps_codes() {
                    let same = |&input: &OperatorId| learned.nodes[input].quantizer == node.quantizer;
                    assert!(node.inputs.iter().all(same), "{}", node.name);
                }
            }
        });
    }
    assert!(free > 40, "{free}");
}

/// Budgets that are exceeded make bits fewer, one step after the other.
#[test]
fn pressure_makes_the_network_smaller() {
    for parametrization in Parametrization::ALL {
        let weights_only =
            MemoryBudgets { weights: Some(1), largest_activation: Some(1), activations: Some(1) };
        let rules = PrecisionRules { parametrization, budgets: weights_only, ..RULES };
        assert!(random(7, |graph, trained, _, _| {
            let mut mixed = MixedPrecision::new(graph, trained, &rules);
            let before = mixed.memory();
            for _ in 0..400 {
                let network = &mixed.simulation.network;
                let zeros = |layer: &crate::train::network::TrainedLayer| {
                    layer.function.parameters().iter().map(|(_, values)| vec![0.0; values.len()]).collect()
                };
                let gradients: Gradients = network.layers.iter().map(zeros).collect();
                for Learned { kind, values, gradient, units } in mixed.learned(gradients) {
                    let steps = values.iter_mut().zip(&gradient).zip(&units).filter(|_| kind == Kind::Step);
                    steps.for_each(|((value, gradient), unit)| *value -= 0.05 * unit * sign(*gradient));
                }
                mixed.refresh(0.0);
            }
            let after = mixed.memory();
            assert!(after.weights < before.weights, "{parametrization}: {before:?} {after:?}");
            assert!(after.activations < before.activations, "{parametrization}: {before:?} {after:?}");
        }));
    }
}

fn sign(value: f32) -> f32 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

/// Channels have the same spread, and gain times weight is what it was.
#[test]
fn gains_take_what_weights_lose() {
    random(3, |graph, trained, _, _| {
        let simulation = Simulation::new(graph, trained);
        let mixed = MixedPrecision::new(graph, trained, &RULES);
        for (weights, conv) in mixed.weights.iter().zip(&simulation.convs) {
            let function = |of: &Simulation| match &of.network.layers[conv.layer].function {
                Function::Op(Op::Conv(layer)) => layer.clone(),
                _ => panic!(),
            };
            let (before, after) = (function(&simulation), function(&mixed.simulation));
            let stored = in_storage_order(before.weight.as_slice().unwrap(), conv.arrangement);
            let len = conv.arrangement.channel_len();
            for (channel, (latent, real)) in
                weights.latent.chunks_exact(len).zip(stored.chunks_exact(len)).enumerate()
            {
                let square: f32 = latent.iter().map(|weight| weight * weight).sum::<f32>() / len as f32;
                assert!(square == 0.0 || (square.sqrt() - SPREAD).abs() < 1e-3);
                for (latent, real) in latent.iter().zip(real) {
                    let (a, b) = (latent * after.gain[channel], real * before.gain[channel]);
                    assert!((a - b).abs() < 1e-4 * b.abs().max(1e-3), "{a} {b}");
                }
            }
        }
    });
}

const DIGITS: [&[u8]; 2] = [
    include_bytes!("../../../fixtures/digits/digits-resnet.onnx"),
    include_bytes!("../../../fixtures/digits/digits.safetensors"),
];

/// Digits of one part with their labels.
fn digits(part: &str, count: usize) -> PixelImages {
    let file = safetensors::SafeTensors::deserialize(DIGITS[1]).unwrap();
    let data = |what: &str| file.tensor(&format!("{part}_{what}")).unwrap().data();
    PixelImages {
        pixels: data("images").chunks(64).take(count).map(<[u8]>::to_vec).collect(),
        labels: data("labels").iter().take(count).map(|&class| usize::from(class)).collect(),
    }
}

/// After training under budgets the integers give the simulation's class for at least 99.5% of 400 images.
#[test]
fn trained_simulation_and_runtime_give_the_same_class() {
    let load = |bytes: &[u8]| crate::source::load_onnx(bytes.to_vec(), "digits", &LoadOptions::default());
    let graph = load(DIGITS[0]).unwrap().graph;
    let defaults = Preprocess::default_for(1, 8, 8).unwrap();
    let preprocess =
        Preprocess { mean: vec![0.3053], std: vec![0.3758], channels: Channels::Grey, ..defaults };
    let images = digits("train", 320);
    let (prepared, quantized) = starting_graph(graph, &preprocess, &images, 6).unwrap();
    let Prepared { full, pixels, fitting, .. } = &prepared;
    let labels: Vec<usize> = fitting.iter().map(|&image| images.labels[image]).collect();
    let budgets = MemoryBudgets { weights: Some(20_000), largest_activation: Some(512), activations: None };
    let mixed = MixedPrecision::new(&quantized, &full.graph, &PrecisionRules { budgets, ..RULES });
    let course =
        Course { epochs: 12, rate: 2e-2, weight_rate: 1.0, flips: false, mix: 0.0, ..Course::default() };
    let lesson = Lesson { imitation: Some(course.imitation), labels: &labels, smoothing: 0.0 };
    let teacher = Interpreter::new(&full.graph).unwrap();
    let told = Tutoring { course: &course, lesson, checkpoint: None };
    let mut training = Training::new(mixed, full, &teacher, &pixels.fitting, told);
    for epoch in 0..course.epochs {
        training.epoch(epoch, &()).unwrap();
    }
    let mut student = training.student;
    student.refresh(1.0);
    let used = student.memory();
    assert!(used.is_within(&budgets), "{used:?}");
    let mut learned = quantized.clone();
    student.store(&mut learned);
    let model = pack_graph(&learned, &preprocess).unwrap();
    let test = digits("test", 400).pixels;
    let logits = Session::new(&model).unwrap().run(&test.concat()).unwrap();
    let inputs = test.iter().map(|image| channel_first(image, full.graph.input)).collect();
    let tape = Tape::forward(student.network(), inputs, usize::MAX).unwrap();
    let best =
        |logits: &[f32]| crate::judge::best(&logits.iter().map(|&x| f64::from(x)).collect::<Vec<_>>(), 1);
    let same =
        tape.outputs().into_iter().enumerate().filter(|(image, own)| best(own) == logits.top(*image, 1));
    let agreeing = same.count();
    assert!(1000 * agreeing >= 995 * test.len(), "{agreeing} of {}", test.len());
}
