//! Every rule of validity, broken alone.

use super::sample::{GATE, place, sample};
use crate::format::arbitrary::{packed_id, packed_ids};
use crate::format::write::encode;
use crate::format::*;
use crate::judge::Judgement;
use crate::tensor::{Span, Window};

/// Asserts that `change` to node `name` makes the sample invalid, in memory and in a file, and that the error
/// says so.
#[track_caller]
fn refused(name: &str, change: impl FnOnce(&mut PackedNode), part: &str) {
    let mut model = sample();
    let id = place(&model, name);
    change(&mut model.nodes[packed_id(id)]);
    let message = model.shapes().unwrap_err().to_string();
    assert!(message.starts_with(&format!("node '{name}': ")) && message.contains(part), "{message}");
    assert!(model.to_bytes().is_err());
    // What cannot even be encoded cannot be read either.
    if let Ok(bytes) = encode(&model) {
        let message = PackedModel::from_bytes(&bytes).unwrap_err().to_string();
        assert!(message.contains(name) || message.starts_with("the metadata"), "{message}");
    }
}

#[track_caller]
fn refused_op(name: &str, op: PackedOp, part: &str) {
    refused(name, |node| node.op = op, part);
}

#[track_caller]
fn refused_conv(name: &str, change: impl FnOnce(&mut PackedConv), part: &str) {
    let change = |node: &mut PackedNode| {
        let PackedOp::Conv(conv) = &mut node.op else { unreachable!() };
        change(conv);
    };
    refused(name, change, part);
}

#[track_caller]
fn refused_model(change: impl FnOnce(&mut PackedModel), part: &str) {
    let mut model = sample();
    change(&mut model);
    let message = model.shapes().unwrap_err().to_string();
    assert!(message.contains(part), "{message}");
    if let Ok(bytes) = encode(&model) {
        assert!(PackedModel::from_bytes(&bytes).is_err());
    }
}

#[test]
fn the_sample_is_valid() {
    let shapes = sample().shapes().unwrap();
    let text: Vec<String> = shapes.iter().map(ToString::to_string).collect();
    let expected = [
        "3x6x6", "4x6x6", "4x6x6", "4x6x6", "4x1x1", "4x6x6", "4x6x6", "8x6x6", "8x6x6", "4x6x6", "4x7x7",
        "4x3x3", "4x2x2", "16x1x1", "3x1x1",
    ];
    assert_eq!(text, expected);
}

#[test]
fn frames() {
    refused_model(|model| model.nodes.truncate(1), "no operator");
    refused_model(|model| model.nodes.truncate(0), "no operator");
    refused_model(|model| model.nodes[packed_id(4)].name = "conv".into(), "node 'conv': two nodes");
    refused_model(|model| model.nodes[packed_id(4)].name.clear(), "no name");
    refused_model(|model| drop(model.classes.pop()), "2 class names for 3 classes");
    refused_model(|model| model.nodes.truncate(12), "one vector");
    refused_model(|model| model.preprocess.std[0] = 0.0, "std");
    refused_model(|model| model.preprocess.crop.width = 7, "do not fit together");
    refused_model(|model| model.input.channels = 4, "do not fit together");
    refused_model(|model| model.nodes = model.nodes.iter().skip(1).cloned().collect(), "node 'conv': node 0");
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused_model(|model| model.logit_scale = scale, "logit scale");
    }
}

#[test]
fn figures_of_fidelity() {
    let refused = |change: fn(&mut Fidelity), part: &str| {
        refused_model(|model| change(model.fidelity.as_mut().unwrap()), part);
    };
    refused(|fidelity| fidelity.images = 0, "out of range");
    refused(|fidelity| fidelity.layers.truncate(2), "not of every convolution");
    let message = |change: fn(&mut Fidelity)| {
        let mut model = sample();
        change(model.fidelity.as_mut().unwrap());
        model.to_bytes().unwrap_err().to_string()
    };
    assert!(message(|fidelity| fidelity.layers.swap(0, 1)).contains("in order"));
    assert!(
        message(|fidelity| fidelity.layers[1].node = packed_id(usize::MAX))
            .contains("not of every convolution")
    );
    refused(|fidelity| fidelity.layers[0].saturation = 1.01, "node 'conv': figures of fidelity are out of");
    refused(|fidelity| fidelity.layers[0].saturation = -0.01, "out of range");
    refused(|fidelity| fidelity.layers[1].local = Some(120.01), "node 'residual'");
    refused(|fidelity| fidelity.layers[1].rounding = Some(-121.0), "node 'residual'");
    let judgement = Judgement { images: 8, agreeing: 8, divergence: 0.5, divergence_error: None };
    let judged = |change: fn(&mut Judgement)| {
        let mut judgement = judgement;
        change(&mut judgement);
        let mut model = sample();
        model.fidelity.as_mut().unwrap().judgement = Some(judgement);
        model.to_bytes().and_then(|bytes| PackedModel::from_bytes(&bytes)).map(|read| assert_eq!(read, model))
    };
    assert!(judged(|_| ()).is_ok());
    assert!(judged(|judgement| judgement.divergence_error = Some(0.1)).is_ok());
    assert!(judged(|judgement| judgement.images = 9).is_err());
    assert!(judged(|judgement| judgement.agreeing = 9).is_err());
    assert!(judged(|judgement| judgement.divergence = f64::NAN).is_err());
    assert!(judged(|judgement| judgement.divergence_error = Some(f64::INFINITY)).is_err());
    let mut model = sample();
    model.fidelity.as_mut().unwrap().logits = Some(f64::NAN);
    assert!(model.to_bytes().is_err());
}

/// Files of other writers need not have measured anything.
#[test]
fn figures_of_fidelity_may_be_missing() {
    let mut model = sample();
    let with = model.to_bytes().unwrap();
    model.fidelity = None;
    let without = model.to_bytes().unwrap();
    assert!(without.len() < with.len());
    assert_eq!(PackedModel::from_bytes(&without).unwrap(), model);
}

#[test]
fn quantizers() {
    for scale in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        refused("add", |node| node.quantizer.scale = scale, "scale");
    }
    refused("add", |node| node.quantizer.max = 0, "max: 0");
    refused("add", |node| (node.quantizer.zero_point, node.quantizer.max) = (16, 15), "zero_point: 16");
}

#[test]
fn operands() {
    for (name, inputs) in [("conv", vec![1]), ("conv", vec![14]), ("add", vec![5, usize::MAX])] {
        refused(name, |node| node.inputs = packed_ids(&inputs), "not an earlier node");
    }
    refused("pixels", |node| node.inputs = vec![packed_id(0)], "not an earlier node");
    refused("table", |node| node.op = PackedOp::Input { pad: vec![0; 3] }, "node 0, and no other");
    refused_op("pixels", PackedOp::Input { pad: vec![0; 2] }, "one pad code per input channel");
    refused("conv", |node| node.inputs.clear(), "no input");
    refused("residual", |node| node.inputs.truncate(1), "number of inputs");
    refused("residual", |node| node.inputs.push(packed_id(1)), "number of inputs");
    refused("table", |node| node.inputs.push(packed_id(1)), "2 inputs");
    refused("add", |node| node.inputs.truncate(1), "one input");
    refused("add", |node| node.inputs.push(packed_id(3)), "3 inputs");
    refused("mul", |node| node.inputs.clear(), "0 inputs");
    refused("concat", |node| node.inputs.clear(), "nothing to concatenate");
    refused("max", |node| node.inputs = vec![packed_id(0)], "pixels");
    refused("residual", |node| node.inputs[1] = packed_id(0), "pixels");
    refused("mul", |node| node.inputs[0] = packed_id(0), "pixels");
    let narrow = PackedOp::Narrow(Rescale { shift: 0, value: 1 });
    refused("table", |node| (node.op, node.inputs) = (narrow.clone(), packed_ids(&[0])), "pixels");
    refused_op("add", narrow, "2 inputs");
}

#[test]
fn shapes_fit() {
    refused("residual", |node| node.inputs[1] = packed_id(0), "pixels");
    let wide = PackedOp::Pad { before: [0; 3], after: [0, 0, 1] };
    refused_model(
        |model| {
            model.nodes[packed_id(2)].op = wide;
            let PackedOp::Conv(conv) = &mut model.nodes[packed_id(3)].op else { unreachable!() };
            conv.window = Window::new([1, 1]);
        },
        "node 'residual': the residual's shape is not 4x6x7",
    );
    refused("mul", |node| node.inputs = packed_ids(&[4, 3]), "4x6x6 cannot be broadcast to 4x1x1");
    refused_model(|model| model.nodes[packed_id(5)].inputs = packed_ids(&[3, 0]), "pixels");
    refused_model(
        |model| {
            let [four, seven] = [4, 7].map(packed_id);
            model.nodes[seven].inputs = packed_ids(&[6, 4]);
            model.nodes[four].quantizer = model.nodes[seven].quantizer;
        },
        "differ in size",
    );
    refused_op("shuffle", PackedOp::ChannelShuffle { groups: 3 }, "3 groups of channels");
    refused_op("shuffle", PackedOp::ChannelShuffle { groups: 0 }, "0 groups");
    refused_op("table", PackedOp::Table { entries: vec![0; 255] }, "255 table entries for 4 channels");
    refused_op("table", PackedOp::Table { entries: vec![0; 512] }, "512 table entries");
    refused_op("table", PackedOp::Table { entries: vec![] }, "0 table entries");
    let slice = |start, end, step| PackedOp::Slice(PackedSlice { start, end, step });
    refused_op("slice", slice([0; 3], [9, 6, 6], [1; 3]), "PackedSlice");
    refused_op("slice", slice([0, 6, 0], [8, 6, 6], [1; 3]), "PackedSlice");
    refused_op("slice", slice([0; 3], [8, 6, 6], [1, 0, 1]), "PackedSlice");
    refused_op("max", PackedOp::MaxPool(Window::new([8, 1])), "does not fit");
    refused_op("max", PackedOp::MaxPool(Window::new([0, 1])), "does not fit");
    refused_op("max", PackedOp::MaxPool(Window::new([1, 1]).with_stride([0, 1])), "does not fit");
    refused_op("pad", PackedOp::Pad { before: [usize::MAX; 3], after: [1; 3] }, "overflows");
}

#[test]
fn codes_keep_their_quantizer() {
    for name in ["concat", "shuffle", "slice", "pad", "max", "flatten"] {
        refused(name, |node| node.quantizer = GATE, "share one quantizer");
    }
    refused("table", |node| (node.quantizer.max, node.quantizer.zero_point) = (15, 0), "exceed the maximum");
}

#[test]
fn normalisations() {
    let good = PackedNorm {
        groups: 2,
        span: Span::Image,
        epsilon: 1,
        fraction: 6,
        multipliers: vec![Multiplier { shift: 30, value: -32767 }; 4],
        bias: vec![i16::MIN; 4],
    };
    let refused = |change: fn(&mut PackedNorm), message: &str| {
        let mut norm = good.clone();
        change(&mut norm);
        refused_op("table", PackedOp::GroupNorm(norm), message);
    };
    refused(|norm| norm.groups = 3, "3 groups of channels");
    refused(|norm| norm.groups = 0, "0 groups of channels");
    refused(|norm| norm.epsilon = 0, "an epsilon of 0");
    refused(|norm| norm.epsilon = (1 << 60) + 1, "an epsilon of");
    refused(|norm| norm.fraction = 7, "7 fraction bits");
    refused(|norm| norm.multipliers[3].shift = 31, "Multiplier");
    refused(|norm| norm.bias.truncate(3), "one multiplier and one bias per channel");
    let mut model = sample();
    let place = place(&model, "table");
    model.nodes[packed_id(place)].op = PackedOp::GroupNorm(good);
    model.shapes().unwrap();
}

#[test]
fn multipliers() {
    let lowest = Multiplier { shift: 0, value: i16::MIN };
    for bad in [lowest, Multiplier { shift: 31, value: 1 }] {
        refused_op("mul", PackedOp::Mul(bad), "Multiplier");
        refused_op("gate", PackedOp::GlobalAveragePool(bad), "Multiplier");
        let window = Window::new([2, 2]);
        let by_count = vec![bad; 4];
        refused_op(
            "mean",
            PackedOp::AveragePool { window, count_include_pad: false, by_count },
            "Multiplier",
        );
    }
    let good = Rescale { shift: 7, value: 1 };
    for bad in [Rescale { shift: 8, value: 1 }, Rescale { shift: 0, value: i16::MIN }] {
        refused_op("add", PackedOp::Add { left: bad, right: good, fraction: 0 }, "Rescale");
        refused_op("add", PackedOp::Add { left: good, right: bad, fraction: 0 }, "Rescale");
        refused_op("shuffle", PackedOp::Narrow(bad), "Rescale");
    }
    refused_op("add", PackedOp::Add { left: good, right: good, fraction: 7 }, "7 fraction bits");
    for count in [0, 3, 5] {
        let by_count = vec![Multiplier { shift: 0, value: 1 }; count];
        let op = PackedOp::AveragePool { window: Window::new([2, 2]), count_include_pad: false, by_count };
        refused_op("mean", op, "one multiplier per count");
    }
}

#[test]
fn convolutions() {
    refused_conv("conv", |conv| conv.groups = 0, "0 groups");
    refused_conv("conv", |conv| conv.groups = 3, "4 outputs in 3 groups");
    refused_conv("conv", |conv| conv.groups = 2, "2 groups of 3 inputs for 3x6x6");
    refused_conv("conv", |conv| conv.group_inputs = 0, "groups of 0 inputs");
    refused_conv("conv", |conv| conv.outputs = 0, "invalid codes for 0");
    refused_conv("conv", |conv| conv.window.ceil = true, "no ceil mode");
    refused_conv("conv", |conv| conv.window.kernel = [9, 1], "does not fit");
    refused_conv("conv", |conv| conv.window.dilation = [0, 1], "does not fit");
    refused_conv("conv", |conv| conv.window.pads[0] = usize::MAX, "Window");
    refused_conv("conv", |conv| conv.window.stride = [usize::MAX, 1], "Window");
    refused_conv("conv", |conv| conv.bias.truncate(3), "one value per output channel");
    let weights = |name: &str, codes: Vec<u8>, scales: Vec<u8>| PackedWeights {
        precision: name.parse().unwrap(),
        codes,
        scales,
    };
    let refused = |name: &str, codes: Vec<u8>, scales: Vec<u8>, part: &str| {
        refused_conv("residual", |conv| conv.weights = weights(name, codes, scales), part);
    };
    refused("int8", vec![0; 15], vec![], "invalid codes for 16");
    refused("int8", vec![255; 16], vec![], "invalid codes for 16");
    refused("ternary:4", vec![0; 4], vec![1; 3], "3 bytes of scales, not 4");
    refused("ternary:4", vec![0; 4], vec![128; 4], "at most 127");
    refused("ternary:4/4", vec![0; 4], vec![0; 3], "3 bytes of scales, not 2");
    refused("ternary:2/3", vec![0, 0, 0, 1], vec![1; 3], "invalid codes for 16");
    refused("ternary:3/3", vec![0; 4], vec![0, 0, 0, 1], "4 bytes of scales, not 3");
    refused("ternary:3/7", vec![0; 4], vec![0; 8], "8 bytes of scales, not 7");
    refused("ternary:4", vec![0; 5], vec![1; 4], "invalid codes for 16");
    refused("ternary:4", vec![0; 3], vec![1; 4], "invalid codes for 16");
    refused("ternary:4", vec![1; 4], vec![1; 4], "invalid codes for 16");
    refused("ternary:4*2", vec![0; 7], vec![64; 8], "at most 127 together");
    refused("ternary:4*2", vec![0; 7], vec![63; 4], "4 bytes of scales, not 8");
    refused("int4:4", vec![0; 8], vec![1; 3], "3 bytes of scales, not 4");
    refused("int4:4", vec![0; 8], vec![19; 4], "at most 18");
    refused("int4:4", vec![0; 9], vec![18; 4], "invalid codes");
    refused("int4", vec![0; 7], vec![], "invalid codes for 16");
    refused("int4", vec![0xf0; 8], vec![], "invalid codes for 16");
    refused("int3", vec![0xff; 6], vec![], "invalid codes for 16");
}

#[test]
fn sums_that_could_overflow() {
    // The largest bias with which 27 weights and a shift of 7 still fit.
    let mut model = sample();
    let PackedOp::Conv(conv) = &model.nodes[packed_id(1)].op else { unreachable!() };
    let weights: i64 = conv.expand()[..27].iter().map(|w| i64::from(w.unsigned_abs())).sum();
    let limit = (i64::from(i32::MAX) - weights * 255 - 128) as i32;
    for bias in [limit, -limit] {
        let PackedOp::Conv(conv) = &mut model.nodes[packed_id(1)].op else { unreachable!() };
        conv.bias[0] = bias;
        model.shapes().unwrap();
    }
    for bias in [limit + 1, -limit - 1, i32::MIN, i32::MAX] {
        refused_conv("conv", |conv| conv.bias[0] = bias, "overflow 32 bits");
    }
}

#[test]
fn stores() {
    let codes = |low, high, fraction, count| Store::Codes {
        multipliers: vec![Multiplier { shift: 0, value: 1 }; count],
        residual: None,
        fraction,
        low,
        high,
    };
    refused_conv("conv", |conv| conv.store = codes(9, 8, 0, 4), "codes 9..=8");
    refused_conv("conv", |conv| conv.store = codes(0, 255, 7, 4), "7 fraction bits");
    refused_conv("conv", |conv| conv.store = codes(0, 255, 0, 3), "one value per output channel");
    refused("conv", |node| node.quantizer.max = 254, "codes 10..=255");
    let logits = |count, shift| Store::Logits { factors: vec![1; count], shift };
    refused_conv("conv", |conv| conv.store = logits(4, 1), "only the last node");
    refused_conv("residual", |conv| conv.store = logits(4, 1), "only the last node");
    refused_conv("logits", |conv| conv.store = logits(2, 1), "one value per output channel");
    refused_conv("logits", |conv| conv.store = logits(3, 63), "logit shift 63");
    refused_op("gate", PackedOp::GlobalSum, "only the last node");
}
