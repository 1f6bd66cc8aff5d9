//! The packed model: everything the runtime needs, in integers.

use super::{Fidelity, Preprocess, Provenance, Switching};
use crate::index::{Per, typed_index};
use crate::precision::Precision;
use crate::tensor::{Shape, Span, Window};
use serde::{Deserialize, Serialize};

/// A node of a [`PackedModel`], which is known by the value it yields; never one of a full-precision network.
///
/// # Examples
/// ```no_run
/// let model = fgq::read_model("resnet32.fgq".as_ref())?;
/// let shapes = model.shapes()?;
/// for (id, node) in model.nodes.enumerate() {
///     println!("{id}: {} of {}", node.name, shapes[id]);
/// }
/// # Ok::<(), fgq::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackedId(usize);

typed_index!(PackedId);

/// A converted network: what a `.fgq` file holds and a [`Session`](crate::Session) runs.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedModel {
    /// Name of the network.
    pub name: String,
    /// Shape of one input image.
    pub input: Shape,
    /// How image files become input pixels.
    pub preprocess: Preprocess,
    /// Name of each class, in output order; empty if unknown.
    pub classes: Vec<String>,
    /// Where the model comes from.
    pub provenance: Provenance,
    /// Operators in execution order; the first is the input.
    pub nodes: Per<PackedId, PackedNode>,
    /// Real value of one unit of the logits. The runtime does not use it.
    pub logit_scale: f64,
    /// What the conversion measured, if it did. The runtime does not use it.
    pub fidelity: Option<Fidelity>,
    /// What can be switched while it runs, if anything.
    pub switching: Option<Switching>,
}

/// One integer operator.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedNode {
    /// Unique name.
    pub name: String,
    /// What it computes.
    pub op: PackedOp,
    /// The nodes it reads, all before it.
    pub inputs: Vec<PackedId>,
    /// How its codes represent numbers.
    pub quantizer: Quantizer,
}

/// Affine quantization of a tensor: `real = scale · (code − zero_point)` with codes `0..=max`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantizer {
    /// Real value of one step. The runtime does not use it.
    pub scale: f64,
    /// The code that stands for zero.
    pub zero_point: u8,
    /// The largest code: 255 for 8 bits, 15 for 4.
    pub max: u8,
}

/// The closed set of integer operators. The last node of a model yields the logits.
#[derive(Debug, Clone, PartialEq)]
pub enum PackedOp {
    /// The pixels; `pad[c]` is the code that stands for zero in channel `c`.
    Input {
        /// Zero point per channel.
        pad: Vec<u8>,
    },
    /// Convolution, requantization, optional residual, clamp.
    Conv(PackedConv),
    /// A function of one code: 256 entries, or 256 per channel.
    Table {
        /// The entries, channel after channel.
        entries: Vec<u8>,
    },
    /// Sum of two tensors; extents of 1 in the second are broadcast.
    Add {
        /// Rescaling of the first operand.
        left: Rescale,
        /// Rescaling of the second operand.
        right: Rescale,
        /// Fraction bits of the sum.
        fraction: u8,
    },
    /// Product of two tensors; extents of 1 in the second are broadcast.
    Mul(Multiplier),
    /// The same numbers in the codes of another quantizer, as a rule one with fewer bits.
    Narrow(Rescale),
    /// Concatenation over channels of tensors with one quantizer.
    Concat,
    /// Part of a tensor.
    Slice(PackedSlice),
    /// Padding with the zero point.
    Pad {
        /// Elements added before channels, rows and columns.
        before: [usize; 3],
        /// Elements added after.
        after: [usize; 3],
    },
    /// Maximum over windows.
    MaxPool(Window),
    /// Mean over windows.
    AveragePool {
        /// The windows.
        window: Window,
        /// Whether padding counts as zeros.
        count_include_pad: bool,
        /// How a sum becomes an output code, by the number of elements it counts, from 1.
        by_count: Vec<Multiplier>,
    },
    /// Groups of channels less their mean, divided by their deviation.
    GroupNorm(PackedNorm),
    /// Mean over all positions.
    GlobalAveragePool(Multiplier),
    /// Sum over all positions, kept in 32 bits: the logits.
    GlobalSum,
    /// Rows, columns, channels to a flat vector in the order channel, row, column.
    Flatten,
    /// Channel `g·(C/groups) + i` moves to `i·groups + g`.
    ChannelShuffle {
        /// Number of channel groups.
        groups: usize,
    },
}

impl PackedOp {
    /// Its name in the file.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Input { .. } => "input",
            Self::Conv(_) => "conv",
            Self::Table { .. } => "table",
            Self::Add { .. } => "add",
            Self::Mul(_) => "mul",
            Self::Narrow(_) => "narrow",
            Self::Concat => "concat",
            Self::Slice(_) => "slice",
            Self::Pad { .. } => "pad",
            Self::MaxPool(_) => "max_pool",
            Self::AveragePool { .. } => "average_pool",
            Self::GroupNorm(_) => "group_norm",
            Self::GlobalAveragePool(_) => "global_average_pool",
            Self::GlobalSum => "global_sum",
            Self::Flatten => "flatten",
            Self::ChannelShuffle { .. } => "channel_shuffle",
        }
    }
}

/// A factor `value / 2^15 / 2^shift` for sums that fit 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Multiplier {
    /// Rounding right shift before the multiplication.
    pub shift: u8,
    /// Signed 15-bit multiplier.
    pub value: i16,
}

/// A factor `value · 2^shift / 2^15` for distances from a zero point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rescale {
    /// Left shift before the multiplication, at most 7.
    pub shift: u8,
    /// Signed 15-bit multiplier.
    pub value: i16,
}

/// Elements `start, start + step, …` below `end` of channels, rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackedSlice {
    /// First index per axis.
    pub start: [usize; 3],
    /// One past the last index per axis.
    pub end: [usize; 3],
    /// Step per axis.
    pub step: [usize; 3],
}

/// Normalisation of groups of channels by the mean and the variance that they have in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedNorm {
    /// Number of groups of neighbouring channels.
    pub groups: usize,
    /// Which positions are normalised together.
    pub span: Span,
    /// Added to the variance, which is in squares of steps of the input times squares of the number of elements.
    pub epsilon: u64,
    /// Fraction bits of results before the zero point is added.
    pub fraction: u8,
    /// Per channel, for normalised values in units of 2^−16.
    pub multipliers: Vec<Multiplier>,
    /// Added to results, per channel.
    pub bias: Vec<i16>,
}

/// A convolution with integer weights.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedConv {
    /// The weights.
    pub weights: PackedWeights,
    /// Output channels.
    pub outputs: usize,
    /// Input channels of each channel group.
    pub group_inputs: usize,
    /// Number of channel groups.
    pub groups: usize,
    /// Kernel, stride, dilation and padding.
    pub window: Window,
    /// Added to the sum, per output channel.
    pub bias: Vec<i32>,
    /// What happens to the sum.
    pub store: Store,
}

impl PackedConv {
    /// Number of weights of one output channel.
    pub fn channel_len(&self) -> usize {
        self.window.area() * self.group_inputs
    }
}

/// Weights in the order output channel, kernel row, kernel column, input channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedWeights {
    /// What codes and scales mean.
    pub precision: Precision,
    /// Codes, plane after plane, packed as `docs/format.md` says.
    pub codes: Vec<u8>,
    /// One scale per group, in the order output channel, kernel row, kernel column, group; plane after plane, packed. Empty
    /// without groups.
    pub scales: Vec<u8>,
}

/// What becomes of a convolution's sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// Activation codes.
    Codes {
        /// Per output channel.
        multipliers: Vec<Multiplier>,
        /// Rescaling of the residual, which is the second input.
        residual: Option<Rescale>,
        /// Fraction bits of the sum with the residual.
        fraction: u8,
        /// Smallest code stored.
        low: u8,
        /// Largest code stored.
        high: u8,
    },
    /// Logits in 32 bits: `(sum · factors[o] + 2^(shift − 1)) >> shift`.
    Logits {
        /// Per output channel.
        factors: Vec<i32>,
        /// Common right shift.
        shift: u8,
    },
}
