//! A packed model of the shape that a conversion will give it, whose numbers mean nothing: its file is as long.

use crate::convert::ConvertOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    Fidelity, LayerFidelity, Multiplier, PackedConv, PackedId, PackedModel, PackedNode, PackedNorm, PackedOp,
    PackedSlice, PackedWeights, Preprocess, Provenance, Quantizer, Rescale, Store,
};
use crate::graph::{Conv, GroupNorm, NodeId, Op};
use crate::index::Per;
use crate::judge::Judgement;
use crate::precision::Arrangement;
use crate::prepare::Draft;
use crate::quantize::{Operator, OperatorKind, Plain};
use crate::tensor::Shape;

/// Numbers as long as measured ones usually are.
const SCALE: f64 = 0.023_456_789_012_345_68;
const NATS: f64 = 0.012_345;
const DECIBELS: f64 = 12.345_678_901_234_567;
const IMAGES: usize = 512;
const JUDGING: usize = 64;
/// As long as the name of a source and its SHA-256.
const SOURCE: usize = 24;
const SHA256: usize = 64;

const MULTIPLIER: Multiplier = Multiplier { shift: 10, value: 12_345 };
const RESCALE: Rescale = Rescale { shift: 4, value: 12_345 };
const FRACTION: u8 = 4;
const EPSILON: u64 = 12_345;

/// What the stand-in is made from.
pub(super) struct StandIn<'a> {
    draft: &'a Draft<'a>,
    preprocess: &'a Preprocess,
    options: &'a ConvertOptions,
    /// By node of the graph.
    shapes: Per<NodeId, Shape>,
}

impl<'a> StandIn<'a> {
    pub(super) fn new(
        draft: &'a Draft<'a>,
        preprocess: &'a Preprocess,
        options: &'a ConvertOptions,
    ) -> Result<Self> {
        Ok(Self { draft, preprocess, options, shapes: draft.graph.shapes()? })
    }

    pub(super) fn model(&self, classes: &[String]) -> Result<PackedModel> {
        let operators = self.draft.structure.operators.iter();
        let nodes = operators.map(|operator| self.node(operator)).collect::<Result<Per<_, _>>>()?;
        Ok(PackedModel {
            name: self.draft.graph.name.clone(),
            input: self.draft.graph.input,
            preprocess: self.preprocess.clone(),
            classes: classes.to_vec(),
            provenance: self.provenance(&nodes),
            fidelity: Some(fidelity(&nodes)),
            switching: None,
            nodes,
            logit_scale: SCALE,
        })
    }

    fn provenance(&self, nodes: &Per<PackedId, PackedNode>) -> Provenance {
        let names = || convolutions(nodes).map(|(_, node)| node.name.as_str());
        Provenance {
            source: "x".repeat(SOURCE),
            source_sha256: "0".repeat(SHA256),
            plan: self.options.plan.as_ref().map(|plan| plan.for_model(names())),
            ..self.options.provenance(IMAGES)
        }
    }

    fn node(&self, operator: &Operator) -> Result<PackedNode> {
        let op = match &operator.kind {
            OperatorKind::Input => PackedOp::Input { pad: vec![0; self.draft.graph.input.channels] },
            OperatorKind::Conv { source, residual, .. } => self.conv(operator, *source, *residual)?,
            OperatorKind::Table { from } => {
                PackedOp::Table { entries: vec![0; 256 * self.tables(*from, operator.value)] }
            }
            OperatorKind::Plain(plain) => plain_op(plain),
        };
        let scale = if matches!(op, PackedOp::Input { .. }) { 1.0 } else { SCALE };
        let quantizer = Quantizer { scale, zero_point: 0, max: ((1u16 << operator.bits) - 1) as u8 };
        let inputs = operator.inputs.iter().map(|input| input.packed()).collect();
        Ok(PackedNode { name: operator.name.clone(), op, inputs, quantizer })
    }

    fn conv(&self, operator: &Operator, source: NodeId, residual: bool) -> Result<PackedOp> {
        let node = &self.draft.graph.nodes[source];
        let (Op::Conv(conv), Some(choice)) = (&node.op, self.draft.choices[source]) else {
            return Err(Error::new(ErrorKind::Shape, "a convolution without a precision").at_node(&node.name));
        };
        let (outputs, group_inputs, ..) = conv.weight.dim();
        let arrangement = arrangement(conv);
        let [weights, groups] =
            [outputs * arrangement.channel_len(), outputs * arrangement.channel_groups(choice.precision)]
                .map(|count| choice.precision.planes() * count);
        let scales = if choice.precision.grouping().is_some() { groups } else { 0 };
        Ok(PackedOp::Conv(PackedConv {
            weights: PackedWeights::pack(choice.precision, &vec![0; weights], &vec![0; scales]),
            outputs,
            group_inputs,
            groups: conv.groups,
            window: conv.window,
            bias: vec![0; outputs],
            store: self.store(operator, outputs, residual),
        }))
    }

    fn store(&self, operator: &Operator, outputs: usize, residual: bool) -> Store {
        let unclamped = |kind: &OperatorKind| matches!(kind, OperatorKind::Conv { clamp, .. } if *clamp == [f32::NEG_INFINITY, f32::INFINITY]);
        if operator.value == self.draft.graph.output && !residual && unclamped(&operator.kind) {
            return Store::Logits { factors: vec![1; outputs], shift: 30 };
        }
        Store::Codes {
            multipliers: vec![MULTIPLIER; outputs],
            residual: residual.then_some(RESCALE),
            fraction: if residual { FRACTION } else { 0 },
            low: 0,
            high: ((1u16 << operator.bits) - 1) as u8,
        }
    }

    /// How many tables the function from node `from` to node `to` takes: one, or one per channel.
    fn tables(&self, from: NodeId, to: NodeId) -> usize {
        let nodes = &self.draft.graph.nodes;
        let mut reached = Per::filled(false, nodes.len());
        reached[from] = true;
        let mut differs = from == NodeId::INPUT && !self.pixels_are_alike();
        for id in nodes.ids_between(from, to) {
            reached[id] = nodes[id].inputs.iter().all(|&input| reached[input]);
            differs |= reached[id] && has_channels(&nodes[id].op);
        }
        if differs { self.shapes[from].channels } else { 1 }
    }

    /// Whether pixels are normalised alike in all channels.
    fn pixels_are_alike(&self) -> bool {
        let alike = |values: &[f32]| values.windows(2).all(|pair| pair[0] == pair[1]);
        alike(&self.preprocess.mean) && alike(&self.preprocess.std)
    }
}

fn arrangement(conv: &Conv) -> Arrangement {
    let (outputs, inputs, ..) = conv.weight.dim();
    Arrangement { outputs, positions: conv.window.area(), inputs }
}

/// Whether a function of one number differs from channel to channel.
fn has_channels(op: &Op) -> bool {
    let differ = |values: &[f32]| values.windows(2).any(|pair| pair[0] != pair[1]);
    match op {
        Op::Affine(affine) => differ(&affine.scale) || differ(&affine.shift),
        Op::PRelu(slopes) => differ(slopes),
        _ => false,
    }
}

fn plain_op(plain: &Plain) -> PackedOp {
    match plain {
        Plain::Add { .. } => PackedOp::Add { left: RESCALE, right: RESCALE, fraction: FRACTION },
        Plain::Mul => PackedOp::Mul(MULTIPLIER),
        Plain::Narrow => PackedOp::Narrow(RESCALE),
        Plain::Concat => PackedOp::Concat,
        Plain::Slice(slice) => {
            PackedOp::Slice(PackedSlice { start: slice.start, end: slice.end, step: slice.step })
        }
        Plain::Pad(pad) => PackedOp::Pad { before: pad.before, after: pad.after },
        Plain::MaxPool(window) => PackedOp::MaxPool(*window),
        Plain::AveragePool { window, count_include_pad } => PackedOp::AveragePool {
            window: *window,
            count_include_pad: *count_include_pad,
            by_count: vec![MULTIPLIER; window.area()],
        },
        Plain::GroupNorm(norm) => PackedOp::GroupNorm(packed_norm(norm)),
        Plain::GlobalAveragePool => PackedOp::GlobalAveragePool(MULTIPLIER),
        Plain::GlobalSum => PackedOp::GlobalSum,
        Plain::Flatten => PackedOp::Flatten,
        Plain::ChannelShuffle { groups } => PackedOp::ChannelShuffle { groups: *groups },
    }
}

fn packed_norm(norm: &GroupNorm) -> PackedNorm {
    PackedNorm {
        groups: norm.groups,
        span: norm.span,
        epsilon: EPSILON,
        fraction: FRACTION,
        multipliers: vec![MULTIPLIER; norm.gamma.len()],
        bias: vec![0; norm.beta.len()],
    }
}

fn convolutions(nodes: &Per<PackedId, PackedNode>) -> impl Iterator<Item = (PackedId, &PackedNode)> {
    nodes.enumerate().filter(|(_, node)| matches!(node.op, PackedOp::Conv(_)))
}

fn fidelity(nodes: &Per<PackedId, PackedNode>) -> Fidelity {
    let layer = |(node, _): (PackedId, &PackedNode)| LayerFidelity {
        node,
        weight: None,
        local: None,
        rounding: None,
        cumulative: None,
        saturation: 0.0,
    };
    let judgement =
        Judgement { images: JUDGING, agreeing: JUDGING, divergence: NATS, divergence_error: Some(NATS) };
    Fidelity {
        images: JUDGING,
        held_back: true,
        logits: Some(DECIBELS),
        judgement: Some(judgement),
        layers: convolutions(nodes).map(layer).collect(),
    }
}
