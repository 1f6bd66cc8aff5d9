//! Which channels of which convolutions belong together.

use crate::error::Result;
use crate::graph::{Binary, Graph, NodeId, Op, Unary};

/// Channels that may be divided by factors, with everything that has to follow.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub channels: usize,
    /// Convolutions whose outputs they are.
    pub makers: Vec<NodeId>,
    /// At least one.
    pub readers: Vec<Reader>,
}

/// A convolution that reads the channels of an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reader {
    pub conv: NodeId,
    /// Its input channel that is the axis's first.
    pub first_input: usize,
}

/// The axes of a network between its convolutions, in the order of their first makers.
pub(super) fn axes(graph: &Graph) -> Result<Vec<Axis>> {
    let mut survey = Survey { sets: Vec::new(), parents: Vec::new(), layouts: Vec::new() };
    let shapes = graph.shapes()?;
    for (id, node) in graph.nodes.iter().enumerate() {
        let inputs: Vec<Layout> = node.inputs.iter().map(|&input| survey.layouts[input].clone()).collect();
        let is_flat = node.inputs.iter().all(|&input| shapes[input].positions() == 1);
        let layout = survey.visit(id, &node.op, &inputs, shapes[id].channels, is_flat);
        survey.layouts.push(layout);
    }
    survey.fix(&survey.layouts[graph.output].clone());
    Ok(survey.finish())
}

/// The sets that a tensor's channels come from, in order.
type Layout = Vec<usize>;

/// Channels that are divided together; fixed if something depends on their scale.
struct Set {
    axis: Axis,
    fixed: bool,
}

struct Survey {
    sets: Vec<Set>,
    /// Sets that a sum has made one, as a forest.
    parents: Vec<usize>,
    layouts: Vec<Layout>,
}

impl Survey {
    fn visit(&mut self, id: NodeId, op: &Op, inputs: &[Layout], channels: usize, is_flat: bool) -> Layout {
        match op {
            Op::Conv(conv) if conv.groups == 1 => {
                self.read(id, &inputs[0]);
                vec![self.new_set(channels, Some(id))]
            }
            Op::Unary(Unary::Relu | Unary::LeakyRelu(_) | Unary::Abs)
            | Op::MaxPool(_)
            | Op::AveragePool { .. }
            | Op::GlobalAveragePool => inputs[0].clone(),
            Op::Flatten if is_flat => inputs[0].clone(),
            Op::Concat => inputs.concat(),
            Op::Binary(Binary::Add | Binary::Sub) if self.alike(&inputs[0], &inputs[1]) => {
                inputs[0].iter().zip(&inputs[1]).for_each(|(&a, &b)| self.join(a, b));
                inputs[0].clone()
            }
            _ => {
                inputs.iter().for_each(|layout| self.fix(layout));
                let set = self.new_set(channels, None);
                self.fix(&[set]);
                vec![set]
            }
        }
    }

    fn new_set(&mut self, channels: usize, maker: Option<NodeId>) -> usize {
        let axis = Axis { channels, makers: maker.into_iter().collect(), readers: Vec::new() };
        self.sets.push(Set { axis, fixed: false });
        self.parents.push(self.parents.len());
        self.parents.len() - 1
    }

    fn root(&self, mut set: usize) -> usize {
        while self.parents[set] != set {
            set = self.parents[set];
        }
        set
    }

    fn read(&mut self, conv: NodeId, layout: &[usize]) {
        let mut first_input = 0;
        for &set in layout {
            let root = self.root(set);
            self.sets[root].axis.readers.push(Reader { conv, first_input });
            first_input += self.sets[root].axis.channels;
        }
    }

    fn alike(&self, a: &[usize], b: &[usize]) -> bool {
        let channels = |&set: &usize| self.sets[self.root(set)].axis.channels;
        a.iter().map(channels).eq(b.iter().map(channels))
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        let (a, b) = (a.min(b), a.max(b));
        if a != b {
            let Axis { makers, readers, .. } = std::mem::replace(
                &mut self.sets[b].axis,
                Axis { channels: 0, makers: Vec::new(), readers: Vec::new() },
            );
            self.parents[b] = a;
            self.sets[a].fixed |= self.sets[b].fixed;
            self.sets[a].axis.makers.extend(makers);
            self.sets[a].axis.readers.extend(readers);
        }
    }

    fn fix(&mut self, layout: &[usize]) {
        for &set in layout {
            let root = self.root(set);
            self.sets[root].fixed = true;
        }
    }

    fn finish(self) -> Vec<Axis> {
        let is_axis = |set: &Set| !set.fixed && !set.axis.makers.is_empty() && !set.axis.readers.is_empty();
        self.sets.into_iter().filter(is_axis).map(|set| set.axis).collect()
    }
}
