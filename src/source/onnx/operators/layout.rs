//! Operators that rename axes and move nothing, or shuffle channels.

use super::{OperatorRow, activation, constant};
use crate::graph::Op;
use crate::proto::tensor_proto::DataType;
use crate::source::onnx::context::{Context, Lowered, Value, axes};
use crate::source::onnx::tensor::{Data, Tensor, element_count};
use crate::source::onnx::tensor_math::{broadcast_dims, reversed};
use crate::source::onnx::view::{Activation, Axis};
use crate::source::onnx::{malformed, misshapen, unsupported};

pub(super) const OPERATORS: &[OperatorRow] = &[
    ("Cast", cast),
    ("Dropout", dropout),
    ("Expand", expand),
    ("Flatten", flatten),
    ("Identity", |cx| Ok(vec![cx.value(0)?.clone()])),
    ("Reshape", reshape),
    ("Squeeze", squeeze),
    ("Tile", tile),
    ("Transpose", transpose),
    ("Unsqueeze", unsqueeze),
];

/// The value of input 0 as it was, with its extents.
enum Subject {
    Constant(std::rc::Rc<Tensor>),
    /// Also says whether a dropped Softmax made it.
    Activation(Activation, bool),
}

impl Subject {
    fn of(cx: &Context<'_>) -> Lowered<Self> {
        Ok(match cx.value(0)? {
            Value::Constant(tensor) => Self::Constant(tensor.clone()),
            Value::Scores(activation) => Self::Activation(activation.clone(), true),
            _ => Self::Activation(cx.activation(0)?, false),
        })
    }

    fn dims(&self) -> Vec<usize> {
        match self {
            Self::Constant(tensor) => tensor.dims.clone(),
            Self::Activation(activation, _) => activation.dims(),
        }
    }
}

fn rewrap(view: Activation, scores: bool) -> Lowered<Vec<Value>> {
    if scores { Ok(vec![Value::Scores(view)]) } else { activation(view) }
}

fn reshape(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let keep_zero = cx.attributes.flag("allowzero")?;
    let subject = Subject::of(cx)?;
    let target = cx.constant(1)?;
    let dims = target_dims(&subject.dims(), target.ints()?, keep_zero)?;
    give_extents(cx, subject, dims)
}

/// The extents that a Reshape asks for: 0 keeps an extent, −1 takes what is left.
fn target_dims(dims: &[usize], target: &[i64], keep_zero: bool) -> Lowered<Vec<usize>> {
    let misfit = || misshapen(format!("extents {dims:?} cannot become {target:?}"));
    let extent = |(axis, &value): (usize, &i64)| match value {
        0 if !keep_zero => dims.get(axis).copied().ok_or_else(misfit),
        -1 => Ok(1),
        value => usize::try_from(value).map_err(|_| misfit()),
    };
    let mut extents = target.iter().enumerate().map(extent).collect::<crate::error::Result<Vec<_>>>()?;
    let (total, known) = (element_count(dims)?, element_count(&extents)?);
    let mut open = (0..target.len()).filter(|&axis| target[axis] == -1);
    match (open.next(), open.next()) {
        (None, _) if known == total => Ok(extents),
        (Some(axis), None) if known > 0 && total % known == 0 => {
            extents[axis] = total / known;
            Ok(extents)
        }
        _ => Err(misfit().into()),
    }
}

fn flatten(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let given = cx.attributes.int("axis")?.unwrap_or(1);
    let subject = Subject::of(cx)?;
    let dims = subject.dims();
    // Unlike an axis to work on, the place to cut at may be the rank itself.
    let place = if given < 0 { given.saturating_add_unsigned(dims.len() as u64) } else { given };
    let place = usize::try_from(place).ok().filter(|&place| place <= dims.len());
    let (outer, inner) =
        dims.split_at(place.ok_or_else(|| misshapen(format!("axis {given} of extents {dims:?}")))?);
    let dims = vec![element_count(outer)?, element_count(inner)?];
    give_extents(cx, subject, dims)
}

fn give_extents(cx: &mut Context<'_>, subject: Subject, dims: Vec<usize>) -> Lowered<Vec<Value>> {
    match subject {
        Subject::Constant(tensor) => constant(tensor.reshaped(dims)?),
        Subject::Activation(view, scores) => {
            let view = reshaped(cx, &view, &dims)?;
            rewrap(view, scores)
        }
    }
}

fn reshaped(cx: &mut Context<'_>, view: &Activation, dims: &[usize]) -> Lowered<Activation> {
    let result = match (view.reshaped(dims), view.unshuffled()) {
        (Some(result), _) => Some(result),
        (None, Some((groups, unshuffled))) if unshuffled.reshaped(dims).is_some() => {
            let node = cx.emit(Op::ChannelShuffle { groups }, vec![view.node])?;
            unshuffled.of(node).reshaped(dims)
        }
        _ => None,
    };
    let result = result.ok_or_else(|| misfit(view, dims))?;
    let spread = result.shape.positions() > 1;
    if dims.len() == 2 && spread { flattened(cx, &result) } else { Ok(result) }
}

/// Two axes are left and rows and columns are among the features: they become channels here.
fn flattened(cx: &mut Context<'_>, view: &Activation) -> Lowered<Activation> {
    let node = cx.emit(Op::Flatten, vec![view.node])?;
    cx.flat(&Activation { node, shape: crate::tensor::Shape::flat(view.shape.len()), axes: flat_axes(view) })
}

fn flat_axes(view: &Activation) -> Vec<Axis> {
    vec![Axis::Batch(view.batch()), Axis::strided(view.shape.len(), 1)]
}

fn misfit(view: &Activation, dims: &[usize]) -> crate::error::Error {
    let own = view.dims();
    if dims.first() != Some(&view.batch()) || !view.is_batch_first() {
        return unsupported(format!(
            "turns extents {own:?} into {dims:?}, but the batch must stay the first axis"
        ));
    }
    unsupported(format!(
        "turns extents {own:?} into {dims:?} after a Transpose that moves data; only channel shuffles are supported \
         (a model with channels last has to be exported with channels first)"
    ))
}

fn squeeze(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let given = cx.ints("axes", 1)?;
    let subject = Subject::of(cx)?;
    let dims = subject.dims();
    let batch = batch_axis(&subject);
    let removed = match given {
        Some(given) => axes(&given, dims.len())?,
        None => (0..dims.len()).filter(|&axis| dims[axis] == 1 && Some(axis) != batch).collect(),
    };
    if let Some(&axis) = removed.iter().find(|&&axis| dims[axis] != 1) {
        return Err(misshapen(format!("removes axis {axis} of extents {dims:?}")).into());
    }
    if batch.is_some_and(|batch| removed.contains(&batch)) {
        return Err(unsupported("removes the batch axis; export the model with a batch").into());
    }
    match subject {
        Subject::Constant(tensor) => constant(tensor.reshaped(without(&dims, &removed))?),
        Subject::Activation(view, scores) => {
            rewrap(Activation { axes: without(&view.axes, &removed), ..view }, scores)
        }
    }
}

fn batch_axis(subject: &Subject) -> Option<usize> {
    let Subject::Activation(view, _) = subject else { return None };
    view.axes.iter().position(|axis| matches!(axis, Axis::Batch(_)))
}

fn without<T: Copy>(items: &[T], removed: &[usize]) -> Vec<T> {
    (0..items.len()).filter(|place| !removed.contains(place)).map(|place| items[place]).collect()
}

fn unsqueeze(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let given = cx.ints("axes", 1)?.ok_or_else(|| malformed("axes are missing"))?;
    let subject = Subject::of(cx)?;
    let added = axes(&given, subject.dims().len() + given.len())?;
    match subject {
        Subject::Constant(tensor) => constant(tensor.reshaped(with(&tensor.dims, &added, 1))?),
        Subject::Activation(view, scores) => {
            rewrap(Activation { axes: with(&view.axes, &added, Axis::UNIT), ..view }, scores)
        }
    }
}

fn with<T: Copy>(items: &[T], added: &[usize], item: T) -> Vec<T> {
    let mut result = items.to_vec();
    added.iter().for_each(|&place| result.insert(place, item));
    result
}

fn transpose(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let given = cx.attributes.ints("perm")?;
    let subject = Subject::of(cx)?;
    let rank = subject.dims().len();
    let order = match given {
        None => reversed(rank),
        Some(given) => permutation(&given, rank)?,
    };
    match subject {
        Subject::Constant(tensor) => constant(tensor.transposed(&order)?),
        Subject::Activation(view, scores) => {
            let view = view.permuted(&order).ok_or_else(|| misshapen("perm does not fit"))?;
            rewrap(view, scores)
        }
    }
}

fn permutation(given: &[i64], rank: usize) -> Lowered<Vec<usize>> {
    if axes(given, rank)?.len() != rank || given.iter().any(|&place| place < 0) {
        return Err(misshapen(format!("perm {given:?} for {rank} axes")).into());
    }
    Ok(given.iter().map(|&place| place as usize).collect())
}

fn dropout(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    cx.attributes.ignore(&["ratio", "seed"]);
    if let Some(training) = cx.optional_constant(2)?
        && training.data == Data::Bool(vec![true])
    {
        return Err(unsupported("training mode; export the model in evaluation mode (model.eval())").into());
    }
    Ok(vec![cx.value(0)?.clone()])
}

fn expand(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let target = cx.constant(1)?;
    let dims = crate::source::onnx::decode::extents(target.ints()?)?;
    if let Subject::Activation(view, scores) = Subject::of(cx)? {
        let dims = broadcast_dims(&view.dims(), &dims)?;
        if dims == view.dims() {
            return rewrap(view, scores);
        }
        if batch_moves(&view, &dims) {
            return Err(unsupported("repeats images").into());
        }
        return rewrap(view.repeated(&dims), scores);
    }
    let tensor = cx.constant(0)?;
    constant(tensor.broadcast(&broadcast_dims(&tensor.dims, &dims)?)?)
}

/// Whether the images would be repeated, or no longer lie along the first axis.
fn batch_moves(view: &Activation, dims: &[usize]) -> bool {
    !view.is_batch_first() || dims.len() != view.axes.len() || dims[0] != view.batch()
}

fn tile(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let counts = crate::source::onnx::decode::extents(cx.constant(1)?.ints()?)?;
    let subject = Subject::of(cx)?;
    if counts.len() != subject.dims().len() {
        return Err(misshapen(format!("{} repeats of extents {:?}", counts.len(), subject.dims())).into());
    }
    match subject {
        Subject::Constant(tensor) => constant(tensor.tiled(&counts)?),
        Subject::Activation(view, scores) if counts.iter().all(|&count| count == 1) => rewrap(view, scores),
        Subject::Activation(..) => Err(unsupported("repeats a tensor that depends on the image").into()),
    }
}

fn cast(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    cx.attributes.ignore(&["saturate", "round_mode"]);
    let to = cx.attributes.int("to")?.ok_or_else(|| malformed("'to' is missing"))?;
    let to = i32::try_from(to).ok().and_then(|to| DataType::try_from(to).ok());
    let to = to.ok_or_else(|| malformed("unknown element type"))?;
    match Subject::of(cx)? {
        Subject::Constant(tensor) => {
            constant(Tensor::new(tensor.dims.clone(), converted(&tensor.data, to)?)?)
        }
        Subject::Activation(view, scores) if is_real(to) => rewrap(view, scores),
        Subject::Activation(..) => {
            let name = to.as_str_name();
            Err(unsupported(format!("rounds activations to {name}; give the float model")).into())
        }
    }
}

fn is_real(kind: DataType) -> bool {
    matches!(kind, DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)
}

/// `data` as elements of type `to`; real numbers are cut towards zero.
fn converted(data: &Data, to: DataType) -> Lowered<Data> {
    match to {
        _ if is_real(to) => Ok(Data::Float(as_floats(data))),
        DataType::Int64 | DataType::Int32 => Ok(Data::Int(as_ints(data))),
        DataType::Bool => Ok(Data::Bool(as_floats(data).iter().map(|&value| value != 0.0).collect())),
        _ => Err(unsupported(format!("converts constants to {}", to.as_str_name())).into()),
    }
}

fn as_floats(data: &Data) -> Vec<f32> {
    match data {
        Data::Float(values) => values.clone(),
        Data::Int(values) => values.iter().map(|&value| value as f32).collect(),
        Data::Bool(values) => values.iter().map(|&value| f32::from(u8::from(value))).collect(),
    }
}

fn as_ints(data: &Data) -> Vec<i64> {
    match data {
        Data::Float(values) => values.iter().map(|&value| value as i64).collect(),
        Data::Int(values) => values.clone(),
        Data::Bool(values) => values.iter().map(|&value| i64::from(value)).collect(),
    }
}
