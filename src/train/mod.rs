//! Training: gradients of networks, quantizers with gradients straight through them, refinement of converted networks.

mod augment;
mod backward;
mod blocks;
mod checkpoint;
mod course;
mod examples;
mod held_back;
mod importance;
mod learn;
mod loss;
mod memory;
mod mixed;
mod network;
mod optimise;
mod parameters;
mod quantizers;
mod reconstruct;
mod refine;
mod simulate;
mod student;
mod switched;
mod tape;
mod training;

pub use checkpoint::Epoch;
pub use course::{Course, Imitation, Reconstruction};
pub(crate) use importance::learn_importance;
pub use learn::LearnedEpoch;
pub(crate) use learn::{LearnedGraph, learn_precision};
pub use memory::{MemoryBudgets, MemoryUse};
pub(crate) use mixed::{PrecisionRules, free_makers};
pub use optimise::{Descent, RateSchedule};
pub use quantizers::Parametrization;
pub use reconstruct::BlockError;
pub(crate) use refine::{Refinement, refine};
pub(crate) use switched::CandidateBits;
pub(crate) use training::{Lesson, Tutoring};
