//! A packed model as an ONNX file: weights of few bits that `DequantizeLinear` expands, activations between
//! `QuantizeLinear` and `DequantizeLinear`.

mod build;
mod nodes;
mod rounding;
#[cfg(test)]
mod tests;
mod weights;

use crate::error::{Error, ErrorKind, Result};
use crate::format::{PackedModel, Quantizer};
use crate::index::Per;
use build::OnnxGraphBuilder;
use nodes::OnnxNodeWriter;
use prost::Message;

/// The first operator set whose `DequantizeLinear` reads 2 bits, and the oldest that has all that is written.
const TWO_BITS: u32 = 25;
const OLDEST: u32 = 21;

/// How a model is exported as ONNX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxExportOptions {
    /// The operator set: from 25 on, ternary weights take 2 bits; from 21 on, 4 bits.
    pub opset: u32,
    /// Round between sums and codes as the integer runtime does: its codes, but where sums exceed what 24 bits hold; with
    /// more operators, and larger.
    pub integer_rounding: bool,
}

impl Default for OnnxExportOptions {
    fn default() -> Self {
        Self { opset: TWO_BITS, integer_rounding: false }
    }
}

impl OnnxExportOptions {
    fn has_two_bits(&self) -> bool {
        self.opset >= TWO_BITS
    }

    /// The version of the file's own format that came with the operator set.
    fn ir_version(&self) -> i64 {
        match self.opset {
            ..23 => 10,
            23 => 11,
            24 => 12,
            _ => 13,
        }
    }

    fn check(&self) -> Result<()> {
        match self.opset {
            OLDEST..=TWO_BITS => Ok(()),
            opset => {
                let message = format!("`opset = {opset}`; give {OLDEST} to {TWO_BITS}");
                Err(Error::new(ErrorKind::Argument, message))
            }
        }
    }
}

/// The bytes of an ONNX file that computes in real numbers what the model computes in integers.
///
/// It reads what the trained network read, `batch × channels × height × width`, and yields real logits, `batch × classes`.
/// Nodes keep their names. Codes of activations differ from the model's where a sum lies next to the middle between two
/// codes, because fgq rounds twice on the way there; with [`OnnxExportOptions::integer_rounding`] the file does, too.
///
/// # Errors
/// `Argument`, if the operator set is not known or the model switches; `Unsupported`, if nodes have names such as the file
/// gives to their parts; `Format`, if the model is not valid.
///
/// # Examples
/// ```no_run
/// let model = fgq::read_model("model.fgq".as_ref())?;
/// let bytes = fgq::export_onnx(&model, &fgq::OnnxExportOptions::default())?;
/// fgq::replace_file("model.onnx".as_ref(), &bytes)?;
/// # Ok::<(), fgq::Error>(())
/// ```
pub fn export_onnx(model: &PackedModel, options: &OnnxExportOptions) -> Result<Vec<u8>> {
    options.check()?;
    if model.switching.is_some() {
        let message = "the model switches; export it at one setting (`bits`, or PackedModel::at)";
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let shapes = model.shapes()?;
    let quantizers: Per<_, Quantizer> = model.nodes.iter().map(|node| node.quantizer).collect();
    let mut graph = OnnxGraphBuilder::default();
    for id in model.nodes.ids() {
        OnnxNodeWriter { model, shapes: &shapes, quantizers: &quantizers, id, options }.write(&mut graph);
    }
    let classes = shapes.last().map_or(0, |shape| shape.channels);
    let proto = graph.finish(&model.name, model.input, classes, options.opset, options.ir_version())?;
    Ok(proto.encode_to_vec())
}
