//! What a conversion would do, as far as that can be known without images.

mod effort;
mod forecast;
mod stand_in;
#[cfg(test)]
mod tests;

pub use effort::Effort;
pub use forecast::{Forecast, check};
