//! Training: gradients of networks, quantizers with gradients straight through them, refinement of converted networks.

mod augment;
mod backward;
mod blocks;
mod course;
mod examples;
mod loss;
mod network;
mod optimise;
mod parameters;
mod quantizers;
mod reconstruct;
mod refine;
mod simulate;
mod tape;

pub use course::{Course, Imitation, Reconstruction};
pub use optimise::{Descent, RateSchedule};
pub use reconstruct::BlockError;
pub use refine::Epoch;
pub(crate) use refine::{Refinement, refine};
