//! Softmax: after the logits, where it is dropped, and over parts of the channels inside a network.

use super::channel_parts::ChannelParts;
use super::{OperatorRow, activation, constant};
use crate::graph::{Binary, NodeId, Op, Unary};
use crate::source::onnx::context::{Context, Lowered, Value, axis};
use crate::source::onnx::unsupported;
use crate::source::onnx::view::Activation;

pub(super) const OPERATORS: &[OperatorRow] =
    &[("LogSoftmax", |cx| softmax(cx, "LogSoftmax")), ("Softmax", |cx| softmax(cx, "Softmax"))];

/// Softmax keeps the order of the classes, so as the last operator it is dropped.
fn softmax(cx: &mut Context<'_>, operator: &str) -> Lowered<Vec<Value>> {
    let legacy = cx.opset < 13;
    let given = cx.attributes.int("axis")?;
    let given = given.unwrap_or(if legacy { 1 } else { -1 });
    if let Value::Constant(tensor) = cx.value(0)? {
        if legacy || operator != "Softmax" {
            return Err(unsupported("computes with constants only; simplify the model").into());
        }
        return constant(tensor.softmax(axis(given, tensor.dims.len())?)?);
    }
    let input = cx.activation(0)?;
    let dims = input.dims();
    let axis = axis(given, dims.len())?;
    // Before operator set 13 all axes from `axis` on count as one.
    let covered = if legacy { axis..dims.len() } else { axis..axis + 1 };
    let several = covered.clone().skip(1).any(|place| dims[place] > 1);
    if let Some(parts) = ChannelParts::along(&input, axis).filter(|_| !several && operator == "Softmax") {
        return activation(shares(cx, &input, parts)?);
    }
    let outside = (0..dims.len()).filter(|place| !covered.contains(place));
    if !input.is_batch_first() || axis == 0 || outside.skip(1).any(|place| dims[place] > 1) {
        return Err(unsupported(
            "does not run over the classes of an image, nor over parts of its channels; export the model up to the logits",
        )
        .into());
    }
    cx.builder.notes.push(format!("the final {operator} '{}' is dropped: the results are logits", cx.name));
    Ok(vec![Value::Scores(input)])
}

/// The share of each part of the channels: the sigmoid of how far it is above what all others come to.
fn shares(cx: &mut Context<'_>, input: &Activation, parts: ChannelParts) -> Lowered<Activation> {
    let nodes = parts.nodes(cx, input)?;
    let mut shares = Vec::with_capacity(nodes.len());
    for (index, &node) in nodes.iter().enumerate() {
        let others = nodes.iter().enumerate().filter(|&(other, _)| other != index).map(|(_, &node)| node);
        let others = others.collect::<Vec<_>>();
        let rest = others[1..].iter().try_fold(others[0], |sum, &other| log_sum(cx, sum, other))?;
        let above = cx.emit_part("above", Op::Binary(Binary::Sub), vec![node, rest])?;
        shares.push(cx.emit_part("share", Op::Unary(Unary::Sigmoid), vec![above])?);
    }
    let joined = cx.emit(Op::Concat, shares)?;
    Ok(parts.view_of_all(input, joined))
}

/// The logarithm of the sum of two exponentials: `b + softplus(a − b)`.
fn log_sum(cx: &mut Context<'_>, a: NodeId, b: NodeId) -> Lowered<NodeId> {
    let above = cx.emit_part("difference", Op::Binary(Binary::Sub), vec![a, b])?;
    let more = cx.emit_part("softplus", Op::Unary(Unary::Softplus), vec![above])?;
    cx.emit_part("sum", Op::Binary(Binary::Add), vec![b, more])
}
