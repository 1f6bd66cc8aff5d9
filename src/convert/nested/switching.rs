//! What a model that switches holds besides the network with all planes.

use super::changes::changes;
use crate::error::Result;
use crate::format::{PackedModel, PackedNode, PackedOp, SwitchedCopy, SwitchedLayer, Switching};
use crate::pack::pack_graph;
use crate::prepare::Full;
use crate::quantize::{NestedGraph, OperatorId, QuantizedOp, WidthVariant};

/// A variant as it is packed.
pub(super) struct PackedVariant<'a> {
    pub variant: &'a WidthVariant,
    pub model: PackedModel,
}

/// The network with all planes, packed, and all that switches in it, without settings.
///
/// # Errors
/// Parameters that integers cannot hold.
pub(super) fn switching_model(nested: &NestedGraph, full: &Full) -> Result<PackedModel> {
    let packed = |variant| Ok(PackedVariant { variant, model: pack_graph(&variant.graph, full.preprocess)? });
    let packed: Vec<PackedVariant> = nested.variants.iter().map(packed).collect::<Result<_>>()?;
    let ids = nested.top().nodes.ids();
    let switching = Switching {
        widths: (1..=nested.widths as u8).collect(),
        layers: ids.filter_map(|id| layer(nested, full, &packed, id)).collect(),
        copies: nested.copies.iter().map(|&[copy, _]| switched_copy(nested, &packed, copy)).collect(),
        settings: Vec::new(),
    };
    Ok(PackedModel { switching: Some(switching), ..packed[nested.widths - 1].model.clone() })
}

/// A copy with what it is at lower widths.
fn switched_copy(nested: &NestedGraph, packed: &[PackedVariant], copy: OperatorId) -> SwitchedCopy {
    let node = copy.packed();
    let lower = packed[..nested.widths - 1].iter().filter_map(|lower| match &lower.model.nodes[node] {
        PackedNode { op: PackedOp::Narrow(by), quantizer, .. } => Some((*by, *quantizer)),
        _ => None,
    });
    SwitchedCopy { node, lower: lower.collect() }
}

/// A layer that switches, or follows one that does, with its changes of gains and biases.
fn layer(
    nested: &NestedGraph,
    full: &Full,
    packed: &[PackedVariant],
    id: OperatorId,
) -> Option<SwitchedLayer> {
    let [befores, owns] = nested.keys(id);
    let pairs = befores * owns;
    if !matches!(nested.top().nodes[id].op, QuantizedOp::Conv(_)) || pairs == 1 {
        return None;
    }
    let (mut shifts, mut all) = (Vec::new(), Vec::new());
    for pair in 0..pairs - 1 {
        let place = nested.with_pair(id, [pair / owns, pair % owns])?;
        let (shift, mut changed) = changes(full, &packed[nested.widths - 1], &packed[place], id);
        shifts.push(shift);
        all.append(&mut changed);
    }
    Some(SwitchedLayer { node: id.packed(), own: nested.own.contains(&id), shifts, changes: all })
}
