//! Simplifies a network without changing what it computes.
//!
//! Batch normalization becomes the gain and bias of the convolution or normalisation before it (weights stay as trained),
//! layer normalization that is spelled out becomes one operator, fully connected layers become convolutions that cover their whole input, and operators that do nothing vanish.

use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Affine, Binary, Conv, Graph, Node, NodeId, Op, Pad, Unary};
use crate::index::Per;
use crate::tensor::{Shape, Window};

mod layer_norm;
#[cfg(test)]
mod tests;

/// The same function in fewer, simpler nodes. Names and order of the remaining nodes are kept.
///
/// # Errors
/// What [`Graph::shapes`] finds in `graph`, or [`Graph::validate`] in the result (such as gains that overflow).
pub fn fold(graph: Graph) -> Result<Graph> {
    let mut graph = divisions_to_products(graph);
    loop {
        let nodes = graph.nodes.len();
        graph = pass(layer_norm::recognise(graph))?;
        // A node that vanished may have been the only obstacle to another rewrite.
        if graph.nodes.len() == nodes {
            graph.validate()?;
            return Ok(graph);
        }
    }
}

/// `a / b` becomes `a · (1/b)`: integers multiply, and reciprocals are functions of one number.
fn divisions_to_products(graph: Graph) -> Graph {
    let mut moved: Per<NodeId, NodeId> = Per::default();
    let mut nodes: Per<NodeId, Node> = Per::default();
    for mut node in graph.nodes {
        node.inputs.iter_mut().for_each(|input| *input = moved[*input]);
        if let (Op::Binary(Binary::Div), [a, b]) = (&node.op, node.inputs.as_slice()) {
            let (a, name) = (*a, format!("{}.reciprocal", node.name));
            let reciprocal = nodes.push(Node { name, op: Op::Unary(Unary::Reciprocal), inputs: vec![*b] });
            node.op = Op::Binary(Binary::Mul);
            node.inputs = vec![a, reciprocal];
        }
        moved.push(nodes.push(node));
    }
    Graph { output: moved[graph.output], nodes, ..graph }
}

fn pass(graph: Graph) -> Result<Graph> {
    let mut folder = Folder::new(graph)?;
    folder.graph.nodes.ids().try_for_each(|id| folder.visit(id))?;
    Ok(folder.finish())
}

/// A graph being simplified, inputs first: when a node is visited, all nodes before it are final.
struct Folder {
    graph: Graph,
    /// Shapes of all values; no rewrite changes the shape of a value that stays.
    shapes: Per<NodeId, Shape>,
    /// Where the value of each node is found now.
    moved: Per<NodeId, NodeId>,
    /// Number of uses of each value by nodes that matter to the output, and by the output itself.
    uses: Per<NodeId, usize>,
}

impl Folder {
    fn new(graph: Graph) -> Result<Self> {
        let shapes = graph.shapes()?;
        let mut uses = Per::filled(0, shapes.len());
        uses[graph.output] += 1;
        for (id, node) in graph.nodes.enumerate().rev() {
            if uses[id] > 0 {
                node.inputs.iter().for_each(|&input| uses[input] += 1);
            }
        }
        Ok(Self { moved: shapes.ids().collect(), graph, shapes, uses })
    }

    fn visit(&mut self, id: NodeId) -> Result<()> {
        if self.uses[id] == 0 {
            return Ok(());
        }
        let Self { graph, moved, .. } = self;
        graph.nodes[id].inputs.iter_mut().for_each(|input| *input = moved[*input]);
        let Some(&input) = self.graph.nodes[id].inputs.first() else { return Ok(()) };
        normalize(&mut self.graph.nodes[id].op, self.shapes[input]);
        self.absorb_producer(id, input)?;
        let input = self.graph.nodes[id].inputs[0];
        if self.is_identity(id, input) || self.absorbed_by_producer(id, input) {
            self.replace(id, input);
        }
        Ok(())
    }

    /// Lets node `id` do what its only input's node does as well, and read that node's input instead.
    fn absorb_producer(&mut self, id: NodeId, input: NodeId) -> Result<()> {
        let Some([producer, node]) = self.graph.nodes.get_disjoint_mut([input, id]) else { return Ok(()) };
        let Some(&source) = producer.inputs.first() else { return Ok(()) };
        let absorbed = match (&mut node.op, &producer.op) {
            (Op::Affine(after), Op::Affine(before)) => {
                *after = compose(before, after);
                true
            }
            (Op::Conv(conv), Op::Pad(pad)) => absorb_padding(conv, pad),
            (Op::Conv(conv), Op::Flatten) => absorb_flatten(conv, self.shapes[source])?,
            _ => false,
        };
        if absorbed {
            node.inputs = vec![source];
            self.uses[source] += 1;
            self.release(input);
        }
        Ok(())
    }

    /// Whether the one-input node `id` passes its input on unchanged.
    fn is_identity(&self, id: NodeId, input: NodeId) -> bool {
        let node = &self.graph.nodes[id];
        let same_shape = self.shapes[id] == self.shapes[input];
        match &node.op {
            Op::Concat => node.inputs.len() == 1,
            Op::Flatten | Op::Slice(_) | Op::Pad(_) | Op::GlobalAveragePool => same_shape,
            Op::Affine(affine) => {
                affine.scale.iter().all(|&s| s == 1.0) && affine.shift.iter().all(|&s| s == 0.0)
            }
            Op::ChannelShuffle { groups } => *groups == 1 || *groups == self.shapes[id].channels,
            Op::MaxPool(window) | Op::AveragePool { window, .. } => window.is_pointwise(),
            Op::Unary(Unary::Clip(low, high)) => *low == f32::NEG_INFINITY && *high == f32::INFINITY,
            _ => false,
        }
    }

    /// Moves an affine function into the convolution or normalisation it follows, if nothing else reads that.
    fn absorbed_by_producer(&mut self, id: NodeId, input: NodeId) -> bool {
        let Some([producer, node]) = self.graph.nodes.get_disjoint_mut([input, id]) else { return false };
        let (scale, shift) = match &mut producer.op {
            Op::Conv(conv) => (&mut conv.gain, &mut conv.bias),
            Op::GroupNorm(norm) => (&mut norm.gamma, &mut norm.beta),
            _ => return false,
        };
        match &node.op {
            Op::Affine(affine) if self.uses[input] == 1 => {
                let before = Affine { scale: std::mem::take(scale), shift: std::mem::take(shift) };
                Affine { scale: *scale, shift: *shift } = compose(&before, affine);
                true
            }
            _ => false,
        }
    }

    /// Makes every reader of `id` read `target`, which node `id` reads, instead.
    fn replace(&mut self, id: NodeId, target: NodeId) {
        self.moved[id] = target;
        self.uses[target] += self.uses[id];
        self.uses[id] = 1;
        self.release(id);
    }

    /// Takes back one use of `id`; a value without uses uses nothing itself.
    fn release(&mut self, id: NodeId) {
        let mut released = vec![id];
        while let Some(id) = released.pop() {
            self.uses[id] -= 1;
            if self.uses[id] == 0 {
                released.extend(&self.graph.nodes[id].inputs);
            }
        }
    }

    /// The nodes that are still used, renumbered; the input always stays.
    fn finish(self) -> Graph {
        let Self { mut graph, moved, uses, .. } = self;
        let mut kept: Per<NodeId, Node> = Per::default();
        let mut place = Per::filled(NodeId::INPUT, uses.len());
        for (id, mut node) in uses.ids().zip(graph.nodes) {
            if id == NodeId::INPUT || uses[id] > 0 {
                node.inputs.iter_mut().for_each(|input| *input = place[*input]);
                place[id] = kept.push(node);
            }
        }
        graph.output = place[moved[graph.output]];
        graph.nodes = kept;
        graph
    }
}

/// Rewrites an operator on an input of shape `input` in its simplest form.
fn normalize(op: &mut Op, input: Shape) {
    match op {
        Op::BatchNorm(norm) => *op = Op::Affine(norm.to_affine()),
        Op::AveragePool { window, .. } if covers(window, input) => *op = Op::GlobalAveragePool,
        _ => {}
    }
}

/// Whether the only window is the whole input.
fn covers(window: &Window, input: Shape) -> bool {
    window.kernel == [input.height, input.width] && window.dilation == [1, 1] && window.pads == [0; 4]
}

/// `after` applied to the result of `before`.
fn compose(before: &Affine, after: &Affine) -> Affine {
    let length = before.scale.len().max(after.scale.len());
    let at = |values: &[f32], index: usize| f64::from(values[index % values.len()]);
    let scale = |i: usize| at(&before.scale, i) * at(&after.scale, i);
    let shift = |i: usize| at(&before.shift, i) * at(&after.scale, i) + at(&after.shift, i);
    Affine {
        scale: (0..length).map(|i| scale(i) as f32).collect(),
        shift: (0..length).map(|i| shift(i) as f32).collect(),
    }
}

/// Takes zero padding of rows and columns before `conv` into its window.
fn absorb_padding(conv: &mut Conv, pad: &Pad) -> bool {
    let ([0, top, left], [0, bottom, right]) = (pad.before, pad.after) else { return false };
    let added = [top, left, bottom, right];
    let pads = std::array::from_fn(|side| conv.window.pads[side].saturating_add(added[side]));
    let window = conv.window.with_pads(pads);
    let absorbed = pad.value == 0.0 && window.is_within_limits();
    if absorbed {
        conv.window = window;
    }
    absorbed
}

/// Makes a fully connected layer on the flattened values of `input` a convolution that covers `input`.
fn absorb_flatten(conv: &mut Conv, input: Shape) -> Result<bool> {
    if conv.groups != 1 || conv.window.pads != [0; 4] {
        return Ok(false);
    }
    let dim = (conv.weight.dim().0, input.channels, input.height, input.width);
    conv.straighten();
    conv.weight = std::mem::take(&mut conv.weight)
        .into_shape_with_order(dim)
        .map_err(|e| Error::new(ErrorKind::Shape, "weights do not fit the flattened input").because(e))?;
    conv.window = Window::new([input.height, input.width]);
    Ok(true)
}
