//! What becomes of the logits when one convolution of the full-precision network is changed.

use crate::calibrate::{ChannelStatistics, Spool, rounded};
use crate::data::normalise;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Preprocess, Quantizer};
use crate::graph::{Graph, NodeId, Op, evaluate};
use crate::index::Per;
use crate::judge::divergence;
use crate::liveness::last_readers;
use crate::tensor::Shape;
use rayon::prelude::*;
use std::rc::Rc;

/// Logits are divided by this before they become class probabilities: at 1 the few images between two classes decide
/// alone (Hinton et al., arXiv 1503.02531, section 2, whose factor T² keeps the unit).
pub(super) const TEMPERATURE: f64 = 4.0;

/// Values of one image by node, while something needs them.
type Values = Per<NodeId, Option<Rc<Vec<f32>>>>;

/// A change of one convolution.
#[derive(Debug, Clone, Copy)]
pub(super) enum Perturbation<'a> {
    /// Another convolution in its place.
    Weights(&'a Op),
    /// Its input rounded to the codes of a quantizer.
    Input(Quantizer),
    /// Every output moved up or down at random by this share of its channel's standard deviation.
    Noise(f64),
}

/// Full precision on some images.
#[derive(Debug)]
pub(super) struct Damage<'a> {
    graph: &'a Graph,
    shapes: Per<NodeId, Shape>,
    /// The last node that reads each node's value.
    last_reader: Per<NodeId, NodeId>,
    images: Vec<Vec<f32>>,
    /// Full precision's softened logits of every image.
    logits: Vec<Vec<f64>>,
}

impl<'a> Damage<'a> {
    /// Runs full precision on at most `count` images of `pixels`, spread evenly.
    pub fn new(graph: &'a Graph, preprocess: &Preprocess, pixels: &Spool, count: usize) -> Result<Self> {
        let normalised = |pixels: Vec<u8>| Ok(normalise(&pixels, preprocess)?.into_raw_vec_and_offset().0);
        let images = pixels.spread(count)?.into_iter().map(normalised).collect::<Result<_>>()?;
        let mut last_reader = last_readers(graph.nodes.iter().map(|node| node.inputs.as_slice()));
        last_reader[graph.output] = NodeId::from_index(graph.nodes.len());
        let mut damage = Self { graph, shapes: graph.shapes()?, last_reader, images, logits: Vec::new() };
        damage.logits = (0..damage.images.len())
            .into_par_iter()
            .map(|image| damage.logits_after(damage.start(image), NodeId::INPUT))
            .collect::<Result<_>>()?;
        Ok(damage)
    }

    /// Mean divergence of the softened class probabilities from full precision's, in nats, for each change of convolution `node`.
    pub fn of(
        &self,
        node: NodeId,
        statistics: &ChannelStatistics,
        changes: &[Perturbation],
    ) -> Result<Vec<f64>> {
        let image = |image: usize| -> Result<Vec<f64>> {
            let values = self.before(image, node)?;
            let divergence = |change: &Perturbation| {
                let mut values = values.clone();
                values[node] = Some(Rc::new(self.changed(node, &values, statistics, *change, image)?));
                let softened = divergence(&self.logits[image], &self.logits_after(values, node)?);
                Ok(softened.max(0.0) * TEMPERATURE.powi(2))
            };
            changes.iter().map(divergence).collect()
        };
        self.mean(changes.len(), image)
    }

    /// Mean squared distance of the outputs of each change from full precision's, relative to their variance.
    pub fn output_errors(
        &self,
        node: NodeId,
        statistics: &ChannelStatistics,
        changes: &[Perturbation],
    ) -> Result<Vec<f64>> {
        let channels = self.shapes[node].channels;
        let variance: f64 = (0..channels).map(|channel| statistics.variance(channel)).sum();
        let image = |image: usize| -> Result<Vec<f64>> {
            let values = self.before(image, node)?;
            let wanted = self.value(node, &values)?;
            let error = |change: &Perturbation| {
                let found = self.changed(node, &values, statistics, *change, image)?;
                let squares: f64 =
                    wanted.iter().zip(&found).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
                Ok(squares / (self.shapes[node].positions() as f64 * variance.max(f64::MIN_POSITIVE)))
            };
            changes.iter().map(error).collect()
        };
        self.mean(changes.len(), image)
    }

    /// Mean of figures over the images, summed in their order.
    fn mean(&self, figures: usize, of: impl Fn(usize) -> Result<Vec<f64>> + Sync + Send) -> Result<Vec<f64>> {
        let images: Result<Vec<Vec<f64>>> = (0..self.images.len()).into_par_iter().map(of).collect();
        let mut sums = vec![0.0; figures];
        for image in images? {
            sums.iter_mut().zip(image).for_each(|(sum, figure)| *sum += figure);
        }
        Ok(sums.into_iter().map(|sum| sum / self.images.len().max(1) as f64).collect())
    }

    /// The values before any node is computed.
    fn start(&self, image: usize) -> Values {
        let mut values = Values::filled(None, self.graph.nodes.len());
        values[NodeId::INPUT] = Some(Rc::new(self.images[image].clone()));
        values
    }

    /// The values that nodes from `node` on read.
    fn before(&self, image: usize, node: NodeId) -> Result<Values> {
        let mut values = self.start(image);
        self.advance(&mut values, self.graph.nodes.ids_after(NodeId::INPUT).take_while(|&id| id < node))?;
        Ok(values)
    }

    /// The softened logits, where the values up to `node` are known.
    fn logits_after(&self, mut values: Values, node: NodeId) -> Result<Vec<f64>> {
        self.advance(&mut values, self.graph.nodes.ids_between(node, self.graph.output))?;
        let logits = values[self.graph.output].as_ref().ok_or_else(freed)?;
        Ok(logits.iter().map(|&logit| f64::from(logit) / TEMPERATURE).collect())
    }

    fn advance(&self, values: &mut Values, nodes: impl Iterator<Item = NodeId>) -> Result<()> {
        for id in nodes {
            values[id] = Some(Rc::new(self.value(id, values)?));
            for &input in &self.graph.nodes[id].inputs {
                if self.last_reader[input] <= id {
                    values[input] = None;
                }
            }
        }
        Ok(())
    }

    fn value(&self, id: NodeId, values: &Values) -> Result<Vec<f32>> {
        self.evaluate(&self.graph.nodes[id].op, id, values)
    }

    fn evaluate(&self, op: &Op, id: NodeId, values: &Values) -> Result<Vec<f32>> {
        let mut operands = Vec::with_capacity(2);
        for &input in &self.graph.nodes[id].inputs {
            operands.push((values[input].as_ref().ok_or_else(freed)?.as_slice(), self.shapes[input]));
        }
        evaluate(op, &operands, self.shapes[id])
    }

    fn changed(
        &self,
        node: NodeId,
        values: &Values,
        statistics: &ChannelStatistics,
        change: Perturbation,
        image: usize,
    ) -> Result<Vec<f32>> {
        match change {
            Perturbation::Weights(op) => self.evaluate(op, node, values),
            Perturbation::Input(quantizer) => {
                let input = self.graph.nodes[node].inputs[0];
                let exact = values[input].as_ref().ok_or_else(freed)?;
                let nearest = rounded(exact, &quantizer);
                evaluate(&self.graph.nodes[node].op, &[(&nearest, self.shapes[input])], self.shapes[node])
            }
            Perturbation::Noise(share) => {
                let mut output = self.value(node, values)?;
                let mut state = (node.index() as u64) << 32 | image as u64;
                for (channel, values) in output.chunks_exact_mut(self.shapes[node].positions()).enumerate() {
                    let step = (share * statistics.variance(channel).sqrt()) as f32;
                    values.iter_mut().for_each(|value| *value += if coin(&mut state) { step } else { -step });
                }
                Ok(output)
            }
        }
    }
}

/// A pseudo-random bit.
fn coin(state: &mut u64) -> bool {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 63 == 1
}

fn freed() -> Error {
    Error::new(ErrorKind::Shape, "full-precision values were freed too early")
}
