//! What makes a packed model valid: after this check no operator can fail, overflow or read outside.

use super::codes::{is_canonical, tail_is_zero};
use super::{
    Multiplier, PackedConv, PackedId, PackedModel, PackedNode, PackedNorm, PackedOp, PackedSlice, Quantizer,
    Rescale, Store,
};
use crate::error::{Error, ErrorKind, Result};
use crate::index::Per;
use crate::precision::LARGEST_WEIGHT;
use crate::tensor::{Shape, Window};
use crate::threads;
use std::collections::HashSet;

/// Largest extent of any axis.
const MAX_EXTENT: usize = 1 << 24;
/// Largest number of elements of one image's activations.
const MAX_ELEMENTS: usize = 1 << 28;
/// Largest shift of an accumulator.
const MAX_SHIFT: u8 = 30;

impl PackedModel {
    /// The shape of every node's output, after checking the whole model.
    ///
    /// # Errors
    /// The first node whose operands, weights or parameters are not what its operator requires.
    pub fn shapes(&self) -> Result<Per<PackedId, Shape>> {
        self.preprocess.validate()?;
        self.check_frame()?;
        let mut shapes: Per<PackedId, Shape> = Per::default();
        for (id, node) in self.nodes.enumerate() {
            let shape = self.node_shape(id, node, &shapes).map_err(|error| error.at_node(&node.name))?;
            shapes.push(shape);
        }
        self.check_output(&shapes)?;
        self.fidelity.as_ref().map_or(Ok(()), |fidelity| fidelity.check(&self.nodes))?;
        self.switching.as_ref().map_or(Ok(()), |switching| switching.check(&self.nodes))?;
        Ok(shapes)
    }

    fn check_frame(&self) -> Result<()> {
        let mut names = HashSet::new();
        let twice = self.nodes.iter().find(|node| !names.insert(&node.name));
        twice.map_or(Ok(()), |node| Err(invalid("two nodes have this name").at_node(&node.name)))?;
        ensure(!names.contains(&String::new()), || "a node has no name".into())?;
        ensure(self.nodes.len() > 1, || "the model has no operator".into())?;
        let Shape { channels, height, width } = self.input;
        self.preprocess
            .check_input(channels, height, width)
            .map_err(|error| invalid("preprocessing and input do not fit together").because(error))?;
        ensure(self.logit_scale.is_finite() && self.logit_scale > 0.0, || {
            format!("logit scale {}", self.logit_scale)
        })
    }

    fn check_output(&self, shapes: &Per<PackedId, Shape>) -> Result<()> {
        let classes = shapes.last().map_or(0, |shape| shape.channels);
        let flat = shapes.last().is_some_and(|shape| shape.positions() == 1);
        ensure(flat, || "the last node must yield one vector of logits".into())?;
        ensure(self.classes.is_empty() || self.classes.len() == classes, || {
            format!("{} class names for {classes} classes", self.classes.len())
        })
    }

    fn node_shape(&self, id: PackedId, node: &PackedNode, shapes: &Per<PackedId, Shape>) -> Result<Shape> {
        check_quantizer(&node.quantizer)?;
        ensure((id == PackedId::INPUT) == matches!(node.op, PackedOp::Input { .. }), || {
            "node 0, and no other, is the input".into()
        })?;
        ensure(node.inputs.iter().all(|&input| input < id), || "an input is not an earlier node".into())?;
        let last = self.nodes.is_last(id);
        let inputs: Vec<InputValue> = node
            .inputs
            .iter()
            .map(|&input| InputValue { shape: shapes[input], quantizer: &self.nodes[input].quantizer })
            .collect();
        check_pixel_reader(node)?;
        let shape = match &node.op {
            PackedOp::Input { pad } => {
                ensure(inputs.is_empty(), || "the input reads no node".into())?;
                ensure(pad.len() == self.input.channels, || "one pad code per input channel".into())?;
                self.input
            }
            PackedOp::Conv(conv) => conv_shape(conv, &inputs, &node.quantizer, last)?,
            op => other_shape(op, &inputs, &node.quantizer, last)?,
        };
        check_shape(shape)?;
        Ok(shape)
    }
}

/// Pixels have a zero point per channel, which only convolutions and tables know how to treat.
fn check_pixel_reader(node: &PackedNode) -> Result<()> {
    let plain = match node.op {
        PackedOp::Conv(_) => node.inputs.get(1..).unwrap_or_default(),
        PackedOp::Table { .. } => &[],
        _ => &node.inputs,
    };
    ensure(!plain.contains(&PackedId::INPUT), || "pixels are read by convolutions and tables only".into())
}

struct InputValue<'a> {
    shape: Shape,
    quantizer: &'a Quantizer,
}

pub(super) fn ensure(condition: bool, message: impl FnOnce() -> String) -> Result<()> {
    if condition { Ok(()) } else { Err(invalid(message())) }
}

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, message)
}

pub(super) fn check_quantizer(quantizer: &Quantizer) -> Result<()> {
    let valid = quantizer.scale.is_finite()
        && quantizer.scale > 0.0
        && quantizer.max > 0
        && quantizer.zero_point <= quantizer.max;
    ensure(valid, || format!("{quantizer:?}"))
}

fn check_shape(shape: Shape) -> Result<()> {
    let extents = [shape.channels, shape.height, shape.width];
    let elements = extents.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    let valid = extents.iter().all(|extent| (1..=MAX_EXTENT).contains(extent))
        && elements.is_some_and(|elements| elements <= MAX_ELEMENTS);
    ensure(valid, || format!("activations of {extents:?}"))
}

fn check_multiplier(multiplier: Multiplier) -> Result<()> {
    let valid = multiplier.shift <= MAX_SHIFT && multiplier.value != i16::MIN;
    ensure(valid, || format!("{multiplier:?}"))
}

pub(super) fn check_rescale(rescale: Rescale) -> Result<()> {
    ensure(rescale.shift <= 7 && rescale.value != i16::MIN, || format!("{rescale:?}"))
}

fn check_fraction(fraction: u8) -> Result<()> {
    ensure(fraction <= 6, || format!("{fraction} fraction bits"))
}

fn check_window(window: &Window, input: Shape) -> Result<[usize; 2]> {
    let extents = [&window.kernel[..], &window.stride, &window.dilation, &window.pads].concat();
    ensure(extents.iter().all(|&extent| extent <= MAX_EXTENT), || format!("{window:?}"))?;
    ensure(window.area() <= MAX_EXTENT, || format!("{window:?}"))?;
    window.output(input.height, input.width)
}

fn conv_shape(conv: &PackedConv, inputs: &[InputValue], output: &Quantizer, last: bool) -> Result<Shape> {
    let input = inputs.first().ok_or_else(|| invalid("no input"))?;
    let [height, width] = check_window(&conv.window, input.shape)?;
    let shape = Shape::new(conv.outputs, height, width);
    ensure(!conv.window.ceil, || "convolutions have no ceil mode".into())?;
    ensure(conv.groups > 0 && conv.outputs.is_multiple_of(conv.groups), || {
        format!("{} outputs in {} groups", conv.outputs, conv.groups)
    })?;
    ensure(conv.group_inputs.checked_mul(conv.groups) == Some(input.shape.channels), || {
        format!("{} groups of {} inputs for {}", conv.groups, conv.group_inputs, input.shape)
    })?;
    check_weights(conv)?;
    check_store(conv, inputs, shape, output, last)?;
    check_sums(conv)?;
    Ok(shape)
}

fn check_weights(conv: &PackedConv) -> Result<()> {
    let len = [conv.outputs, conv.window.area(), conv.group_inputs]
        .iter()
        .try_fold(1usize, |product, &extent| product.checked_mul(extent))
        .filter(|&len| len <= isize::MAX as usize / 8);
    ensure(len.is_some(), || "the number of weights overflows".into())?;
    let (weights, precision) = (&conv.weights, conv.weights.precision);
    let planes = precision.planes();
    let codes = planes.saturating_mul(len.unwrap_or(0));
    ensure(is_canonical(precision.levels(), &weights.codes, codes), || {
        format!("invalid codes for {codes} weights of {precision}")
    })?;
    let Some(grouping) = precision.grouping() else {
        return ensure(weights.scales.is_empty(), || "scales without groups".into());
    };
    let groups = conv.outputs * conv.arrangement().channel_groups(precision);
    let scales = planes.saturating_mul(groups);
    let bits = usize::from(grouping.scale_bits);
    let bytes = scales.saturating_mul(bits).div_ceil(8);
    ensure(weights.scales.len() == bytes && tail_is_zero(&weights.scales, scales, bits as u32), || {
        format!("{} bytes of scales, not {bytes} for {scales} of {bits} bits", weights.scales.len())
    })?;
    let largest = usize::from(precision.room());
    let fits = planes * ((1 << bits) - 1) <= largest || fit_together(conv, groups, largest);
    ensure(fits, || format!("scales are at most {largest} together"))
}

/// Whether every group's scales of all planes together are at most `largest`.
fn fit_together(conv: &PackedConv, groups: usize, largest: usize) -> bool {
    let planes = conv.weights.precision.planes();
    let scales = conv.weights.unpacked_scales(0..planes * groups);
    if planes == 1 {
        return usize::from(scales.iter().fold(0, |most, &scale| scale.max(most))) <= largest;
    }
    let together =
        |group: usize| (0..planes).map(|plane| usize::from(scales[plane * groups + group])).sum::<usize>();
    (0..groups).all(|group| together(group) <= largest)
}

fn check_store(
    conv: &PackedConv,
    inputs: &[InputValue],
    shape: Shape,
    output: &Quantizer,
    last: bool,
) -> Result<()> {
    let per_channel = |len: usize| ensure(len == conv.outputs, || "one value per output channel".into());
    per_channel(conv.bias.len())?;
    match &conv.store {
        Store::Logits { factors, shift } => {
            per_channel(factors.len())?;
            ensure(last && inputs.len() == 1, || "only the last node stores logits".into())?;
            ensure(*shift <= 62, || format!("logit shift {shift}"))
        }
        Store::Codes { multipliers, residual, fraction, low, high } => {
            per_channel(multipliers.len())?;
            multipliers.iter().try_for_each(|&multiplier| check_multiplier(multiplier))?;
            residual.iter().try_for_each(|&rescale| check_rescale(rescale))?;
            check_fraction(*fraction)?;
            ensure(low <= high && *high <= output.max, || format!("codes {low}..={high}"))?;
            ensure(inputs.len() == 1 + usize::from(residual.is_some()), || "number of inputs".into())?;
            ensure(inputs.get(1).is_none_or(|residual| residual.shape == shape), || {
                format!("the residual's shape is not {shape}")
            })
        }
    }
}

/// No sum, whatever the activations, leaves 32 bits, rounding included.
fn check_sums(conv: &PackedConv) -> Result<()> {
    let most = (255 * i64::from(LARGEST_WEIGHT)).saturating_mul(conv.channel_len() as i64);
    let fits = |channel: usize| {
        let shift = match &conv.store {
            Store::Codes { multipliers, .. } => multipliers[channel].shift,
            Store::Logits { .. } => 0,
        };
        let rest = i64::from(i32::MAX) - i64::from(conv.bias[channel]).abs() - (1i64 << shift);
        // Most channels are far from the limit, which is seen without looking at their weights.
        most <= rest || conv.magnitude(channel) * 255 <= rest
    };
    ensure(threads::all(0..conv.outputs, fits), || "sums of products overflow 32 bits".into())
}

fn other_shape(op: &PackedOp, inputs: &[InputValue], output: &Quantizer, last: bool) -> Result<Shape> {
    match (op, inputs) {
        (PackedOp::Concat, inputs) => concat_shape(inputs, output),
        (PackedOp::Add { left, right, fraction }, [a, b]) => {
            check_rescale(*left)?;
            check_rescale(*right)?;
            check_fraction(*fraction)?;
            broadcast_shape(a, b)
        }
        (PackedOp::Mul(multiplier), [a, b]) => {
            check_multiplier(*multiplier)?;
            broadcast_shape(a, b)
        }
        (op, [input]) => unary_shape(op, input, output, last),
        _ => Err(invalid(format!("{} inputs", inputs.len()))),
    }
}

fn same_quantizer(input: &InputValue, output: &Quantizer) -> Result<()> {
    ensure(input.quantizer == output, || "input and output must share one quantizer".into())
}

fn unary_shape(op: &PackedOp, input: &InputValue, output: &Quantizer, last: bool) -> Result<Shape> {
    let Shape { channels, height, width } = input.shape;
    Ok(match op {
        PackedOp::Table { entries } => {
            let tables = entries.len() / 256;
            let valid = entries.len() % 256 == 0 && (tables == 1 || tables == channels);
            ensure(valid, || format!("{} table entries for {channels} channels", entries.len()))?;
            ensure(entries.iter().all(|&code| code <= output.max), || {
                "table codes exceed the maximum".into()
            })?;
            input.shape
        }
        PackedOp::Narrow(by) => {
            check_rescale(*by)?;
            input.shape
        }
        PackedOp::MaxPool(window) => {
            same_quantizer(input, output)?;
            let [height, width] = check_window(window, input.shape)?;
            Shape::new(channels, height, width)
        }
        PackedOp::AveragePool { window, by_count, .. } => {
            let [height, width] = check_window(window, input.shape)?;
            check_average(window, by_count)?;
            Shape::new(channels, height, width)
        }
        PackedOp::GroupNorm(norm) => {
            check_norm(norm, input.shape)?;
            input.shape
        }
        PackedOp::GlobalAveragePool(multiplier) => {
            check_multiplier(*multiplier)?;
            ensure(input.shape.positions() <= 1 << 22, || "a map too large to sum".into())?;
            Shape::flat(channels)
        }
        PackedOp::GlobalSum => {
            ensure(last, || "only the last node stores logits".into())?;
            ensure(input.shape.positions() <= 1 << 22, || "a map too large to sum".into())?;
            Shape::flat(channels)
        }
        PackedOp::Flatten => {
            same_quantizer(input, output)?;
            Shape::flat(input.shape.len())
        }
        PackedOp::ChannelShuffle { groups } => {
            same_quantizer(input, output)?;
            ensure(*groups > 0 && channels.is_multiple_of(*groups), || {
                format!("{groups} groups of channels")
            })?;
            input.shape
        }
        PackedOp::Slice(slice) => {
            same_quantizer(input, output)?;
            slice_shape(slice, [channels, height, width])?
        }
        PackedOp::Pad { before, after } => {
            same_quantizer(input, output)?;
            let extent = |axis: usize, size: usize| {
                let total = size.checked_add(before[axis]).and_then(|size| size.checked_add(after[axis]));
                total.ok_or_else(|| invalid("padding overflows"))
            };
            Shape::new(extent(0, channels)?, extent(1, height)?, extent(2, width)?)
        }
        _ => return Err(invalid("one input is not what the operator reads")),
    })
}

/// Sums of squares, and what is added to them, stay below 2^60 where groups have at most 2^22 elements.
fn check_norm(norm: &PackedNorm, shape: Shape) -> Result<()> {
    let (channels, groups) = (shape.channels, norm.groups);
    ensure(groups > 0 && channels.is_multiple_of(groups), || format!("{groups} groups of channels"))?;
    let elements = (channels / groups).saturating_mul(norm.span.positions(shape.positions()));
    ensure(elements <= 1 << 22, || "groups too large to sum".into())?;
    ensure((1..=1 << 60).contains(&norm.epsilon), || format!("an epsilon of {}", norm.epsilon))?;
    check_fraction(norm.fraction)?;
    norm.multipliers.iter().try_for_each(|&multiplier| check_multiplier(multiplier))?;
    let each = norm.multipliers.len() == channels && norm.bias.len() == channels;
    ensure(each, || "one multiplier and one bias per channel".into())
}

fn check_average(window: &Window, by_count: &[Multiplier]) -> Result<()> {
    by_count.iter().try_for_each(|&multiplier| check_multiplier(multiplier))?;
    ensure(window.area() <= 1 << 22 && by_count.len() == window.area(), || "one multiplier per count".into())
}

fn slice_shape(slice: &PackedSlice, extents: [usize; 3]) -> Result<Shape> {
    let extent = |axis: usize| {
        let (start, end, step) = (slice.start[axis], slice.end[axis], slice.step[axis]);
        ensure(start < end && end <= extents[axis] && step > 0, || format!("{slice:?} of {extents:?}"))?;
        Ok((end - start).div_ceil(step))
    };
    Ok(Shape::new(extent(0)?, extent(1)?, extent(2)?))
}

fn concat_shape(inputs: &[InputValue], output: &Quantizer) -> Result<Shape> {
    inputs.iter().try_for_each(|input| same_quantizer(input, output))?;
    let first = inputs.first().ok_or_else(|| invalid("nothing to concatenate"))?;
    let map = (first.shape.height, first.shape.width);
    ensure(inputs.iter().all(|input| (input.shape.height, input.shape.width) == map), || {
        "concatenated maps differ in size".into()
    })?;
    let channels = inputs.iter().try_fold(0usize, |sum, input| sum.checked_add(input.shape.channels));
    Ok(Shape::new(channels.unwrap_or(usize::MAX), map.0, map.1))
}

fn broadcast_shape(a: &InputValue, b: &InputValue) -> Result<Shape> {
    let fits = |a: usize, b: usize| b == a || b == 1;
    let (left, right) = (a.shape, b.shape);
    let valid = fits(left.channels, right.channels)
        && fits(left.height, right.height)
        && fits(left.width, right.width);
    ensure(valid, || format!("{right} cannot be broadcast to {left}"))?;
    Ok(left)
}
