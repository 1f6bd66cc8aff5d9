//! How near a layer's target stays to its trained weights, as the images that judge like it.

use super::Walk;
use crate::error::Result;
use crate::quantize::{OperatorId, QuantizedOp};

/// How many times the damping of the target is tried.
const STRONGER: [f64; 2] = [10.0, 100.0];

impl Walk<'_> {
    /// Takes the target whose outputs are nearest to full precision's on the images held back, if weights are rounded to no
    /// fewer than 8 bits: what fits the other images alone is worth nothing.
    pub(super) fn regularise(&mut self, id: OperatorId) -> Result<()> {
        let (true, Some(objective)) = (self.held_back, &self.objective) else { return Ok(()) };
        let stronger = objective.damped_targets(&STRONGER)?;
        let assembled = self.graph.nodes[id].op.clone();
        let mut least = self.draft_error(id, &assembled)?;
        for mut targets in stronger {
            self.exchange_targets(&mut targets);
            let error = self.draft_error(id, &assembled)?;
            if error < least {
                least = error;
            } else {
                self.exchange_targets(&mut targets);
            }
        }
        self.graph.nodes[id].op = assembled;
        Ok(())
    }

    fn exchange_targets(&mut self, targets: &mut Vec<faer::Mat<f64>>) {
        if let Some(objective) = &mut self.objective {
            std::mem::swap(&mut objective.targets, targets);
        }
    }

    /// The error on the images that judge with 8-bit weights next to the target.
    pub(super) fn draft_error(&mut self, id: OperatorId, assembled: &QuantizedOp) -> Result<f64> {
        let (QuantizedOp::Conv(conv), Some(objective)) = (assembled, &self.objective) else { return Ok(0.0) };
        self.graph.nodes[id].op = QuantizedOp::Conv(Box::new(objective.draft(conv)));
        let packing = self.pack(id)?;
        self.error(id, &packing)
    }
}
