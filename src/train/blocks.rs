//! Blocks: parts of a network between which a single value passes.

use super::network::LayerId;
use super::simulate::Simulation;
use crate::graph::{Graph, NodeId};
use crate::index::{Per, TypedIndex};
use crate::quantize::{OperatorId, Structure};

/// Convolutions after which a block may end: one alone says little of how errors meet.
const CONVOLUTIONS: usize = 2;

/// A part of a simulated network, and the same part of full precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NetworkBlock {
    /// The layer whose values it reads and the last of its own.
    pub layers: [LayerId; 2],
    /// The nodes of the full-precision graph with the same values.
    pub nodes: [NodeId; 2],
}

/// All of the network but what follows the last convolution whose codes may change.
pub(super) fn blocks(simulation: &Simulation, structure: &Structure, graph: &Graph) -> Vec<NetworkBlock> {
    let layers = &simulation.network.layers;
    let layer_cuts: Per<LayerId, bool> = cuts(layers.iter().map(|layer| layer.inputs.as_slice()));
    let node_cuts = cuts(graph.nodes.iter().map(|node| node.inputs.as_slice()));
    let convolutions = simulation.weighted();
    let mut blocks = Vec::new();
    let mut start = (0, structure.operators[OperatorId::INPUT].value);
    let mut last = None;
    for (id, operator) in structure.operators.enumerate().skip(1) {
        let end = (simulation.place(id), operator.value);
        let inside = convolutions.iter().filter(|&&layer| layer > start.0 && layer <= end.0).count();
        if inside > 0 && layer_cuts[end.0] && node_cuts[end.1] {
            let block = NetworkBlock { layers: [start.0, end.0], nodes: [start.1, end.1] };
            last = Some(block);
            if inside >= CONVOLUTIONS {
                blocks.push(block);
                (start, last) = (end, None);
            }
        }
    }
    blocks.extend(last);
    blocks
}

/// For every value whether all that comes later reads no earlier one.
fn cuts<'a, I: TypedIndex + 'a>(
    inputs: impl DoubleEndedIterator<Item = &'a [I]> + ExactSizeIterator,
) -> Per<I, bool> {
    let mut cuts = Per::filled(true, inputs.len());
    let mut earliest = I::from_index(inputs.len());
    for (id, inputs) in cuts.ids().zip(inputs).rev() {
        cuts[id] = earliest >= id;
        earliest = inputs.iter().copied().fold(earliest, I::min);
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::arbitrary::node_ids;

    #[test]
    fn a_residual_that_is_still_to_be_read_is_no_cut() {
        let inputs = [&[][..], &[0], &[1], &[2], &[1, 3], &[4]].map(node_ids);
        let cuts = cuts(inputs.iter().map(Vec::as_slice));
        assert_eq!(cuts.as_slice(), [true, true, false, false, true, true]);
    }
}
