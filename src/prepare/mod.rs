//! What every use of calibration images starts from: first all that needs no image, checked; then pixels and observation.

mod draft;
mod pixels;
mod share;

pub(crate) use draft::{Calibration, Draft, Full, Prepared};
pub(crate) use share::HeldBack;
