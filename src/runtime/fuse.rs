//! Which values are written by the stage of another.

use crate::format::{PackedModel, PackedOp};

/// For each node the one whose stage writes its value too: a narrowed copy, the first of that node's value.
pub(super) fn written_with(model: &PackedModel) -> Vec<Option<usize>> {
    let mut free: Vec<bool> = model.nodes.iter().map(|node| writes_copies(&node.op)).collect();
    let narrowed = model.nodes.iter().map(|node| match (&node.op, node.inputs.as_slice()) {
        (PackedOp::Narrow(_), &[source]) => std::mem::take(&mut free[source]).then_some(source),
        _ => None,
    });
    narrowed.collect()
}

/// The node that is written with node `id`, if any.
pub(super) fn copy_of(with: &[Option<usize>], id: usize) -> Option<usize> {
    with.iter().position(|&maker| maker == Some(id))
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
