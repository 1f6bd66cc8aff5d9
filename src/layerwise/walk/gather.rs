//! What the outputs of a layer should be, on the inputs that it really has.

use super::{Walk, freed};
use crate::error::Result;
use crate::graph::{NodeId, Op};
use crate::layerwise::gram::{Inputs, Sampler, Samples, WantedOutputs};
use crate::layerwise::objective::Objective;
use crate::layerwise::patches::Patches;
use crate::quantize::{OperatorId, QuantizedOp};
use std::sync::Arc;

impl Walk<'_> {
    /// What the outputs of operator `id`, a convolution, should be.
    pub(super) fn objective_of(&mut self, id: OperatorId) -> Result<Option<Objective>> {
        let Some([patches, host]) = self.patches(id) else { return Ok(None) };
        let moments = self.moments(id)?;
        let node = &self.graph.nodes[id];
        let QuantizedOp::Conv(conv) = &node.op else { return Ok(None) };
        let residual_node = node.inputs.get(1).map(|&input| self.full.structure.operators[input].value);
        self.teacher.advance_to(residual_node.map_or(conv.source, |node| node.max(conv.source)))?;
        let operands = self.operands(id)?;
        let residual = node.inputs.get(1).zip(residual_node).map(|(&input, full)| {
            let quantizer = self.graph.nodes[input].quantizer;
            (&operands[1].fitting, quantizer.zero_point, quantizer.scale, full)
        });
        let wanted =
            WantedOutputs { teacher: &self.teacher, target: conv.source, residual, clamp: conv.clamp };
        let samples = Samples::new(self.sampler(patches, host)?, moments, &wanted)?;
        let input_scale = self.graph.nodes[patches.input].quantizer.scale;
        let objective = Objective::new(conv, &self.trained(conv.source), &samples, input_scale)?;
        self.teacher.release(conv.source);
        residual_node.into_iter().for_each(|node| self.teacher.release(node));
        Ok(Some(objective))
    }

    /// The patches of operator `id` and those of its host.
    fn patches(&self, id: OperatorId) -> Option<[Patches; 2]> {
        Some([Patches::of(&self.graph.nodes[id])?, Patches::of(&self.graph.nodes[self.hosts[id]?])?])
    }

    /// The moments of each channel group's inputs of operator `id`, which are part of its host's.
    fn moments(&mut self, id: OperatorId) -> Result<Vec<Arc<Inputs>>> {
        let (Some(host), Some([own, wide])) = (self.hosts[id], self.patches(id)) else {
            return Ok(Vec::new());
        };
        let moments = match self.shared.iter().position(|(known, _)| *known == host) {
            Some(index) => self.shared.swap_remove(index).1,
            None => self.sampler(wide, wide)?.moments()?,
        };
        let parts = own.within(&wide).filter(|inputs| inputs.len() < wide.len());
        let part = |group: &Arc<Inputs>| match &parts {
            Some(inputs) => Arc::new(group.part(inputs)),
            None => Arc::clone(group),
        };
        let own = moments.iter().map(part).collect();
        if self.hosts.ids_after(id).any(|later| self.hosts[later] == Some(host)) {
            self.shared.push((host, moments));
        }
        Ok(own)
    }

    fn sampler(&self, patches: Patches, host: Patches) -> Result<Sampler<'_>> {
        let input = &self.graph.nodes[patches.input];
        Ok(Sampler {
            patches,
            host,
            activations: &self.values[patches.input].as_ref().ok_or_else(freed)?.fitting,
            shape: input.shape,
            zero_point: input.quantizer.zero_point,
        })
    }

    /// Trained weights in storage order.
    fn trained(&self, source: NodeId) -> Vec<f32> {
        match &self.full.graph.nodes[source].op {
            Op::Conv(conv) => conv.weight.view().permuted_axes([0, 2, 3, 1]).iter().copied().collect(),
            _ => Vec::new(),
        }
    }
}
