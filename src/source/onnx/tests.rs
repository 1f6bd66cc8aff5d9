//! Tests of the loader as a whole, against outputs of ONNX Runtime stored in `fixtures/`.

use super::{operators, parse};
use crate::error::{ErrorKind, Result};
use crate::graph::{Interpreter, Op, Unary};
use crate::proto::{GraphProto, ModelProto};
use crate::source::{LoadOptions, Loaded, load};
use crate::tensor::Shape;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;
use safetensors::SafeTensors;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder)
}

fn models(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(fixtures(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".onnx")).collect();
    names.sort();
    names
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = tensors.tensor(name).unwrap().data().to_vec();
    bytes.as_chunks().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect()
}

/// Largest difference, relative to the largest expected value.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(f32::MIN_POSITIVE, |scale, value| scale.max(value.abs()));
    found.iter().zip(expected).fold(0.0, |worst, (a, b)| f32::max(worst, (a - b).abs())) / scale
}

/// Images as the families expect them: ImageNet mean and standard deviation, channels first.
fn normalised(pixels: &[u8]) -> Vec<f32> {
    let (mean, deviation) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let plane = |channel: usize| {
        let values = pixels.iter().skip(channel).step_by(3);
        values.map(move |&pixel| (f32::from(pixel) / 255.0 - mean[channel]) / deviation[channel])
    };
    (0..3).flat_map(plane).collect()
}

/// Runs `images` and returns the largest difference from `expected`, or why that is not possible.
fn compare(path: &Path, images: &[f32], expected: &[f32]) -> Result<f32> {
    let graph = load(path, &LoadOptions::default())?.graph;
    let interpreter = Interpreter::new(&graph)?;
    let images = images.chunks_exact(graph.input.len());
    let results = images.map(|image| interpreter.run(image)).collect::<Result<Vec<_>>>()?;
    Ok(difference(&results.concat(), expected))
}

/// Asserts that every comparison stays below `bound`.
fn assert_close(results: impl Iterator<Item = (String, Result<f32>)>, bound: f32) {
    let problem = |(name, result)| match result {
        Ok(difference) if difference <= bound => None,
        Ok(difference) => Some(format!("{name}: differs by {difference}")),
        Err(error) => Some(format!("{name}: {error}")),
    };
    let problems: Vec<String> = results.filter_map(problem).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn families_agree_with_onnx_runtime() {
    let results = models("families").into_iter().map(|model| {
        let family = model.split(['.', '-']).next().unwrap();
        let bytes =
            std::fs::read(fixtures("families").join(format!("{family}.expected.safetensors"))).unwrap();
        let stored = SafeTensors::deserialize(&bytes).unwrap();
        let pixels = stored.tensor("pixels").unwrap().data();
        let images: Vec<f32> = pixels.chunks_exact(pixels.len() / 4).flat_map(normalised).collect();
        let result = compare(&fixtures("families").join(&model), &images, &floats(&stored, "logits"));
        (model, result)
    });
    assert_close(results, 3e-5);
}

#[test]
fn operators_agree_with_onnx_runtime() {
    let bytes = std::fs::read(fixtures("onnx/ops.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let results = models("onnx/ops").into_iter().map(|model| {
        let name = model.trim_end_matches(".onnx");
        let (images, expected) =
            (floats(&stored, &format!("{name}.x")), floats(&stored, &format!("{name}.y")));
        let result = compare(&fixtures("onnx/ops").join(&model), &images, &expected);
        (model, result)
    });
    assert_close(results, 1e-5);
}

#[test]
fn refusals_say_what_is_wrong_and_where() {
    let text = std::fs::read_to_string(fixtures("onnx/refused.json")).unwrap();
    let refusals: BTreeMap<String, Vec<String>> = serde_json::from_str(&text).unwrap();
    let mut problems = Vec::new();
    for (name, pieces) in refusals {
        let path = fixtures("onnx/refused").join(format!("{name}.onnx"));
        let message = match load(&path, &LoadOptions::default()) {
            Ok(_) => "loads".to_owned(),
            Err(error) => error.to_string(),
        };
        let mut rest = message.as_str();
        let found = pieces.iter().all(|piece| match rest.split_once(piece.as_str()) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        });
        if !found || !message.starts_with(&path.display().to_string()) {
            problems.push(format!("{name}: {message} (expected {pieces:?})"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn load_operator(name: &str, options: &LoadOptions) -> Result<Loaded> {
    load(&fixtures("onnx/ops").join(format!("{name}.onnx")), options)
}

fn refused(name: &str, options: &LoadOptions) -> Result<Loaded> {
    load(&fixtures("onnx/refused").join(format!("{name}.onnx")), options)
}

#[test]
fn an_open_image_size_comes_from_the_options_and_a_fixed_one_does_not() {
    let options = LoadOptions { input_size: Some([6, 5]), ..LoadOptions::default() };
    assert_eq!(refused("no_size", &options).unwrap().graph.input, Shape::new(3, 6, 5));
    assert_eq!(load_operator("conv", &options).unwrap().graph.input, Shape::new(4, 6, 5));
    let other = LoadOptions { input_size: Some([7, 5]), ..LoadOptions::default() };
    let error = load_operator("conv", &other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(error.to_string().contains("fixes the image size to 6x5"), "{error}");
}

#[test]
fn one_of_several_outputs_is_chosen_by_name() {
    let choose = |name: &str| LoadOptions { output: Some(name.into()), ..LoadOptions::default() };
    let graph = refused("two_outputs", &choose("z")).unwrap().graph;
    assert!(matches!(graph.nodes[graph.output].op, Op::Affine(_)));
    assert_eq!(graph.nodes.len(), 2);
    assert_eq!(refused("two_outputs", &choose("q")).unwrap_err().kind(), ErrorKind::Argument);
}

#[test]
fn kinds_of_errors_tell_refusals_from_faults() {
    let cases = [
        ("several", ErrorKind::Unsupported),
        ("weights_nan", ErrorKind::NonFinite),
        ("truncated", ErrorKind::Format),
        ("cycle", ErrorKind::Format),
        ("conv_channels", ErrorKind::Shape),
        ("no_size", ErrorKind::Argument),
        ("external_missing", ErrorKind::Io),
    ];
    for (name, kind) in cases {
        assert_eq!(refused(name, &LoadOptions::default()).unwrap_err().kind(), kind, "{name}");
    }
}

#[test]
fn notes_tell_what_was_dropped_and_how_images_lie() {
    let dropped = load_operator("softmax_dropped_17", &LoadOptions::default()).unwrap();
    assert!(dropped.notes[0].contains("final Softmax"), "{:?}", dropped.notes);
    let last = load_operator("nhwc_input", &LoadOptions::default()).unwrap();
    assert!(last.notes[0].contains("channels last"), "{:?}", last.notes);
    assert!(load_operator("conv", &LoadOptions::default()).unwrap().notes.is_empty());
}

/// Operators of the graph that a model becomes.
fn operators_of(name: &str) -> Vec<Op> {
    load_operator(name, &LoadOptions::default())
        .unwrap()
        .graph
        .nodes
        .into_iter()
        .map(|node| node.op)
        .collect()
}

#[test]
fn what_computes_nothing_vanishes() {
    assert!(matches!(operators_of("identity_dropout")[..], [Op::Input, Op::Unary(Unary::Relu)]));
    assert!(matches!(
        operators_of("transposes_cancel")[..],
        [Op::Input, Op::Affine(_), Op::Unary(Unary::Relu)]
    ));
    assert!(matches!(operators_of("channel_shuffle")[..], [Op::Input, Op::ChannelShuffle { groups: 2 }]));
    assert!(matches!(operators_of("dead_nodes")[..], [Op::Input, Op::Unary(Unary::Relu)]));
    assert!(matches!(operators_of("nhwc_input")[..], [Op::Input, Op::Conv(_)]));
    assert!(matches!(operators_of("pad_chain")[..], [Op::Input, Op::Pad(_)]));
    assert!(matches!(operators_of("clip_no_attributes")[..], [Op::Input]));
    assert!(matches!(operators_of("clip_min_only")[..], [Op::Input, Op::Unary(Unary::Relu)]));
}

#[test]
fn names_are_those_of_the_file_made_unique() {
    let graph = load_operator("duplicate_names", &LoadOptions::default()).unwrap().graph;
    let names: Vec<_> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["x", "same", "same_2", "y"]);
    assert_eq!(graph.name, "duplicate_names");
}

#[test]
fn every_supported_operator_has_a_fixture_and_a_place_in_the_documentation() {
    let mut used = BTreeSet::new();
    for (folder, model) in
        ["onnx/ops", "families"].iter().flat_map(|f| models(f).into_iter().map(move |m| (f, m)))
    {
        let bytes = std::fs::read(fixtures(folder).join(model)).unwrap();
        let proto = ModelProto::decode(bytes.as_slice()).unwrap();
        used.extend(proto.graph.unwrap().node.into_iter().map(|node| node.op_type().to_owned()));
    }
    let documentation = include_str!("../../../docs/operators.md");
    for operator in operators::supported() {
        assert!(used.contains(operator), "no fixture uses {operator}");
        assert!(documentation.contains(&format!("`{operator}`")), "docs/operators.md lacks {operator}");
    }
}

#[test]
fn input_files_that_are_no_files_are_errors() {
    for path in [fixtures("onnx"), fixtures("missing.onnx"), fixtures("README.md")] {
        let error = load(&path, &LoadOptions::default()).unwrap_err();
        assert!(error.path().is_some(), "{error}");
    }
}

/// Valid models that together reach most of the loader.
fn seeds() -> Vec<Vec<u8>> {
    let names = [
        "pad_chain",
        "channel_shuffle_last",
        "external_data",
        "where_equal",
        "split_num_outputs",
        "conv_same_lower",
        "squeeze_excitation_flat",
        "average_pool_ceil_count_pad",
        "half_of_channels",
        "bfloat16_typed",
        "range_gather",
        "constant_nodes",
        "slice_steps",
        "other_wire_form",
        "batch_norm",
        "pad_axes",
        "option_a_shortcut",
        "layer_norm_channels",
        "instance_norm_of_groups",
        "split_attention",
        "selective_kernels",
        "channel_attention",
        "list_of_elements",
        "weight_standardisation_training",
        "folded_products",
        "folded_layout",
    ];
    names
        .iter()
        .map(|name| std::fs::read(fixtures("onnx/ops").join(format!("{name}.onnx"))).unwrap())
        .collect()
}

/// Loads damaged bytes; what loads must be a graph that runs.
fn load_damaged(bytes: Vec<u8>) {
    let path = fixtures("onnx/ops/damaged.onnx");
    let Ok(loaded) = parse(bytes, &path, &LoadOptions::default()) else { return };
    let interpreter = Interpreter::new(&loaded.graph).unwrap();
    if interpreter.shapes().iter().all(|shape| shape.len() < 1 << 16) {
        interpreter.run(&vec![0.5; loaded.graph.input.len()]).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn damaged_bytes_never_panic(seed in 0usize..26, edits in vec((any::<Index>(), any::<u8>()), 1..4), cut in any::<Option<Index>>()) {
        let mut bytes = seeds().swap_remove(seed);
        for (place, value) in edits {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()) + 1);
        }
        load_damaged(bytes);
    }

    #[test]
    fn damaged_numbers_never_panic(seed in 0usize..26, node in any::<Index>(), place in any::<Index>(), value in odd_number(), kind in 0..6) {
        let mut proto = ModelProto::decode(seeds().swap_remove(seed).as_slice()).unwrap();
        damage(proto.graph.as_mut().unwrap(), node, place, value, kind);
        load_damaged(proto.encode_to_vec());
    }
}

fn odd_number() -> impl Strategy<Value = i64> {
    prop_oneof![
        -3i64..9,
        any::<i64>(),
        Just(i64::MAX),
        Just(i64::MIN),
        Just(1 << 31),
        Just(1 << 40),
        Just(1 << 16)
    ]
}

/// Changes one number or one connection of a decoded model.
fn damage(graph: &mut GraphProto, node: Index, place: Index, value: i64, kind: i32) {
    let index = node.index(graph.node.len());
    let names: Vec<String> = graph.node.iter().flat_map(|node| node.output.clone()).collect();
    let node = &mut graph.node[index];
    let tensors = graph.initializer.iter_mut().chain(node.attribute.iter_mut().filter_map(|a| a.t.as_mut()));
    let mut tensors: Vec<_> = tensors.collect();
    match kind {
        0 => node.attribute.iter_mut().for_each(|attribute| {
            attribute.i = attribute.i.map(|_| value);
            if !attribute.ints.is_empty() {
                let at = place.index(attribute.ints.len());
                attribute.ints[at] = value;
            }
        }),
        1 if !node.input.is_empty() => {
            let at = node.input.len();
            node.input[place.index(at)] = names[value.unsigned_abs() as usize % names.len()].clone();
        }
        2 if !tensors.is_empty() => {
            let at = place.index(tensors.len());
            tensors[at].dims.iter_mut().for_each(|dim| *dim = value);
        }
        3 if !tensors.is_empty() => {
            let at = place.index(tensors.len());
            let count = tensors[at].raw_data().len() / 8;
            tensors[at].raw_data = Some(value.to_le_bytes().repeat(count));
        }
        4 => node.attribute.truncate(place.index(3)),
        5 => node.input.truncate(place.index(3)),
        _ => {}
    }
}
