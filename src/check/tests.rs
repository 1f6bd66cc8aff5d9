use super::*;
use crate::convert::{ConvertOptions, convert};
use crate::data::PixelImages;
use crate::error::ErrorKind;
use crate::format::Preprocess;
use crate::format::arbitrary::preprocess;
use crate::graph::arbitrary::{Choices, classifier, node_id, node_ids};
use crate::graph::{Binary, Graph, Node, Op, Pad, Slice};
use crate::layerwise::Method;
use crate::plan::Choice;
use crate::precision::Precision;
use crate::report::Summary;
use crate::source::{LoadOptions, load_onnx};
use crate::tensor::Shape;

fn fixture(name: &str) -> Graph {
    let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    load_onnx(std::fs::read(path).unwrap(), name, &LoadOptions::default()).unwrap().graph
}

fn noise(graph: &Graph) -> PixelImages {
    let mut choices = Choices(7);
    let mut image = || (0..graph.input.len()).map(|_| choices.next() as u8).collect();
    PixelImages { pixels: (0..4).map(|_| image()).collect(), labels: Vec::new() }
}

/// What was foretold, and what a conversion then made, with the bytes of its file.
fn both(
    graph: &Graph,
    preprocess: &Preprocess,
    options: &ConvertOptions,
) -> (Forecast, Summary, Vec<Choice>) {
    let forecast = check(graph.clone(), preprocess, options, &[]).unwrap();
    let made = convert(graph.clone(), preprocess, &noise(graph), options, &()).unwrap();
    let summary = Summary::new(&made.model, made.model.to_bytes().unwrap().len()).unwrap();
    (forecast, summary, made.choices.into_iter().map(|(_, choice)| choice).collect())
}

#[test]
fn what_is_foretold_is_what_a_conversion_makes() {
    let options = [
        ConvertOptions { method: Method::ClosedForm, ..ConvertOptions::default() },
        ConvertOptions {
            group: 16,
            scale_bits: 8,
            activation_bits: 4,
            method: Method::ClosedForm,
            overrides: vec![(".*weight.*|.*conv.*".parse().unwrap(), Precision::int(3))],
            ..ConvertOptions::default()
        },
    ];
    for name in ["digits/digits-resnet.onnx", "families/shufflenet_v2.onnx", "families/mobilenet_v3.onnx"] {
        let graph = fixture(name);
        let preprocess = preprocess(graph.input);
        for options in &options[..if name.starts_with("digits") { 2 } else { 1 }] {
            let (forecast, made, choices) = both(&graph, &preprocess, options);
            assert_eq!(forecast.choices, choices, "{name}");
            assert_eq!(forecast.activation_bits.len(), choices.len());
            for (foretold, made) in forecast.summary.layers.iter().zip(&made.layers) {
                let of = |layer: &crate::report::Layer| {
                    (
                        layer.name.clone(),
                        layer.kind,
                        layer.precision,
                        layer.shape,
                        layer.bytes,
                        layer.multiplications,
                    )
                };
                assert_eq!(of(foretold), of(made), "{name}");
            }
            assert_eq!(forecast.summary.bytes.tables, made.bytes.tables, "{name}");
            let [foretold, made] = [forecast.summary.bytes.total(), made.bytes.total()];
            assert!(foretold.abs_diff(made) <= made / 50, "{name}: {foretold} bytes instead of {made}");
        }
    }
}

/// Whatever can be refused without images is refused by a check, and nothing else.
#[test]
fn random_networks_are_foretold_or_refused() {
    let mut foretold = 0;
    for seed in 0..300 {
        let graph = classifier(seed);
        let activation_bits = 2 + (seed % 7) as u8;
        let options =
            ConvertOptions { group: 1 + seed as usize % 5, activation_bits, ..ConvertOptions::default() };
        let draft = options.draft(graph.clone(), &preprocess(graph.input)).is_ok();
        match check(graph.clone(), &preprocess(graph.input), &options, &[]) {
            Ok(forecast) => {
                assert_eq!(forecast.summary.layers.len(), forecast.choices.len(), "seed {seed}");
                foretold += 1;
            }
            Err(error) => assert!(!draft && !error.refusals().is_empty(), "seed {seed}: {error}"),
        }
    }
    assert!(foretold > 200, "{foretold}");
}

#[test]
fn the_bits_that_layers_read_are_told() {
    let graph = fixture("digits/digits-resnet.onnx");
    let options = ConvertOptions { activation_bits: 4, ..ConvertOptions::default() };
    let bits = check(graph.clone(), &preprocess(graph.input), &options, &[]).unwrap().activation_bits;
    assert_eq!((bits[0], bits[1], bits.last()), (8, 4, Some(&8)), "{bits:?}");
}

#[test]
fn all_nodes_that_integers_cannot_express_are_refused_at_once() {
    let node = |name: &str, op, inputs: &[usize]| Node { name: name.into(), op, inputs: node_ids(inputs) };
    let pad = Op::Pad(Pad { before: [0; 3], after: [0, 1, 1], value: 0.5 });
    let part = |end| Op::Slice(Slice { start: [0; 3], end, step: [1; 3] });
    let nodes = vec![
        node("input", Op::Input, &[]),
        node("half", pad, &[0]),
        node("column", part([3, 4, 1]), &[1]),
        node("row", part([3, 1, 4]), &[1]),
        node("outer", Op::Binary(Binary::Mul), &[2, 3]),
        node("joined", Op::Concat, &[4, 4]),
        node("pooled", Op::GlobalAveragePool, &[5]),
    ];
    let graph =
        Graph { name: "net".into(), input: Shape::new(3, 4, 4), nodes: nodes.into(), output: node_id(6) };
    let error = check(graph.clone(), &preprocess(graph.input), &ConvertOptions::default(), &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let refused: Vec<_> = error.refusals().iter().map(|r| (r.node.as_str(), r.operator.as_str())).collect();
    assert_eq!(refused, [("half", "Pad"), ("outer", "Mul")]);
    assert!(error.refusals().iter().all(|refusal| refusal.reason.contains("; ")), "a remedy: {error}");
}

#[test]
fn options_are_checked_too() {
    let graph = fixture("digits/digits-resnet.onnx");
    let options =
        ConvertOptions { overrides: vec![("x".parse().unwrap(), Precision::int8())], ..Default::default() };
    let error = check(graph.clone(), &preprocess(graph.input), &options, &[]).unwrap_err();
    assert_eq!((error.kind(), error.refusals()), (ErrorKind::Argument, &[][..]));
}

#[test]
fn more_images_take_more_time_and_memory() {
    let network = fixture("digits/digits-resnet.onnx");
    let preprocess = preprocess(network.input);
    let forecast = check(network, &preprocess, &ConvertOptions::default(), &[]).unwrap();
    let [few, many] = [100, 1000].map(|images| forecast.estimate(images, Method::Compensated));
    assert!(few.seconds > 0.0 && many.seconds > few.seconds && many.memory > few.memory);
    let closed_form = forecast.estimate(100, Method::ClosedForm);
    assert!(closed_form.seconds < few.seconds);
}
