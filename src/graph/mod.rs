//! The full-precision network: a closed set of operators in topological order.

#[cfg(test)]
pub(crate) mod arbitrary;
mod interpret;
mod patches;
mod planes;
mod shape;
mod taps;

pub use interpret::Interpreter;
pub(crate) use interpret::{ValueView, evaluate};
pub(crate) use patches::{add_patch_products, each_patches, scatter, tap_start, taps};
pub(crate) use planes::{PhaseAdjoint, Planes};
pub(crate) use shape::all_finite;
pub(crate) use taps::{WindowSpan, outputs_reading, spans};

use crate::index::{Per, typed_index};
use crate::tensor::{Shape, Span, Window};
use ndarray::Array4;

/// A node of a [`Graph`], which is known by the value it produces.
///
/// # Examples
/// ```no_run
/// let graph = fgq::load("resnet32.onnx".as_ref(), &fgq::LoadOptions::default())?.graph;
/// println!("logits {} come from '{}'", graph.shapes()?[graph.output], graph.nodes[graph.output].name);
/// # Ok::<(), fgq::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(usize);

typed_index!(NodeId);

/// A full-precision network. The first node is the input; each node uses only nodes before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Name of the network, from its file or architecture.
    pub name: String,
    /// Shape of one input image.
    pub input: Shape,
    /// All nodes, inputs before users.
    pub nodes: Per<NodeId, Node>,
    /// The node that produces the logits.
    pub output: NodeId,
}

/// One operator with the nodes it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Unique, non-empty name.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Nodes it reads, in operator order.
    pub inputs: Vec<NodeId>,
}

/// The operators of full-precision networks; all act on `channels × height × width` images.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// The normalised input image.
    Input,
    /// A convolution; a fully connected layer is one with a 1×1 kernel on a flat vector.
    Conv(Conv),
    /// Batch normalization with running statistics.
    BatchNorm(BatchNorm),
    /// Normalisation by the image's own mean and variance: of a layer, of groups of channels, of single channels.
    GroupNorm(GroupNorm),
    /// `scale·x + shift`, per channel, or for all channels if the vectors have length 1.
    Affine(Affine),
    /// A function of one number.
    Unary(Unary),
    /// Negative values are multiplied by a slope per channel (or one slope for all).
    PRelu(Vec<f32>),
    /// Arithmetic on two tensors; extents of 1 are broadcast.
    Binary(Binary),
    /// Concatenation over channels.
    Concat,
    /// Part of a tensor.
    Slice(Slice),
    /// Constant padding.
    Pad(Pad),
    /// Maximum over windows; padding never wins.
    MaxPool(Window),
    /// Mean over windows.
    AveragePool {
        /// The windows.
        window: Window,
        /// Whether padding counts as zeros in the mean.
        count_include_pad: bool,
    },
    /// Mean over all positions; the result is `channels × 1 × 1`.
    GlobalAveragePool,
    /// `channels × height × width` to a flat vector in that order.
    Flatten,
    /// Channel `g·(C/groups) + i` moves to `i·groups + g`.
    ChannelShuffle {
        /// Number of channel groups.
        groups: usize,
    },
}

impl Op {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Input => "Input",
            Self::Conv(_) => "Conv",
            Self::BatchNorm(_) => "BatchNorm",
            Self::GroupNorm(_) => "GroupNorm",
            Self::Affine(_) => "Affine",
            Self::Unary(unary) => unary.name(),
            Self::PRelu(_) => "PRelu",
            Self::Binary(Binary::Add) => "Add",
            Self::Binary(Binary::Sub) => "Sub",
            Self::Binary(Binary::Mul) => "Mul",
            Self::Binary(Binary::Div) => "Div",
            Self::Concat => "Concat",
            Self::Slice(_) => "Slice",
            Self::Pad(_) => "Pad",
            Self::MaxPool(_) => "MaxPool",
            Self::AveragePool { .. } => "AveragePool",
            Self::GlobalAveragePool => "GlobalAveragePool",
            Self::Flatten => "Flatten",
            Self::ChannelShuffle { .. } => "ChannelShuffle",
        }
    }
}

/// A convolution `gain·(W * x) + bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// Weights: output channel, input channel within the group, row, column.
    pub weight: Array4<f32>,
    /// Factor per output channel; ones until batch normalization is folded.
    pub gain: Vec<f32>,
    /// Offset per output channel.
    pub bias: Vec<f32>,
    /// Kernel, stride, dilation and padding.
    pub window: Window,
    /// Number of groups the channels are divided into.
    pub groups: usize,
}

impl Conv {
    /// Weights lie in the order of their axes from here on. Whoever multiplies with them would otherwise have to copy them,
    /// image by image.
    pub(crate) fn straighten(&mut self) {
        if !self.weight.is_standard_layout() {
            self.weight = self.weight.as_standard_layout().into_owned();
        }
    }
}

/// Batch normalization `gamma·(x − mean)/√(variance + epsilon) + beta`, per channel.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// Factor per channel.
    pub gamma: Vec<f32>,
    /// Offset per channel.
    pub beta: Vec<f32>,
    /// Running mean per channel.
    pub mean: Vec<f32>,
    /// Running variance per channel.
    pub variance: Vec<f32>,
    /// Added to the variance.
    pub epsilon: f32,
}

/// `gamma·(x − mean)/√(variance + epsilon) + beta` with the mean and the variance of the values of one group of channels.
///
/// One group at each position is layer normalization, one channel per group over the image is instance normalization.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupNorm {
    /// Number of groups of neighbouring channels.
    pub groups: usize,
    /// Which positions share a mean and a variance.
    pub span: Span,
    /// Factor per channel.
    pub gamma: Vec<f32>,
    /// Offset per channel.
    pub beta: Vec<f32>,
    /// Added to the variance; positive.
    pub epsilon: f32,
}

/// `scale·x + shift`; both of length 1 or of one value per channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Affine {
    /// Factors.
    pub scale: Vec<f32>,
    /// Offsets.
    pub shift: Vec<f32>,
}

/// Functions of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// `max(x, 0)`.
    Relu,
    /// `x` if positive, else `alpha·x`.
    LeakyRelu(f32),
    /// `min(max(x, low), high)`; bounds may be infinite.
    Clip(f32, f32),
    /// `x·min(max(x/6 + 1/2, 0), 1)`.
    HardSwish,
    /// `min(max(alpha·x + beta, 0), 1)`.
    HardSigmoid(f32, f32),
    /// `1/(1 + e^−x)`.
    Sigmoid,
    /// `x·sigmoid(x)`.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// `x` if positive, else `alpha·(e^x − 1)`.
    Elu(f32),
    /// `x·Φ(x)` with the exact normal distribution.
    Gelu,
    /// `x·Φ(x)` with the tanh approximation.
    GeluTanh,
    /// The error function.
    Erf,
    /// `ln(1 + e^x)`.
    Softplus,
    /// `e^x`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// Absolute value.
    Abs,
    /// `1/x`.
    Reciprocal,
    /// `x` to a constant power.
    Pow(f32),
}

impl Unary {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Relu => "Relu",
            Self::LeakyRelu(_) => "LeakyRelu",
            Self::Clip(..) => "Clip",
            Self::HardSwish => "HardSwish",
            Self::HardSigmoid(..) => "HardSigmoid",
            Self::Sigmoid => "Sigmoid",
            Self::Silu => "Silu",
            Self::Tanh => "Tanh",
            Self::Elu(_) => "Elu",
            Self::Gelu | Self::GeluTanh => "Gelu",
            Self::Erf => "Erf",
            Self::Softplus => "Softplus",
            Self::Exp => "Exp",
            Self::Log => "Log",
            Self::Sqrt => "Sqrt",
            Self::Abs => "Abs",
            Self::Reciprocal => "Reciprocal",
            Self::Pow(_) => "Pow",
        }
    }
}

/// Arithmetic on two tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a − b`.
    Sub,
    /// `a·b`.
    Mul,
    /// `a/b`.
    Div,
}

/// For channel, row and column: the elements `start, start + step, …` below `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// First index per axis.
    pub start: [usize; 3],
    /// One past the last index per axis.
    pub end: [usize; 3],
    /// Step per axis, at least 1.
    pub step: [usize; 3],
}

/// Constant padding of channels, rows and columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pad {
    /// Elements added before, per axis.
    pub before: [usize; 3],
    /// Elements added after, per axis.
    pub after: [usize; 3],
    /// The value of the added elements.
    pub value: f32,
}
