//! Which integer operators a full-precision graph becomes, before any number is known.
//!
//! A convolution absorbs a residual addition and a clamp behind it; every function of one tensor, however
//! many nodes it is made of, becomes one table.

use super::operators::{OperatorId, PerOperator};
use crate::error::{Error, ErrorKind, Refusal, Result};
use crate::graph::{Binary, Graph, GroupNorm, Node, NodeId, Op, Pad, Slice, Unary};
use crate::index::Per;
use crate::tensor::{Shape, Window};
use std::collections::HashMap;

/// The integer operators of a network, in execution order; operator 0 is the input.
#[derive(Debug, Clone)]
pub(crate) struct Structure {
    pub operators: PerOperator<Operator>,
}

/// For each operator the first of those that share its quantizer.
pub(super) type Classes = PerOperator<OperatorId>;

/// One integer operator.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    pub name: String,
    pub kind: OperatorKind,
    /// Earlier operators.
    pub inputs: Vec<OperatorId>,
    /// The node of the graph whose value this operator approximates.
    pub value: NodeId,
    /// Bits of its codes.
    pub bits: u8,
}

/// What an integer operator computes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OperatorKind {
    Input,
    /// Convolution `source`, perhaps with a residual as second input, clamped to `clamp`.
    Conv {
        source: NodeId,
        residual: bool,
        clamp: [f32; 2],
    },
    /// The function that leads from node `from` to this operator's value.
    Table {
        from: NodeId,
    },
    Plain(Plain),
}

/// Operators that need nothing but what the graph says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plain {
    /// Sum of the inputs, each with its sign.
    Add {
        negate: [bool; 2],
    },
    Mul,
    /// The input in fewer bits, for convolutions that want no more.
    Narrow,
    Concat,
    Slice(Slice),
    Pad(Pad),
    MaxPool(Window),
    AveragePool {
        window: Window,
        count_include_pad: bool,
    },
    /// Normalisation by an image's own mean and variance.
    GroupNorm(GroupNorm),
    GlobalAveragePool,
    /// The last global average, kept as a sum.
    GlobalSum,
    Flatten,
    ChannelShuffle {
        groups: usize,
    },
}

impl Plain {
    /// Whether output codes are input codes.
    pub(super) fn keeps_codes(&self) -> bool {
        matches!(
            self,
            Self::Concat
                | Self::Slice(_)
                | Self::Pad(_)
                | Self::MaxPool(_)
                | Self::Flatten
                | Self::ChannelShuffle { .. }
        )
    }
}

impl OperatorKind {
    /// Whether output codes are input codes, so that both must share a quantizer.
    pub(crate) fn keeps_codes(&self) -> bool {
        matches!(self, Self::Plain(plain) if plain.keeps_codes())
    }
}

/// A convolution with what it absorbs; known by its last node.
#[derive(Debug, Clone)]
struct Fused {
    source: NodeId,
    residual: Option<NodeId>,
    clamp: [f32; 2],
}

/// What has been found out about a graph.
struct Analysis<'g> {
    graph: &'g Graph,
    shapes: Per<NodeId, Shape>,
    consumers: Per<NodeId, Vec<NodeId>>,
    /// By last node.
    fused: HashMap<NodeId, Fused>,
    /// The tensor of which each node is a function of one number.
    roots: Per<NodeId, NodeId>,
}

impl Structure {
    /// The integer operators of `graph`, which must be folded; all codes have 8 bits.
    ///
    /// # Errors
    /// All that integers cannot express: padding with other values than zero, two operands that are both
    /// broadcast.
    pub(crate) fn new(graph: &Graph) -> Result<Self> {
        let analysis = Analysis::new(graph)?;
        let mut builder = StructureBuilder::new(&analysis);
        let mut refusals = Vec::new();
        for node in analysis.needed() {
            if let Err(error) = builder.emit(node) {
                refusals.push(refusal(&graph.nodes[node], &error));
                builder.stand_in(node);
            }
        }
        if refusals.is_empty() {
            Ok(Self { operators: builder.operators })
        } else {
            Err(Error::refused(refusals))
        }
    }

    /// Nodes of the graph whose distribution decides a quantizer.
    pub(crate) fn range_nodes(&self) -> Vec<NodeId> {
        let makers = self.operators.iter().filter(|operator| !operator.kind.keeps_codes());
        makers.map(|operator| operator.value).collect()
    }

    /// Operators that share a quantizer have the same class.
    pub(crate) fn quantizer_classes(&self) -> Classes {
        let mut classes: Classes = self.operators.ids().collect();
        for (id, operator) in self.operators.enumerate() {
            if !operator.kind.keeps_codes() {
                continue;
            }
            for &input in &operator.inputs {
                let (old, new) = (classes[id].max(classes[input]), classes[id].min(classes[input]));
                classes.iter_mut().filter(|class| **class == old).for_each(|class| *class = new);
            }
        }
        classes
    }
}

/// The nodes that read each node's value.
fn consumers(graph: &Graph) -> Per<NodeId, Vec<NodeId>> {
    let mut consumers = Per::filled(Vec::new(), graph.nodes.len());
    for (id, node) in graph.nodes.enumerate() {
        node.inputs.iter().for_each(|&input| consumers[input].push(id));
    }
    consumers
}

impl<'g> Analysis<'g> {
    fn new(graph: &'g Graph) -> Result<Self> {
        let shapes = graph.shapes()?;
        let (consumers, fused, roots) = (consumers(graph), HashMap::new(), Per::default());
        let mut analysis = Self { graph, shapes, consumers, fused, roots };
        analysis.fuse();
        analysis.find_roots();
        Ok(analysis)
    }

    fn node(&self, id: NodeId) -> &'g Node {
        &self.graph.nodes[id]
    }

    /// The one reader of a value that is not the output.
    fn sole_consumer(&self, id: NodeId) -> Option<NodeId> {
        match self.consumers[id].as_slice() {
            [consumer] if id != self.graph.output => Some(*consumer),
            _ => None,
        }
    }

    /// Later convolutions come first: of two that are added, the later one takes the sum.
    fn fuse(&mut self) {
        let mut taken = Per::filled(false, self.graph.nodes.len());
        for source in self.graph.nodes.ids().rev() {
            if !matches!(self.node(source).op, Op::Conv(_)) {
                continue;
            }
            let (mut last, mut residual) = (source, None);
            if let Some((sum, other)) = self.residual_of(source).filter(|(sum, _)| !taken[*sum]) {
                taken[sum] = true;
                (last, residual) = (sum, Some(other));
            }
            let clamp = self.clamp_of(last);
            let (last, clamp) = clamp.unwrap_or((last, [f32::NEG_INFINITY, f32::INFINITY]));
            self.fused.insert(last, Fused { source, residual, clamp });
        }
    }

    /// The addition that is the only reader of `id`, and its other operand of the same shape.
    fn residual_of(&self, id: NodeId) -> Option<(NodeId, NodeId)> {
        let sum = self.sole_consumer(id)?;
        let (Op::Binary(Binary::Add), [a, b]) = (&self.node(sum).op, self.node(sum).inputs.as_slice()) else {
            return None;
        };
        let other = if *a == id { *b } else { *a };
        (self.shapes[other] == self.shapes[id]).then_some((sum, other))
    }

    fn clamp_of(&self, id: NodeId) -> Option<(NodeId, [f32; 2])> {
        let next = self.sole_consumer(id)?;
        match self.node(next).op {
            Op::Unary(Unary::Relu) => Some((next, [0.0, f32::INFINITY])),
            // Where the bounds cross, the upper one wins.
            Op::Unary(Unary::Clip(low, high)) => Some((next, [low.min(high), high])),
            _ => None,
        }
    }

    fn find_roots(&mut self) {
        for id in self.graph.nodes.ids() {
            let root = self.pointwise_root(id).filter(|_| !self.fused.contains_key(&id));
            self.roots.push(root.unwrap_or(id));
        }
    }

    fn pointwise_root(&self, id: NodeId) -> Option<NodeId> {
        let node = self.node(id);
        match (&node.op, node.inputs.as_slice()) {
            (Op::Unary(_) | Op::Affine(_) | Op::PRelu(_), [input]) => Some(self.roots[*input]),
            (Op::Binary(_), [a, b]) => {
                let same = self.roots[*a] == self.roots[*b] && self.shapes[*a] == self.shapes[*b];
                same.then_some(self.roots[*a])
            }
            _ => None,
        }
    }

    /// What a node reads once fused nodes and tables are taken together.
    fn operands(&self, id: NodeId) -> Vec<NodeId> {
        if let Some(fused) = self.fused.get(&id) {
            return self.node(fused.source).inputs.iter().copied().chain(fused.residual).collect();
        }
        if self.roots[id] != id {
            return vec![self.roots[id]];
        }
        self.node(id).inputs.clone()
    }

    /// The nodes whose values must exist, in execution order.
    fn needed(&self) -> Vec<NodeId> {
        let mut needed = Per::filled(false, self.graph.nodes.len());
        let mut open = vec![self.graph.output];
        needed[NodeId::INPUT] = true;
        while let Some(id) = open.pop() {
            if !std::mem::replace(&mut needed[id], true) || id == self.graph.output {
                open.extend(self.operands(id).into_iter().filter(|&operand| !needed[operand]));
            }
        }
        needed.ids().filter(|&id| needed[id]).collect()
    }
}

struct StructureBuilder<'a, 'g> {
    analysis: &'a Analysis<'g>,
    operators: PerOperator<Operator>,
    /// Operator of each node that has one.
    places: HashMap<NodeId, OperatorId>,
    /// The input as an ordinary tensor, for operators other than convolutions.
    normalised: Option<OperatorId>,
}

impl<'a, 'g> StructureBuilder<'a, 'g> {
    fn new(analysis: &'a Analysis<'g>) -> Self {
        Self { analysis, operators: PerOperator::default(), places: HashMap::new(), normalised: None }
    }

    fn push(&mut self, name: &str, kind: OperatorKind, inputs: Vec<OperatorId>, value: NodeId) -> OperatorId {
        self.operators.push(Operator { name: name.to_owned(), kind, inputs, value, bits: 8 })
    }

    fn emit(&mut self, id: NodeId) -> Result<()> {
        let analysis = self.analysis;
        let node = analysis.node(id);
        let place = if let Some(fused) = analysis.fused.get(&id) {
            self.emit_convolution(id, fused)
        } else if analysis.roots[id] != id {
            let from = analysis.roots[id];
            self.push(&node.name, OperatorKind::Table { from }, vec![self.places[&from]], id)
        } else {
            let (kind, inputs) = self.plain(id)?;
            self.push(&node.name, kind, inputs, id)
        };
        self.places.insert(id, place);
        Ok(())
    }

    /// Something that later nodes can read in place of a node that was refused.
    fn stand_in(&mut self, id: NodeId) {
        let place =
            self.push(&self.analysis.node(id).name, OperatorKind::Plain(Plain::Flatten), Vec::new(), id);
        self.places.insert(id, place);
    }

    fn emit_convolution(&mut self, id: NodeId, fused: &Fused) -> OperatorId {
        let source = self.analysis.node(fused.source);
        let mut inputs = vec![self.places[&source.inputs[0]]];
        inputs.extend(fused.residual.map(|residual| self.tensor(residual)));
        let Fused { source: conv, residual, clamp } = *fused;
        let kind = OperatorKind::Conv { source: conv, residual: residual.is_some(), clamp };
        self.push(&source.name, kind, inputs, id)
    }

    /// The operator of a node; the input is normalised first.
    fn tensor(&mut self, id: NodeId) -> OperatorId {
        if id != NodeId::INPUT {
            return self.places[&id];
        }
        if let Some(place) = self.normalised {
            return place;
        }
        let name = format!("{}.normalised", self.analysis.node(NodeId::INPUT).name);
        let table = OperatorKind::Table { from: NodeId::INPUT };
        let place = self.push(&name, table, vec![OperatorId::INPUT], NodeId::INPUT);
        self.normalised = Some(place);
        place
    }

    fn plain(&mut self, id: NodeId) -> Result<(OperatorKind, Vec<OperatorId>)> {
        let node = self.analysis.node(id);
        let inputs: Vec<OperatorId> = node.inputs.iter().map(|&input| self.tensor(input)).collect();
        let last = id == self.analysis.graph.output;
        let kind = match &node.op {
            Op::Input => OperatorKind::Input,
            Op::Binary(binary) => return self.binary(*binary, id, &inputs),
            Op::Concat => return Ok((OperatorKind::Plain(Plain::Concat), self.concat_inputs(id, inputs))),
            Op::Slice(slice) => OperatorKind::Plain(Plain::Slice(*slice)),
            Op::Pad(pad) if pad.value == 0.0 => OperatorKind::Plain(Plain::Pad(*pad)),
            Op::Pad(pad) => {
                return Err(unsupported(format!(
                    "padding with {}, not zero; pad with zeros when training",
                    pad.value
                )));
            }
            Op::MaxPool(window) => OperatorKind::Plain(Plain::MaxPool(*window)),
            Op::AveragePool { window, count_include_pad } => OperatorKind::Plain(Plain::AveragePool {
                window: *window,
                count_include_pad: *count_include_pad,
            }),
            Op::GroupNorm(norm) => OperatorKind::Plain(Plain::GroupNorm(norm.clone())),
            Op::GlobalAveragePool if last => OperatorKind::Plain(Plain::GlobalSum),
            Op::GlobalAveragePool => OperatorKind::Plain(Plain::GlobalAveragePool),
            Op::Flatten => OperatorKind::Plain(Plain::Flatten),
            Op::ChannelShuffle { groups } => OperatorKind::Plain(Plain::ChannelShuffle { groups: *groups }),
            other => return Err(unsupported(format!("{other:?} was expected to be folded"))),
        };
        Ok((kind, inputs))
    }

    fn binary(
        &self,
        binary: Binary,
        id: NodeId,
        inputs: &[OperatorId],
    ) -> Result<(OperatorKind, Vec<OperatorId>)> {
        let shape = self.analysis.shapes[id];
        let whole = |place: OperatorId| self.analysis.shapes[self.operators[place].value] == shape;
        let (a, b) = (inputs[0], inputs[1]);
        let swap = !whole(a);
        if swap && !whole(b) {
            return Err(unsupported(
                "both operands would have to be broadcast; expand one of them to the shape of the result"
                    .into(),
            ));
        }
        let kind = match binary {
            Binary::Add => OperatorKind::Plain(Plain::Add { negate: [false, false] }),
            Binary::Sub => OperatorKind::Plain(Plain::Add { negate: [swap, !swap] }),
            Binary::Mul => OperatorKind::Plain(Plain::Mul),
            Binary::Div => return Err(unsupported("division by a tensor was expected to be folded".into())),
        };
        Ok((kind, if swap { vec![b, a] } else { vec![a, b] }))
    }

    /// All inputs of a concatenation share a quantizer: those that something else needs get a copy.
    fn concat_inputs(&mut self, id: NodeId, inputs: Vec<OperatorId>) -> Vec<OperatorId> {
        let nodes = &self.analysis.node(id).inputs;
        let own = |node: NodeId, place: OperatorId| {
            let consumers = &self.analysis.consumers[node];
            consumers.len() == 1 && !self.operators[place].kind.keeps_codes() && place != OperatorId::INPUT
        };
        let owned: Vec<bool> = nodes.iter().zip(&inputs).map(|(&node, &place)| own(node, place)).collect();
        let name = &self.analysis.node(id).name;
        let copies = inputs.into_iter().zip(owned).enumerate().map(|(index, (place, own))| {
            if own {
                return place;
            }
            let value = self.operators[place].value;
            self.push(
                &format!("{name}.input{index}"),
                OperatorKind::Table { from: value },
                vec![place],
                value,
            )
        });
        copies.collect()
    }
}

fn refusal(node: &Node, error: &Error) -> Refusal {
    Refusal { node: node.name.clone(), operator: node.op.name().to_owned(), reason: error.to_string() }
}

fn unsupported(message: String) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}
