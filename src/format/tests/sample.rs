//! One model with every operator.

use crate::format::arbitrary::{packed_id, packed_ids, preprocess};
use crate::format::*;
use crate::index::Per;
use crate::precision::Precision;
use crate::tensor::{Shape, Window};

pub(super) const Q: Quantizer = Quantizer { scale: 0.1, zero_point: 10, max: 255 };
pub(super) const GATE: Quantizer = Quantizer { scale: 1.0 / 255.0, zero_point: 0, max: 255 };
const BY: Multiplier = Multiplier { shift: 7, value: 12345 };
const SCALE: Rescale = Rescale { shift: 4, value: -16384 };

fn node(name: &str, op: PackedOp, inputs: &[usize], quantizer: Quantizer) -> PackedNode {
    PackedNode { name: name.into(), op, inputs: packed_ids(inputs), quantizer }
}

/// 27 weights per channel in groups of 2, which leaves short groups of one.
fn ternary() -> PackedConv {
    let codes: Vec<i8> = (0..4 * 27).map(|i| [1, 0, -1, 0, 1][i % 5]).collect();
    let scales: Vec<u8> = (0..4 * 9 * 2).map(|i| (i * 31 % 128) as u8).collect();
    PackedConv {
        weights: PackedWeights::pack(Precision::ternary(2), &codes, &scales),
        outputs: 4,
        group_inputs: 3,
        groups: 1,
        window: Window::new([3, 3]).with_pads([1, 1, 1, 1]),
        bias: vec![1, -2, 70_000, -70_000],
        store: Store::Codes { multipliers: vec![BY; 4], residual: None, fraction: 0, low: 10, high: 255 },
    }
}

fn int8(inputs: usize, outputs: usize, store: Store) -> PackedConv {
    let codes: Vec<i8> = (0..inputs * outputs).map(|i| (i * 37 % 255) as i8).map(|c| c.max(-127)).collect();
    PackedConv {
        weights: PackedWeights::pack(Precision::int8(), &codes, &[]),
        outputs,
        group_inputs: inputs,
        groups: 1,
        window: Window::new([1, 1]),
        bias: vec![5; outputs],
        store,
    }
}

/// Node names are those of their operators.
pub(super) fn sample() -> PackedModel {
    let residual =
        Store::Codes { multipliers: vec![BY; 4], residual: Some(SCALE), fraction: 4, low: 0, high: 200 };
    let logits = Store::Logits { factors: vec![1 << 30, -5, 3], shift: 30 };
    let slice = PackedSlice { start: [0, 0, 0], end: [7, 6, 6], step: [2, 1, 1] };
    let mean =
        PackedOp::AveragePool { window: Window::new([2, 2]), count_include_pad: true, by_count: vec![BY; 4] };
    let input = Shape::new(3, 6, 6);
    let pixels = Quantizer { scale: 1.0, zero_point: 0, max: 255 };
    PackedModel {
        name: "sample".into(),
        input,
        preprocess: preprocess(input),
        classes: vec!["a".into(), "b".into(), "c".into()],
        provenance: Provenance::default(),
        nodes: Per::from(vec![
            node("pixels", PackedOp::Input { pad: vec![124, 116, 104] }, &[], pixels),
            node("conv", PackedOp::Conv(ternary()), &[0], Q),
            node("table", PackedOp::Table { entries: (0..=255).rev().collect() }, &[1], Q),
            node("residual", PackedOp::Conv(int8(4, 4, residual)), &[2, 1], Q),
            node("gate", PackedOp::GlobalAveragePool(BY), &[3], GATE),
            node("mul", PackedOp::Mul(BY), &[3, 4], Q),
            node("add", PackedOp::Add { left: SCALE, right: SCALE, fraction: 4 }, &[5, 3], Q),
            node("concat", PackedOp::Concat, &[6, 3], Q),
            node("shuffle", PackedOp::ChannelShuffle { groups: 2 }, &[7], Q),
            node("slice", PackedOp::Slice(slice), &[8], Q),
            node("pad", PackedOp::Pad { before: [0; 3], after: [0, 1, 1] }, &[9], Q),
            node("max", PackedOp::MaxPool(Window::new([3, 3]).with_stride([2, 2])), &[10], Q),
            node("mean", mean, &[11], Q),
            node("flatten", PackedOp::Flatten, &[12], Q),
            node("logits", PackedOp::Conv(int8(16, 3, logits)), &[13], Q),
        ]),
        logit_scale: 0.01,
        fidelity: Some(fidelity()),
        switching: None,
    }
}

fn fidelity() -> Fidelity {
    let layer = |node: usize, rounding: Option<f64>| LayerFidelity {
        node: packed_id(node),
        weight: Some(12.5),
        local: Some(-3.25),
        rounding,
        cumulative: None,
        saturation: 0.0012,
    };
    Fidelity {
        images: 8,
        held_back: false,
        logits: Some(20.0),
        judgement: None,
        layers: vec![layer(1, None), layer(3, Some(40.0)), layer(14, Some(0.01))],
    }
}

/// The place of a node.
pub(super) fn place(model: &PackedModel, name: &str) -> usize {
    model.nodes.iter().position(|node| node.name == name).unwrap()
}
