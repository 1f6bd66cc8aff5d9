//! The quantized network: integer operators whose parameters are still real numbers.

mod assemble;
mod bits;
mod nearest;
mod nested;
mod operators;
mod structure;
#[cfg(test)]
mod tests;

pub(crate) use assemble::{Assembly, Blueprint, assemble, closed_form};
pub(crate) use bits::ActivationBits;
pub(crate) use nearest::NearestChannel;
pub(crate) use nested::{NestedGraph, WidthVariant};
pub(crate) use operators::{OperatorId, PerOperator};
pub(crate) use structure::{Operator, OperatorKind, Plain, Structure};

use crate::calibrate::RangeMethod;
use crate::format::Quantizer;
use crate::graph::NodeId;
use crate::liveness::last_uses;
use crate::plan::Choice;
use crate::precision::{Arrangement, Precision};
use crate::tensor::{Shape, Window};

/// A network of integer operators, before their parameters become integers.
#[derive(Debug, Clone)]
pub(crate) struct QuantizedGraph {
    pub name: String,
    pub input: Shape,
    /// Operators in execution order; the last yields the logits.
    pub nodes: PerOperator<QuantizedNode>,
}

impl QuantizedGraph {
    /// After each operator, the values that nobody reads any more.
    pub(crate) fn last_uses(&self) -> PerOperator<Vec<OperatorId>> {
        last_uses(self.nodes.iter().map(|node| node.inputs.as_slice()))
    }
}

/// One operator.
#[derive(Debug, Clone)]
pub(crate) struct QuantizedNode {
    pub name: String,
    pub op: QuantizedOp,
    /// Earlier operators.
    pub inputs: Vec<OperatorId>,
    pub shape: Shape,
    pub quantizer: Quantizer,
    /// How the range is to be chosen once the real values are known; `quantizer` comes from full precision's.
    pub range: Option<RangeMethod>,
}

impl QuantizedNode {
    /// Whether output codes are input codes, so that both have the same quantizer.
    pub(crate) fn keeps_codes(&self) -> bool {
        matches!(&self.op, QuantizedOp::Plain(plain) if plain.keeps_codes())
    }
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
    Plain(Plain),
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
    /// For a layer that is to have more planes than it has yet.
    pub nest: Option<Nest>,
}

impl Nest {
    /// Of a layer whose weights stay as they are.
    pub(crate) fn fixed(conv: &QuantizedConv) -> Self {
        let kept = Some((conv.weights.clone(), conv.factors.clone()));
        Self { whole: conv.choice.precision, kept }
    }

    /// Whether nothing is left to fit.
    pub(crate) fn is_whole(&self) -> bool {
        self.kept.as_ref().is_some_and(|(weights, _)| weights.precision.planes() == self.whole.planes())
    }
}

/// What a layer that gets one plane after another is fitted within.
#[derive(Debug, Clone)]
pub(crate) struct Nest {
    /// The precision with all planes.
    pub whole: Precision,
    /// The planes before the last one that the layer has, which stay as they are, and the factors of its channels.
    pub kept: Option<(Weights, Vec<f64>)>,
}

/// Weights before they are packed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weights {
    pub precision: Precision,
    /// What the codes stand for, in the order output channel, kernel row, kernel column, input channel; plane after plane.
    pub levels: Vec<i8>,
    /// One per group in the same order, plane after plane; empty without groups.
    pub scales: Vec<u8>,
}

impl Weights {
    /// Puts the channels' levels and scales together, which have plane after plane each.
    pub fn of_channels<'a>(
        precision: Precision,
        channels: impl Iterator<Item = (&'a [i8], &'a [u8])> + Clone,
    ) -> Self {
        let (planes, mut levels, mut scales) = (precision.planes(), Vec::new(), Vec::new());
        for plane in 0..planes {
            for (own_levels, own_scales) in channels.clone() {
                levels.extend_from_slice(part(own_levels, plane, planes));
                scales.extend_from_slice(part(own_scales, plane, planes));
            }
        }
        Self { precision, levels, scales }
    }
}

fn part<T>(values: &[T], plane: usize, planes: usize) -> &[T] {
    let len = values.len() / planes;
    &values[plane * len..][..len]
}

impl Weights {
    /// Levels and scales of an output channel, of so many, in each plane.
    pub fn channel(&self, channel: usize, outputs: usize) -> impl Iterator<Item = (&[i8], &[u8])> {
        let planes = self.precision.planes();
        (0..planes).map(move |plane| {
            let levels = part(part(&self.levels, plane, planes), channel, outputs);
            (levels, part(part(&self.scales, plane, planes), channel, outputs))
        })
    }
}

impl QuantizedConv {
    /// How the weights lie one after another.
    pub(crate) fn arrangement(&self) -> Arrangement {
        Arrangement { outputs: self.outputs, positions: self.window.area(), inputs: self.group_inputs }
    }

    /// The weights as integers, in storage order.
    pub(crate) fn expand(&self) -> Vec<i8> {
        let Weights { precision, levels, scales } = &self.weights;
        self.arrangement().expand(*precision, levels, scales)
    }
}
