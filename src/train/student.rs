//! What a course can train.

use super::checkpoint::LearnedTensors;
use super::network::Network;
use super::simulate::Learned;
use super::tape::Gradients;
use crate::error::Result;

/// A network that is made from parameters.
pub(super) trait Student {
    /// As it was last made.
    fn network(&self) -> &Network;

    /// What it is told besides the course.
    fn rules(&self) -> String;

    /// Makes the network from the parameters as they are at `progress`, from 0 to 1, of the course.
    fn refresh(&mut self, progress: f64);

    /// Everything that a checkpoint must hold.
    fn tensors(&self) -> LearnedTensors;

    /// Takes what [`Student::tensors`] once gave, and makes the network.
    ///
    /// # Errors
    /// Tensors of another network.
    fn set(&mut self, tensors: &[Vec<f32>]) -> Result<()>;

    /// Everything that is learned, with the gradients of a loss of the network's logits.
    fn learned(&mut self, gradients: Gradients) -> Vec<Learned<'_>>;
}
