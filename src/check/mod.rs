//! What a conversion would do, as far as that can be known without images.

mod forecast;
mod stand_in;
#[cfg(test)]
mod tests;

pub use forecast::{Forecast, check};
