//! The packed model: the waist between converter and runtime, its file reader and writer.
//!
//! `docs/format.md` specifies the file byte by byte.

#[cfg(test)]
pub(crate) mod arbitrary;
mod fidelity;
mod map;
mod model;
mod preprocess;
mod provenance;
mod read;
mod record;
mod unique;
mod validate;
mod weights;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use fidelity::MAX_DECIBELS;
pub use fidelity::{Fidelity, LayerFidelity};
pub use model::{
    Multiplier, PackedConv, PackedModel, PackedNode, PackedOp, PackedSlice, PackedWeights, Quantizer,
    Rescale, Store,
};
pub use preprocess::*;
pub use provenance::{PlanRecord, Provenance};
pub use read::read_model;
pub(crate) use weights::{MAX_INT4_CODE, MAX_INT4_SCALE, pack_codes, pack_int4};
pub(crate) use write::replace_file;
pub use write::{Written, write_model};

/// The newest format version; this library reads all up to it and writes the least that can express a model.
const VERSION: u32 = 2;
/// The tensor with the figures of fidelity; the names of all others contain a dot.
const FIDELITY_TENSOR: &str = "fidelity";
/// The one key of the file's metadata.
const METADATA_KEY: &str = "fgq";
