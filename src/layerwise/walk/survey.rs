//! What layers would look like in other precisions, each fitted while all other layers keep theirs.

use super::Walk;
use crate::error::Result;
use crate::format::PackedOp;
use crate::graph::{NodeId, Op};
use crate::index::Per;
use crate::layerwise::probe::real;
use crate::plan::{Choice, Reason};
use crate::precision::Precision;
use crate::quantize::{OperatorId, QuantizedConv, QuantizedOp, closed_form};

/// Precisions to try, and who wants to see the result.
pub(crate) struct Survey<'a> {
    /// By node of the full-precision graph; empty where there is nothing to try.
    pub candidates: &'a Per<NodeId, Vec<Precision>>,
    /// Sees a layer's node and, for each of its candidates, the convolution that its integers stand for.
    pub see: &'a mut dyn FnMut(NodeId, Vec<Op>) -> Result<()>,
}

impl Walk<'_> {
    /// Shows the candidates of operator `id`, which afterwards is what it was.
    pub(super) fn survey(&mut self, id: OperatorId) -> Result<()> {
        let QuantizedOp::Conv(conv) = self.graph.nodes[id].op.clone() else { return Ok(()) };
        let Some(candidates) = self.survey.as_ref().map(|survey| survey.candidates[conv.source].clone())
        else {
            return Ok(());
        };
        let mut fitted = Vec::with_capacity(candidates.len());
        for precision in candidates {
            self.graph.nodes[id].op = QuantizedOp::Conv(Box::new(self.as_candidate(&conv, precision)?));
            fitted.extend(self.fitted(id)?);
        }
        let source = conv.source;
        self.graph.nodes[id].op = QuantizedOp::Conv(conv);
        match &mut self.survey {
            Some(survey) if !fitted.is_empty() => (survey.see)(source, fitted),
            _ => Ok(()),
        }
    }

    fn as_candidate(&self, conv: &QuantizedConv, precision: Precision) -> Result<QuantizedConv> {
        let Op::Conv(trained) = &self.full.graph.nodes[conv.source].op else { return Ok(conv.clone()) };
        let (weights, factors) = closed_form(trained.weight.view(), precision)?;
        let choice = Choice { precision, reason: Reason::Plan };
        Ok(QuantizedConv { weights, factors, choice, ..conv.clone() })
    }

    /// Operator `id` after fitting, as a convolution of real numbers.
    fn fitted(&mut self, id: OperatorId) -> Result<Option<Op>> {
        let packing = self.fit(id)?;
        let scale = self.graph.nodes[self.graph.nodes[id].inputs[0]].quantizer.scale;
        match &packing.node.op {
            PackedOp::Conv(conv) => Ok(Some(real(conv, &packing.units, scale)?)),
            _ => Ok(None),
        }
    }
}
