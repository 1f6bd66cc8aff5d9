//! A convolution's weights: codes of few bits, whose scales are codes, too.

use super::OnnxExportOptions;
use super::build::{AttributeValue, OnnxGraphBuilder};
use crate::format::PackedConv;
use crate::precision::Precision;
use crate::proto::tensor_proto::DataType;
use half::f16;

/// The largest unit of 16 bits is between two to this and twice as much.
const UNIT_EXPONENT: f64 = 14.0;

/// Adds the weights of a convolution as real numbers, `outputs × inputs × rows × columns`, in which a weight of 1 stands
/// for `units` of its output channel; returns the name of the value.
pub(super) fn weights(
    graph: &mut OnnxGraphBuilder,
    name: &str,
    conv: &PackedConv,
    units: &[f64],
    options: &OnnxExportOptions,
) -> String {
    let precision = conv.weights.precision;
    let (levels, scales) = conv.parts(precision.planes());
    let len = conv.weight_count();
    let per_plane = scales.len() / precision.planes();
    let units = match in_halves(conv, options) {
        true => halves(graph, &format!("{name}:u"), units),
        false => graph.reals(format!("{name}:u"), &[conv.outputs], &singles(units)),
    };
    let mut planes = (0..precision.planes()).map(|plane| {
        let name = if plane == 0 { format!("{name}:w") } else { format!("{name}:w{plane}") };
        let (levels, scales) = (&levels[plane * len..][..len], &scales[plane * per_plane..][..per_plane]);
        plane_of(graph, &name, conv, levels, scales, &units, options)
    });
    let first = planes.next().unwrap_or_default();
    let others: Vec<String> = planes.collect();
    others.iter().enumerate().fold(first, |sum, (index, plane)| {
        graph.node("Add", format!("{name}:ws{}", index + 1), &[&sum, plane], Vec::new())
    })
}

/// Whether the weights have scales of groups, which are codes. Then numbers of 16 bits are exact enough for what else
/// channels have: as exact as the multipliers of the packed model.
fn has_groups(conv: &PackedConv) -> bool {
    conv.weights.precision.group().is_some()
}

/// Whether units and biases take 16 bits.
fn in_halves(conv: &PackedConv, options: &OnnxExportOptions) -> bool {
    has_groups(conv) && !options.integer_rounding
}

/// The power of two by which units are divided, and inputs multiplied, so that 16 bits hold units of very different
/// channels.
pub(super) fn exponent(conv: &PackedConv, units: &[f64]) -> f64 {
    let largest = units.iter().fold(0.0f64, |largest, unit| largest.max(unit.abs()));
    if has_groups(conv) && largest > 0.0 { largest.log2().floor() - UNIT_EXPONENT } else { 0.0 }
}

fn singles(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

/// Real numbers that are stored in 16 bits.
fn halves(graph: &mut OnnxGraphBuilder, name: &str, values: &[f64]) -> String {
    let bytes = values.iter().flat_map(|&value| f16::from_f64(value).to_le_bytes()).collect();
    let halves = graph.tensor(format!("{name}q"), DataType::Float16, &[values.len()], bytes);
    graph.node("Cast", name.to_owned(), &[&halves], vec![("to", AttributeValue::Int(DataType::Float as i64))])
}

/// The biases of a convolution.
pub(super) fn bias(
    graph: &mut OnnxGraphBuilder,
    name: &str,
    conv: &PackedConv,
    biases: &[f64],
    options: &OnnxExportOptions,
) -> String {
    let name = format!("{name}:b");
    let largest = biases.iter().fold(0.0f64, |largest, bias| largest.max(bias.abs()));
    if !in_halves(conv, options) || largest == 0.0 {
        return graph.reals(name, &[biases.len()], &singles(biases));
    }
    let scale = (largest / f64::from(i16::MAX)) as f32;
    let codes =
        biases.iter().flat_map(|bias| ((bias / f64::from(scale)).round() as i16).to_le_bytes()).collect();
    let codes = graph.tensor(format!("{name}q"), DataType::Int16, &[biases.len()], codes);
    let scale = graph.reals(format!("{name}s"), &[], &[scale]);
    graph.node("DequantizeLinear", name, &[&codes, &scale], Vec::new())
}

fn plane_of(
    graph: &mut OnnxGraphBuilder,
    name: &str,
    conv: &PackedConv,
    levels: &[i8],
    scales: &[u8],
    units: &str,
    options: &OnnxExportOptions,
) -> String {
    let [rows, columns] = conv.window.kernel;
    let (kind, bits) = element(conv.weights.precision, options);
    let dims = [conv.outputs, conv.group_inputs, rows, columns];
    let codes = inputs_outside(levels, conv, conv.group_inputs);
    let codes =
        graph.tensor(format!("{name}q"), kind, &dims, packed(codes.iter().map(|&code| code as u8), bits));
    let Some(group) = conv.weights.precision.group() else {
        let axis = vec![("axis", AttributeValue::Int(0))];
        return graph.node("DequantizeLinear", name.to_owned(), &[&codes, units], axis);
    };
    let per_tap = conv.group_inputs.div_ceil(group);
    let scales = inputs_outside(scales, conv, per_tap);
    let (kind, bits) =
        if scales.iter().all(|&scale| scale < 16) { (DataType::Uint4, 4) } else { (DataType::Uint8, 8) };
    let dims = [conv.outputs, per_tap, rows, columns];
    let scale_codes = graph.tensor(format!("{name}sq"), kind, &dims, packed(scales.into_iter(), bits));
    let axis = vec![("axis", AttributeValue::Int(0))];
    let scales = graph.node("DequantizeLinear", format!("{name}s"), &[&scale_codes, units], axis);
    let blocks = vec![
        ("axis", AttributeValue::Int(1)),
        ("block_size", AttributeValue::Int(group.min(conv.group_inputs) as i64)),
    ];
    graph.node("DequantizeLinear", name.to_owned(), &[&codes, &scales], blocks)
}

/// The narrowest type that holds the levels, and its bits.
fn element(precision: Precision, options: &OnnxExportOptions) -> (DataType, u32) {
    match precision.levels().largest() {
        1 if options.has_two_bits() => (DataType::Int2, 2),
        ..=7 => (DataType::Int4, 4),
        _ => (DataType::Int8, 8),
    }
}

/// From the order output, row, column, input to the order output, input, row, column, with `inputs` of each.
fn inputs_outside<T: Copy>(values: &[T], conv: &PackedConv, inputs: usize) -> Vec<T> {
    let taps = conv.window.area();
    let place = |output: usize, input: usize, tap: usize| (output * taps + tap) * inputs + input;
    let places = (0..conv.outputs).flat_map(|output| (0..inputs).map(move |input| (output, input)));
    let places = places.flat_map(|(output, input)| (0..taps).map(move |tap| (output, input, tap)));
    places.map(|(output, input, tap)| values[place(output, input, tap)]).collect()
}

/// The lower bits of numbers, the first lowest.
pub(super) fn packed(codes: impl Iterator<Item = u8>, bits: u32) -> Vec<u8> {
    let (each, mask) = ((8 / bits) as usize, ((1u16 << bits) - 1) as u8);
    let mut bytes = Vec::new();
    for (index, code) in codes.enumerate() {
        if index % each == 0 {
            bytes.push(0);
        }
        if let Some(byte) = bytes.last_mut() {
            *byte |= (code & mask) << (index % each * bits as usize);
        }
    }
    bytes
}
