//! What exported files hold. What ONNX Runtime makes of them is compared by `tests/onnx_export/run`.

use super::*;
use crate::choices::Choices;
use crate::format::arbitrary::{model, switching_model};
use crate::format::{PackedOp, Store};
use crate::proto::tensor_proto::DataType;
use crate::proto::{GraphProto, ModelProto, TensorProto};
use crate::runtime::Session;
use std::collections::BTreeSet;

/// Where models are written for `tests/onnx_export/run`, and how many.
const FOLDER: &str = "FGQ_ONNX_FOLDER";
const COUNT: u64 = 60;

fn graph(model: &PackedModel, opset: u32) -> GraphProto {
    graph_of(model, &OnnxExportOptions { opset, ..OnnxExportOptions::default() })
}

fn rounding() -> OnnxExportOptions {
    OnnxExportOptions { integer_rounding: true, ..OnnxExportOptions::default() }
}

fn graph_of(model: &PackedModel, options: &OnnxExportOptions) -> GraphProto {
    let bytes = export_onnx(model, options).unwrap();
    ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap()
}

fn bits(tensor: &TensorProto) -> usize {
    match DataType::try_from(tensor.data_type.unwrap()).unwrap() {
        DataType::Int2 => 2,
        DataType::Int4 | DataType::Uint4 => 4,
        DataType::Int8 | DataType::Uint8 => 8,
        DataType::Int16 | DataType::Float16 => 16,
        DataType::Int64 => 64,
        _ => 32,
    }
}

#[test]
fn names_are_unique_and_everything_read_is_there() {
    for seed in 0..300 {
        let graph = match seed % 2 {
            0 => graph(&model(seed), 25),
            _ => graph_of(&model(seed), &rounding()),
        };
        let mut known: BTreeSet<String> = [build::INPUT.to_owned()].into();
        for tensor in &graph.initializer {
            let count: i64 = tensor.dims.iter().product();
            let bytes = (count as usize * bits(tensor)).div_ceil(8);
            assert_eq!(tensor.raw_data.as_ref().unwrap().len(), bytes, "{:?}", tensor.name);
            assert!(known.insert(tensor.name.clone().unwrap()), "{seed} {:?}", tensor.name);
        }
        let mut nodes = BTreeSet::new();
        for node in &graph.node {
            assert!(node.input.iter().all(|input| known.contains(input)), "{seed} {node:?}");
            assert!(known.insert(node.output[0].clone()), "{seed} {node:?}");
            assert!(node.name.is_none() || nodes.insert(node.name.clone()), "{seed} {node:?}");
        }
        assert!(known.contains(build::OUTPUT));
    }
}

/// Every convolution's operator is called as it is in the model.
#[test]
fn layers_keep_their_names() {
    for seed in 0..50 {
        let model = model(seed);
        let graph = graph(&model, 21);
        let convs = graph.node.iter().filter(|node| node.op_type.as_deref() == Some("Conv"));
        let named: Vec<&str> = convs.filter_map(|node| node.name.as_deref()).collect();
        let own = model.nodes.iter().filter(|node| matches!(node.op, PackedOp::Conv(_)));
        assert_eq!(named, own.map(|node| node.name.as_str()).collect::<Vec<_>>());
    }
}

#[test]
fn ternary_weights_take_two_bits_where_there_are_two() {
    let kinds = |opset: u32| -> BTreeSet<i32> {
        let graphs = (0..100).map(|seed| graph(&model(seed), opset));
        graphs.flat_map(|graph| graph.initializer).filter_map(|tensor| tensor.data_type).collect()
    };
    assert!(kinds(25).contains(&(DataType::Int2 as i32)));
    let plain = kinds(24);
    assert!(!plain.contains(&(DataType::Int2 as i32)) && plain.contains(&(DataType::Int4 as i32)));
}

/// Twice between the sums and the codes of a convolution, once more for its residual.
#[test]
fn roundings_are_written_where_they_are_asked_for() {
    let floors =
        |graph: GraphProto| graph.node.iter().filter(|node| node.op_type.as_deref() == Some("Floor")).count();
    for seed in 0..50 {
        let model = model(seed);
        assert_eq!(floors(graph(&model, 25)), 0);
        let of_node = |op: &PackedOp| match op {
            PackedOp::Conv(conv) => match &conv.store {
                Store::Codes { residual, .. } => 2 + usize::from(residual.is_some()),
                Store::Logits { .. } => 0,
            },
            PackedOp::Add { .. } | PackedOp::Mul(_) | PackedOp::GlobalAveragePool(_) => 2,
            PackedOp::AveragePool { by_count, .. } => 2 * usize::from(!by_count.is_empty()),
            PackedOp::Narrow(_) => 1,
            _ => 0,
        };
        let expected: usize = model.nodes.iter().map(|node| of_node(&node.op)).sum();
        assert_eq!(floors(graph_of(&model, &rounding())), expected);
    }
}

#[test]
fn codes_are_packed_from_the_lowest_bits() {
    let codes = [1i8, -1, 0, 1, -1].map(|code| code as u8);
    assert_eq!(weights::packed(codes.into_iter(), 2), [0b0100_1101, 0b11]);
    assert_eq!(weights::packed(codes.into_iter(), 4), [0xf1, 0x10, 0x0f]);
    assert_eq!(weights::packed(codes.into_iter(), 8), codes);
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let message = |model: &PackedModel, opset| {
        export_onnx(model, &OnnxExportOptions { opset, ..OnnxExportOptions::default() })
            .unwrap_err()
            .to_string()
    };
    assert!(message(&model(1), 20).contains("give 21 to 25"));
    assert!(message(&model(1), 26).contains("give 21 to 25"));
    assert!(message(&switching_model(3), 25).contains("the model switches"));
}

/// Whether ONNX Runtime reads a model, and its multipliers are such as conversions make: it refuses pools that are padded
/// by as much as their kernel, and means with a negative factor; means of windows at the edge are random in random models.
fn is_plausible(model: &PackedModel) -> bool {
    model.nodes.iter().all(|node| match &node.op {
        PackedOp::AveragePool { .. } => false,
        PackedOp::MaxPool(window) => (0..4).all(|side| window.pads[side] < window.kernel[side % 2]),
        PackedOp::GlobalAveragePool(by) => by.value > 0,
        _ => true,
    })
}

/// Writes random models, what they read, and the runtime's logits.
#[test]
#[ignore = "writes what tests/onnx_export/run compares"]
fn write_models() {
    let folder = std::path::PathBuf::from(std::env::var(FOLDER).unwrap());
    for seed in (0..).filter(|&seed| is_plausible(&model(seed))).take(COUNT as usize) {
        let model = model(seed);
        let mut choices = Choices(seed);
        let pixels: Vec<u8> = (0..4 * model.input.len()).map(|_| choices.next() as u8).collect();
        let logits = Session::new(&model).unwrap().run(&pixels).unwrap();
        let inputs: Vec<u8> = pixels
            .chunks_exact(model.input.len())
            .flat_map(|pixels| crate::data::normalise(pixels, &model.preprocess).unwrap())
            .flat_map(f32::to_le_bytes)
            .collect();
        // The first number is the largest that logits can be.
        let integers = std::iter::once(&i32::MAX).chain(&logits.data);
        let real = integers.flat_map(|&logit| (f64::from(logit) * model.logit_scale).to_le_bytes());
        let write =
            |kind: &str, bytes: &[u8]| std::fs::write(folder.join(format!("{seed}.{kind}")), bytes).unwrap();
        write("onnx", &export_onnx(&model, &OnnxExportOptions::default()).unwrap());
        write("rounding.onnx", &export_onnx(&model, &rounding()).unwrap());
        write("inputs", &inputs);
        write("logits", &real.collect::<Vec<u8>>());
    }
}
