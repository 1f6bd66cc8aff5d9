//! What the bytes of a model's file hold.

use super::{PackedModel, PackedNode, PackedOp};

/// Bytes of bias, multiplier and shift of one output channel.
const REQUANTIZATION_BYTES: usize = 8;

/// Bytes by what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bytes {
    /// Codes of weights.
    pub codes: usize,
    /// Scales of groups.
    pub scales: usize,
    /// Biases, multipliers and shifts per output channel.
    pub requantization: usize,
    /// Functions of one code.
    pub tables: usize,
    /// The graph, names, preprocessing, provenance and the file's own header.
    pub metadata: usize,
}

impl Bytes {
    /// Those of one operator.
    pub fn of(node: &PackedNode) -> Self {
        match &node.op {
            PackedOp::Conv(conv) => Self {
                codes: conv.weights.codes.len(),
                scales: conv.weights.scales.len(),
                requantization: conv.outputs * REQUANTIZATION_BYTES,
                ..Self::default()
            },
            PackedOp::Table { entries } => Self { tables: entries.len(), ..Self::default() },
            _ => Self::default(),
        }
    }

    /// Those of a model's file, which has `file` bytes.
    pub fn of_file(model: &PackedModel, file: usize) -> Self {
        let tensors = model.nodes.iter().map(Self::of).fold(Self::default(), Self::plus);
        Self { metadata: file.saturating_sub(tensors.total()), ..tensors }
    }

    /// All of them.
    pub fn total(&self) -> usize {
        let Self { codes, scales, requantization, tables, metadata } = self;
        codes + scales + requantization + tables + metadata
    }

    fn plus(self, other: Self) -> Self {
        Self {
            codes: self.codes + other.codes,
            scales: self.scales + other.scales,
            requantization: self.requantization + other.requantization,
            tables: self.tables + other.tables,
            metadata: self.metadata + other.metadata,
        }
    }
}
