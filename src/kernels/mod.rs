//! Integer kernels. [`reference`] defines every result; the other paths must agree to the bit.

#![deny(clippy::float_arithmetic)]

pub(crate) mod elementwise;
pub(crate) mod layout;
pub(crate) mod pool;
mod portable;
mod reference;

#[cfg(test)]
mod tests;

use crate::error::{Error, ErrorKind, Result};
use crate::fixed::{requantize, rescale, scale_wide, to_code};
use crate::format::{Multiplier, Rescale};
use crate::tensor::{Batch, Shape, Window};

/// Which implementation of the convolutions runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kernels {
    /// The definition: one multiplication at a time, slow.
    Reference,
    /// Safe, portable Rust arranged for the compiler's vectorizer.
    #[default]
    Portable,
}

impl Kernels {
    /// The kernels named by the environment variable `FGQ_KERNELS`, or the fastest for this machine.
    ///
    /// # Errors
    /// An unknown name.
    pub fn from_env() -> Result<Self> {
        match std::env::var("FGQ_KERNELS") {
            Ok(name) => Self::by_name(&name),
            Err(_) => Ok(Self::default()),
        }
    }

    fn by_name(name: &str) -> Result<Self> {
        match name {
            "reference" => Ok(Self::Reference),
            "portable" | "" => Ok(Self::Portable),
            _ => Err(Error::new(
                ErrorKind::Argument,
                format!("FGQ_KERNELS={name}: unknown kernels; known are: reference, portable"),
            )),
        }
    }

    /// The name by which `FGQ_KERNELS` selects these kernels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Portable => "portable",
        }
    }
}

/// A convolution with weights expanded to `i8`.
#[derive(Debug, Clone)]
pub(crate) struct ConvSpec {
    /// Output channels.
    pub outputs: usize,
    /// Input channels of each channel group.
    pub group_inputs: usize,
    /// Number of channel groups.
    pub groups: usize,
    /// Kernel, stride, dilation, padding.
    pub window: Window,
    /// Output channel, kernel row, kernel column, input channel.
    pub weights: Vec<i8>,
    /// Added to the sum, per output channel.
    pub bias: Vec<i32>,
    /// Zero point of each input channel; padding has this code.
    pub zero_points: Vec<u8>,
}

impl ConvSpec {
    /// Number of weights of one output channel.
    pub fn channel_len(&self) -> usize {
        self.window.area() * self.group_inputs
    }

    fn group_outputs(&self) -> usize {
        self.outputs / self.groups
    }

    fn output_shape(&self, input: Shape) -> Result<Shape> {
        let [height, width] = self.window.output(input.height, input.width)?;
        Ok(Shape::new(self.outputs, height, width))
    }
}

/// What becomes of a sum that is stored as an activation code.
#[derive(Debug, Clone)]
pub(crate) struct Epilogue {
    /// Per output channel.
    pub multipliers: Vec<Multiplier>,
    /// Rescaling of the residual and its zero point.
    pub residual: Option<(Rescale, u8)>,
    /// Fraction bits before the zero point is added.
    pub fraction: u8,
    /// Zero point of the output.
    pub zero_point: u8,
    /// Smallest and largest code stored.
    pub clamp: [u8; 2],
}

impl Epilogue {
    /// The code of one sum; `residual` is ignored where there is none.
    #[inline]
    fn code(&self, channel: usize, sum: i32, residual: u8) -> u8 {
        let Multiplier { shift, value } = self.multipliers[channel];
        let mut result = requantize(sum, shift, value);
        if let Some((scale, zero_point)) = self.residual {
            result = result.saturating_add(rescale(residual, zero_point, scale.shift, scale.value));
        }
        to_code(result, offset(self.zero_point, self.fraction), self.fraction, self.clamp[0], self.clamp[1])
    }
}

/// Zero point and rounding half in units of `2^−fraction` codes.
#[inline]
pub(crate) fn offset(zero_point: u8, fraction: u8) -> i16 {
    (i16::from(zero_point) << fraction) + ((1i16 << fraction) >> 1)
}

/// A convolution prepared for one implementation.
#[derive(Debug, Clone)]
pub(crate) struct ConvKernel {
    spec: ConvSpec,
    portable: Option<portable::Prepared>,
}

impl ConvKernel {
    pub(crate) fn new(spec: ConvSpec, kernels: Kernels) -> Self {
        let portable = (kernels == Kernels::Portable).then(|| portable::Prepared::new(&spec));
        Self { spec, portable }
    }

    /// The sums, bias included.
    pub(crate) fn sums(&self, input: &Batch<u8>) -> Result<Batch<i32>> {
        let shape = self.spec.output_shape(input.shape)?;
        Ok(match &self.portable {
            Some(prepared) => prepared.run(&self.spec, input, shape, |_, _, sum| sum),
            None => reference::sums(&self.spec, input, shape),
        })
    }

    /// The activation codes.
    pub(crate) fn codes(
        &self,
        input: &Batch<u8>,
        residual: Option<&Batch<u8>>,
        epilogue: &Epilogue,
    ) -> Result<Batch<u8>> {
        let shape = self.spec.output_shape(input.shape)?;
        Ok(match (&self.portable, residual) {
            (Some(prepared), None) => {
                prepared.run(&self.spec, input, shape, |_, channel, sum| epilogue.code(channel, sum, 0))
            }
            (Some(prepared), Some(residual)) => {
                prepared.run(&self.spec, input, shape, |position, channel, sum| {
                    epilogue.code(channel, sum, residual.data[position * shape.channels + channel])
                })
            }
            (None, _) => reference::codes(&self.spec, input, shape, residual, epilogue),
        })
    }
}

/// Logits of sums: one common scale for all channels.
pub(crate) fn logits(sums: &Batch<i32>, factors: &[i32], shift: u8) -> Vec<i32> {
    let channels = factors.iter().cycle();
    sums.data.iter().zip(channels).map(|(&sum, &factor)| scale_wide(sum, factor, shift)).collect()
}
