//! What an operator sees while it is lowered: its inputs and attributes, and the graph under construction.

use super::attributes::Attributes;
use super::names::Names;
use super::tensor::{MAX_RANK, Tensor};
use super::view::{Activation, FLAT, IMAGE};
use super::{malformed, misshapen, unsupported};
use crate::error::{Error, Result};
use crate::graph::{Node, NodeId, Op};
use crate::index::Per;
use crate::tensor::Shape;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

/// Most elements of one image's activations; keeps every later product of extents far from overflow.
const MAX_ACTIVATION: usize = 1 << 28;
/// Most parameters of a network, shared ones counted at every use.
const MAX_PARAMETERS: usize = 1 << 29;
/// Bytes of constants and weights that any file may make, also because it takes time, and how many more for each byte that
/// it stores.
const FREE_BYTES: u64 = 1 << 25;
const BYTES_PER_STORED: u64 = 64;

/// What a tensor of the file turned into.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Known before the network runs.
    Constant(Rc<Tensor>),
    /// Depends on the image.
    Activation(Activation),
    /// The logits that went into a dropped Softmax; nothing may compute with them.
    Scores(Activation),
    /// Made by a node that was refused.
    Unknown,
}

/// Why an operator was not lowered.
pub(super) enum Stop {
    /// An input was made by a node that was refused; there is nothing more to say.
    Unknown,
    /// A refusal (kind `Unsupported`) or a fault of the file.
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The result of lowering an operator, or a part of that.
pub(super) type Lowered<T> = std::result::Result<T, Stop>;

/// The graph under construction.
pub(super) struct GraphBuilder {
    /// Nodes so far, inputs before users.
    pub(super) nodes: Per<NodeId, Node>,
    /// What the user should know.
    pub(super) notes: Vec<String>,
    names: Names,
    flattened: HashMap<NodeId, NodeId>,
    parameters: usize,
    /// Bytes of constants and weights that may still be made.
    budget: u64,
}

impl GraphBuilder {
    /// An empty graph for a file that stores so many bytes.
    pub(super) fn new(stored: u64) -> Self {
        let (nodes, notes, flattened) = (Per::default(), Vec::new(), HashMap::new());
        let budget = FREE_BYTES.saturating_add(stored.saturating_mul(BYTES_PER_STORED));
        Self { nodes, notes, names: Names::default(), flattened, parameters: 0, budget }
    }

    /// Adds a node and returns its index.
    pub(super) fn emit(&mut self, name: &str, op: Op, inputs: Vec<NodeId>) -> Result<NodeId> {
        self.charge(parameters(&op))?;
        let name = self.names.unique(name);
        Ok(self.nodes.push(Node { name, op, inputs }))
    }

    /// Counts weights, which are copies of constants, so that no small file fills the memory.
    fn charge(&mut self, parameters: usize) -> Result<()> {
        self.parameters = self.parameters.saturating_add(parameters);
        if self.parameters > MAX_PARAMETERS {
            return Err(unsupported(format!("more than {MAX_PARAMETERS} parameters")));
        }
        self.charge_constants((parameters * size_of::<f32>()) as u64)
    }

    /// Counts the bytes of constants that were made, so that no small file fills the memory.
    pub(super) fn charge_constants(&mut self, bytes: u64) -> Result<()> {
        let left = self.budget.checked_sub(bytes);
        self.budget = left.ok_or_else(|| {
            unsupported(
                "its constants take too much memory; fold constants in the exporter (or with onnxsim)",
            )
        })?;
        Ok(())
    }
}

fn parameters(op: &Op) -> usize {
    match op {
        Op::Conv(conv) => conv.weight.len(),
        _ => 0,
    }
}

/// One input of a node: the tensor's name and what it turned into.
pub(super) struct NodeInput {
    /// Name in the file.
    pub(super) tensor: String,
    /// Its value.
    pub(super) value: Value,
}

/// What an operator sees while it is lowered.
pub(super) struct Context<'a> {
    /// Version of the operator set.
    pub(super) opset: i64,
    /// Name for the node that computes the (first) output.
    pub(super) name: &'a str,
    /// Attributes not read yet.
    pub(super) attributes: Attributes,
    /// Inputs; `None` where an optional one is left out.
    pub(super) inputs: Vec<Option<NodeInput>>,
    /// Number of outputs that the file names.
    pub(super) output_count: usize,
    /// Folder of the file, for external data.
    pub(super) folder: &'a Path,
    /// The graph under construction.
    pub(super) builder: &'a mut GraphBuilder,
}

impl Context<'_> {
    /// Whether input `index` is given.
    pub(super) fn has(&self, index: usize) -> bool {
        matches!(self.inputs.get(index), Some(Some(_)))
    }

    fn input(&self, index: usize) -> Lowered<&NodeInput> {
        match self.inputs.get(index) {
            Some(Some(NodeInput { value: Value::Unknown, .. })) => Err(Stop::Unknown),
            Some(Some(input)) => Ok(input),
            _ => Err(malformed(format!("input {index} is missing")).into()),
        }
    }

    /// Name of the tensor at input `index`, for messages.
    pub(super) fn tensor_name(&self, index: usize) -> &str {
        self.inputs.get(index).and_then(Option::as_ref).map_or("", |input| &input.tensor)
    }

    /// The value of input `index`.
    pub(super) fn value(&self, index: usize) -> Lowered<&Value> {
        Ok(&self.input(index)?.value)
    }

    /// Input `index`, which must depend on the image.
    pub(super) fn activation(&self, index: usize) -> Lowered<Activation> {
        match self.value(index)? {
            Value::Activation(activation) => Ok(activation.clone()),
            Value::Scores(_) => Err(unsupported(
                "reads the result of a Softmax, which is supported as the last operator only; \
                 export the model up to the logits",
            )
            .into()),
            _ => {
                let name = self.tensor_name(index);
                Err(unsupported(format!("computes with the constant '{name}' only; simplify the model"))
                    .into())
            }
        }
    }

    /// Input `index`, which must not depend on the image.
    pub(super) fn constant(&self, index: usize) -> Lowered<Rc<Tensor>> {
        match self.value(index)? {
            Value::Constant(tensor) => Ok(tensor.clone()),
            _ => {
                let name = self.tensor_name(index);
                let message =
                    format!("input {index} ('{name}') must be a constant, but it depends on the image");
                Err(unsupported(message).into())
            }
        }
    }

    /// Input `index` as a constant, if it is given.
    pub(super) fn optional_constant(&self, index: usize) -> Lowered<Option<Rc<Tensor>>> {
        if self.has(index) { self.constant(index).map(Some) } else { Ok(None) }
    }

    /// Input `index` as a constant if all inputs are constants.
    pub(super) fn all_constant(&self) -> Lowered<bool> {
        for index in 0..self.inputs.len() {
            if self.has(index) && !matches!(self.value(index)?, Value::Constant(_)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Input `index` as finite real constants.
    pub(super) fn weights(&self, index: usize) -> Lowered<Rc<Tensor>> {
        let tensor = self.constant(index)?;
        tensor.floats()?;
        tensor.require_finite(self.tensor_name(index))?;
        Ok(tensor)
    }

    /// Input `index` as one finite real number per channel.
    pub(super) fn per_channel_weights(&self, index: usize, channels: usize) -> Lowered<Vec<f32>> {
        let tensor = self.weights(index)?;
        if tensor.len() != channels {
            let name = self.tensor_name(index);
            let message =
                format!("'{name}' has extents {:?} where {channels} numbers are required", tensor.dims);
            return Err(misshapen(message).into());
        }
        Ok(tensor.floats()?.to_vec())
    }

    /// Integers that older operator sets give as an attribute and newer ones as a constant input.
    pub(super) fn ints(&mut self, attribute: &str, index: usize) -> Lowered<Option<Vec<i64>>> {
        if let Some(values) = self.attributes.ints(attribute)? {
            return Ok(Some(values));
        }
        let tensor = self.optional_constant(index)?;
        Ok(tensor.map(|tensor| tensor.ints().map(<[i64]>::to_vec)).transpose()?)
    }

    /// Adds the node that computes the output.
    pub(super) fn emit(&mut self, op: Op, inputs: Vec<NodeId>) -> Lowered<NodeId> {
        Ok(self.builder.emit(self.name, op, inputs)?)
    }

    /// Adds a node on the way to the output; `part` says what it does.
    pub(super) fn emit_part(&mut self, part: &str, op: Op, inputs: Vec<NodeId>) -> Lowered<NodeId> {
        Ok(self.builder.emit(&format!("{}/{part}", self.name), op, inputs)?)
    }

    /// Adds the node that applies `op` to `activation` element by element.
    pub(super) fn elementwise(&mut self, op: Op, activation: &Activation) -> Lowered<Activation> {
        Ok(activation.of(self.emit(op, vec![activation.node])?))
    }

    /// Input `index` as an image: batch, channels, rows, columns.
    pub(super) fn image(&mut self, index: usize) -> Lowered<Activation> {
        let activation = self.activation(index)?;
        let dims = activation.dims();
        if dims.len() != 4 {
            let message = format!(
                "works on {} axes; fgq has images with four (batch, channels, rows, columns)",
                dims.len()
            );
            return Err(unsupported(message).into());
        }
        if activation.roles().is_some_and(|roles| roles == IMAGE) {
            return Ok(activation);
        }
        if dims[2..] == [1, 1] && activation.is_batch_first() {
            let flat = self.flat(&activation)?;
            return Ok(Activation::new(flat.node, flat.shape, flat.batch(), &IMAGE));
        }
        Err(self.rearranged(index).into())
    }

    /// `activation` as a flat vector per image, in the order of its axes.
    pub(super) fn flat(&mut self, activation: &Activation) -> Lowered<Activation> {
        if !activation.is_batch_first() || !activation.is_contiguous() {
            return Err(
                unsupported("flattens a transposed image; export the model with channels first").into()
            );
        }
        let (node, shape) = (activation.node, activation.shape);
        let known =
            if shape.positions() == 1 { Some(node) } else { self.builder.flattened.get(&node).copied() };
        let flattened = match known {
            Some(flattened) => flattened,
            None => self.emit_part("flatten", Op::Flatten, vec![node])?,
        };
        self.builder.flattened.insert(node, flattened);
        Ok(Activation::new(flattened, Shape::flat(shape.len()), activation.batch(), &FLAT))
    }

    /// The refusal of an input whose axes mix channels, rows and columns.
    pub(super) fn rearranged(&self, index: usize) -> Error {
        let name = self.tensor_name(index);
        unsupported(format!(
            "reads '{name}', whose axes a Reshape or Transpose rearranged in a way that is not supported (channel \
             shuffles, flattening and changes that cancel are)"
        ))
    }
}

/// The place of an axis that may be counted from the end.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize> {
    let place = if axis < 0 { axis.checked_add_unsigned(rank as u64) } else { Some(axis) };
    let place = place.and_then(|place| usize::try_from(place).ok()).filter(|&place| place < rank);
    place.ok_or_else(|| misshapen(format!("axis {axis} of a tensor with {rank} axes")))
}

/// The places of axes that may be counted from the end, without repetition, in ascending order.
pub(super) fn axes(given: &[i64], rank: usize) -> Result<Vec<usize>> {
    if rank > MAX_RANK {
        return Err(misshapen(format!("a tensor with {rank} axes; {MAX_RANK} are the most")));
    }
    let mut places = given.iter().map(|&value| axis(value, rank)).collect::<Result<Vec<_>>>()?;
    places.sort_unstable();
    if places.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(misshapen(format!("axes {given:?} name one axis twice")));
    }
    Ok(places)
}

/// A shape, if it is neither empty nor absurdly large.
pub(super) fn shape(extents: [usize; 3]) -> Result<Shape> {
    let [channels, height, width] = extents;
    let count = super::tensor::element_count(&extents)?;
    if count == 0 || count > MAX_ACTIVATION {
        return Err(misshapen(format!("an activation of {channels}x{height}x{width} elements")));
    }
    Ok(Shape::new(channels, height, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights are copies of constants: one constant of a small file can be many convolutions' weights.
    #[test]
    fn weights_and_constants_have_one_budget() {
        let mut builder = GraphBuilder::new(6_000);
        builder.charge_constants(1 << 24).unwrap();
        builder.charge(1 << 21).unwrap();
        builder.charge(1 << 21).unwrap();
        let error = builder.charge(1 << 21).unwrap_err();
        assert!(error.to_string().contains("too much memory"), "{error}");
        GraphBuilder::new(100 << 20).charge(1 << 28).unwrap();
    }
}
