//! The full-precision network on the calibration images: one streaming pass.

use super::histogram::Histogram;
use super::spool::Spool;
use crate::data::normalise;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Preprocess;
use crate::graph::{Graph, Interpreter, NodeId};
use crate::index::Per;
use crate::progress::{Progress, advance};
use crate::tensor::Shape;
use crate::wide::sums;
use rayon::prelude::*;

/// Sums of each channel of a tensor over positions and images.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChannelStatistics {
    count: u64,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl ChannelStatistics {
    /// Of no value.
    pub(crate) fn none(channels: usize) -> Self {
        Self { count: 0, sums: vec![0.0; channels], squares: vec![0.0; channels] }
    }

    /// Of one image's values in the order channel, row, column.
    pub(crate) fn of(values: &[f32], shape: Shape) -> Self {
        let channels = values.chunks_exact(shape.positions());
        let sums = channels.map(|channel| {
            sums(channel.len(), |at| {
                let value = f64::from(channel[at]);
                [value, value * value]
            })
        });
        let (sums, squares) = sums.map(|[sum, square]| (sum, square)).unzip();
        Self { count: shape.positions() as u64, sums, squares }
    }

    /// Adds the sums of other values.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, more)| *sum += more);
        self.squares.iter_mut().zip(&other.squares).for_each(|(sum, more)| *sum += more);
    }

    /// Mean of a channel.
    pub(crate) fn mean(&self, channel: usize) -> f64 {
        self.sums[channel] / self.count as f64
    }

    /// Variance of a channel (of the sample, not an estimate of a population's).
    pub(crate) fn variance(&self, channel: usize) -> f64 {
        (self.squares[channel] / self.count as f64 - self.mean(channel).powi(2)).max(0.0)
    }
}

/// What was seen, by node of the graph.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observation {
    /// Distribution of the values of the nodes asked for.
    pub histograms: Per<NodeId, Option<Histogram>>,
    /// Channel statistics of the nodes asked for.
    pub channels: Per<NodeId, Option<ChannelStatistics>>,
}

/// Which nodes of a graph to look at.
#[derive(Debug)]
pub(crate) struct Observer<'a> {
    /// The network.
    pub graph: &'a Graph,
    /// How pixels become inputs.
    pub preprocess: &'a Preprocess,
    /// Nodes whose distribution is wanted.
    pub histograms: &'a [NodeId],
    /// Nodes whose channel statistics are wanted.
    pub channels: &'a [NodeId],
}

/// One worker's share: histograms of all its images, channel statistics of each, in order.
struct Share {
    histograms: Per<NodeId, Option<Histogram>>,
    channels: Vec<Per<NodeId, Option<ChannelStatistics>>>,
}

impl Observer<'_> {
    /// Runs the network on all images of `pixels`; memory does not grow with their number.
    ///
    /// # Errors
    /// An activation that is NaN or infinite, naming its node.
    pub(crate) fn run(&self, pixels: &Spool, progress: &dyn Progress) -> Result<Observation> {
        let interpreter = Interpreter::new(self.graph)?;
        progress.start("full precision", pixels.images());
        let mut total = Observation { histograms: self.empty_histograms(), channels: self.empty_channels() };
        for chunk in 0..pixels.chunks() {
            let batch = pixels.chunk(chunk)?;
            let share = (0..batch.images)
                .into_par_iter()
                .try_fold(
                    || Share { histograms: self.empty_histograms(), channels: Vec::new() },
                    |share, image| self.observe(&interpreter, share, batch.image(image)),
                )
                .try_reduce(|| Share { histograms: self.empty_histograms(), channels: Vec::new() }, join)?;
            total.add(&share);
            advance(progress, batch.images)?;
        }
        Ok(total)
    }

    fn observe(&self, interpreter: &Interpreter, mut share: Share, pixels: &[u8]) -> Result<Share> {
        let image = normalise(pixels, self.preprocess)?;
        let mut channels = self.empty_channels();
        let mut infinite = None;
        let values =
            image.as_slice().ok_or_else(|| Error::new(ErrorKind::Shape, "image in no standard order"))?;
        interpreter.observe(values, |node, values| {
            if let Some(histogram) = share.histograms[node].as_mut()
                && !histogram.extend(values)
            {
                infinite.get_or_insert(node);
            }
            if self.channels.contains(&node) {
                channels[node] = Some(ChannelStatistics::of(values, interpreter.shapes()[node]));
            }
        })?;
        share.channels.push(channels);
        match infinite {
            None => Ok(share),
            Some(node) => Err(Error::new(
                ErrorKind::NonFinite,
                "an activation is NaN or infinite on a calibration image; check weights and preprocessing",
            )
            .at_node(&self.graph.nodes[node].name)),
        }
    }

    fn empty_histograms(&self) -> Per<NodeId, Option<Histogram>> {
        let mut all = Per::filled(None, self.graph.nodes.len());
        self.histograms.iter().for_each(|&node| all[node] = Some(Histogram::default()));
        all
    }

    fn empty_channels(&self) -> Per<NodeId, Option<ChannelStatistics>> {
        Per::filled(None, self.graph.nodes.len())
    }
}

fn join(mut left: Share, right: Share) -> Result<Share> {
    merge_histograms(&mut left.histograms, &right.histograms);
    left.channels.extend(right.channels);
    Ok(left)
}

fn merge_histograms(into: &mut Per<NodeId, Option<Histogram>>, from: &Per<NodeId, Option<Histogram>>) {
    for (into, from) in into.iter_mut().zip(from) {
        if let (Some(into), Some(from)) = (into.as_mut(), from) {
            into.merge(from);
        }
    }
}

impl Observation {
    /// Sums of floats are added image by image, so that threads cannot change their rounding.
    fn add(&mut self, share: &Share) {
        merge_histograms(&mut self.histograms, &share.histograms);
        for image in &share.channels {
            for (total, one) in self.channels.iter_mut().zip(image) {
                match (total.as_mut(), one) {
                    (Some(total), Some(one)) => total.merge(one),
                    (None, Some(one)) => *total = Some(one.clone()),
                    _ => {}
                }
            }
        }
    }
}
