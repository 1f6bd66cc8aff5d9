//! What may follow the logits.

use super::OperatorRow;
use crate::source::onnx::context::{Context, Lowered, Value, axis};
use crate::source::onnx::unsupported;

pub(super) const OPERATORS: &[OperatorRow] =
    &[("LogSoftmax", |cx| softmax(cx, "LogSoftmax")), ("Softmax", |cx| softmax(cx, "Softmax"))];

/// Softmax keeps the order of the classes, so as the last operator it is dropped.
fn softmax(cx: &mut Context<'_>, operator: &str) -> Lowered<Vec<Value>> {
    let legacy = cx.opset < 13;
    let given = cx.attributes.int("axis")?;
    let input = cx.activation(0)?;
    let dims = input.dims();
    let axis = axis(given.unwrap_or(if legacy { 1 } else { -1 }), dims.len())?;
    // Before operator set 13 all axes from `axis` on count as one.
    let covered = if legacy { axis..dims.len() } else { axis..axis + 1 };
    let outside = (0..dims.len()).filter(|place| !covered.contains(place));
    if !input.is_batch_first() || axis == 0 || outside.skip(1).any(|place| dims[place] > 1) {
        return Err(unsupported(
            "does not run over the classes of an image; export the model up to the logits",
        )
        .into());
    }
    cx.builder.notes.push(format!("the final {operator} '{}' is dropped: the results are logits", cx.name));
    Ok(vec![Value::Scores(input)])
}
