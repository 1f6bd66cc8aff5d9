//! What a course can train.

use super::network::Network;
use super::simulate::{Learned, Simulation};
use super::tape::Gradients;

/// A network that is made from parameters.
pub(super) trait Student {
    /// As it was last made.
    fn network(&self) -> &Network;

    /// Makes the network from the parameters as they are at `progress`, from 0 to 1, of the course.
    fn refresh(&mut self, progress: f64);

    /// Everything that is learned, with the gradients of a loss of the network's logits.
    fn learned(&mut self, gradients: Gradients) -> Vec<Learned<'_>>;
}

impl Student for Simulation {
    fn network(&self) -> &Network {
        &self.network
    }

    fn refresh(&mut self, _: f64) {
        self.refresh();
    }

    fn learned(&mut self, gradients: Gradients) -> Vec<Learned<'_>> {
        self.learned(gradients)
    }
}
