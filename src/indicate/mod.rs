//! Indicators from calibration images: the damage that every precision of every layer does alone.

mod damage;
mod known;
#[cfg(feature = "train")]
mod learned;
mod options;
mod plannable;
mod size;
mod study;

pub use options::{Indicator, IndicatorOptions};
pub use study::{candidates, indicate};
