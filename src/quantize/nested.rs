//! A network whose layers have several widths, one network for every width and for every pair of neighbouring widths.

use super::{OperatorId, PerOperator, QuantizedGraph};

/// The network with one of its widths in every layer.
#[derive(Debug, Clone)]
pub(crate) struct WidthVariant {
    /// The place of the width among all, by operator; of no meaning for operators that do not switch.
    pub places: PerOperator<usize>,
    pub graph: QuantizedGraph,
}

/// A network that switches. Its variants have the same operators; the weights of narrower layers are the first planes of
/// wider ones, and gains, biases and the copies that layers read are their own.
#[derive(Debug, Clone)]
pub(crate) struct NestedGraph {
    /// One for each width of all layers, the narrowest first; then some in which every layer has every pair of different
    /// widths with the layer before.
    pub variants: Vec<WidthVariant>,
    /// Number of widths.
    pub widths: usize,
    /// The layers that switch, in execution order.
    pub own: Vec<OperatorId>,
    /// Of every operator the layer before that switches.
    pub before: PerOperator<Option<OperatorId>>,
    /// Copies of activations whose bits switch, each with the layer that reads it.
    pub copies: Vec<[OperatorId; 2]>,
}

impl NestedGraph {
    /// The network with all planes.
    pub(crate) fn top(&self) -> &QuantizedGraph {
        &self.variants[self.widths - 1].graph
    }

    /// How many widths each of a layer's two keys has, of the layer before and its own; 1 where there is no such key.
    pub(crate) fn keys(&self, layer: OperatorId) -> [usize; 2] {
        [self.before[layer].is_some(), self.own.contains(&layer)]
            .map(|many| if many { self.widths } else { 1 })
    }

    /// The first variant in which a layer has this pair of places.
    pub(crate) fn with_pair(&self, layer: OperatorId, [before, own]: [usize; 2]) -> Option<usize> {
        let (layer_before, switches) = (self.before[layer], self.own.contains(&layer));
        self.variants.iter().position(|variant| {
            layer_before.is_none_or(|id| variant.places[id] == before)
                && (!switches || variant.places[layer] == own)
        })
    }
}
