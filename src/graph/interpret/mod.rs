//! The `f32` interpreter: the definition of full-precision results.

mod conv;
mod layout;
mod normalize;
mod pointwise;
mod pool;
#[cfg(test)]
mod tests;

use super::{Graph, NodeId, Op};
use crate::error::{Error, ErrorKind, Result};
use crate::index::Per;
use crate::liveness::last_uses;
use crate::tensor::Shape;
use ndarray::{Array2, Array3};
use rayon::prelude::*;

/// Values of one image in the order channel, row, column, with their shape.
pub(crate) type ValueView<'a> = (&'a [f32], Shape);

/// Runs a network in `f32`, one image at a time.
///
/// A result depends on the image alone, never on other images or the number of threads.
#[derive(Debug)]
pub struct Interpreter<'g> {
    graph: &'g Graph,
    shapes: Per<NodeId, Shape>,
    /// For each node, the nodes whose values nobody reads after it.
    dead_after: Per<NodeId, Vec<NodeId>>,
}

impl<'g> Interpreter<'g> {
    /// Prepares `graph` for running.
    ///
    /// # Errors
    /// Whatever [`Graph::validate`] finds.
    pub fn new(graph: &'g Graph) -> Result<Self> {
        graph.validate()?;
        let dead_after = last_uses(graph.nodes.iter().map(|node| node.inputs.as_slice()));
        Ok(Self { graph, shapes: graph.shapes()?, dead_after })
    }

    /// The shape of every node's value.
    pub fn shapes(&self) -> &Per<NodeId, Shape> {
        &self.shapes
    }

    /// The logits of one image, given in the order channel, row, column.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if `image` does not have as many values as the network's input.
    pub fn run(&self, image: &[f32]) -> Result<Vec<f32>> {
        let mut logits = Vec::new();
        self.observe(image, |id, values| {
            if id == self.graph.output {
                logits.extend_from_slice(values);
            }
        })?;
        Ok(logits)
    }

    /// The logits of many images (`channels × height × width` each), one row per image, in parallel.
    ///
    /// # Errors
    /// As [`Interpreter::run`], for the first image that does not fit.
    pub fn run_batch(&self, images: &[Array3<f32>]) -> Result<Array2<f32>> {
        let logits = images
            .par_iter()
            .map(|image| self.run(&image.iter().copied().collect::<Vec<_>>()))
            .collect::<Result<Vec<_>>>()?;
        let classes = self.shapes.get(self.graph.output).map_or(0, Shape::len);
        Array2::from_shape_vec((images.len(), classes), logits.concat()).map_err(layout_error)
    }

    /// Computes every node for one image and shows `observer` each node's values (channel, row, column) as soon
    /// as they are known, the input's included. Values that no later node reads are freed at once.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if `image` does not have as many values as the network's input.
    pub fn observe(&self, image: &[f32], mut observer: impl FnMut(NodeId, &[f32])) -> Result<()> {
        if image.len() != self.graph.input.len() {
            let (found, input) = (image.len(), self.graph.input);
            let message = format!("an image of {found} values; the network's input is {input}");
            return Err(Error::new(ErrorKind::Shape, message));
        }
        let mut values = Per::filled(Vec::new(), self.graph.nodes.len());
        values[NodeId::INPUT] = image.to_vec();
        observer(NodeId::INPUT, image);
        self.free_after(NodeId::INPUT, &mut values);
        self.compute(self.graph.nodes.ids_after(NodeId::INPUT), &mut values, observer)
    }

    /// The value of node `to` for one image, given that of node `from`: all that nodes up to `to` read of earlier ones.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if they read others too.
    pub(crate) fn resume(&self, from: NodeId, value: Vec<f32>, to: NodeId) -> Result<Vec<f32>> {
        let mut values = Per::filled(Vec::new(), self.graph.nodes.len());
        values[from] = value;
        let mut result = Vec::new();
        self.compute(self.graph.nodes.ids_between(from, to), &mut values, |id, values| {
            if id == to {
                result = values.to_vec();
            }
        })?;
        Ok(result)
    }

    fn compute(
        &self,
        nodes: impl Iterator<Item = NodeId>,
        values: &mut Per<NodeId, Vec<f32>>,
        mut observer: impl FnMut(NodeId, &[f32]),
    ) -> Result<()> {
        for id in nodes {
            let node = &self.graph.nodes[id];
            let inputs = node.inputs.iter().map(|&i| (values[i].as_slice(), self.shapes[i]));
            values[id] = evaluate(&node.op, &inputs.collect::<Vec<_>>(), self.shapes[id])
                .map_err(|e| e.at_node(&node.name))?;
            observer(id, &values[id]);
            self.free_after(id, values);
        }
        Ok(())
    }

    fn free_after(&self, id: NodeId, values: &mut Per<NodeId, Vec<f32>>) {
        self.dead_after[id].iter().for_each(|&dead| values[dead] = Vec::new());
    }
}

/// The value of one operator: `inputs` in operator order, the result of shape `output`.
///
/// `output` must be what [`Graph::shapes`] gives for these inputs.
///
/// # Errors
/// [`ErrorKind::Shape`] for a wrong number of inputs or values.
pub(crate) fn evaluate(op: &Op, inputs: &[ValueView<'_>], output: Shape) -> Result<Vec<f32>> {
    if inputs.iter().any(|(values, shape)| values.len() != shape.len()) {
        return Err(Error::new(ErrorKind::Shape, "an input has more or fewer values than its shape"));
    }
    match (op, inputs) {
        (Op::Concat, _) => Ok(layout::concat(inputs, output)),
        (Op::Binary(binary), &[a, b]) => Ok(pointwise::binary(*binary, a, b, output)),
        (op, &[input]) => evaluate_single(op, input, output),
        _ => Err(Error::new(ErrorKind::Shape, "wrong number of inputs")),
    }
}

fn evaluate_single(op: &Op, input: ValueView<'_>, output: Shape) -> Result<Vec<f32>> {
    Ok(match op {
        Op::Conv(conv) => conv::conv(conv, input, output)?,
        Op::BatchNorm(norm) => pointwise::affine(&norm.to_affine(), input),
        Op::GroupNorm(norm) => normalize::group_norm(norm, input),
        Op::Affine(affine) => pointwise::affine(affine, input),
        Op::Unary(unary) => pointwise::unary(*unary, input.0),
        Op::PRelu(slopes) => pointwise::prelu(slopes, input),
        Op::Slice(slice) => layout::slice(slice, input, output),
        Op::Pad(pad) => layout::pad(pad, input, output),
        Op::MaxPool(window) => pool::max(window, input, output),
        Op::AveragePool { window, count_include_pad } => {
            pool::average(window, *count_include_pad, input, output)
        }
        Op::GlobalAveragePool => pool::global_average(input),
        Op::ChannelShuffle { groups } => layout::shuffle(*groups, input, output),
        Op::Flatten | Op::Input => input.0.to_vec(),
        Op::Concat | Op::Binary(_) => return Err(Error::new(ErrorKind::Shape, "wrong number of inputs")),
    })
}

pub(crate) fn layout_error(source: ndarray::ShapeError) -> Error {
    Error::new(ErrorKind::Shape, "values and shape do not fit together").because(source)
}
