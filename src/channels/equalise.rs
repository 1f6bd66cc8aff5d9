//! One range for every channel of a tensor, without changing what a network computes.
//!
//! A convolution's output channel may be divided by a factor if the weights that read it are multiplied by it: rectified
//! values pass it on (Nagel et al., arXiv 1906.04721, section 4.1). Dividing by each channel's standard deviation gives
//! every channel the range that it needs while the tensor keeps one scale; requantization and weights take the factors up.

use super::axes::{Change, ChannelAxis, axes};
use crate::calibrate::{CHUNK, Observer, Spool};
use crate::error::Result;
use crate::format::Preprocess;
use crate::graph::{Graph, NodeId, Op};
use ndarray::Axis;

#[cfg(test)]
mod tests;

/// Images from which deviations are found.
const IMAGES: usize = 64;
/// Largest factor between a channel and the middle one.
const LARGEST_FACTOR: f64 = 6.0;
/// Channels below this share of the largest deviation count as dead.
const DEAD: f64 = 1e-3;

/// The same function with channels whose values differ less in size. Only channels change that one of the convolutions
/// `for_readers` reads, between convolutions that are not grouped, where nothing but rectifiers, pools, sums and
/// concatenations lies between.
///
/// # Errors
/// Images that are no inputs of the network; a temporary file that cannot be read.
pub(crate) fn equalise(
    mut graph: Graph,
    preprocess: &Preprocess,
    pixels: &Spool,
    for_readers: &[NodeId],
) -> Result<Graph> {
    let mut axes = axes(&graph, Change::Scale)?;
    axes.retain(|axis| axis.readers.iter().any(|reader| for_readers.contains(&reader.node)));
    if axes.is_empty() {
        return Ok(graph);
    }
    let deviations = deviations(&graph, preprocess, pixels, &axes)?;
    for (axis, deviations) in axes.iter().zip(&deviations) {
        axis.divide(&mut graph, &factors(deviations));
    }
    Ok(graph)
}

/// The standard deviation of every channel of every axis, where the first convolution reads it.
fn deviations(
    graph: &Graph,
    preprocess: &Preprocess,
    pixels: &Spool,
    axes: &[ChannelAxis],
) -> Result<Vec<Vec<f64>>> {
    let read: Vec<NodeId> = axes.iter().map(|axis| graph.nodes[axis.readers[0].node].inputs[0]).collect();
    let mut some = Spool::new(graph.input, IMAGES)?;
    pixels.spread(IMAGES)?.chunks(CHUNK).try_for_each(|chunk| some.push(&chunk.concat()))?;
    let observer = Observer { graph, preprocess, histograms: &[], channels: &read };
    let seen = observer.run(&some, &())?.channels;
    let of_axis = |(axis, &node): (&ChannelAxis, &NodeId)| {
        let first = axis.readers[0].first;
        let deviation = |channel| seen[node].as_ref().map_or(0.0, |seen| seen.variance(channel).sqrt());
        (first..first + axis.channels).map(deviation).collect()
    };
    Ok(axes.iter().zip(&read).map(of_axis).collect())
}

/// What channels are divided by: their deviation relative to the geometric mean of those that live.
fn factors(deviations: &[f64]) -> Vec<f64> {
    let largest = deviations.iter().copied().fold(0.0, f64::max);
    let log =
        |&deviation: &f64| (deviation > DEAD * largest && deviation.is_finite()).then(|| deviation.ln());
    let logs: Vec<Option<f64>> = deviations.iter().map(log).collect();
    let live = logs.iter().flatten().count().max(1);
    let mean = logs.iter().flatten().sum::<f64>() / live as f64;
    let limit = LARGEST_FACTOR.ln();
    logs.iter().map(|log| log.map_or(1.0, |log| (log - mean).clamp(-limit, limit).exp())).collect()
}

impl ChannelAxis {
    fn divide(&self, graph: &mut Graph, factors: &[f64]) {
        for &maker in &self.makers {
            let Op::Conv(conv) = &mut graph.nodes[maker].op else { continue };
            for values in [&mut conv.gain, &mut conv.bias] {
                values.iter_mut().zip(factors).for_each(|(value, factor)| *value /= *factor as f32);
            }
        }
        for reader in &self.readers {
            let Op::Conv(conv) = &mut graph.nodes[reader.node].op else { continue };
            for (channel, factor) in factors.iter().enumerate() {
                let mut weights = conv.weight.index_axis_mut(Axis(1), reader.first + channel);
                weights.mapv_inplace(|weight| weight * *factor as f32);
            }
        }
    }
}
