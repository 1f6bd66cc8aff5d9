//! A network that learns the classes of images in full precision.

use super::loss::{Criterion, LossTarget};
use super::network::Network;
use super::optimise::{Descent, Optimiser, Parameter};
use super::tape::{BatchValue, Tape};
use crate::error::Result;
use crate::graph::Graph;

/// Bytes of values that a step may keep.
const BUDGET: usize = 1 << 30;

/// A network with its optimiser.
pub(crate) struct Supervised {
    network: Network,
    optimiser: Optimiser,
}

impl Supervised {
    /// # Errors
    /// Whatever [`Graph::validate`] finds.
    pub(crate) fn new(graph: &Graph) -> Result<Self> {
        let optimiser = Optimiser::new(Descent::Sgd { momentum: 0.9 });
        Ok(Self { network: Network::of(graph)?, optimiser })
    }

    /// One change of all parameters by the mean cross entropy of some images, given in the order channel, row, column; the
    /// loss before.
    ///
    /// # Errors
    /// Values or gradients that are not finite.
    pub(crate) fn step(&mut self, images: BatchValue, classes: &[usize], rate: f32) -> Result<f64> {
        let mut tape = Tape::forward(&self.network, images, BUDGET)?;
        let criterion = Criterion::CrossEntropy { smoothing: 0.0 };
        let answers = tape.outputs().into_iter().zip(classes);
        let losses = answers.map(|(logits, &class)| criterion.of(logits, LossTarget::Class(class)));
        let (losses, mut seeds): (Vec<f64>, BatchValue) = losses.unzip();
        let share = 1.0 / classes.len() as f32;
        seeds.iter_mut().flatten().for_each(|seed| *seed *= share);
        let gradients = tape.backward(vec![(self.network.layers.len() - 1, seeds)])?;
        let mut parameters = Vec::new();
        for (layer, gradients) in self.network.layers.iter_mut().zip(&gradients) {
            for ((_, values), gradient) in layer.function.parameters_mut().into_iter().zip(gradients) {
                parameters.push(Parameter { values, gradient, units: &[1.0], rate: 1.0, decay: 0.0 });
            }
        }
        self.optimiser.step(&mut parameters, rate);
        Ok(losses.iter().sum::<f64>() / classes.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::arbitrary::{classifier, noise};

    #[test]
    fn steps_lower_the_loss() {
        let graph = classifier(4);
        let classes: Vec<usize> = (0..6).map(|image| image % 2).collect();
        let images: BatchValue = (0..6).map(|seed| noise(graph.input.len(), seed)).collect();
        let mut network = Supervised::new(&graph).unwrap();
        let losses: Vec<f64> =
            (0..30).map(|_| network.step(images.clone(), &classes, 0.02).unwrap()).collect();
        assert!(losses[29] < 0.7 * losses[0], "{losses:?}");
    }
}
