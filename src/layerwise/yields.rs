//! What the integer runtime makes of the images that judge.

use crate::calibrate::{Parts, Spool};
use crate::error::{Error, ErrorKind, Result};
use crate::quantize::{OperatorId, PerOperator, QuantizedGraph, QuantizedNode, QuantizedOp};
use crate::runtime::Step;
use crate::tensor::Batch;
use rayon::prelude::*;

/// What the integer runtime yields for one image.
pub(super) struct Produced {
    /// Real values in the order channel, row, column.
    pub values: Vec<f64>,
    /// Values at a bound of their range.
    pub saturated: usize,
}

/// What an operator yields.
pub(super) struct Yields<'a> {
    pub graph: &'a QuantizedGraph,
    pub values: &'a PerOperator<Option<Parts>>,
    pub id: OperatorId,
    /// Its activations; it yields logits if there are none.
    pub codes: Option<&'a Spool>,
    pub step: &'a Step,
    /// Real value of one logit, if this operator yields them.
    pub scale: Option<f64>,
}

impl Yields<'_> {
    /// For each image of a chunk.
    pub(super) fn chunk(&self, chunk: usize) -> Result<Vec<Produced>> {
        let node = &self.graph.nodes[self.id];
        if let Some(codes) = self.codes {
            let batch = codes.chunk(chunk)?;
            let images = (0..batch.images).into_par_iter();
            return Ok(images.map(|image| Produced::of_codes(batch.image(image), node)).collect());
        }
        let inputs = operands(self.graph, self.values, self.id)?;
        let inputs: Result<Vec<Batch<u8>>> =
            inputs.iter().map(|input| input.judging().chunk(chunk)).collect();
        let logits = self.step.logits(&inputs?.iter().collect::<Vec<_>>())?;
        let scale = self.scale.unwrap_or(node.quantizer.scale);
        Ok(logits.data.chunks(logits.classes).map(|image| Produced::of_logits(image, scale)).collect())
    }

    /// The pixels, for an operator that reads them.
    pub(super) fn pixels(&self) -> Result<&Spool> {
        self.values[OperatorId::INPUT].as_ref().map(Parts::judging).ok_or_else(freed)
    }
}

/// The activations that operator `id` reads.
pub(super) fn operands<'a>(
    graph: &QuantizedGraph,
    values: &'a PerOperator<Option<Parts>>,
    id: OperatorId,
) -> Result<Vec<&'a Parts>> {
    let operands = graph.nodes[id].inputs.iter().map(|&input| values[input].as_ref());
    let all: Option<Vec<&Parts>> = operands.collect();
    all.filter(|all| !all.is_empty()).ok_or_else(freed)
}

pub(super) fn freed() -> Error {
    Error::new(ErrorKind::Shape, "activations were freed too early")
}

impl Produced {
    /// The real values of one image's codes, and how many lie at a bound that is not the activation's.
    fn of_codes(codes: &[u8], node: &QuantizedNode) -> Self {
        let QuantizedNode { quantizer, shape, .. } = node;
        let clamp = match &node.op {
            QuantizedOp::Conv(conv) => conv.clamp,
            _ => [f32::NEG_INFINITY, f32::INFINITY],
        };
        let real = |code: u8| (f64::from(code) - f64::from(quantizer.zero_point)) * quantizer.scale;
        let values = (0..shape.channels)
            .flat_map(|channel| codes.iter().skip(channel).step_by(shape.channels).map(|&code| real(code)));
        let margin = quantizer.scale / 2.0;
        let bottom = f64::from(clamp[0]) < real(0) - margin;
        let top = f64::from(clamp[1]) > real(quantizer.max) + margin;
        let saturated = |&&code: &&u8| bottom && code == 0 || top && code == quantizer.max;
        Self { saturated: codes.iter().filter(saturated).count(), values: values.collect() }
    }

    /// The real values of one image's logits.
    fn of_logits(logits: &[i32], scale: f64) -> Self {
        Self { values: logits.iter().map(|&logit| f64::from(logit) * scale).collect(), saturated: 0 }
    }
}
