//! Ranges of tensors of fewer than 8 bits, chosen from what the converted network really yields.

use super::{Walk, run};
use crate::calibrate::{Histogram, RangeMethod, Spool, quantizer_for};
use crate::error::Result;
use crate::format::Quantizer;
use crate::pack::Packing;
use crate::quantize::{OperatorId, Plain, QuantizedOp};

/// Full precision's largest value times this is where codes of 8 bits end while values are looked at: the converted
/// network may yield larger ones.
const MARGIN: f64 = 1.25;

impl Walk<'_> {
    /// The operator with a quantizer chosen anew, which is also that of the operators that move its codes; `packing` if
    /// its range is not to be chosen here.
    pub(super) fn ranged(&mut self, id: OperatorId, packing: Packing) -> Result<Packing> {
        let range = self.graph.nodes[id].range.filter(|_| !self.as_it_is);
        let (Some(range), Some(wide)) = (range, self.wide_quantizer(id)) else {
            return Ok(packing);
        };
        self.graph.nodes[id].quantizer = wide;
        let step = self.step(id, &self.pack(id)?.node);
        let inputs: Vec<&Spool> = self.operands(id)?.into_iter().map(|parts| &parts.fitting).collect();
        let histogram = histogram(&run(&step, self.graph.nodes[id].shape, &inputs)?, wide)?;
        let found = quantizer_for(&histogram, range, self.full.structure.operators[id].bits);
        let scale = found.scale.max(self.least_scale(id));
        self.graph.nodes[id].quantizer = Quantizer { scale, ..found };
        self.spread_quantizer(id);
        self.pack(id)
    }

    /// A quantizer of 8 bits for all values that operator `id` may yield.
    fn wide_quantizer(&self, id: OperatorId) -> Option<Quantizer> {
        let node = &self.graph.nodes[id];
        if let QuantizedOp::Plain(Plain::Narrow) = node.op {
            return Some(self.graph.nodes[node.inputs[0]].quantizer);
        }
        let value = self.full.structure.operators[id].value;
        let histogram = self.full.observation.histograms[value].as_ref()?;
        let wide = quantizer_for(histogram, RangeMethod::MinMax, 8);
        Some(Quantizer { scale: wide.scale * MARGIN, ..wide })
    }

    /// Operators that move codes have the quantizer of what they read.
    fn spread_quantizer(&mut self, id: OperatorId) {
        for follower in self.graph.nodes.ids_after(id) {
            let input = self.graph.nodes[follower].inputs[0];
            if self.full.structure.operators[follower].kind.keeps_codes() {
                self.graph.nodes[follower].quantizer = self.graph.nodes[input].quantizer;
            }
        }
    }

    /// A step that is finer cannot be reached from what is rescaled.
    fn least_scale(&self, id: OperatorId) -> f64 {
        let node = &self.graph.nodes[id];
        let rescaled = match node.op {
            QuantizedOp::Plain(Plain::Narrow) => node.inputs.first(),
            _ => node.inputs.get(1),
        };
        rescaled.map_or(0.0, |&input| self.graph.nodes[input].quantizer.scale / 127.0)
    }
}

/// The real values of codes with `quantizer`.
fn histogram(codes: &Spool, quantizer: Quantizer) -> Result<Histogram> {
    let mut counts = [0u64; 256];
    for chunk in 0..codes.chunks() {
        codes.chunk(chunk)?.data.iter().for_each(|&code| counts[usize::from(code)] += 1);
    }
    let mut histogram = Histogram::default();
    for (code, &count) in counts.iter().enumerate() {
        let real = (code as f64 - f64::from(quantizer.zero_point)) * quantizer.scale;
        histogram.add(real as f32, count);
    }
    Ok(histogram)
}
