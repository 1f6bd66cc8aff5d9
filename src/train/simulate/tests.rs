use super::*;
use crate::convert::{ConvertOptions, Fitted};
use crate::data::PixelImages;
use crate::format::arbitrary::preprocess;
use crate::format::{PackedModel, Preprocess};
use crate::graph::ValueView;
use crate::graph::arbitrary::{Choices, classifier};
use crate::pack::pack_graph;
use crate::precision::Precision;
use crate::runtime::{Kernels, Operand, Session, Step};
use crate::tensor::{Batch, Shape};
use crate::train::tape::Tape;

/// Steps by which an operator's value may differ from the runtime's, given the same inputs: the rounding of its
/// multipliers and of its bias, and halves that fall to different sides.
const BOUND: f32 = 1.01;

const IMAGES: usize = 12;

pub(in crate::train) fn images(seed: u64, graph: &Graph) -> PixelImages {
    let mut choices = Choices(seed);
    let image = |choices: &mut Choices| (0..graph.input.len()).map(|_| choices.next() as u8).collect();
    PixelImages { pixels: (0..IMAGES).map(|_| image(&mut choices)).collect(), labels: Vec::new() }
}

fn fitted<'a>(
    graph: Graph,
    preprocess: &'a Preprocess,
    images: &PixelImages,
    options: &ConvertOptions,
) -> Option<Fitted<'a>> {
    Fitted::new(graph, preprocess, images, options, &()).ok()
}

fn options(which: u64) -> ConvertOptions {
    let set = |precision: &str| vec![(".*".parse().unwrap(), precision.parse::<Precision>().unwrap())];
    match which % 5 {
        0 => ConvertOptions::default(),
        1 => ConvertOptions { activation_bits: 4, group: 64, ..ConvertOptions::default() },
        2 => ConvertOptions { overrides: set("ternary:4*2"), ..ConvertOptions::default() },
        3 => ConvertOptions { overrides: set("int3"), activation_bits: 3, ..ConvertOptions::default() },
        _ => ConvertOptions { overrides: set("pow2:4"), ..ConvertOptions::default() },
    }
}

/// From rows, columns, channels to channels first.
fn channel_first<T: Copy, U>(values: &[T], shape: Shape, real: impl Fn(T) -> U) -> Vec<U> {
    let channel = |channel: usize| values.iter().skip(channel).step_by(shape.channels);
    (0..shape.channels).flat_map(channel).map(|&value| real(value)).collect()
}

/// Every operator on the codes that the runtime gives it: its own codes, and the simulation's real values.
pub(in crate::train) fn compare(
    graph: &QuantizedGraph,
    simulation: &Simulation,
    model: &PackedModel,
    pixels: &[u8],
) {
    let mut codes: Vec<Batch<u8>> = vec![Batch { images: 1, shape: graph.input, data: pixels.to_vec() }];
    let layers = &simulation.network.layers;
    let mut values: Vec<Vec<f32>> = vec![channel_first(pixels, graph.input, f32::from)];
    for (id, node) in graph.nodes.enumerate().skip(1) {
        let operand =
            |&input: &OperatorId| Operand::of(&model.nodes[input.packed()], graph.nodes[input].shape);
        let operands: Vec<Operand> = node.inputs.iter().map(operand).collect();
        let step = Step::new(&model.nodes[id.packed()], &operands, node.shape, Kernels::default());
        let inputs: Vec<&Batch<u8>> = node.inputs.iter().map(|input| &codes[input.index()]).collect();
        let place = simulation.places[id];
        for layer in &layers[values.len()..=place] {
            let inputs: Vec<ValueView> =
                layer.inputs.iter().map(|&input| (values[input].as_slice(), layers[input].shape)).collect();
            values.push(layer.function.apply(&inputs, layer.shape).unwrap());
        }
        if graph.nodes.is_last(id) {
            return;
        }
        let found = step.codes(&inputs).unwrap();
        let quantizer = node.quantizer;
        let real = |code: u8| ((f64::from(code) - f64::from(quantizer.zero_point)) * quantizer.scale) as f32;
        let real = channel_first(&found.data, node.shape, real);
        for (own, real) in values[place].iter().zip(&real) {
            let steps = (own - real).abs() / quantizer.scale as f32;
            assert!(steps < BOUND, "{} {:?}: {steps} steps of {quantizer:?}", node.name, node.op);
        }
        values[place] = real;
        codes.push(found);
    }
}

#[test]
fn every_operator_computes_what_the_runtime_does() {
    let mut compared = 0;
    for seed in 0..60 {
        let graph = classifier(seed);
        let (preprocess, images) = (preprocess(graph.input), images(seed, &graph));
        let Some(fitted) = fitted(graph, &preprocess, &images, &options(seed)) else { continue };
        let model = pack_graph(&fitted.quantized, &preprocess).unwrap();
        assert_eq!(model.nodes, fitted.packed.nodes);
        let simulation = Simulation::new(&fitted.quantized, &fitted.full.graph);
        images
            .pixels
            .iter()
            .take(2)
            .for_each(|pixels| compare(&fitted.quantized, &simulation, &model, pixels));
        compared += 1;
    }
    assert!(compared > 40, "{compared}");
}

/// Without a change nothing is changed, but for the precision of biases, and gains that no multiplier could follow.
#[test]
fn storing_what_was_not_trained_changes_no_code() {
    for seed in 0..20 {
        let graph = classifier(seed);
        let (preprocess, images) = (preprocess(graph.input), images(seed, &graph));
        let Some(fitted) = fitted(graph, &preprocess, &images, &options(seed)) else { continue };
        let mut stored = fitted.quantized.clone();
        Simulation::new(&fitted.quantized, &fitted.full.graph).store(&mut stored);
        for (before, after) in fitted.quantized.nodes.iter().zip(&stored.nodes) {
            let (QuantizedOp::Conv(before), QuantizedOp::Conv(after)) = (&before.op, &after.op) else {
                continue;
            };
            assert_eq!(before.weights, after.weights);
            let pairs = before.bias.iter().zip(&after.bias);
            pairs.for_each(|(a, b)| assert!((a - b).abs() <= 1e-7 * a.abs()));
        }
    }
}

/// The digits network: the simulation gives the runtime's class for at least 99.5% of 400 images.
#[test]
fn simulation_and_runtime_give_the_same_class() {
    let bytes = include_bytes!("../../../fixtures/digits/digits-resnet.onnx");
    let images = include_bytes!("../../../fixtures/digits/digits.safetensors");
    let images = safetensors::SafeTensors::deserialize(images).unwrap();
    let pixels = |name: &str| -> Vec<Vec<u8>> {
        images.tensor(name).unwrap().data().chunks(64).take(400).map(<[u8]>::to_vec).collect()
    };
    let test = pixels("test_images");
    let train = PixelImages { pixels: pixels("train_images"), labels: Vec::new() };
    let defaults = Preprocess::default_for(1, 8, 8).unwrap();
    let preprocess = Preprocess {
        mean: vec![0.3053],
        std: vec![0.3758],
        channels: crate::format::Channels::Grey,
        ..defaults
    };
    for which in 0..2 {
        let graph =
            crate::source::load_onnx(bytes.to_vec(), "digits", &crate::source::LoadOptions::default())
                .unwrap()
                .graph;
        let fitted = fitted(graph, &preprocess, &train, &options(which)).unwrap();
        let model = pack_graph(&fitted.quantized, &preprocess).unwrap();
        let logits = Session::new(&model).unwrap().run(&test.concat()).unwrap();
        let simulation = Simulation::new(&fitted.quantized, &fitted.full.graph);
        let inputs =
            test.iter().map(|image| channel_first(image, fitted.full.graph.input, f32::from)).collect();
        let tape = Tape::forward(&simulation.network, inputs, usize::MAX).unwrap();
        let best =
            |logits: &[f32]| crate::judge::best(&logits.iter().map(|&x| f64::from(x)).collect::<Vec<_>>(), 1);
        let agreeing = tape
            .outputs()
            .into_iter()
            .enumerate()
            .filter(|(image, own)| best(own) == logits.top(*image, 1))
            .count();
        assert!(1000 * agreeing >= 995 * test.len(), "{agreeing} of {}", test.len());
    }
}
