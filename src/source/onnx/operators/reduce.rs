//! Sums, means and norms over axes.

use super::channel_parts::ChannelParts;
use super::pooling::{Pooling, pooled};
use super::{OperatorRow, activation, constant};
use crate::graph::{Affine, Binary, Conv, NodeId, Op, Unary};
use crate::source::onnx::context::{Context, Lowered, Value, axes};
use crate::source::onnx::tensor_reduce::Reduction;
use crate::source::onnx::unsupported;
use crate::source::onnx::view::{Activation, Axis};
use crate::tensor::{Shape, Window};
use ndarray::Array4;

pub(super) const OPERATORS: &[OperatorRow] = &[
    ("ReduceL1", |cx| reduce(cx, Reduction::L1, Some(ReductionSteps { before: Some(Unary::Abs), ..SUM }))),
    ("ReduceL2", |cx| {
        let root = Some(Unary::Sqrt);
        reduce(cx, Reduction::L2, Some(ReductionSteps { before: Some(SQUARE), after: root, ..SUM }))
    }),
    ("ReduceLogSum", |cx| reduce(cx, Reduction::LOG_SUM, None)),
    ("ReduceLogSumExp", |cx| reduce(cx, Reduction::LOG_SUM_EXP, None)),
    ("ReduceMax", |cx| {
        reduce(cx, Reduction::MAX, Some(ReductionSteps { pool: Pooling::Maximum, sum: false, ..SUM }))
    }),
    ("ReduceMean", |cx| reduce(cx, Reduction::MEAN, Some(ReductionSteps { sum: false, ..SUM }))),
    ("ReduceMin", |cx| reduce(cx, Reduction::MIN, None)),
    ("ReduceProd", |cx| reduce(cx, Reduction::PRODUCT, None)),
    ("ReduceSum", |cx| reduce(cx, Reduction::SUM, Some(SUM))),
    ("ReduceSumSquare", |cx| {
        reduce(cx, Reduction::SQUARES, Some(ReductionSteps { before: Some(SQUARE), ..SUM }))
    }),
];

const SQUARE: Unary = Unary::Pow(2.0);
const SUM: ReductionSteps = ReductionSteps { before: None, pool: Pooling::Mean, sum: true, after: None };

/// How a reduction of activations is put together.
#[derive(Clone, Copy)]
struct ReductionSteps {
    before: Option<Unary>,
    pool: Pooling,
    /// Whether a mean is multiplied by the number of elements.
    sum: bool,
    after: Option<Unary>,
}

fn reduce(cx: &mut Context<'_>, by: Reduction, steps: Option<ReductionSteps>) -> Lowered<Vec<Value>> {
    let keep = cx.attributes.int("keepdims")?.unwrap_or(1) != 0;
    let noop = cx.attributes.flag("noop_with_empty_axes")?;
    let given = cx.ints("axes", 1)?.unwrap_or_default();
    if given.is_empty() && noop {
        return Ok(vec![cx.value(0)?.clone()]);
    }
    if let Value::Constant(tensor) = cx.value(0)? {
        let rank = tensor.dims.len();
        let reduced = if given.is_empty() { (0..rank).collect() } else { axes(&given, rank)? };
        return constant(tensor.reduced(&reduced, keep, by)?);
    }
    let input = cx.activation(0)?;
    let steps = steps.ok_or_else(|| unsupported("reduces a tensor that depends on the image"))?;
    let reduced = axes(&given, input.axes.len())?;
    let mut result = steps.apply(cx, &input, &reduced)?;
    if !keep {
        let kept = result.axes.iter().enumerate().filter(|(axis, _)| !reduced.contains(axis));
        result.axes = kept.map(|(_, &axis)| axis).collect();
    }
    activation(result)
}

impl ReductionSteps {
    /// `input` reduced over the axes `reduced`, which keep the extent 1.
    fn apply(self, cx: &mut Context<'_>, input: &Activation, reduced: &[usize]) -> Lowered<Activation> {
        let input = match self.before {
            Some(unary) => input.of(cx.emit_part("elements", Op::Unary(unary), vec![input.node])?),
            None => input.clone(),
        };
        let (result, is_sum) = self.combined(cx, &input, reduced)?;
        let count: usize = reduced.iter().map(|&axis| input.axes[axis].extent()).product();
        let result = match (is_sum, self.sum) {
            (true, false) => scaled(cx, &result, 1.0 / count as f32)?,
            (false, true) => scaled(cx, &result, count as f32)?,
            _ => result,
        };
        match self.after {
            Some(unary) => cx.elementwise(Op::Unary(unary), &result),
            None => Ok(result),
        }
    }

    /// Sums where that is what the operators of the graph yield, and whether it is; else means or maxima.
    fn combined(
        self,
        cx: &mut Context<'_>,
        input: &Activation,
        reduced: &[usize],
    ) -> Lowered<(Activation, bool)> {
        if let (Pooling::Mean, &[axis]) = (self.pool, reduced) {
            if input.axes[axis] == Axis::strided(input.shape.channels, input.shape.positions()) {
                return Ok((over_channels(cx, input, axis)?, true));
            }
            if let Some(parts) = ChannelParts::along(input, axis) {
                return Ok((over_parts(cx, input, parts)?, true));
            }
        }
        Ok((pooled(cx, self.pool, input, reduced)?, false))
    }
}

fn scaled(cx: &mut Context<'_>, input: &Activation, factor: f32) -> Lowered<Activation> {
    cx.elementwise(Op::Affine(Affine { scale: vec![factor], shift: vec![0.0] }), input)
}

/// The sum of all channels at each position.
fn over_channels(cx: &mut Context<'_>, input: &Activation, axis: usize) -> Lowered<Activation> {
    let weight = Array4::ones((1, input.shape.channels, 1, 1));
    let conv = Conv { weight, gain: vec![1.0], bias: vec![0.0], window: Window::new([1, 1]), groups: 1 };
    let node = cx.emit(Op::Conv(conv), vec![input.node])?;
    let mut axes = input.axes.clone();
    axes[axis] = Axis::UNIT;
    Ok(Activation { node, shape: Shape { channels: 1, ..input.shape }, axes })
}

/// The sum of parts of the channels.
fn over_parts(cx: &mut Context<'_>, input: &Activation, parts: ChannelParts) -> Lowered<Activation> {
    let nodes = parts.nodes(cx, input)?;
    let add = |sum: Lowered<NodeId>, part: &NodeId| cx.emit(Op::Binary(Binary::Add), vec![sum?, *part]);
    let total = nodes[1..].iter().fold(Ok(nodes[0]), add)?;
    Ok(parts.view_of_one(input, total))
}
