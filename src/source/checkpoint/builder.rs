//! Turns the modules of a PyTorch network, one call each, into a graph with the weights of a checkpoint.

use super::Tensors;
use super::names::AVERAGED;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{BatchNorm, Binary, Conv, Graph, Node, NodeId, Op, Pad, Slice, Unary};
use crate::index::Per;
use crate::tensor::{Shape, Window};
use ndarray::Array4;
use std::collections::BTreeSet;

/// Builds a graph node by node; a first pass only compares names and shapes, a second one reads the weights.
pub(super) struct Builder<'t> {
    tensors: &'t dyn Tensors,
    /// Whether weights are read, or only their names and shapes compared.
    reading: bool,
    used: BTreeSet<String>,
    misfits: Misfits,
    classes: Option<usize>,
    nodes: Per<NodeId, Node>,
}

/// How a checkpoint differs from what an architecture needs.
#[derive(Debug, Default)]
pub(super) struct Misfits {
    pub missing: Vec<String>,
    pub misshapen: Vec<String>,
    pub unexpected: Vec<String>,
}

impl Misfits {
    pub(super) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.misshapen.is_empty() && self.unexpected.is_empty()
    }
}

impl<'t> Builder<'t> {
    /// A builder for the weights in `tensors`; `classes` is what a configuration file says, if there is one.
    pub(super) fn new(tensors: &'t dyn Tensors, classes: Option<usize>, reading: bool) -> Self {
        let input = Node { name: "input".into(), op: Op::Input, inputs: vec![] };
        let (used, misfits) = (BTreeSet::new(), Misfits::default());
        Self { tensors, reading, used, misfits, classes, nodes: vec![input].into() }
    }

    /// What does not fit, once the whole network was described.
    pub(super) fn misfits(mut self) -> Misfits {
        let extra = |name: &&str| {
            let counter = name.ends_with("num_batches_tracked") || *name == AVERAGED;
            !counter && !self.used.contains(*name)
        };
        self.misfits.unexpected = self.tensors.names().into_iter().filter(extra).map(str::to_owned).collect();
        self.misfits
    }

    /// The network whose last node gives the logits.
    pub(super) fn finish(self, name: &str, input: Shape) -> Graph {
        let output = self.nodes.ids().next_back().unwrap_or(NodeId::INPUT);
        Graph { name: name.into(), input, nodes: self.nodes, output }
    }

    /// Whether the checkpoint has a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.shape(name).is_some()
    }

    /// The extent of a tensor along one axis.
    pub(super) fn extent(&self, name: &str, axis: usize) -> Option<usize> {
        self.tensors.shape(name)?.get(axis).copied()
    }

    /// The number of classes: as configured, else as many as the classifier's weight has rows, else 1000.
    pub(super) fn classes(&self, classifier: &str) -> usize {
        self.classes.or_else(|| self.extent(&format!("{classifier}.weight"), 0)).unwrap_or(1000)
    }

    /// `nn.Conv2d` with its bias, if it has one, and the `nn.BatchNorm2d` named `norm` after it.
    ///
    /// A checkpoint with batch normalization already fused into the convolutions lacks the norm and has biases.
    pub(super) fn conv_norm(
        &mut self,
        input: NodeId,
        conv: &str,
        norm: &str,
        spec: Conv2d,
    ) -> Result<NodeId> {
        let has_bias = self.has(&format!("{conv}.bias"));
        let fused = has_bias && !self.has(&format!("{norm}.weight"));
        let output = self.conv_with(input, conv, spec, has_bias || spec.biased)?;
        if fused { Ok(output) } else { self.batch_norm(output, norm, spec.outputs) }
    }

    /// `nn.Conv2d` with bias.
    pub(super) fn conv(&mut self, input: NodeId, name: &str, spec: Conv2d) -> Result<NodeId> {
        self.conv_with(input, name, spec, true)
    }

    fn conv_with(&mut self, input: NodeId, name: &str, spec: Conv2d, has_bias: bool) -> Result<NodeId> {
        let Conv2d { inputs, outputs, window, groups, .. } = spec;
        let shape = [outputs, inputs / groups, window.kernel[0], window.kernel[1]];
        let weight = self.read(&format!("{name}.weight"), &shape)?;
        let bias =
            if has_bias { self.read(&format!("{name}.bias"), &[outputs])? } else { vec![0.0; outputs] };
        self.push_conv(input, name, shape, weight, bias, spec)
    }

    /// `nn.Linear` on a flat vector; a weight of shape `[outputs, inputs, 1, 1]` serves as well.
    pub(super) fn linear(
        &mut self,
        input: NodeId,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<NodeId> {
        let weight = format!("{name}.weight");
        let shape = [outputs, inputs, 1, 1];
        let rank = if self.tensors.shape(&weight) == Some(&shape) { 4 } else { 2 };
        let weight = self.read(&weight, &shape[..rank])?;
        let bias = self.read(&format!("{name}.bias"), &[outputs])?;
        self.push_conv(input, name, shape, weight, bias, Conv2d::new(inputs, outputs, 1))
    }

    fn push_conv(
        &mut self,
        input: NodeId,
        name: &str,
        shape: [usize; 4],
        weight: Vec<f32>,
        bias: Vec<f32>,
        spec: Conv2d,
    ) -> Result<NodeId> {
        let weight =
            if self.reading { Array4::from_shape_vec(shape, weight) } else { Ok(Array4::default([0; 4])) };
        let weight =
            weight.map_err(|e| Error::new(ErrorKind::Shape, "weight too large").because(e).at_node(name))?;
        let Conv2d { outputs, window, groups, .. } = spec;
        Ok(self.push(
            name,
            Op::Conv(Conv { weight, gain: vec![1.0; outputs], bias, window, groups }),
            vec![input],
        ))
    }

    fn batch_norm(&mut self, input: NodeId, name: &str, channels: usize) -> Result<NodeId> {
        let mut read = |part: &str| self.read(&format!("{name}.{part}"), &[channels]);
        let norm = BatchNorm {
            gamma: read("weight")?,
            beta: read("bias")?,
            mean: read("running_mean")?,
            variance: read("running_var")?,
            epsilon: 1e-5,
        };
        Ok(self.push(name, Op::BatchNorm(norm), vec![input]))
    }

    /// Any operator without weights.
    pub(super) fn op(&mut self, name: impl Into<String>, op: Op, inputs: &[NodeId]) -> NodeId {
        self.push(name, op, inputs.to_vec())
    }

    /// `nn.ReLU`.
    pub(super) fn relu(&mut self, name: impl Into<String>, input: NodeId) -> NodeId {
        self.push(name, Op::Unary(Unary::Relu), vec![input])
    }

    /// The sum of two values.
    pub(super) fn add(&mut self, name: impl Into<String>, a: NodeId, b: NodeId) -> NodeId {
        self.push(name, Op::Binary(Binary::Add), vec![a, b])
    }

    /// Mean over all positions as a flat vector.
    pub(super) fn pooled(&mut self, input: NodeId) -> NodeId {
        let pooled = self.push("avgpool", Op::GlobalAveragePool, vec![input]);
        self.push("flatten", Op::Flatten, vec![pooled])
    }

    /// Every second row and column of `input` (of shape `shape`), with `added` zero channels, half on each side.
    pub(super) fn thinned(&mut self, name: &str, input: NodeId, shape: Shape, added: usize) -> NodeId {
        let end = [shape.channels, shape.height, shape.width];
        let slice = self.push(
            format!("{name}.slice"),
            Op::Slice(Slice { start: [0; 3], end, step: [1, 2, 2] }),
            vec![input],
        );
        let side = [added / 2, 0, 0];
        self.push(format!("{name}.pad"), Op::Pad(Pad { before: side, after: side, value: 0.0 }), vec![slice])
    }

    fn push(&mut self, name: impl Into<String>, op: Op, inputs: Vec<NodeId>) -> NodeId {
        self.nodes.push(Node { name: name.into(), op, inputs })
    }

    /// The values of a tensor that must have `shape`; none in the first pass, which notes what does not fit.
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.used.insert(name.to_owned());
        if self.reading {
            return self.tensors.read(name);
        }
        match self.tensors.shape(name) {
            None => self.misfits.missing.push(format!("{name} {shape:?}")),
            Some(found) if found != shape => {
                self.misfits.misshapen.push(format!("{name} is {found:?} instead of {shape:?}"));
            }
            Some(_) => {}
        }
        Ok(Vec::new())
    }
}

/// The numbers of an `nn.Conv2d`; kernel, stride and padding alike in both directions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conv2d {
    inputs: usize,
    pub outputs: usize,
    window: Window,
    groups: usize,
    /// Whether it has a bias even if batch normalization follows.
    biased: bool,
}

impl Conv2d {
    /// Stride 1 and padding that keeps the extents.
    pub(super) fn new(inputs: usize, outputs: usize, kernel: usize) -> Self {
        let window = Window::new([kernel; 2]).with_pads([kernel / 2; 4]);
        Self { inputs, outputs, window, groups: 1, biased: false }
    }

    /// The same with another stride.
    pub(super) fn stride(self, stride: usize) -> Self {
        Self { window: self.window.with_stride([stride; 2]), ..self }
    }

    /// The same with other padding.
    pub(super) fn pad(self, pad: usize) -> Self {
        Self { window: self.window.with_pads([pad; 4]), ..self }
    }

    /// The same with a bias.
    pub(super) fn biased(self) -> Self {
        Self { biased: true, ..self }
    }

    /// The same in groups.
    pub(super) fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }
}

/// `nn.MaxPool2d`.
pub(super) fn max_pool(kernel: usize, stride: usize, pad: usize, ceil: bool) -> Op {
    let window = Window::new([kernel; 2]).with_stride([stride; 2]).with_pads([pad; 4]);
    Op::MaxPool(Window { ceil, ..window })
}
