//! Maxima and means over windows and over whole images.

use super::window;
use super::{OperatorRow, activation};
use crate::graph::{NodeId, Op};
use crate::source::onnx::context::{Context, Lowered, Stop, Value, shape};
use crate::source::onnx::unsupported;
use crate::source::onnx::view::{Activation, Axis, IMAGE, Role};
use crate::tensor::{Shape, Window};

pub(super) const OPERATORS: &[OperatorRow] = &[
    ("AveragePool", average_pool),
    ("GlobalAveragePool", |cx| global(cx, Pooling::Mean)),
    ("GlobalMaxPool", |cx| global(cx, Pooling::Maximum)),
    ("MaxPool", max_pool),
];

/// What is computed of many elements.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Pooling {
    /// The mean.
    Mean,
    /// The largest one.
    Maximum,
}

fn max_pool(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    cx.attributes.ignore(&["storage_order"]);
    let windowing = window::read(cx)?;
    pool(cx, &windowing, Op::MaxPool)
}

fn average_pool(cx: &mut Context<'_>) -> Lowered<Vec<Value>> {
    let windowing = window::read(cx)?;
    let count_include_pad = cx.attributes.flag("count_include_pad")?;
    pool(cx, &windowing, |window| Op::AveragePool { window, count_include_pad })
}

fn pool(
    cx: &mut Context<'_>,
    windowing: &window::Windowing,
    op: impl Fn(Window) -> Op,
) -> Lowered<Vec<Value>> {
    let input = cx.image(0)?;
    let (window, [height, width]) = windowing.over(input.shape, None)?;
    if (0..2).any(|axis| window.pads[axis].max(window.pads[axis + 2]) >= reach(&window, axis)) {
        return Err(unsupported(
            "its padding is as large as its window, so that a window may lie in it alone",
        )
        .into());
    }
    let shape = shape([input.shape.channels, height, width])?;
    let node = cx.emit(op(window), vec![input.node])?;
    activation(Activation::new(node, shape, input.batch(), &IMAGE))
}

fn reach(window: &Window, axis: usize) -> usize {
    (window.kernel[axis] - 1).saturating_mul(window.dilation[axis]).saturating_add(1)
}

fn global(cx: &mut Context<'_>, pool: Pooling) -> Lowered<Vec<Value>> {
    let input = cx.image(0)?;
    let node = emit(cx, pool, input.node, input.shape, [true, true])?;
    activation(Activation::new(node, Shape::flat(input.shape.channels), input.batch(), &IMAGE))
}

/// The node that pools all rows, all columns, or both.
fn emit(cx: &mut Context<'_>, pool: Pooling, node: NodeId, shape: Shape, over: [bool; 2]) -> Lowered<NodeId> {
    let kernel = [if over[0] { shape.height } else { 1 }, if over[1] { shape.width } else { 1 }];
    let window = Window::new(kernel).with_stride(kernel);
    let op = match pool {
        Pooling::Maximum => Op::MaxPool(window),
        Pooling::Mean if over == [true, true] => Op::GlobalAveragePool,
        Pooling::Mean => Op::AveragePool { window, count_include_pad: false },
    };
    cx.emit(op, vec![node])
}

/// `input` pooled over the axes `reduced`, which keep the extent 1.
pub(super) fn pooled(
    cx: &mut Context<'_>,
    pool: Pooling,
    input: &Activation,
    reduced: &[usize],
) -> Lowered<Activation> {
    let (roles, over) = pooled_roles(input, reduced).ok_or_else(|| {
        Stop::from(unsupported(
            "reduces axes that are not the rows and columns of an image (axes 2 and 3), nor its channels alone",
        ))
    })?;
    let Shape { channels, height, width } = input.shape;
    let shape = Shape::new(channels, if over[0] { 1 } else { height }, if over[1] { 1 } else { width });
    let node = if shape == input.shape { input.node } else { emit(cx, pool, input.node, input.shape, over)? };
    Ok(Activation::new(node, shape, input.batch(), &roles))
}

/// The roles of the axes that are left, and whether rows and columns are pooled; `None` for other axes.
fn pooled_roles(input: &Activation, reduced: &[usize]) -> Option<(Vec<Role>, [bool; 2])> {
    let channel = Axis::strided(input.shape.channels, input.shape.positions());
    let keeps = |axis: Axis| !matches!(axis, Axis::Batch(_)) && (axis == Axis::UNIT || axis != channel);
    if reduced.is_empty() || !reduced.iter().all(|&axis| keeps(input.axes[axis])) {
        return None;
    }
    if let Some(roles) = input.roles() {
        let pooled = |role| reduced.iter().any(|&axis| roles[axis] == role);
        let over =
            [input.shape.height == 1 || pooled(Role::Row), input.shape.width == 1 || pooled(Role::Column)];
        return Some((roles, over));
    }
    // Rows and columns were merged into one axis.
    let role = |(place, &axis): (usize, &Axis)| match axis {
        Axis::Batch(_) => Some(Role::Batch),
        axis if axis == channel => Some(Role::Channel),
        axis => (axis == Axis::UNIT || reduced.contains(&place)).then_some(Role::Unit),
    };
    let roles = input.axes.iter().enumerate().map(role).collect::<Option<_>>()?;
    Some((roles, [true, true]))
}
