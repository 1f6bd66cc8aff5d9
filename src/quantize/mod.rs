//! The quantized network: integer operators whose parameters are still real numbers.

mod assemble;
mod bits;
mod int4;
mod int8;
mod structure;
#[cfg(test)]
mod tests;

pub(crate) use assemble::{Assembly, assemble, closed_form};
pub(crate) use bits::ActivationBits;
pub(crate) use int4::{Int4, Int4Channel};
pub(crate) use structure::Structure;

use crate::format::Quantizer;
use crate::graph::{NodeId, Pad, Slice};
use crate::plan::Choice;
use crate::tensor::{Shape, Window};

/// A network of integer operators, before their parameters become integers.
#[derive(Debug, Clone)]
pub(crate) struct QuantizedGraph {
    pub name: String,
    pub input: Shape,
    /// Operators in execution order; the last yields the logits.
    pub nodes: Vec<QuantizedNode>,
}

/// One operator.
#[derive(Debug, Clone)]
pub(crate) struct QuantizedNode {
    pub name: String,
    pub op: QuantizedOp,
    /// Indices of earlier nodes.
    pub inputs: Vec<usize>,
    pub shape: Shape,
    pub quantizer: Quantizer,
}

/// Integer operators with real parameters.
#[derive(Debug, Clone)]
pub(crate) enum QuantizedOp {
    /// Pixels; the code that stands for zero, per channel.
    Input {
        pad: Vec<u8>,
    },
    Conv(Box<QuantizedConv>),
    /// The real output for each of 256 input codes, for one or for all channels.
    Table {
        outputs: Vec<f32>,
    },
    /// Sum of the inputs, each with its sign.
    Add {
        negate: [bool; 2],
    },
    Mul,
    Concat,
    Slice(Slice),
    Pad(Pad),
    MaxPool(Window),
    AveragePool {
        window: Window,
        count_include_pad: bool,
    },
    GlobalAveragePool,
    /// The last global average, kept as a sum.
    GlobalSum,
    Flatten,
    ChannelShuffle {
        groups: usize,
    },
}

/// A convolution: `gain[o] · factor[o] · Σ code·(x − zero point) · x_scale + bias[o]`.
#[derive(Debug, Clone)]
pub(crate) struct QuantizedConv {
    pub weights: Weights,
    /// Real value of one weight step, per output channel.
    pub factors: Vec<f64>,
    /// The affine of folded batch normalization, which re-estimation adjusts.
    pub gain: Vec<f64>,
    pub bias: Vec<f64>,
    pub window: Window,
    pub groups: usize,
    pub group_inputs: usize,
    pub outputs: usize,
    /// Real bounds of the output: an activation that was absorbed.
    pub clamp: [f32; 2],
    /// Whether the sums are the logits.
    pub logits: bool,
    /// The convolution in the full-precision graph.
    pub source: NodeId,
    pub choice: Choice,
}

/// Weight codes in the order output channel, kernel row, kernel column, input channel.
#[derive(Debug, Clone)]
pub(crate) enum Weights {
    Ternary {
        group: usize,
        codes: Vec<i8>,
        scales: Vec<u8>,
    },
    /// Codes −7 to 7; `scales` is empty where there are no groups.
    Int4 {
        group: Option<usize>,
        codes: Vec<i8>,
        scales: Vec<u8>,
    },
    Int8 {
        codes: Vec<i8>,
    },
}
