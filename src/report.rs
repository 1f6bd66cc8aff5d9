//! What a packed model consists of: its layers, its bytes by kind, its bits per weight.

use crate::error::Result;
use crate::format::{PackedConv, PackedModel, PackedNode, PackedOp, PackedWeights};
use crate::plan::Precision;
use crate::tensor::Shape;
use std::fmt;

/// Bytes of bias, multiplier and shift of one output channel.
const REQUANTIZATION_BYTES: usize = 8;

/// What kind of layer a convolution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerKind {
    /// A convolution, possibly grouped.
    Conv,
    /// A convolution with one input channel per channel group.
    Depthwise,
    /// A fully connected layer: one window that covers the whole input.
    Linear,
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Conv => "conv",
            Self::Depthwise => "depthwise",
            Self::Linear => "linear",
        })
    }
}

/// A layer with weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Name of its node.
    pub name: String,
    /// What kind of layer it is.
    pub kind: LayerKind,
    /// How its weights are stored.
    pub precision: Precision,
    /// Output channels, input channels of one channel group, kernel rows, kernel columns.
    pub shape: [usize; 4],
    /// Number of weights.
    pub weights: usize,
    /// Number of weights that are zero.
    pub zeros: usize,
    /// What its bytes in the file hold; `metadata` and `tables` are 0.
    pub bytes: Bytes,
    /// Weights that meet an activation, for one image.
    pub products: usize,
    /// Multiplications by a weight or a group's scale, for one image.
    pub multiplications: usize,
}

/// Bytes by what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bytes {
    /// Ternary codes, two bits each.
    pub codes: usize,
    /// Scales of groups.
    pub scales: usize,
    /// Weights of 4 bits.
    pub int4: usize,
    /// Weights of 8 bits.
    pub int8: usize,
    /// Biases, multipliers and shifts per output channel.
    pub requantization: usize,
    /// Functions of one code.
    pub tables: usize,
    /// The graph, names, preprocessing, provenance and the file's own header.
    pub metadata: usize,
}

impl Bytes {
    /// All of them.
    pub fn total(&self) -> usize {
        let Self { codes, scales, int4, int8, requantization, tables, metadata } = self;
        codes + scales + int4 + int8 + requantization + tables + metadata
    }

    fn of_conv(conv: &PackedConv) -> Self {
        let requantization = conv.outputs * REQUANTIZATION_BYTES;
        match &conv.weights {
            PackedWeights::Ternary { codes, scales, .. } => {
                Self { codes: codes.len(), scales: scales.len(), requantization, ..Self::default() }
            }
            PackedWeights::Int4 { codes, scales, .. } => {
                Self { int4: codes.len(), scales: scales.len(), requantization, ..Self::default() }
            }
            PackedWeights::Int8 { codes } => Self { int8: codes.len(), requantization, ..Self::default() },
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            codes: self.codes + other.codes,
            scales: self.scales + other.scales,
            int4: self.int4 + other.int4,
            int8: self.int8 + other.int8,
            requantization: self.requantization + other.requantization,
            tables: self.tables + other.tables,
            metadata: self.metadata + other.metadata,
        }
    }
}

/// What a packed model consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its layers with weights, in execution order.
    pub layers: Vec<Layer>,
    /// The bytes of its file.
    pub bytes: Bytes,
}

impl Summary {
    /// Takes stock of `model`, whose file has `file_bytes` bytes.
    ///
    /// # Errors
    /// A model that is not valid (see [`PackedModel::shapes`]).
    pub fn new(model: &PackedModel, file_bytes: usize) -> Result<Self> {
        let shapes = model.shapes()?;
        let layers: Vec<Layer> = model
            .nodes
            .iter()
            .zip(&shapes)
            .filter_map(|(node, &output)| layer(node, &shapes, output))
            .collect();
        let tables = Bytes { tables: model.nodes.iter().map(table_bytes).sum(), ..Bytes::default() };
        let tensors = layers.iter().fold(tables, |sum, layer| sum.plus(layer.bytes));
        let metadata = file_bytes.saturating_sub(tensors.total());
        Ok(Self { layers, bytes: Bytes { metadata, ..tensors } })
    }

    /// Number of weights.
    pub fn weights(&self) -> usize {
        self.layers.iter().map(|layer| layer.weights).sum()
    }

    /// Number of ternary weights.
    pub fn ternary_weights(&self) -> usize {
        let ternary = self.layers.iter().filter(|layer| matches!(layer.precision, Precision::Ternary { .. }));
        ternary.map(|layer| layer.weights).sum()
    }

    /// Bits of the whole file per weight.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes.total() as f64 / self.weights().max(1) as f64
    }

    /// Bits of the whole file, everything else included, per ternary weight; `None` if there is none.
    pub fn bits_per_ternary_weight(&self) -> Option<f64> {
        let weights = self.ternary_weights();
        (weights > 0).then(|| 8.0 * self.bytes.total() as f64 / weights as f64)
    }

    /// Share of the multiplications by weights that are left, 0 to 1: ternary groups need one each.
    pub fn multiplications_left(&self) -> f64 {
        let sum = |count: fn(&Layer) -> usize| self.layers.iter().map(count).sum::<usize>() as f64;
        sum(|layer| layer.multiplications) / sum(|layer| layer.products).max(1.0)
    }
}

fn layer(node: &PackedNode, shapes: &[Shape], output: Shape) -> Option<Layer> {
    let PackedOp::Conv(conv) = &node.op else { return None };
    let input = shapes.get(*node.inputs.first()?)?;
    let [rows, columns] = conv.window.kernel;
    let (precision, factors) = match conv.weights {
        PackedWeights::Ternary { group, .. } => {
            (Precision::Ternary { group }, conv.window.area() * conv.group_inputs.div_ceil(group))
        }
        PackedWeights::Int4 { group, .. } => (Precision::Int4 { group }, conv.channel_len()),
        PackedWeights::Int8 { .. } => (Precision::Int8, conv.channel_len()),
    };
    Some(Layer {
        name: node.name.clone(),
        kind: kind(conv, *input, output),
        precision,
        shape: [conv.outputs, conv.group_inputs, rows, columns],
        weights: conv.weight_count(),
        zeros: conv.expand().iter().filter(|&&weight| weight == 0).count(),
        bytes: Bytes::of_conv(conv),
        products: conv.weight_count() * output.positions(),
        multiplications: conv.outputs * factors * output.positions(),
    })
}

fn kind(conv: &PackedConv, input: Shape, output: Shape) -> LayerKind {
    if conv.group_inputs == 1 && conv.groups > 1 {
        LayerKind::Depthwise
    } else if output.positions() == 1 && conv.groups == 1 && conv.window.kernel == [input.height, input.width]
    {
        LayerKind::Linear
    } else {
        LayerKind::Conv
    }
}

fn table_bytes(node: &PackedNode) -> usize {
    match &node.op {
        PackedOp::Table { entries } => entries.len(),
        _ => 0,
    }
}
