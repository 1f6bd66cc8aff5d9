//! Training: gradients of networks, quantizers with gradients straight through them, refinement of converted networks.

mod augment;
mod backward;
mod course;
mod examples;
mod importance;
mod loss;
mod network;
mod optimise;
mod parameters;
mod quantizers;
mod refine;
mod simulate;
mod switched;
mod tape;

pub use course::{Course, Imitation};
pub(crate) use importance::learn_importance;
pub use optimise::{Descent, RateSchedule};
pub use refine::Epoch;
pub(crate) use refine::{Refinement, refine};
pub(crate) use switched::CandidateBits;
