//! One convolution, prepared for the kernels that run.

use super::blocked::{Alone, Isa};
use super::{ConvSpec, Epilogue, Kernels, portable, reference};
use crate::error::{Error, ErrorKind, Result};
use crate::fixed::scale_wide;
use crate::tensor::{Batch, Shape};
use std::sync::OnceLock;

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
    Portable(portable::PreparedWeights),
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
            (_, Some(isa)) => return Self::with_tiles(spec, epilogue, isa),
            (Kernels::Reference, None) => Path::Reference,
            (_, None) => Path::Portable(portable::PreparedWeights::new(&spec)),
        };
        Self { spec, epilogue, path }
    }

    /// A convolution prepared for the tiles of an instruction set.
    pub(super) fn with_tiles(spec: ConvSpec, epilogue: Option<Epilogue>, isa: &'static Isa) -> Self {
        let path = Path::Blocked { isa, sums: OnceLock::new(), codes: OnceLock::new() };
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
