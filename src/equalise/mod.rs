//! Moves scale between channels, and channels between groups, without changing what a network computes.
//!
//! A convolution's output channel may be divided by a factor if the weights that read it are multiplied by it, and
//! channels may change places if their readers follow: rectified values pass both on (Nagel et al., arXiv 1906.04721,
//! section 4.1). Weights that share a scale with others of similar size lose less when they become ternary.

mod axes;

use crate::calibrate::{ChannelStatistics, Spool};
use crate::data::normalise;
use crate::error::Result;
use crate::format::Preprocess;
use crate::graph::{Graph, Interpreter, NodeId, Op};
use axes::{Axis, axes};
use ndarray::Axis as Dimension;
use rayon::prelude::*;

#[cfg(test)]
mod tests;

/// Images from which deviations are found.
const IMAGES: usize = 64;
/// Largest factor between a channel and the middle one.
const LARGEST_FACTOR: f64 = 6.0;
/// Channels below this share of the largest deviation count as dead.
const DEAD: f64 = 1e-3;

/// The same function with channels whose values and weights differ less in size, ordered by the size of the weights that
/// read them. Only channels between convolutions that are not grouped change, where nothing but rectifiers, pools, sums and
/// concatenations lies between.
///
/// # Errors
/// Images that are no inputs of the network; a temporary file that cannot be read.
pub(crate) fn equalise(mut graph: Graph, preprocess: &Preprocess, pixels: &Spool) -> Result<Graph> {
    let axes = axes(&graph)?;
    let deviations = deviations(&graph, preprocess, pixels, &axes)?;
    for (axis, deviations) in axes.iter().zip(&deviations) {
        let factors = factors(deviations, &axis.weight_sizes(&graph));
        axis.divide(&mut graph, &factors);
        let sizes = axis.weight_sizes(&graph);
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by(|&a, &b| sizes[b].total_cmp(&sizes[a]).then(a.cmp(&b)));
        axis.reorder(&mut graph, &order);
    }
    Ok(graph)
}

/// The standard deviation of every channel of every axis, where the first convolution reads it.
fn deviations(
    graph: &Graph,
    preprocess: &Preprocess,
    pixels: &Spool,
    axes: &[Axis],
) -> Result<Vec<Vec<f64>>> {
    let interpreter = Interpreter::new(graph)?;
    let read: Vec<NodeId> = axes.iter().map(|axis| graph.nodes[axis.readers[0].conv].inputs[0]).collect();
    let of_image = |pixels: &Vec<u8>| -> Result<Vec<Option<ChannelStatistics>>> {
        let image: Vec<f32> = normalise(pixels, preprocess)?.iter().copied().collect();
        let mut found = vec![None; axes.len()];
        interpreter.observe(&image, |node, values| {
            for (found, _) in found.iter_mut().zip(&read).filter(|(_, read)| **read == node) {
                *found = Some(ChannelStatistics::of(values, interpreter.shapes()[node]));
            }
        })?;
        Ok(found)
    };
    let images: Vec<_> = pixels.spread(IMAGES)?.par_iter().map(of_image).collect::<Result<_>>()?;
    let of_axis = |(index, axis): (usize, &Axis)| {
        let mut total = ChannelStatistics::none(interpreter.shapes()[read[index]].channels);
        images.iter().filter_map(|image| image[index].as_ref()).for_each(|one| total.merge(one));
        let first = axis.readers[0].first_input;
        (first..first + axis.channels).map(|channel| total.variance(channel).sqrt()).collect()
    };
    Ok(axes.iter().enumerate().map(of_axis).collect())
}

/// What channels are divided by: the square root of deviation over weight size, relative to their geometric mean.
fn factors(deviations: &[f64], weights: &[f64]) -> Vec<f64> {
    let largest = deviations.iter().copied().fold(0.0, f64::max);
    let is_live = |deviation: f64, weight: f64| deviation > DEAD * largest && weight > 0.0;
    let ratio = |(&deviation, &weight): (&f64, &f64)| {
        is_live(deviation, weight).then(|| 0.5 * (deviation / weight).ln()).filter(|log| log.is_finite())
    };
    let logs: Vec<Option<f64>> = deviations.iter().zip(weights).map(ratio).collect();
    let live = logs.iter().flatten().count().max(1);
    let mean = logs.iter().flatten().sum::<f64>() / live as f64;
    let limit = LARGEST_FACTOR.ln();
    logs.iter().map(|log| log.map_or(1.0, |log| (log - mean).clamp(-limit, limit).exp())).collect()
}

impl Axis {
    /// The size of the weights that read each channel: the root of their share of an output's energy, in the mean over
    /// outputs and readers.
    fn weight_sizes(&self, graph: &Graph) -> Vec<f64> {
        let mut shares = vec![0.0; self.channels];
        for reader in &self.readers {
            let Op::Conv(conv) = &graph.nodes[reader.conv].op else { continue };
            for output in conv.weight.outer_iter() {
                let energies =
                    output.outer_iter().map(|taps| taps.iter().map(|&w| f64::from(w).powi(2)).sum());
                let energies: Vec<f64> = energies.collect();
                let scale = (energies.iter().sum::<f64>() * conv.gain.len() as f64).max(f64::MIN_POSITIVE);
                let read = &energies[reader.first_input..];
                shares.iter_mut().zip(read).for_each(|(share, energy)| *share += energy / scale);
            }
        }
        shares.into_iter().map(f64::sqrt).collect()
    }

    fn divide(&self, graph: &mut Graph, factors: &[f64]) {
        for &maker in &self.makers {
            let Op::Conv(conv) = &mut graph.nodes[maker].op else { continue };
            for values in [&mut conv.gain, &mut conv.bias] {
                values.iter_mut().zip(factors).for_each(|(value, factor)| *value /= *factor as f32);
            }
        }
        for reader in &self.readers {
            let Op::Conv(conv) = &mut graph.nodes[reader.conv].op else { continue };
            for (channel, factor) in factors.iter().enumerate() {
                let mut weights = conv.weight.index_axis_mut(Dimension(1), reader.first_input + channel);
                weights.mapv_inplace(|weight| weight * *factor as f32);
            }
        }
    }

    /// Channel `order[i]` becomes channel `i`.
    fn reorder(&self, graph: &mut Graph, order: &[usize]) {
        for &maker in &self.makers {
            let Op::Conv(conv) = &mut graph.nodes[maker].op else { continue };
            conv.weight = conv.weight.select(Dimension(0), order);
            for values in [&mut conv.gain, &mut conv.bias] {
                *values = order.iter().map(|&channel| values[channel]).collect();
            }
        }
        for reader in &self.readers {
            let Op::Conv(conv) = &mut graph.nodes[reader.conv].op else { continue };
            let mut places: Vec<usize> = (0..conv.weight.dim().1).collect();
            for (place, channel) in order.iter().enumerate() {
                places[reader.first_input + place] = reader.first_input + channel;
            }
            conv.weight = conv.weight.select(Dimension(1), &places);
        }
    }
}
