//! One operator of a packed model, prepared for execution.

use super::Logits;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{PackedConv, PackedNode, PackedOp, Quantizer, Store};
use crate::kernels::{self, ConvKernel, ConvSpec, Epilogue, Kernels, elementwise, layout, norm, pool};
use crate::tensor::{Batch, Shape};

/// What a step must know of a value it reads.
#[derive(Debug, Clone)]
pub(crate) struct Operand {
    /// Zero point of each channel, or one for all.
    pub zero_points: Vec<u8>,
    /// Largest code: every operator clamps to it or takes its codes from a value with the same quantizer.
    pub largest: u8,
    /// Shape of one image.
    pub shape: Shape,
}

impl Operand {
    /// The value that `node` produces.
    pub(crate) fn of(node: &PackedNode, shape: Shape) -> Self {
        let (zero_points, largest) = match &node.op {
            PackedOp::Input { pad } => (pad.clone(), u8::MAX),
            _ => (vec![node.quantizer.zero_point], node.quantizer.max),
        };
        Self { zero_points, largest, shape }
    }

    pub(super) fn zero_point(&self) -> u8 {
        self.zero_points.first().copied().unwrap_or(0)
    }

    fn per_channel(&self) -> Vec<u8> {
        self.zero_points.iter().copied().cycle().take(self.shape.channels).collect()
    }
}

/// One operator with its weights expanded and its operands' zero points resolved.
#[derive(Debug)]
pub(crate) struct Step {
    work: Work,
    shape: Shape,
    quantizer: Quantizer,
    /// Zero point of each operand.
    zeros: Vec<u8>,
}

#[derive(Debug)]
enum Work {
    Conv(ConvKernel),
    Logits { kernel: ConvKernel, factors: Vec<i32>, shift: u8 },
    Other(PackedOp),
}

impl Step {
    /// Prepares a validated node.
    pub(crate) fn new(node: &PackedNode, inputs: &[Operand], shape: Shape, kernels: Kernels) -> Self {
        let weights = match &node.op {
            PackedOp::Conv(conv) => conv.expand(),
            _ => Vec::new(),
        };
        Self::with_weights(node, weights, inputs, shape, kernels)
    }

    /// Prepares a validated node with the weights that it has as `i8`.
    pub(super) fn with_weights(
        node: &PackedNode,
        weights: Vec<i8>,
        inputs: &[Operand],
        shape: Shape,
        kernels: Kernels,
    ) -> Self {
        let zeros: Vec<u8> = inputs.iter().map(Operand::zero_point).collect();
        let work = match (&node.op, inputs.first()) {
            (PackedOp::Conv(conv), Some(input)) => {
                conv_work(conv, spec(conv, weights, input), &node.quantizer, zeros.get(1).copied(), kernels)
            }
            (op, _) => Work::Other(op.clone()),
        };
        Self { work, shape, quantizer: node.quantizer, zeros }
    }

    /// Bytes of weights that it holds.
    pub(super) fn weights(&self) -> usize {
        match &self.work {
            Work::Conv(kernel) | Work::Logits { kernel, .. } => kernel.weights(),
            Work::Other(_) => 0,
        }
    }

    /// The activation codes of a batch.
    pub(crate) fn codes(&self, inputs: &[&Batch<u8>]) -> Result<Batch<u8>> {
        match (&self.work, inputs) {
            (Work::Conv(kernel), [input]) => kernel.codes(input, None),
            (Work::Conv(kernel), [input, residual]) => kernel.codes(input, Some(residual)),
            (Work::Other(op), [input]) => self.unary(op, input),
            (Work::Other(op), _) => self.several(op, inputs),
            _ => Err(misuse()),
        }
    }

    /// The sums of a convolution before requantization.
    pub(crate) fn sums(&self, input: &Batch<u8>) -> Result<Batch<i32>> {
        match &self.work {
            Work::Conv(kernel) | Work::Logits { kernel, .. } => kernel.sums(input),
            Work::Other(_) => Err(misuse()),
        }
    }

    /// The logits of a batch, if this is the last step.
    pub(crate) fn logits(&self, inputs: &[&Batch<u8>]) -> Result<Logits> {
        let data = match (&self.work, inputs) {
            (Work::Logits { kernel, factors, shift }, [input]) => {
                kernels::logits(&kernel.sums(input)?, factors, *shift)
            }
            (Work::Other(PackedOp::GlobalSum), [input]) => pool::global_sum(input, self.zeros[0]).data,
            _ => {
                let zero = i32::from(self.quantizer.zero_point);
                self.codes(inputs)?.data.iter().map(|&code| i32::from(code) - zero).collect()
            }
        };
        Ok(Logits { classes: self.shape.len(), data })
    }

    fn unary(&self, op: &PackedOp, input: &Batch<u8>) -> Result<Batch<u8>> {
        let zero = self.zeros[0];
        Ok(match op {
            PackedOp::Table { entries } => elementwise::table(input, entries),
            PackedOp::Narrow(by) => elementwise::narrow(input, zero, *by, &self.quantizer),
            PackedOp::MaxPool(window) => pool::max(input, window, self.shape),
            PackedOp::AveragePool { window, count_include_pad, by_count } => {
                let input = (input, zero);
                pool::average(input, window, *count_include_pad, by_count, self.shape, &self.quantizer)
            }
            PackedOp::GroupNorm(norm) => norm::group_norm((input, zero), norm, &self.quantizer),
            PackedOp::GlobalAveragePool(by) => pool::global_average(input, zero, *by, &self.quantizer),
            PackedOp::Slice(slice) => layout::slice(input, slice, self.shape),
            PackedOp::Pad { before, .. } => layout::pad(input, *before, zero, self.shape),
            PackedOp::Flatten => layout::flatten(input),
            PackedOp::ChannelShuffle { groups } => layout::shuffle(input, *groups),
            PackedOp::Concat => input.clone(),
            _ => return Err(misuse()),
        })
    }

    fn several(&self, op: &PackedOp, inputs: &[&Batch<u8>]) -> Result<Batch<u8>> {
        Ok(match (op, inputs) {
            (PackedOp::Add { left, right, fraction }, [a, b]) => {
                let operands = [(*a, *left, self.zeros[0]), (*b, *right, self.zeros[1])];
                elementwise::add(operands, *fraction, &self.quantizer)
            }
            (PackedOp::Mul(by), [a, b]) => {
                elementwise::mul([(*a, self.zeros[0]), (*b, self.zeros[1])], *by, &self.quantizer)
            }
            (PackedOp::Concat, inputs) => layout::concat(inputs, self.shape),
            _ => return Err(misuse()),
        })
    }
}

/// The convolution of a node that reads `input`, with its weights as `i8`.
pub(super) fn spec(conv: &PackedConv, weights: Vec<i8>, input: &Operand) -> ConvSpec {
    let precision = conv.weights.precision;
    ConvSpec {
        outputs: conv.outputs,
        group_inputs: conv.group_inputs,
        groups: conv.groups,
        window: conv.window,
        ternary: precision.group().filter(|_| precision.is_ternary() && precision.planes() == 1),
        weights,
        bias: conv.bias.clone(),
        zero_points: input.per_channel(),
        largest: input.largest,
    }
}

/// What becomes of a convolution's sums, unless they are logits.
pub(super) fn epilogue(
    conv: &PackedConv,
    quantizer: &Quantizer,
    residual_zero: Option<u8>,
) -> Option<Epilogue> {
    let Store::Codes { multipliers, residual, fraction, low, high } = &conv.store else { return None };
    Some(Epilogue {
        multipliers: multipliers.clone(),
        residual: residual.zip(residual_zero),
        fraction: *fraction,
        zero_point: quantizer.zero_point,
        clamp: [*low, *high],
    })
}

fn conv_work(
    conv: &PackedConv,
    spec: ConvSpec,
    quantizer: &Quantizer,
    residual_zero: Option<u8>,
    kernels: Kernels,
) -> Work {
    let kernel = ConvKernel::new(spec, epilogue(conv, quantizer, residual_zero), kernels);
    match &conv.store {
        Store::Logits { factors, shift } => Work::Logits { kernel, factors: factors.clone(), shift: *shift },
        Store::Codes { .. } => Work::Conv(kernel),
    }
}

/// Only reachable through a model that was not validated.
fn misuse() -> Error {
    Error::new(ErrorKind::Format, "operator and operands do not fit; validate the model first")
}
