//! What a full-precision network consists of.

use super::LayerKind;
use crate::error::Result;
use crate::graph::{Conv, Graph, Node, NodeId, Op};
use crate::index::Per;
use crate::tensor::Shape;
use std::collections::BTreeMap;

/// A layer of a full-precision network with weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkLayer {
    /// Name of its node.
    pub name: String,
    /// What kind of layer it is.
    pub kind: LayerKind,
    /// Output channels, input channels of one channel group, kernel rows, kernel columns.
    pub shape: [usize; 4],
    /// Shape of its output for one image.
    pub output: Shape,
    /// Number of weights.
    pub weights: usize,
    /// Multiplications by a weight, for one image.
    pub multiplications: usize,
}

/// What a full-precision network consists of, as its file describes it.
///
/// # Examples
/// ```no_run
/// let graph = fgq::load("resnet32-cifar10.onnx".as_ref(), &fgq::LoadOptions::default())?.graph;
/// println!("{} parameters", fgq::NetworkSummary::new(&graph)?.parameters);
/// # Ok::<(), fgq::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSummary {
    /// Its layers with weights, in execution order.
    pub layers: Vec<NetworkLayer>,
    /// How often it has each operator, by name.
    pub operators: BTreeMap<&'static str, usize>,
    /// All its numbers: weights, biases that are not all zero, normalization, slopes.
    pub parameters: usize,
}

impl NetworkSummary {
    /// Takes stock of `graph`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn new(graph: &Graph) -> Result<Self> {
        let shapes = graph.shapes()?;
        let mut operators = BTreeMap::new();
        for node in graph.nodes.iter().filter(|node| node.op != Op::Input) {
            *operators.entry(node.op.name()).or_insert(0) += 1;
        }
        Ok(Self {
            layers: graph
                .nodes
                .iter()
                .zip(&shapes)
                .filter_map(|(node, &output)| layer(node, &shapes, output))
                .collect(),
            operators,
            parameters: graph.nodes.iter().map(|node| parameters(&node.op)).sum(),
        })
    }

    /// Number of weights.
    pub fn weights(&self) -> usize {
        self.layers.iter().map(|layer| layer.weights).sum()
    }

    /// Multiplications by weights, for one image.
    pub fn multiplications(&self) -> usize {
        self.layers.iter().map(|layer| layer.multiplications).sum()
    }

    /// Bytes of all parameters with 32 bits each.
    pub fn bytes(&self) -> usize {
        self.parameters * size_of::<f32>()
    }
}

fn layer(node: &Node, shapes: &Per<NodeId, Shape>, output: Shape) -> Option<NetworkLayer> {
    let Op::Conv(conv) = &node.op else { return None };
    let input = *shapes.get(*node.inputs.first()?)?;
    let (outputs, inputs, rows, columns) = conv.weight.dim();
    Some(NetworkLayer {
        name: node.name.clone(),
        kind: LayerKind::of(&conv.window, conv.groups, input, output),
        shape: [outputs, inputs, rows, columns],
        output,
        weights: conv.weight.len(),
        multiplications: conv.weight.len() * output.positions(),
    })
}

fn parameters(op: &Op) -> usize {
    match op {
        Op::Conv(Conv { weight, bias, .. }) => {
            weight.len() + if bias.iter().any(|&bias| bias != 0.0) { bias.len() } else { 0 }
        }
        Op::BatchNorm(norm) => 4 * norm.gamma.len(),
        Op::Affine(affine) => affine.scale.len() + affine.shift.len(),
        Op::PRelu(slopes) => slopes.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Unary;
    use crate::graph::arbitrary::node_id;
    use crate::tensor::Window;
    use ndarray::Array4;

    fn conv(shape: (usize, usize, usize, usize), groups: usize, bias: f32) -> Op {
        let window = Window::new([shape.2, shape.3]);
        let (gain, bias) = (vec![1.0; shape.0], vec![bias; shape.0]);
        Op::Conv(Conv { weight: Array4::ones(shape), gain, bias, window, groups })
    }

    #[test]
    fn layers_operators_and_numbers_are_counted() {
        let node =
            |name: &str, op, input: usize| Node { name: name.into(), op, inputs: vec![node_id(input)] };
        let nodes = vec![
            Node { name: "input".into(), op: Op::Input, inputs: vec![] },
            node("first", conv((4, 3, 3, 3), 1, 0.0), 0),
            node("relu", Op::Unary(Unary::Relu), 1),
            node("deep", conv((4, 1, 2, 2), 4, 0.0), 2),
            node("slopes", Op::PRelu(vec![0.5; 4]), 3),
            node("last", conv((10, 4, 3, 3), 1, 1.0), 4),
        ];
        let graph =
            Graph { name: "net".into(), input: Shape::new(3, 6, 6), nodes: nodes.into(), output: node_id(5) };
        let summary = NetworkSummary::new(&graph).unwrap();
        let kinds: Vec<LayerKind> = summary.layers.iter().map(|layer| layer.kind).collect();
        assert_eq!(kinds, [LayerKind::Conv, LayerKind::Depthwise, LayerKind::Linear]);
        assert_eq!(summary.weights(), 108 + 16 + 360);
        assert_eq!(summary.parameters, 108 + 16 + 4 + 360 + 10);
        assert_eq!(summary.multiplications(), 108 * 16 + 16 * 9 + 360);
        assert_eq!(summary.operators, BTreeMap::from([("Conv", 3), ("PRelu", 1), ("Relu", 1)]));
    }
}
