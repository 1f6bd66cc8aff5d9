//! Which channels of which convolutions belong together.

use crate::error::Result;
use crate::graph::{Binary, Graph, NodeId, Op, Unary};
use crate::index::Per;
use crate::tensor::Shape;

/// What is to be done to channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Factors.
    Scale,
    /// Other places.
    Order,
}

/// Channels that may change, with everything that has to follow.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChannelAxis {
    pub channels: usize,
    /// Convolutions whose outputs they are.
    pub makers: Vec<NodeId>,
    /// Convolutions without channel groups that read them; at least one.
    pub readers: Vec<ChannelPlace>,
    /// Operators with parameters of their own for each channel.
    pub followers: Vec<ChannelPlace>,
}

/// Where an operator has the channels of an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ChannelPlace {
    pub node: NodeId,
    /// Its input channel that is the axis's first.
    pub first: usize,
}

/// The axes of a network between its convolutions, in the order of their first makers.
pub(super) fn axes(graph: &Graph, change: Change) -> Result<Vec<ChannelAxis>> {
    let mut survey = AxisSurvey { change, sets: Vec::new(), parents: Vec::new(), layouts: Per::default() };
    let shapes = graph.shapes()?;
    for (id, node) in graph.nodes.enumerate() {
        let inputs: Vec<Layout> = node.inputs.iter().map(|&input| survey.layouts[input].clone()).collect();
        let inputs_shapes: Vec<Shape> = node.inputs.iter().map(|&input| shapes[input]).collect();
        let layout = survey.visit(id, &node.op, &inputs, &inputs_shapes, shapes[id]);
        survey.layouts.push(layout);
    }
    survey.fix(&survey.layouts[graph.output].clone());
    Ok(survey.finish())
}

impl Change {
    /// Whether an operator treats all channels of its only input alike and leaves them where they are.
    fn passes(self, op: &Op, from: &[Shape], to: Shape) -> bool {
        match op {
            Op::Unary(Unary::Relu | Unary::LeakyRelu(_) | Unary::Abs)
            | Op::MaxPool(_)
            | Op::AveragePool { .. }
            | Op::GlobalAveragePool => true,
            Op::Flatten => from[0].positions() == 1,
            Op::Unary(_) => self == Self::Order,
            Op::Slice(slice) => self == Self::Order && slice.step[0] == 1 && from[0].channels == to.channels,
            Op::Pad(pad) => self == Self::Order && pad.before[0] == 0 && pad.after[0] == 0,
            _ => false,
        }
    }
}

/// The sets that a tensor's channels come from, in order.
type Layout = Vec<usize>;

/// Channels that change together; fixed if something depends on their scale or place.
struct ChannelSet {
    axis: ChannelAxis,
    fixed: bool,
}

struct AxisSurvey {
    change: Change,
    sets: Vec<ChannelSet>,
    /// Sets that a sum has made one, as a forest.
    parents: Vec<usize>,
    layouts: Per<NodeId, Layout>,
}

impl AxisSurvey {
    fn visit(&mut self, id: NodeId, op: &Op, inputs: &[Layout], from: &[Shape], to: Shape) -> Layout {
        let order = self.change == Change::Order;
        match op {
            Op::Conv(conv) if conv.groups == 1 => {
                self.read(id, &inputs[0]);
                vec![self.new_set(to.channels, Some(id))]
            }
            Op::Conv(conv) if order && conv.groups == from[0].channels && conv.groups == to.channels => {
                self.follow(id, &inputs[0]);
                inputs[0].clone()
            }
            Op::BatchNorm(_) | Op::Affine(_) | Op::PRelu(_) if order => {
                self.follow(id, &inputs[0]);
                inputs[0].clone()
            }
            Op::GroupNorm(norm) if order && norm.groups == 1 => {
                self.follow(id, &inputs[0]);
                inputs[0].clone()
            }
            op if self.change.passes(op, from, to) => inputs[0].clone(),
            Op::Concat => inputs.concat(),
            Op::Binary(op) if order || matches!(op, Binary::Add | Binary::Sub) => self.combine(inputs, from),
            _ => {
                inputs.iter().for_each(|layout| self.fix(layout));
                self.fixed(to.channels)
            }
        }
    }

    /// Arithmetic on two tensors, channel by channel or with one channel for all.
    fn combine(&mut self, inputs: &[Layout], from: &[Shape]) -> Layout {
        match [&inputs[0], &inputs[1]] {
            [a, b] if self.alike(a, b) => {
                a.iter().zip(b).for_each(|(&a, &b)| self.join(a, b));
                a.clone()
            }
            [a, _] if self.change == Change::Order && from[1].channels == 1 => a.clone(),
            [_, b] if self.change == Change::Order && from[0].channels == 1 => b.clone(),
            [a, b] => {
                self.fix(a);
                self.fix(b);
                self.fixed(from[0].channels.max(from[1].channels))
            }
        }
    }

    fn fixed(&mut self, channels: usize) -> Layout {
        let set = self.new_set(channels, None);
        self.fix(&[set]);
        vec![set]
    }

    fn new_set(&mut self, channels: usize, maker: Option<NodeId>) -> usize {
        let makers = maker.into_iter().collect();
        let axis = ChannelAxis { channels, makers, readers: Vec::new(), followers: Vec::new() };
        self.sets.push(ChannelSet { axis, fixed: false });
        self.parents.push(self.parents.len());
        self.parents.len() - 1
    }

    fn root(&self, mut set: usize) -> usize {
        while self.parents[set] != set {
            set = self.parents[set];
        }
        set
    }

    fn read(&mut self, node: NodeId, layout: &[usize]) {
        for (root, part) in self.parts(node, layout) {
            self.sets[root].axis.readers.push(part);
        }
    }

    fn follow(&mut self, node: NodeId, layout: &[usize]) {
        for (root, part) in self.parts(node, layout) {
            self.sets[root].axis.followers.push(part);
        }
    }

    /// The sets of a layout, and where an operator that takes them all has each.
    fn parts(&self, node: NodeId, layout: &[usize]) -> Vec<(usize, ChannelPlace)> {
        let part = |first: &mut usize, &set: &usize| {
            let (root, part) = (self.root(set), ChannelPlace { node, first: *first });
            *first += self.sets[root].axis.channels;
            Some((root, part))
        };
        layout.iter().scan(0, part).collect()
    }

    fn alike(&self, a: &[usize], b: &[usize]) -> bool {
        let channels = |&set: &usize| self.sets[self.root(set)].axis.channels;
        a.iter().map(channels).eq(b.iter().map(channels))
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        let (a, b) = (a.min(b), a.max(b));
        if a != b {
            let none =
                ChannelAxis { channels: 0, makers: Vec::new(), readers: Vec::new(), followers: Vec::new() };
            let ChannelAxis { makers, readers, followers, .. } =
                std::mem::replace(&mut self.sets[b].axis, none);
            self.parents[b] = a;
            self.sets[a].fixed |= self.sets[b].fixed;
            self.sets[a].axis.makers.extend(makers);
            self.sets[a].axis.readers.extend(readers);
            self.sets[a].axis.followers.extend(followers);
        }
    }

    fn fix(&mut self, layout: &[usize]) {
        for &set in layout {
            let root = self.root(set);
            self.sets[root].fixed = true;
        }
    }

    fn finish(self) -> Vec<ChannelAxis> {
        let is_axis =
            |set: &ChannelSet| !set.fixed && !set.axis.makers.is_empty() && !set.axis.readers.is_empty();
        self.sets.into_iter().filter(is_axis).map(|set| set.axis).collect()
    }
}

#[cfg(test)]
mod tests;
