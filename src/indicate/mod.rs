//! Indicators from calibration images: the damage that every precision of every layer does alone.

mod damage;
mod size;
mod study;

pub use study::{Indicator, IndicatorOptions, indicate};
