//! Parts of tensors, tensors side by side, and padding.

use super::{OperatorRow, activation, constant};
use crate::error::Result;
use crate::graph::{Op, Pad, Slice};
use crate::source::onnx::context::{Context, Lowered, Value, axes, axis, shape};
use crate::source::onnx::tensor::{Data, Tensor};
use crate::source::onnx::view::{Activation, Axis, Role, extents};
use crate::source::onnx::{malformed, misshapen, unsupported};

pub(super) const OPERATORS: &[OperatorRow] =
    &[("Concat", concat), ("Gather", gather), ("Pad", pad), ("Slice", slice), ("Split", split)];

/// Longest padding.
const MAX_PADDING: i64 = 1 << 16;

/// What is kept of one axis: `count` elements from `start` on, `step` apart.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cut {
    start: usize,
    step: i64,
    count: usize,
}

impl Cut {
    /// All of an axis.
    fn whole(extent: usize) -> Self {
        Self { start: 0, step: 1, count: extent }
    }

    /// The elements `start..end` by `step` of an axis, all counted as ONNX does.
    fn new(start: i64, end: i64, step: i64, extent: usize) -> Result<Self> {
        let length = i64::try_from(extent).map_err(|_| misshapen("an extent is too large"))?;
        let from_front = |value: i64| if value < 0 { value.saturating_add(length) } else { value };
        let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
        let start = from_front(start).clamp(low.max(0), high.max(0));
        let end = from_front(end).clamp(low, high);
        let span = if step > 0 { end - start } else { start - end };
        let count = match step.unsigned_abs() {
            0 => return Err(malformed("a step of 0")),
            step => u64::try_from(span).unwrap_or(0).div_ceil(step),
        };
        Ok(Self { start: start as usize, step, count: if length == 0 { 0 } else { count as usize } })
    }
}

fn slice(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let missing = || malformed("starts or ends are missing");
    let starts = cx.ints("starts", 1)?.ok_or_else(missing)?;
    let ends = cx.ints("ends", 2)?.ok_or_else(missing)?;
    let given = cx.ints("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = cx.ints("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), given.len(), steps.len()].iter().any(|&count| count != starts.len()) {
        return Err(malformed("starts, ends, axes and steps differ in length").into());
    }
    let dims = dims(cx)?;
    axes(&given, dims.len())?;
    let mut cuts: Vec<_> = dims.iter().map(|&extent| Cut::whole(extent)).collect();
    for (place, &value) in given.iter().enumerate() {
        let axis = axis(value, dims.len())?;
        cuts[axis] = Cut::new(starts[place], ends[place], steps[place], dims[axis])?;
    }
    if let Value::Constant(tensor) = cx.value(0)? {
        return constant(cut_tensor(&tensor.clone(), &cuts)?);
    }
    let input = cx.activation(0)?;
    activation(cut(cx, &input, &cuts, None)?)
}

fn dims(cx: &Context<'_>) -> Lowered<Vec<usize>> {
    match cx.value(0)? {
        Value::Constant(tensor) => Ok(tensor.dims.clone()),
        _ => Ok(cx.activation(0)?.dims()),
    }
}

fn cut_tensor(tensor: &Tensor, cuts: &[Cut]) -> Result<Tensor> {
    let dims = cuts.iter().map(|cut| cut.count).collect();
    let starts: Vec<_> = cuts.iter().map(|cut| cut.start).collect();
    let steps: Vec<_> = cuts.iter().map(|cut| cut.step).collect();
    tensor.sliced(dims, &starts, &steps)
}

/// What `cuts` leave of `input`; `part` names the node if there are several.
fn cut(cx: &mut Context<'_>, input: &Activation, cuts: &[Cut], part: Option<&str>) -> Lowered<Activation> {
    let dims = input.dims();
    if cuts.iter().zip(&dims).all(|(cut, &extent)| *cut == Cut::whole(extent)) {
        return Ok(input.clone());
    }
    let roles = input.roles().ok_or_else(|| cx.rearranged(0))?;
    let full = extents(input.shape);
    let (mut slice, mut counts) = (Slice { start: [0; 3], end: full, step: [1; 3] }, full);
    for (axis, cut) in cuts.iter().enumerate().filter(|&(axis, cut)| *cut != Cut::whole(dims[axis])) {
        let place = roles[axis].place().ok_or_else(|| unsupported("takes a part of the batch"))?;
        let step =
            usize::try_from(cut.step).map_err(|_| unsupported("reverses an axis; steps must be positive"))?;
        let last =
            cut.count.checked_sub(1).ok_or_else(|| misshapen(format!("leaves nothing of axis {axis}")))?;
        (slice.start[place], slice.step[place]) = (cut.start, if last == 0 { 1 } else { step });
        slice.end[place] = cut.start + last * slice.step[place] + 1;
        counts[place] = cut.count;
    }
    let (op, inputs) = (Op::Slice(slice), vec![input.node]);
    let node = if let Some(part) = part { cx.emit_part(part, op, inputs)? } else { cx.emit(op, inputs)? };
    Ok(Activation::new(node, shape(counts)?, input.batch(), &roles))
}

fn split(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let given = cx.attributes.int("axis")?.unwrap_or(0);
    let parts = cx.attributes.int("num_outputs")?;
    let sizes = cx.ints("split", 1)?;
    let dims = dims(cx)?;
    let axis = axis(given, dims.len())?;
    let parts = parts.and_then(|parts| usize::try_from(parts).ok()).unwrap_or(cx.output_count);
    let sizes = match sizes {
        Some(sizes) => crate::source::onnx::decode::extents(&sizes)?,
        None => even_sizes(dims[axis], parts)?,
    };
    let total = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
    if total != Some(dims[axis]) || sizes.len() != cx.output_count {
        return Err(misshapen(format!("splits {} elements into {sizes:?}", dims[axis])).into());
    }
    let mut start = 0;
    let mut values = Vec::new();
    for (index, count) in sizes.into_iter().enumerate() {
        let mut cuts: Vec<_> = dims.iter().map(|&extent| Cut::whole(extent)).collect();
        cuts[axis] = Cut { start, step: 1, count };
        values.push(split_part(cx, &cuts, index)?);
        start += count;
    }
    Ok(values)
}

fn split_part(cx: &mut Context<'_>, cuts: &[Cut], index: usize) -> Lowered<Value> {
    if let Value::Constant(tensor) = cx.value(0)? {
        return Ok(Value::Constant(std::rc::Rc::new(cut_tensor(tensor, cuts)?)));
    }
    let input = cx.activation(0)?;
    Ok(Value::Activation(cut(cx, &input, cuts, Some(&index.to_string()))?))
}

/// `parts` equal sizes, the last one smaller if they do not divide `extent`.
fn even_sizes(extent: usize, parts: usize) -> Result<Vec<usize>> {
    if parts == 0 || parts > extent {
        return Err(misshapen(format!("splits {extent} elements into {parts} parts")));
    }
    let size = extent.div_ceil(parts);
    let last = extent.checked_sub(size * (parts - 1)).ok_or_else(|| misshapen("an empty part"))?;
    let mut sizes = vec![size; parts];
    sizes[parts - 1] = last;
    Ok(sizes)
}

fn gather(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let given = cx.attributes.int("axis")?.unwrap_or(0);
    let dims = dims(cx)?;
    let axis = axis(given, dims.len())?;
    let wanted = cx.constant(1)?;
    let places = |&value: &i64| crate::source::onnx::context::axis(value, dims[axis]);
    let indices = wanted.ints()?.iter().map(places).collect::<Result<Vec<_>>>();
    let indices = indices
        .map_err(|_| misshapen(format!("an index beyond the {} elements of axis {axis}", dims[axis])))?;
    if let Value::Constant(tensor) = cx.value(0)? {
        return constant(tensor.gathered(axis, &indices, &wanted.dims)?);
    }
    let input = cx.activation(0)?;
    let is_all = dims.len() == 1 && indices.iter().copied().eq(0..dims[0]);
    if let Some(view) = input.reshaped(&wanted.dims).filter(|_| is_all) {
        return activation(view);
    }
    let mut cuts: Vec<_> = dims.iter().map(|&extent| Cut::whole(extent)).collect();
    cuts[axis] = regular(&indices).filter(|_| wanted.dims.len() < 2).ok_or_else(|| {
        unsupported(
            "picks elements that are not evenly spaced and ascending; use Slice, Split or a channel shuffle",
        )
    })?;
    let mut result = cut(cx, &input, &cuts, None)?;
    if wanted.dims.is_empty() {
        if roles_batch(&result, axis) {
            return Err(unsupported("takes one image out of the batch").into());
        }
        result.axes.remove(axis);
    }
    activation(result)
}

fn roles_batch(activation: &Activation, axis: usize) -> bool {
    matches!(activation.axes[axis], Axis::Batch(_))
}

/// The cut that picks `indices`, if they ascend by equal steps.
fn regular(indices: &[usize]) -> Option<Cut> {
    let (&start, rest) = indices.split_first()?;
    let step = rest.first().map_or(Some(1), |second| second.checked_sub(start))?;
    let even = indices.windows(2).all(|pair| pair[1].checked_sub(pair[0]) == Some(step));
    (even && step > 0).then_some(Cut { start, step: step as i64, count: indices.len() })
}

fn concat(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let given = cx.attributes.int("axis")?.ok_or_else(|| malformed("the axis is missing"))?;
    if cx.all_constant()? {
        let parts = (0..cx.inputs.len()).map(|index| cx.constant(index)).collect::<Lowered<Vec<_>>>()?;
        let rank = parts.first().map_or(0, |part| part.dims.len());
        let parts: Vec<_> = parts.iter().map(|part| &**part).collect();
        return constant(Tensor::concat(&parts, axis(given, rank)?)?);
    }
    let parts = (0..cx.inputs.len()).map(|index| cx.activation(index)).collect::<Lowered<Vec<_>>>()?;
    activation(concat_channels(cx, &parts, given)?)
}

fn concat_channels(cx: &mut Context<'_>, parts: &[Activation], given: i64) -> Lowered<Activation> {
    let first = parts.first().ok_or_else(|| malformed("no inputs"))?;
    let axis = axis(given, first.axes.len())?;
    let roles = first.roles().ok_or_else(|| cx.rearranged(0))?;
    if roles[axis] == Role::Unit {
        return stacked(cx, parts, axis);
    }
    if roles[axis] != Role::Channel {
        return Err(unsupported(format!("joins along axis {axis}, which is not that of the channels")).into());
    }
    let mut channels = 0usize;
    for (index, part) in parts.iter().enumerate() {
        if part.roles().is_none_or(|own| own != roles) {
            return Err(cx.rearranged(index).into());
        }
        if extents(part.shape)[1..] != extents(first.shape)[1..] || part.batch() != first.batch() {
            return Err(misshapen(format!("joins images of {} and {}", first.shape, part.shape)).into());
        }
        channels = channels.saturating_add(part.shape.channels);
    }
    let shape = shape([channels, first.shape.height, first.shape.width])?;
    let node = cx.emit(Op::Concat, parts.iter().map(|part| part.node).collect())?;
    Ok(Activation::new(node, shape, first.batch(), &roles))
}

/// Images along an axis of their own: the channels of one after those of another.
fn stacked(cx: &mut Context<'_>, parts: &[Activation], axis: usize) -> Lowered<Activation> {
    let first = &parts[0];
    if let Some(index) = parts.iter().position(|part| part.axes != first.axes || part.shape != first.shape) {
        return Err(cx.rearranged(index).into());
    }
    let channels = first.shape.channels.saturating_mul(parts.len());
    let shape = shape([channels, first.shape.height, first.shape.width])?;
    let node = cx.emit(Op::Concat, parts.iter().map(|part| part.node).collect())?;
    let mut axes = first.axes.clone();
    axes[axis] = Axis::strided(parts.len(), first.shape.len());
    Ok(Activation { node, shape, axes })
}

fn pad(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let mode = cx.attributes.string("mode")?;
    let stated = cx.attributes.float("value")?;
    if let Some(mode) = mode.filter(|mode| mode != "constant") {
        return Err(unsupported(format!("mode '{mode}'; fgq pads with constants")).into());
    }
    let pads = cx.ints("pads", 1)?.ok_or_else(|| malformed("pads are missing"))?;
    let value = match (stated, cx.has(2)) {
        (Some(value), _) => value,
        (None, true) => number(&*cx.constant(2)?)?,
        (None, false) => 0.0,
    };
    let padded = cx.optional_constant(3)?;
    let rank = dims(cx)?.len();
    let padded = match padded {
        Some(given) => given.ints()?.iter().map(|&value| axis(value, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    check_pads(&padded, &pads)?;
    if let Value::Constant(tensor) = cx.value(0)? {
        return constant(pad_tensor(tensor, &padded, &pads, value)?);
    }
    let input = cx.activation(0)?;
    activation(pad_axes(cx, &input, &padded, &pads, value)?)
}

/// The only element, of any type.
fn number(tensor: &Tensor) -> Result<f32> {
    match &tensor.data {
        Data::Int(values) if values.len() == 1 => Ok(values[0] as f32),
        _ => tensor.float(),
    }
}

fn check_pads(padded: &[usize], pads: &[i64]) -> Result<()> {
    if pads.len() != 2 * padded.len() {
        return Err(misshapen(format!("{} pads for {} axes", pads.len(), padded.len())));
    }
    if pads.iter().any(|&pad| !(0..=MAX_PADDING).contains(&pad)) {
        let remedy = "use Slice to remove elements";
        return Err(unsupported(format!("pads {pads:?} outside 0 to {MAX_PADDING}; {remedy}")));
    }
    Ok(())
}

fn pad_tensor(tensor: &Tensor, padded: &[usize], pads: &[i64], value: f32) -> Result<Tensor> {
    let (mut before, mut after) = (vec![0; tensor.dims.len()], vec![0; tensor.dims.len()]);
    for (index, &axis) in padded.iter().enumerate() {
        (before[axis], after[axis]) = (pads[index] as usize, pads[index + padded.len()] as usize);
    }
    tensor.padded(&before, &after, value)
}

fn pad_axes(
    cx: &mut Context<'_>,
    input: &Activation,
    padded: &[usize],
    pads: &[i64],
    value: f32,
) -> Lowered<Activation> {
    if pads.iter().all(|&pad| pad == 0) {
        return Ok(input.clone());
    }
    let roles = input.roles().ok_or_else(|| cx.rearranged(0))?;
    let mut pad = Pad { before: [0; 3], after: [0; 3], value };
    for (index, &axis) in padded.iter().enumerate() {
        let (before, after) = (pads[index] as usize, pads[index + padded.len()] as usize);
        match roles[axis].place() {
            Some(place) => (pad.before[place], pad.after[place]) = (before, after),
            None if before + after == 0 => {}
            None => return Err(unsupported("pads an axis that is not channels, rows or columns").into()),
        }
    }
    let own = extents(input.shape);
    let shape = shape(std::array::from_fn(|place| own[place] + pad.before[place] + pad.after[place]))?;
    let node = cx.emit(Op::Pad(pad), vec![input.node])?;
    Ok(Activation::new(node, shape, input.batch(), &roles))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_count_as_onnx_does() {
        let cut = |start, end, step, extent| {
            let cut = Cut::new(start, end, step, extent).unwrap();
            (cut.start, cut.count)
        };
        assert_eq!(cut(0, i64::MAX, 1, 5), (0, 5));
        assert_eq!(cut(-2, i64::MAX, 1, 5), (3, 2));
        assert_eq!(cut(1, -1, 2, 6), (1, 2));
        assert_eq!(cut(-1, i64::MIN, -1, 4), (3, 4));
        assert_eq!(cut(9, 20, 1, 4), (4, 0));
        assert_eq!(cut(3, 1, 1, 4), (3, 0));
        assert_eq!(cut(0, i64::MAX, i64::MAX, 4), (0, 1));
        assert_eq!(cut(0, 5, -1, 0), (0, 0));
        assert!(Cut::new(0, 1, 0, 4).is_err());
    }

    #[test]
    fn even_sizes_leave_the_rest_to_the_last() {
        assert_eq!(even_sizes(7, 3).unwrap(), [3, 3, 1]);
        assert_eq!(even_sizes(6, 3).unwrap(), [2, 2, 2]);
        assert!(even_sizes(2, 3).is_err());
        assert!(even_sizes(5, 4).is_err());
    }
}
