//! Calibration: what activations look like on sample images.

mod answers;
mod features;
mod histogram;
mod observe;
mod parts;
mod range;
mod reading;
mod spool;
mod spread;

pub(crate) use answers::logits_of;
pub use features::feature_preprocess;
pub(crate) use histogram::Histogram;
pub(crate) use observe::{ChannelStatistics, Observation, Observer};
pub(crate) use parts::Parts;
pub use range::{ActivationRule, RangeMethod};
pub(crate) use range::{quantizer_for, rounded};
pub(crate) use reading::{WIDTHS, reading_errors};
pub(crate) use spool::{CHUNK, RealSpool, Spool};
pub use spread::ActivationSpread;
