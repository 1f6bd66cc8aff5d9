//! What a pass keeps, and how far images go without waiting for others.

use super::PARTS;
use crate::graph::{BatchNorm, Binary, Op, Unary};
use crate::liveness::last_readers;
use crate::train::network::{Function, LayerId, Network, Statistics, TrainedLayer};
use std::ops::Range;

/// Bytes that all parts' gradients of the parameters of a stretch may take.
const SUM_BYTES: usize = 128 << 20;

/// How a pass over a batch goes through a network.
pub(super) struct Passage {
    pub segments: Vec<TapeSegment>,
    /// By layer, the one that writes over its value.
    overwritten_by: Vec<Option<LayerId>>,
    last_reader: Vec<usize>,
}

/// Layers of which the forward pass leaves the values that later ones read, or all if there is but one segment.
pub(super) struct TapeSegment {
    layers: Range<LayerId>,
    /// Layers that an image goes through without waiting for others.
    pub stretches: Vec<Range<LayerId>>,
}

impl Passage {
    /// From the first of `ends` to the last, for `images` images' values within `budget` bytes, or as little as can be;
    /// values of `wanted` layers are kept.
    pub(super) fn new(
        network: &Network,
        ends: [LayerId; 2],
        wanted: &[LayerId],
        images: usize,
        budget: usize,
    ) -> Self {
        let inputs = network.layers.iter().map(|layer| layer.inputs.as_slice());
        let mut last_reader = last_readers(inputs).into_vec();
        wanted.iter().for_each(|&id| last_reader[id] = usize::MAX);
        let mut overwritten_by = overwriting(network);
        wanted.iter().chain(&ends).for_each(|&id| overwritten_by[id] = None);
        let bytes: Vec<usize> = network
            .layers
            .iter()
            .zip(&overwritten_by)
            .map(|(layer, by)| if by.is_some() { 0 } else { 4 * images * layer.shape.len() })
            .collect();
        let segments = segments(&bytes, &last_reader, ends, budget).into_iter();
        let segments: Vec<TapeSegment> = segments
            .map(|layers| TapeSegment { stretches: stretches(network, layers.clone()), layers })
            .collect();
        for stretch in segments.iter().flat_map(|segment| &segment.stretches) {
            for by in &mut overwritten_by[stretch.clone()] {
                *by = by.filter(|by| stretch.contains(by));
            }
        }
        Self { segments, overwritten_by, last_reader }
    }

    /// The layer that writes over a layer's value.
    pub(super) fn overwritten_by(&self, id: LayerId) -> Option<LayerId> {
        self.overwritten_by[id]
    }

    /// Values that nobody reads between a segment's forward pass and the backward pass, which computes them again.
    pub(super) fn forgotten(&self, segment: usize) -> impl Iterator<Item = LayerId> {
        let TapeSegment { layers, .. } = &self.segments[segment];
        let is_last = segment + 1 == self.segments.len();
        layers.clone().filter(move |&id| !is_last && self.last_reader[id] < layers.end)
    }
}

/// How many sums of parameters' gradients of a stretch there may be at a time.
pub(super) fn sums_at_a_time(network: &Network, stretch: Range<LayerId>) -> usize {
    let bytes: usize = network.layers[stretch].iter().map(parameter_bytes).sum();
    (SUM_BYTES / bytes.max(1)).clamp(1, PARTS)
}

fn parameter_bytes(layer: &TrainedLayer) -> usize {
    let parameters = layer.function.parameters();
    if layer.trainable { 4 * parameters.iter().map(|(_, values)| values.len()).sum::<usize>() } else { 0 }
}

/// The batch normalization that a layer is, if it uses the statistics of the batch.
pub(super) fn by_batch(network: &Network, id: LayerId) -> Option<&BatchNorm> {
    match &network.layers[id].function {
        Function::Op(Op::BatchNorm(norm)) if network.statistics == Statistics::Batch => Some(norm),
        _ => None,
    }
}

/// By layer, the one that may write over its value because nobody else reads it, not even a backward step.
fn overwriting(network: &Network) -> Vec<Option<LayerId>> {
    let mut readers = vec![0; network.layers.len()];
    network.layers.iter().flat_map(|layer| &layer.inputs).for_each(|&input| readers[input] += 1);
    let mut result = vec![None; network.layers.len()];
    for (id, layer) in network.layers.iter().enumerate() {
        let spare =
            |&&input: &&LayerId| readers[input] == 1 && !is_read_back(&network.layers[input].function);
        if is_in_place(network, layer)
            && let Some(&input) = layer.inputs.iter().find(spare)
        {
            result[input] = Some(id);
        }
    }
    result
}

/// Whether the backward step reads what the function made, not what it was made from.
pub(super) fn is_read_back(function: &Function) -> bool {
    matches!(function, Function::Op(Op::Unary(Unary::Relu | Unary::Clip(..))))
}

/// Whether a layer adds values of its own shape.
pub(super) fn is_plain_sum(network: &Network, layer: &TrainedLayer) -> bool {
    let adds = matches!(layer.function, Function::Op(Op::Binary(Binary::Add)));
    adds && layer.inputs.iter().all(|&input| network.layers[input].shape == layer.shape)
}

/// Whether a layer can write over an operand.
fn is_in_place(network: &Network, layer: &TrainedLayer) -> bool {
    is_read_back(&layer.function) || is_plain_sum(network, layer)
}

/// As few segments of like length as keep a pass within `budget` bytes, or one per layer.
fn segments(
    bytes: &[usize],
    last_reader: &[usize],
    ends: [LayerId; 2],
    budget: usize,
) -> Vec<Range<LayerId>> {
    let [first, layers] = [ends[0] + 1, ends[1] - ends[0]];
    let divided = |count: usize| -> Vec<Range<LayerId>> {
        (0..count).map(|part| first + part * layers / count..first + (part + 1) * layers / count).collect()
    };
    (1..layers)
        .map(divided)
        .find(|segments| needed(bytes, last_reader, segments) <= budget)
        .unwrap_or_else(|| divided(layers))
}

/// Bytes that a pass with these segments keeps at most: what crosses their ends, and all of the largest.
fn needed(bytes: &[usize], last_reader: &[usize], segments: &[Range<LayerId>]) -> usize {
    let crossing = |segment: &Range<LayerId>| -> usize {
        segment.clone().filter(|&id| last_reader[id] >= segment.end).map(|id| bytes[id]).sum()
    };
    let whole = segments.iter().map(|segment| bytes[segment.clone()].iter().sum::<usize>()).max();
    segments.iter().map(crossing).sum::<usize>() + whole.unwrap_or(0)
}

/// The longest that have no more parameters than can be summed by part, each batch normalization by itself.
fn stretches(network: &Network, layers: Range<LayerId>) -> Vec<Range<LayerId>> {
    let mut result: Vec<Range<LayerId>> = Vec::new();
    let mut bytes = 0;
    for id in layers {
        bytes += PARTS * parameter_bytes(&network.layers[id]);
        let alone = |id: LayerId| by_batch(network, id).is_some();
        match result.last_mut().filter(|last| bytes <= SUM_BYTES && !alone(id) && !alone(last.start)) {
            Some(last) => last.end = id + 1,
            None => {
                bytes = PARTS * parameter_bytes(&network.layers[id]);
                result.push(id..id + 1);
            }
        }
    }
    result
}
