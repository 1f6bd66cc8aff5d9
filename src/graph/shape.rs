//! Shape inference and the checks that make every later stage safe to index.

use super::taps::spans;
use super::{Conv, Graph, Node, NodeId, Op, Pad, Slice};
use crate::error::{Error, ErrorKind, Result};
use crate::index::Per;
use crate::tensor::{Shape, Window};
use std::collections::HashSet;

/// The most elements one tensor of one image may have: 1 GiB of `f32`.
const MAX_ELEMENTS: usize = 1 << 28;
/// The largest stride, dilation or padding.
const MAX_PARAMETER: usize = 1 << 16;

impl Graph {
    /// The shape of every node's value, in node order.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] naming the node, if nodes are out of order, have the wrong number of inputs, or
    /// have inputs, weights or windows that do not fit together.
    pub fn shapes(&self) -> Result<Per<NodeId, Shape>> {
        let mut shapes = Per::default();
        for (id, node) in self.nodes.enumerate() {
            let shape = self.infer(id, node, &shapes).and_then(capped).map_err(|e| e.at_node(&node.name))?;
            shapes.push(shape);
        }
        if shapes.get(self.output).is_none() {
            return Err(misfit("the output is not a node of the network"));
        }
        Ok(shapes)
    }

    /// Checks everything that later stages rely on: order, unique names, shapes, finite weights.
    ///
    /// # Errors
    /// As [`Graph::shapes`]; [`ErrorKind::Format`] for an empty or repeated name; [`ErrorKind::NonFinite`]
    /// naming node, tensor and flat index of the first NaN or infinity.
    pub fn validate(&self) -> Result<()> {
        self.check_names()?;
        self.shapes()?;
        self.nodes.iter().try_for_each(|node| check_finite(&node.op).map_err(|e| e.at_node(&node.name)))
    }

    fn check_names(&self) -> Result<()> {
        let mut seen = HashSet::new();
        for (id, node) in self.nodes.enumerate() {
            if node.name.is_empty() {
                return Err(Error::new(ErrorKind::Format, format!("node {id} has no name")));
            }
            if !seen.insert(node.name.as_str()) {
                return Err(Error::new(ErrorKind::Format, "two nodes have this name").at_node(&node.name));
            }
        }
        Ok(())
    }

    fn infer(&self, id: NodeId, node: &Node, shapes: &Per<NodeId, Shape>) -> Result<Shape> {
        if (node.op == Op::Input) != (id == NodeId::INPUT) {
            return Err(misfit("the first node, and no other, must be the input"));
        }
        let operands = node
            .inputs
            .iter()
            .map(|&input| {
                shapes.get(input).copied().ok_or_else(|| misfit("reads a node that is not before it"))
            })
            .collect::<Result<Vec<_>>>()?;
        match (&node.op, operands.as_slice()) {
            (Op::Input, []) => Ok(self.input),
            (Op::Concat, [first, rest @ ..]) => concatenated(*first, rest),
            (Op::Binary(_), [a, b]) => broadcast(*a, *b),
            (Op::Input | Op::Concat | Op::Binary(_), _) => Err(misfit("wrong number of inputs")),
            (op, [input]) => op.output_of(*input),
            _ => Err(misfit("wrong number of inputs")),
        }
    }
}

impl Op {
    /// The output shape of an operator with one input.
    fn output_of(&self, input: Shape) -> Result<Shape> {
        let channels = input.channels;
        match self {
            Op::Conv(conv) => conv.output_of(input),
            Op::BatchNorm(norm) => {
                let lengths = [&norm.gamma, &norm.beta, &norm.mean, &norm.variance].map(Vec::len);
                let fits = lengths.iter().all(|&length| length == channels);
                unchanged(input, fits, || format!("{lengths:?} batch norm parameters"))
            }
            Op::GroupNorm(norm) => {
                let (groups, lengths) = (norm.groups, [norm.gamma.len(), norm.beta.len()]);
                let fits = groups > 0 && channels.is_multiple_of(groups) && lengths == [channels; 2];
                unchanged(input, fits, || format!("{groups} groups and {lengths:?} factors and offsets"))
            }
            Op::Affine(affine) => {
                let (scale, shift) = (affine.scale.len(), affine.shift.len());
                let fits = scale == shift && (scale == 1 || scale == channels);
                unchanged(input, fits, || format!("{scale} scales and {shift} shifts"))
            }
            Op::PRelu(slopes) => {
                let fits = slopes.len() == 1 || slopes.len() == channels;
                unchanged(input, fits, || format!("{} slopes", slopes.len()))
            }
            Op::ChannelShuffle { groups } => {
                let fits = *groups > 0 && channels.is_multiple_of(*groups);
                unchanged(input, fits, || format!("a shuffle of {groups} groups"))
            }
            Op::Slice(slice) => slice.output_of(input),
            Op::Pad(pad) => pad.output_of(input),
            Op::MaxPool(window) => pooled(window, input, false),
            Op::AveragePool { window, count_include_pad } => pooled(window, input, *count_include_pad),
            Op::GlobalAveragePool => Ok(Shape::flat(channels)),
            Op::Flatten => Ok(Shape::flat(input.len())),
            Op::Unary(_) | Op::Input | Op::Concat | Op::Binary(_) => Ok(input),
        }
    }
}

impl Window {
    /// Whether stride, dilation and padding are small enough for arithmetic on positions not to overflow.
    pub(crate) fn is_within_limits(&self) -> bool {
        let numbers = [self.stride, self.dilation];
        numbers.iter().flatten().chain(&self.pads).all(|&number| number <= MAX_PARAMETER)
    }
}

impl Conv {
    fn output_of(&self, input: Shape) -> Result<Shape> {
        let (outputs, per_group, rows, columns) = self.weight.dim();
        let expected = per_group.checked_mul(self.groups);
        if self.groups == 0 || outputs % self.groups != 0 || expected != Some(input.channels) {
            return Err(misfit(format!(
                "a weight of shape {:?} in {} groups does not fit {} input channels",
                self.weight.shape(),
                self.groups,
                input.channels
            )));
        }
        if self.window.kernel != [rows, columns] || self.window.ceil {
            return Err(misfit(format!("a weight of shape {:?} and {:?}", self.weight.shape(), self.window)));
        }
        if self.gain.len() != outputs || self.bias.len() != outputs {
            let (gains, biases) = (self.gain.len(), self.bias.len());
            return Err(misfit(format!("{gains} gains and {biases} biases for {outputs} output channels")));
        }
        windowed(&self.window, input, outputs)
    }
}

impl Slice {
    fn output_of(&self, input: Shape) -> Result<Shape> {
        let extents = extents(input);
        let count = |axis: usize| {
            let (start, end, step) = (self.start[axis], self.end[axis], self.step[axis]);
            let fits = step > 0 && start < end && end <= extents[axis];
            fits.then(|| (end - start).div_ceil(step))
        };
        match (count(0), count(1), count(2)) {
            (Some(channels), Some(height), Some(width)) => Ok(Shape::new(channels, height, width)),
            _ => Err(misfit(format!("{self:?} does not fit an input of {input}"))),
        }
    }
}

impl Pad {
    fn output_of(&self, input: Shape) -> Result<Shape> {
        let extents = extents(input);
        let sum = |axis: usize| {
            extents[axis]
                .checked_add(self.before[axis])?
                .checked_add(self.after[axis])
                .filter(|&n| n <= MAX_ELEMENTS)
        };
        match (sum(0), sum(1), sum(2)) {
            (Some(channels), Some(height), Some(width)) => Ok(Shape::new(channels, height, width)),
            _ => Err(misfit(format!("{self:?} makes an input of {input} too large"))),
        }
    }
}

/// Channels, height and width as an array over axes.
const fn extents(shape: Shape) -> [usize; 3] {
    [shape.channels, shape.height, shape.width]
}

fn concatenated(first: Shape, rest: &[Shape]) -> Result<Shape> {
    rest.iter().try_fold(first, |sum, next| {
        if (next.height, next.width) != (first.height, first.width) {
            return Err(misfit(format!("inputs of {first} and {next} cannot be concatenated over channels")));
        }
        Ok(Shape { channels: sum.channels.saturating_add(next.channels), ..sum })
    })
}

fn broadcast(a: Shape, b: Shape) -> Result<Shape> {
    let extent = |a: usize, b: usize| match (a, b) {
        _ if a == b => Some(a),
        (1, _) => Some(b),
        (_, 1) => Some(a),
        _ => None,
    };
    match (extent(a.channels, b.channels), extent(a.height, b.height), extent(a.width, b.width)) {
        (Some(channels), Some(height), Some(width)) => Ok(Shape::new(channels, height, width)),
        _ => Err(misfit(format!("inputs of {a} and {b} do not fit together"))),
    }
}

fn unchanged(input: Shape, fits: bool, what: impl FnOnce() -> String) -> Result<Shape> {
    if fits { Ok(input) } else { Err(misfit(format!("{} for {} channels", what(), input.channels))) }
}

fn windowed(window: &Window, input: Shape, channels: usize) -> Result<Shape> {
    if !window.is_within_limits() {
        return Err(misfit(format!("{window:?} has a stride, dilation or padding above {MAX_PARAMETER}")));
    }
    let [height, width] = window.output(input.height, input.width)?;
    Ok(Shape::new(channels, height, width))
}

fn pooled(window: &Window, input: Shape, padding_counts: bool) -> Result<Shape> {
    let output = windowed(window, input, input.channels)?;
    let outputs = [output.height, output.width];
    let meets = |axis: usize| {
        let size = [input.height, input.width][axis];
        spans(window, axis, size, outputs[axis]).iter().all(|span| span.taps > 0)
    };
    if padding_counts || (meets(0) && meets(1)) {
        Ok(output)
    } else {
        Err(misfit(format!("{window:?} on an input of {input} has a window with nothing but padding")))
    }
}

fn capped(shape: Shape) -> Result<Shape> {
    let elements = shape
        .channels
        .checked_mul(shape.height)
        .and_then(|n| n.checked_mul(shape.width))
        .unwrap_or(usize::MAX);
    match elements {
        0 => Err(misfit(format!("a tensor of {shape} has no elements"))),
        1..=MAX_ELEMENTS => Ok(shape),
        _ => Err(misfit(format!("a tensor of {shape} is larger than {MAX_ELEMENTS} elements"))),
    }
}

fn check_finite(op: &Op) -> Result<()> {
    match op {
        Op::Conv(conv) => {
            all_finite("weight", conv.weight.iter())?;
            all_finite("gain", &conv.gain)?;
            all_finite("bias", &conv.bias)
        }
        Op::BatchNorm(norm) => {
            all_finite("gamma", &norm.gamma)?;
            all_finite("beta", &norm.beta)?;
            all_finite("mean", &norm.mean)?;
            all_finite("variance", &norm.variance)?;
            match norm.variance.iter().position(|v| v + norm.epsilon <= 0.0) {
                Some(index) => Err(bad_number("variance", index, "not positive")),
                None => Ok(()),
            }
        }
        Op::GroupNorm(norm) => {
            all_finite("gamma", &norm.gamma)?;
            all_finite("beta", &norm.beta)?;
            match norm.epsilon.is_finite() && norm.epsilon > 0.0 {
                true => Ok(()),
                false => Err(bad_number("epsilon", 0, "not a positive number")),
            }
        }
        Op::Affine(affine) => {
            all_finite("scale", &affine.scale)?;
            all_finite("shift", &affine.shift)
        }
        Op::PRelu(slopes) => all_finite("slope", slopes),
        Op::Pad(pad) => all_finite("padding value", [&pad.value]),
        _ => Ok(()),
    }
}

/// Refuses NaN and infinity, naming the tensor and the flat index of the first.
pub(crate) fn all_finite<'a>(tensor: &str, values: impl IntoIterator<Item = &'a f32>) -> Result<()> {
    match values.into_iter().enumerate().find(|(_, value)| !value.is_finite()) {
        Some((index, value)) => Err(bad_number(tensor, index, &value.to_string())),
        None => Ok(()),
    }
}

fn bad_number(tensor: &str, index: usize, what: &str) -> Error {
    let message = format!("{tensor}[{index}] is {what}; the file is damaged or its training diverged");
    Error::new(ErrorKind::NonFinite, message)
}

fn misfit(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Shape, message)
}

#[cfg(test)]
mod tests {
    use super::super::{Affine, BatchNorm, Binary, Unary};
    use super::*;
    use crate::graph::arbitrary::{node_id, node_ids};
    use ndarray::Array4;

    fn graph(input: Shape, ops: Vec<(Op, Vec<usize>)>) -> Graph {
        let nodes = std::iter::once((Op::Input, vec![]))
            .chain(ops)
            .enumerate()
            .map(|(id, (op, inputs))| Node { name: format!("n{id}"), op, inputs: node_ids(&inputs) })
            .collect::<Vec<_>>();
        Graph { name: "test".into(), input, output: node_id(nodes.len() - 1), nodes: nodes.into() }
    }

    fn one(op: Op) -> Result<Shape> {
        graph(Shape::new(4, 6, 7), vec![(op, vec![0])]).shapes().map(|shapes| shapes[node_id(1)])
    }

    fn conv(outputs: usize, inputs: usize, groups: usize, window: Window) -> Op {
        let [rows, columns] = window.kernel;
        Op::Conv(Conv {
            weight: Array4::ones((outputs, inputs, rows, columns)),
            gain: vec![1.0; outputs],
            bias: vec![0.0; outputs],
            window,
            groups,
        })
    }

    #[test]
    fn convolutions() {
        let window = Window::new([3, 3]).with_stride([2, 2]).with_pads([1, 0, 1, 0]);
        assert_eq!(one(conv(8, 4, 1, window)).unwrap(), Shape::new(8, 3, 3));
        assert_eq!(one(conv(8, 2, 2, window)).unwrap(), Shape::new(8, 3, 3));
        assert!(one(conv(8, 3, 1, window)).is_err());
        assert!(one(conv(9, 2, 2, window)).is_err());
        assert!(one(conv(8, 4, 0, window)).is_err());
        assert!(one(conv(8, 4, 1, Window { ceil: true, ..window })).is_err());
        assert!(one(conv(8, 4, 1, window.with_stride([0, 1]))).is_err());
        assert!(one(conv(8, 4, 1, window.with_pads([usize::MAX, 0, 0, 0]))).is_err());
    }

    #[test]
    fn vectors_must_match_the_channels() {
        let affine = |n| Op::Affine(Affine { scale: vec![1.0; n], shift: vec![0.0; n] });
        assert!(one(affine(1)).is_ok() && one(affine(4)).is_ok() && one(affine(3)).is_err());
        assert!(one(Op::PRelu(vec![0.1; 4])).is_ok() && one(Op::PRelu(vec![])).is_err());
        assert!(one(Op::ChannelShuffle { groups: 3 }).is_err());
    }

    #[test]
    fn slices_and_pads() {
        let slice = Slice { start: [0, 1, 0], end: [4, 6, 7], step: [1, 2, 3] };
        assert_eq!(one(Op::Slice(slice)).unwrap(), Shape::new(4, 3, 3));
        assert!(one(Op::Slice(Slice { end: [5, 6, 7], ..slice })).is_err());
        assert!(one(Op::Slice(Slice { step: [0, 1, 1], ..slice })).is_err());
        let pad = Pad { before: [1, 0, 0], after: [2, 0, 1], value: 0.0 };
        assert_eq!(one(Op::Pad(pad)).unwrap(), Shape::new(7, 6, 8));
        assert!(one(Op::Pad(Pad { after: [usize::MAX, 0, 0], ..pad })).is_err());
        assert!(one(Op::Pad(Pad { after: [1 << 20, 1 << 20, 1 << 20], ..pad })).is_err());
    }

    #[test]
    fn broadcasting_and_concatenation() {
        let input = Shape::new(4, 6, 7);
        let binary = |inputs| (Op::Binary(Binary::Mul), inputs);
        let net = graph(
            input,
            vec![(Op::GlobalAveragePool, vec![0]), binary(vec![0, 1]), (Op::Concat, vec![0, 2])],
        );
        assert_eq!(net.shapes().unwrap().as_slice()[2..], [input, Shape::new(8, 6, 7)]);
        let flat = graph(input, vec![(Op::Flatten, vec![0]), binary(vec![0, 1])]);
        assert_eq!(flat.shapes().unwrap_err().node(), Some("n2"));
        assert!(graph(input, vec![(Op::Concat, vec![])]).shapes().is_err());
    }

    #[test]
    fn a_window_of_nothing_but_padding_is_refused() {
        let window = Window { dilation: [1, 5], ..Window::new([1, 2]).with_pads([0, 3, 0, 3]) };
        assert!(graph(Shape::new(1, 1, 2), vec![(Op::MaxPool(window), vec![0])]).shapes().is_err());
    }

    #[test]
    fn order_arity_and_output_are_checked() {
        let relu = Op::Unary(Unary::Relu);
        let input = Shape::new(1, 2, 2);
        assert!(graph(input, vec![(relu.clone(), vec![2]), (relu.clone(), vec![0])]).shapes().is_err());
        assert!(graph(input, vec![(relu.clone(), vec![0, 0])]).shapes().is_err());
        assert!(graph(input, vec![(Op::Input, vec![])]).shapes().is_err());
        assert!(Graph { output: node_id(9), ..graph(input, vec![(relu, vec![0])]) }.shapes().is_err());
        assert!(graph(Shape::new(0, 2, 2), vec![]).shapes().is_err());
        assert!(graph(Shape::new(usize::MAX, 2, 2), vec![]).shapes().is_err());
    }

    #[test]
    fn names_must_be_unique_and_not_empty() {
        let mut net = graph(Shape::flat(1), vec![(Op::Flatten, vec![0])]);
        net.nodes[node_id(1)].name = "n0".into();
        assert_eq!(net.validate().unwrap_err().kind(), ErrorKind::Format);
        net.nodes[node_id(1)].name.clear();
        assert!(net.validate().is_err());
    }

    #[test]
    fn a_bad_weight_is_named() {
        let mut net = graph(Shape::new(4, 6, 7), vec![(conv(2, 4, 1, Window::new([1, 1])), vec![0])]);
        let Op::Conv(conv) = &mut net.nodes[node_id(1)].op else { unreachable!() };
        conv.weight[[1, 2, 0, 0]] = f32::NAN;
        let error = net.validate().unwrap_err();
        assert_eq!((error.kind(), error.node()), (ErrorKind::NonFinite, Some("n1")));
        assert!(error.to_string().contains("weight[6] is NaN"), "{error}");
    }

    #[test]
    fn a_variance_that_is_not_positive_is_named() {
        let variance = vec![1.0, 1.0, -1.0, 1.0];
        let norm = BatchNorm {
            gamma: vec![1.0; 4],
            beta: vec![0.0; 4],
            mean: vec![0.0; 4],
            variance,
            epsilon: 1e-5,
        };
        let error = graph(Shape::flat(4), vec![(Op::BatchNorm(norm), vec![0])]).validate().unwrap_err();
        assert!(error.to_string().contains("variance[2] is not positive"), "{error}");
    }
}
