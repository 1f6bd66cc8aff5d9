use super::*;
use crate::convert::{ConvertOptions, convert};
use crate::data::PixelImages;
use crate::fold::fold;
use crate::format::arbitrary::preprocess;
use crate::graph::arbitrary::{Choices, classifier};
use crate::runtime::Session;
use proptest::prelude::*;

fn images(seed: u64, graph: &Graph) -> PixelImages {
    let mut choices = Choices(seed);
    let image = |choices: &mut Choices| (0..graph.input.len()).map(|_| choices.next() as u8).collect();
    PixelImages { pixels: (0..16).map(|_| image(&mut choices)).collect(), labels: Vec::new() }
}

fn options(activation_bits: u8) -> ConvertOptions {
    ConvertOptions { reorder: false, activation_bits, ..ConvertOptions::default() }
}

/// The network whose weights and biases are what the packed model's integers stand for.
fn quantized_weights(graph: Graph, model: &PackedModel) -> Graph {
    let mut graph = fold(graph).unwrap();
    for state in model.layer_states().unwrap() {
        let node = graph.nodes.iter_mut().find(|node| node.name == state.name).unwrap();
        let Op::Conv(conv) = &mut node.op else { unreachable!() };
        let packed = model.nodes.iter().find(|node| node.name == state.name).unwrap();
        let PackedOp::Conv(packed) = &packed.op else { unreachable!() };
        let (outputs, inputs, rows, columns) = conv.weight.dim();
        let expanded = packed.expand();
        for ((o, i, y, x), weight) in conv.weight.indexed_iter_mut() {
            let place = ((o * rows + y) * columns + x) * inputs + i;
            let channel = o / (outputs / packed.groups) * inputs + i;
            let unit = match state.reads_pixels {
                true => f64::from(model.preprocess.std[channel]) / model.preprocess.pixel_step(),
                false => 1.0,
            };
            *weight = (state.factors[o] * f64::from(expanded[place]) * unit) as f32;
        }
        conv.gain.fill(1.0);
        conv.bias = state.bias.iter().map(|&bias| bias as f32).collect();
    }
    graph
}

fn trained(model: &PackedModel) -> Vec<RetrainedLayer> {
    let layer = |state: LayerState| RetrainedLayer {
        name: state.name,
        levels: state.levels,
        input: (!state.reads_pixels).then_some(state.input.1),
    };
    model.layer_states().unwrap().into_iter().map(layer).collect()
}

fn logits(model: &PackedModel, images: &PixelImages) -> Vec<f64> {
    let logits = Session::new(model).unwrap().run(&images.pixels.concat()).unwrap();
    logits.data.into_iter().map(|logit| f64::from(logit) * model.logit_scale).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What is taken apart and put together again computes the same, up to the rounding of its parameters.
    #[test]
    fn apart_and_together(seed: u64, narrow: bool) {
        let graph = classifier(seed);
        let images = images(seed ^ 1, &graph);
        let bits = if narrow { 4 } else { 8 };
        let converted = convert(graph.clone(), &preprocess(graph.input), &images, &options(bits), &());
        prop_assume!(converted.is_ok());
        let model = converted.unwrap().model;
        let again = repack(quantized_weights(graph, &model), &model, &trained(&model)).unwrap();
        let (before, after) = (logits(&model, &images), logits(&again, &images));
        let largest = before.iter().fold(0.0_f64, |largest, logit| largest.max(logit.abs()));
        let error: f64 = before.iter().zip(&after).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / before.len() as f64;
        prop_assert!(error.sqrt() <= 0.03 * largest, "{} of {largest}", error.sqrt());
        for (a, b) in model.layer_states().unwrap().iter().zip(again.layer_states().unwrap()) {
            prop_assert_eq!(&a.levels, &b.levels);
            prop_assert_eq!(a.input.1, b.input.1);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let graph = classifier(3);
    let images = images(4, &graph);
    let converted =
        |options| convert(graph.clone(), &preprocess(graph.input), &images, &options, &()).unwrap();
    let model = converted(options(8)).model;
    let refused =
        |graph: Graph, layers: &[RetrainedLayer]| repack(graph, &model, layers).unwrap_err().to_string();
    let (good, whole) = (quantized_weights(graph.clone(), &model), trained(&model));

    assert!(refused(good.clone(), &whole[1..]).contains("was not trained with the others"));
    assert!(refused(graph.clone(), &whole).contains("not multiples of their levels"));
    let mut layers = whole.clone();
    layers[0].levels.pop();
    assert!(refused(good.clone(), &layers).contains("are needed"));
    let mut layers = whole.clone();
    let last = layers.last_mut().unwrap();
    last.input = last.input.map(|quantizer| Quantizer { scale: f64::NAN, ..quantizer });
    assert!(refused(good, &layers).contains("a step of NaN"));
    let mut other = quantized_weights(graph.clone(), &model);
    let renamed = other.nodes.iter_mut().find(|node| node.name == whole[0].name).unwrap();
    renamed.name = "other".into();
    assert!(refused(other, &whole).contains("the packed model has no such layer"));

    let reordered = converted(ConvertOptions::default()).model;
    assert!(reordered.layer_states().unwrap_err().to_string().contains("reorder = false"));
}
