//! Training: gradients of networks, quantizers with gradients straight through them, refinement of converted networks.

mod augment;
mod backward;
mod blocks;
mod checkpoint;
mod course;
mod examples;
mod held_back;
mod loss;
mod network;
mod optimise;
mod parameters;
mod quantizers;
mod reconstruct;
mod refine;
mod simulate;
mod tape;

pub use checkpoint::Epoch;
pub use course::{Course, Imitation, Reconstruction};
pub use optimise::{Descent, RateSchedule};
pub use reconstruct::BlockError;
pub(crate) use refine::{Lesson, Refinement, refine};
