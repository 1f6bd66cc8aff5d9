//! The packed model: the waist between converter and runtime, its file reader and writer.
//!
//! `docs/format.md` specifies the file byte by byte.

#[cfg(test)]
pub(crate) mod arbitrary;
mod bytes;
mod checksum;
mod codes;
mod container;
mod crc;
mod fidelity;
#[cfg(feature = "convert")]
mod hash;
mod model;
mod old;
mod preprocess;
mod provenance;
mod read;
mod record;
mod switching;
mod unique;
mod validate;
mod weights;
#[cfg(feature = "convert")]
mod write;

#[cfg(test)]
#[cfg(feature = "convert")]
mod tests;

pub use bytes::Bytes;
pub(crate) use fidelity::MAX_DECIBELS;
pub use fidelity::{Fidelity, LayerFidelity};
#[cfg(feature = "train")]
pub(crate) use hash::hex;
pub use model::{
    Multiplier, PackedConv, PackedId, PackedModel, PackedNode, PackedNorm, PackedOp, PackedSlice,
    PackedWeights, Quantizer, Rescale, Store,
};
pub use preprocess::*;
pub use provenance::{PlanRecord, Provenance};
pub use read::{is_packed_model, read_model};
pub(crate) use switching::Wiring;
#[cfg(feature = "convert")]
pub(crate) use switching::switching_before;
pub use switching::{AffineChange, PairShifts, Setting, SwitchedCopy, SwitchedLayer, Switching};
#[cfg(feature = "convert")]
pub use write::{Written, write_model};

/// The newest format version; all up to it are read.
const VERSION: u32 = 4;
/// The version of models that do not switch; the first with a checksum, and with weights stated in general.
const PLAIN_VERSION: u32 = 3;
/// The tensor with the figures of fidelity; the names of all others contain a dot.
const FIDELITY_TENSOR: &str = "fidelity";
/// The one key of the file's metadata.
const METADATA_KEY: &str = "fgq";
