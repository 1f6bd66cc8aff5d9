//! Which values are written by the stage of another.

use crate::format::{PackedId, PackedModel, PackedOp};
use crate::index::Per;

/// For each node the one whose stage writes its value too: a narrowed copy, the first of that node's value.
pub(super) fn written_with(model: &PackedModel) -> Per<PackedId, Option<PackedId>> {
    let mut free = model.nodes.map(|node| writes_copies(&node.op));
    model.nodes.map(|node| match (&node.op, node.inputs.as_slice()) {
        (PackedOp::Narrow(_), &[source]) => std::mem::take(&mut free[source]).then_some(source),
        _ => None,
    })
}

/// The node that is written with node `id`, if any.
pub(super) fn copy_of(with: &Per<PackedId, Option<PackedId>>, id: PackedId) -> Option<PackedId> {
    with.position(|&maker| maker == Some(id))
}

/// Whether the stage of an operator can write a copy.
fn writes_copies(op: &PackedOp) -> bool {
    match op {
        PackedOp::Conv(_)
        | PackedOp::Add { .. }
        | PackedOp::Mul(_)
        | PackedOp::MaxPool(_)
        | PackedOp::AveragePool { .. }
        | PackedOp::GlobalAveragePool(_) => true,
        PackedOp::Input { .. }
        | PackedOp::Table { .. }
        | PackedOp::GroupNorm(_)
        | PackedOp::Narrow(_)
        | PackedOp::Concat
        | PackedOp::Slice(_)
        | PackedOp::Pad { .. }
        | PackedOp::GlobalSum
        | PackedOp::Flatten
        | PackedOp::ChannelShuffle { .. } => false,
    }
}
