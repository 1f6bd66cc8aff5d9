//! The nodes of a model as they run: as they are written, or at the widths that layers have.

use super::step::Operand;
use crate::format::{PackedConv, PackedId, PackedModel, PackedNode, PackedOp, Switching, Wiring};
use crate::index::Per;
use crate::tensor::Shape;
use std::borrow::Cow;

/// The nodes of a model at some widths.
#[derive(Clone, Copy)]
pub(super) struct Nodes<'a> {
    pub model: &'a PackedModel,
    pub shapes: &'a Per<PackedId, Shape>,
    /// Of a model that switches.
    pub widths: Option<Widths<'a>>,
}

/// The widths of a model's layers.
#[derive(Clone, Copy)]
pub(super) struct Widths<'a> {
    pub switching: &'a Switching,
    pub wiring: &'a Wiring,
    /// Places of the widths, by node.
    pub places: &'a Per<PackedId, u8>,
}

impl<'a> Nodes<'a> {
    /// The nodes as they are written.
    pub fn plain(model: &'a PackedModel, shapes: &'a Per<PackedId, Shape>) -> Self {
        Self { model, shapes, widths: None }
    }

    /// Node `id`; the weights of a layer that depends on widths are left out.
    pub fn node(&self, id: PackedId) -> Cow<'a, PackedNode> {
        let node = &self.model.nodes[id];
        let variant = self.widths.and_then(|at| at.switching.variant(at.wiring, node, id, at.places));
        variant.map_or(Cow::Borrowed(node), Cow::Owned)
    }

    /// Whether node `id` depends on widths.
    pub fn varies(&self, id: PackedId) -> bool {
        self.widths.is_some_and(|at| at.wiring.varies(id))
    }

    /// What readers must know of node `id`.
    pub fn operand(&self, id: PackedId) -> Operand {
        Operand::of(&self.node(id), self.shapes[id])
    }

    /// What node `id` reads.
    pub fn operands(&self, id: PackedId) -> Vec<Operand> {
        self.model.nodes[id].inputs.iter().map(|&input| self.operand(input)).collect()
    }

    /// The weights of node `id` as `i8`.
    pub fn expanded(&self, id: PackedId) -> Vec<i8> {
        let PackedOp::Conv(conv) = &self.model.nodes[id].op else { return Vec::new() };
        let own = |at: &Widths| at.wiring.switching().contains(&id);
        let narrow = |at: Widths| at.switching.expanded(conv, usize::from(at.places[id]));
        self.widths.filter(own).map_or_else(|| PackedConv::expand(conv), narrow)
    }
}
