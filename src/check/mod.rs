//! What a conversion would do, as far as that can be known without images.

mod estimate;
mod forecast;
mod stand_in;
#[cfg(test)]
mod tests;

pub use estimate::Estimate;
pub use forecast::{Forecast, check};
