//! A network in training: the operators of a graph, and quantizers between them.

use super::parameters::{Kind, parameters, parameters_mut};
use super::quantizers::{ActivationQuantizer, Lookup, ParametrizedQuantizer};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, Op, ValueView, evaluate};
use crate::index::TypedIndex;
use crate::tensor::Shape;

/// A layer of a [`Network`]; never a node of the graph that it was made of. A plain number, so that stretches of layers are
/// ranges.
pub(super) type LayerId = usize;

impl TypedIndex for LayerId {
    fn from_index(index: usize) -> Self {
        index
    }

    fn index(self) -> usize {
        self
    }
}

/// What a layer computes.
#[derive(Debug, Clone)]
pub(super) enum Function {
    /// As in the full-precision network.
    Op(Op),
    /// Values rounded to codes.
    Quantize(ActivationQuantizer),
    /// Values rounded to levels whose step and range are learned.
    Parametrized(ParametrizedQuantizer),
    /// A function of codes.
    Lookup(Lookup),
}

/// One step of the forward pass.
#[derive(Debug, Clone)]
pub(super) struct TrainedLayer {
    pub name: String,
    pub function: Function,
    /// Earlier layers.
    pub inputs: Vec<LayerId>,
    pub shape: Shape,
    /// Whether its parameters are learned.
    pub trainable: bool,
}

/// Which statistics batch normalization uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Statistics {
    /// The running ones, which stay.
    #[default]
    Running,
    /// Those of the batch.
    Batch,
}

/// Layers in execution order; layer 0 is the input, the last yields the logits.
#[derive(Debug, Clone, Default)]
pub(super) struct Network {
    pub layers: Vec<TrainedLayer>,
    pub statistics: Statistics,
}

impl Network {
    /// All of a graph, everything learned.
    ///
    /// # Errors
    /// Whatever [`Graph::validate`] finds.
    pub(super) fn of(graph: &Graph) -> Result<Self> {
        graph.validate()?;
        let shapes = graph.shapes()?;
        let mut network = Self::default();
        for (node, shape) in graph.nodes.iter().zip(shapes).take(graph.output.index() + 1) {
            let layers = node.inputs.iter().map(|input| input.index()).collect();
            network.push(&node.name, Function::Op(node.op.clone()), layers, shape);
        }
        Ok(network)
    }

    /// Adds a layer, the weights of a convolution in order.
    pub(super) fn push(
        &mut self,
        name: &str,
        mut function: Function,
        inputs: Vec<LayerId>,
        shape: Shape,
    ) -> LayerId {
        if let Function::Op(Op::Conv(conv)) = &mut function {
            conv.straighten();
        }
        self.layers.push(TrainedLayer { name: name.to_owned(), function, inputs, shape, trainable: true });
        self.layers.len() - 1
    }

    /// For every layer whether its gradient is needed: it, or something before it but after layer `start`, is learned.
    pub(super) fn reached(&self, start: LayerId) -> Vec<bool> {
        let mut reached: Vec<bool> = Vec::with_capacity(self.layers.len());
        for (id, layer) in self.layers.iter().enumerate() {
            let own = id > start && layer.trainable && !layer.function.parameters().is_empty();
            reached.push(own || layer.inputs.iter().any(|&input| reached[input]));
        }
        reached
    }
}

impl Function {
    pub(super) fn parameters(&self) -> Vec<(Kind, &[f32])> {
        match self {
            Self::Op(op) => parameters(op),
            Self::Quantize(quantizer) => quantizer.parameters(),
            Self::Parametrized(quantizer) => quantizer.parameters(),
            Self::Lookup(_) => Vec::new(),
        }
    }

    pub(super) fn parameters_mut(&mut self) -> Vec<(Kind, &mut [f32])> {
        match self {
            Self::Op(op) => parameters_mut(op),
            Self::Quantize(quantizer) => quantizer.parameters_mut(),
            Self::Parametrized(quantizer) => quantizer.parameters_mut(),
            Self::Lookup(_) => Vec::new(),
        }
    }

    /// The value for one image.
    pub(super) fn apply(&self, inputs: &[ValueView<'_>], output: Shape) -> Result<Vec<f32>> {
        match (self, inputs) {
            (Self::Op(op), _) => evaluate(op, inputs, output),
            (Self::Quantize(quantizer), &[(values, _)]) => Ok(quantizer.apply(values)),
            (Self::Parametrized(quantizer), &[(values, _)]) => Ok(quantizer.apply(values)),
            (Self::Lookup(lookup), &[(values, shape)]) => Ok(lookup.apply(values, shape)),
            _ => Err(Error::new(ErrorKind::Shape, "wrong number of inputs")),
        }
    }
}
