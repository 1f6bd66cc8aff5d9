//! Training: gradients of networks, quantizers with gradients straight through them, refinement of converted networks.

mod augment;
mod backward;
mod course;
mod examples;
mod learn;
mod loss;
mod memory;
mod mixed;
mod network;
mod optimise;
mod parameters;
mod quantizers;
mod refine;
mod simulate;
mod student;
mod tape;

pub use course::{Course, Imitation};
pub use learn::LearnedEpoch;
pub(crate) use learn::{LearnedGraph, learn_precision};
pub use memory::{MemoryBudgets, MemoryUse};
pub(crate) use mixed::{PrecisionRules, free_makers};
pub use optimise::{Descent, RateSchedule};
pub use quantizers::Parametrization;
pub use refine::Epoch;
pub(crate) use refine::{Lesson, Refinement, refine};
