//! Integer kernels. [`reference`] defines every result; the other paths must agree to the bit.

#![deny(clippy::float_arithmetic)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
pub(crate) mod blocked;
mod choice;
pub(crate) mod elementwise;
pub(crate) mod layout;
pub(crate) mod pool;
mod portable;
mod reference;
mod vectorized;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(test)]
mod tests;

pub use choice::Kernels;

use crate::error::{Error, ErrorKind, Result};
pub(crate) use crate::fixed::scale_wide;
use crate::fixed::{requantize, rescale, to_code};
use crate::format::{Multiplier, Rescale};
use crate::tensor::{Batch, Shape, Window};
use blocked::{Alone, Isa};
use std::sync::OnceLock;
pub(crate) use vectorized::Width;

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
    /// Group size if each group of weights, consecutive input channels under one tap, has values 0 and ± its scale.
    pub ternary: Option<usize>,
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
#[derive(Debug)]
pub(crate) struct ConvKernel {
    spec: ConvSpec,
    /// What becomes of the sums, unless they are logits.
    epilogue: Option<Epilogue>,
    path: Path,
}

#[derive(Debug)]
enum Path {
    Reference,
    Portable(portable::Prepared),
    /// Programs for images of the shape that came first.
    Blocked {
        isa: &'static Isa,
        sums: OnceLock<Box<Alone>>,
        codes: OnceLock<Box<Alone>>,
    },
}

impl ConvKernel {
    pub(crate) fn new(spec: ConvSpec, epilogue: Option<Epilogue>, kernels: Kernels) -> Self {
        let path = match (kernels, kernels.isa()) {
            (_, Some(isa)) => Path::Blocked { isa, sums: OnceLock::new(), codes: OnceLock::new() },
            (Kernels::Reference, None) => Path::Reference,
            (_, None) => Path::Portable(portable::Prepared::new(&spec)),
        };
        Self { spec, epilogue, path }
    }

    /// Bytes of weights in the order in which they are read; of a blocked path none before the first run.
    pub(crate) fn weights(&self) -> usize {
        match &self.path {
            Path::Reference => self.spec.weights.len(),
            Path::Portable(prepared) => prepared.bytes(),
            Path::Blocked { sums, codes, .. } => {
                [sums, codes].into_iter().filter_map(OnceLock::get).map(|alone| alone.weights()).sum()
            }
        }
    }

    /// The sums, bias included. All images ever given must have one shape.
    pub(crate) fn sums(&self, input: &Batch<u8>) -> Result<Batch<i32>> {
        let (spec, shape) = (&self.spec, self.spec.output_shape(input.shape)?);
        match &self.path {
            Path::Reference => Ok(reference::sums(spec, input, shape)),
            Path::Portable(prepared) => Ok(prepared.run(spec, input, shape, |_, _, sum| sum)),
            Path::Blocked { isa, sums, .. } => {
                let alone = sums.get_or_init(|| Box::new(Alone::sums(isa, spec, input.shape, shape)));
                same_shape(alone.input, input.shape)?;
                Ok(alone.run_sums(input))
            }
        }
    }

    /// The activation codes. All images ever given must have one shape.
    pub(crate) fn codes(&self, input: &Batch<u8>, residual: Option<&Batch<u8>>) -> Result<Batch<u8>> {
        let (spec, shape) = (&self.spec, self.spec.output_shape(input.shape)?);
        let Some(epilogue) = &self.epilogue else {
            return Err(Error::new(ErrorKind::Shape, "logits are no codes"));
        };
        if epilogue.residual.is_some() != residual.is_some() {
            return Err(Error::new(ErrorKind::Shape, "a residual is missing, or one too many"));
        }
        residual.map_or(Ok(()), |residual| same_shape(residual.shape, shape))?;
        match (&self.path, residual) {
            (Path::Reference, _) => Ok(reference::codes(spec, input, shape, residual, epilogue)),
            (Path::Portable(prepared), None) => {
                Ok(prepared.run(spec, input, shape, |_, channel, sum| epilogue.code(channel, sum, 0)))
            }
            (Path::Portable(prepared), Some(residual)) => {
                Ok(prepared.run(spec, input, shape, |position, channel, sum| {
                    epilogue.code(channel, sum, residual.data[position * shape.channels + channel])
                }))
            }
            (Path::Blocked { isa, codes, .. }, _) => {
                let alone =
                    codes.get_or_init(|| Box::new(Alone::codes(isa, spec, epilogue, input.shape, shape)));
                same_shape(alone.input, input.shape)?;
                Ok(alone.run_codes(input, residual))
            }
        }
    }
}

fn same_shape(expected: Shape, given: Shape) -> Result<()> {
    let error = || Error::new(ErrorKind::Shape, format!("{given} where {expected} is expected"));
    if expected == given { Ok(()) } else { Err(error()) }
}

/// Logits of sums: one common scale for all channels.
pub(crate) fn logits(sums: &Batch<i32>, factors: &[i32], shift: u8) -> Vec<i32> {
    let channels = factors.iter().cycle();
    sums.data.iter().zip(channels).map(|(&sum, &factor)| scale_wide(sum, factor, shift)).collect()
}
