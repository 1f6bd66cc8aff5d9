//! The part of a packed model's size that no plan changes.

use super::IndicatorOptions;
use super::plannable::Plannable;
use crate::convert::ConvertOptions;
use crate::error::Result;
use crate::format::{PackedModel, PlanRecord, Preprocess, Provenance};
use crate::graph::{Graph, NodeId, Op};
use crate::index::Per;
use crate::layerwise::Packed;
use crate::plan::{Fixed, Indicators, LayerIndicators, short};
use crate::precision::Precision;
use crate::quantize::{QuantizedGraph, QuantizedNode, QuantizedOp};
use crate::tensor::Shape;
use std::collections::BTreeMap;

/// Bytes by which numbers in the file may be longer than with 8-bit weights, and options than the default ones: of all
/// and for each layer.
const LONGER: [u64; 2] = [64, 4];
/// As long as the text of a plan's objective usually is.
const OBJECTIVE: &str = "0.00012345678901234567";

/// All of the file that no choice changes.
pub(super) fn fixed(
    quantized: &QuantizedGraph,
    packed: Packed,
    preprocess: &Preprocess,
    options: &IndicatorOptions,
    found: &Indicators,
) -> Result<Fixed> {
    let planned = |of: fn(&LayerIndicators) -> u64| found.layers.iter().map(of).sum::<u64>();
    let sum = |of: fn(&QuantizedNode) -> u64| quantized.nodes.iter().map(of).sum::<u64>();
    let mut model = PackedModel {
        name: quantized.name.clone(),
        input: quantized.input,
        preprocess: preprocess.clone(),
        classes: options.classes.clone(),
        provenance: provenance(options, found),
        nodes: packed.nodes,
        logit_scale: packed.logit_scale,
        fidelity: Some(packed.fidelity),
        switching: None,
    };
    let bytes = model.to_bytes()?.len() as u64;
    model.provenance.plan = Some(longest_record(options, quantized));
    Ok(Fixed {
        parameters: sum(weights) - planned(|layer| layer.parameters),
        bits: 8 * bytes - 8 * planned(|layer| layer.parameters),
        multiplications: sum(|node| weights(node) * node.shape.positions() as u64)
            - planned(|layer| layer.macs),
        record: model.to_bytes()?.len() as u64 - bytes + LONGER[0] + LONGER[1] * found.layers.len() as u64,
    })
}

/// Of a file that holds nothing but weights.
pub(super) fn least(graph: &Graph, shapes: &Per<NodeId, Shape>, layers: &[Plannable]) -> Fixed {
    let fixed = graph.nodes.enumerate().filter(|(id, _)| layers.iter().all(|layer| layer.node != *id));
    let weights = fixed.filter_map(|(id, node)| match &node.op {
        Op::Conv(conv) => Some((id, conv.weight.len() as u64)),
        _ => None,
    });
    let (mut parameters, mut multiplications) = (0, 0);
    for (id, weights) in weights {
        parameters += weights;
        multiplications += weights * shapes[id].positions() as u64;
    }
    Fixed { parameters, bits: 8 * parameters, multiplications, record: 0 }
}

/// Number of a node's weights.
fn weights(node: &QuantizedNode) -> u64 {
    match &node.op {
        QuantizedOp::Conv(conv) => (conv.outputs * conv.group_inputs * conv.window.area()) as u64,
        _ => 0,
    }
}

/// That of a conversion with default options.
fn provenance(options: &IndicatorOptions, found: &Indicators) -> Provenance {
    let conversion = ConvertOptions { range: options.range, ..ConvertOptions::default() };
    Provenance {
        source: found.source.clone(),
        source_sha256: found.network_sha256.clone(),
        ..conversion.provenance(found.images.unwrap_or(0) as usize)
    }
}

/// The longest record of a plan without budgets.
fn longest_record(options: &IndicatorOptions, quantized: &QuantizedGraph) -> PlanRecord {
    let bits = options.activation_bits.iter().min().copied().unwrap_or(8);
    let names = options.precisions.iter().copied().chain([Precision::int8()]);
    let longest = names.map(|name| short(&name.to_string(), bits)).max_by_key(String::len);
    let layers = quantized.nodes.iter().filter(|node| matches!(node.op, QuantizedOp::Conv(_)));
    PlanRecord {
        budgets: BTreeMap::new(),
        objective: OBJECTIVE.into(),
        layers: vec![longest.unwrap_or_default(); layers.count()].join(" "),
    }
}
