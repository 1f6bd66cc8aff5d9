//! What a course can train.

use super::checkpoint::LearnedTensors;
use super::network::Network;
use super::simulate::{Learned, Simulation};
use super::tape::Gradients;
use crate::error::Result;

/// A network that is made from parameters.
pub(super) trait Student {
    /// As it was last made.
    fn network(&self) -> &Network;

    /// Makes the network from the parameters as they are at `progress`, from 0 to 1, of the course.
    fn refresh(&mut self, progress: f64);

    /// Everything that a checkpoint must hold.
    fn tensors(&self) -> LearnedTensors;

    /// Takes what [`Student::tensors`] once gave, and makes the network.
    ///
    /// # Errors
    /// Tensors of another network.
    fn set(&mut self, tensors: &LearnedTensors) -> Result<()>;

    /// Everything that is learned, with the gradients of a loss of the network's logits.
    fn learned(&mut self, gradients: Gradients) -> Vec<Learned<'_>>;
}

impl Student for Simulation {
    fn network(&self) -> &Network {
        &self.network
    }

    fn refresh(&mut self, _: f64) {
        self.refresh([0, self.network.layers.len() - 1]);
    }

    fn tensors(&self) -> LearnedTensors {
        self.tensors()
    }

    fn set(&mut self, tensors: &LearnedTensors) -> Result<()> {
        self.set(tensors)
    }

    fn learned(&mut self, gradients: Gradients) -> Vec<Learned<'_>> {
        self.learned(gradients)
    }
}
