//! Weights that share a scale with others of like magnitude lose less when they become ternary, so channels change places
//! until groups hold such.

use super::axes::{Change, ChannelAxis, axes};
use super::grouping::{View, grouped};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Op};
use crate::precision::Precision;
use ndarray::Axis;
use rayon::prelude::*;

/// The same function with channels in other places, so that groups hold weights of like magnitude. `precisions` are those
/// that a node may have; only ternary ones count.
///
/// # Errors
/// Shapes that do not fit.
pub(crate) fn reorder(
    mut graph: Graph,
    precisions: impl Fn(NodeId) -> Vec<Precision> + Sync,
) -> Result<Graph> {
    let axes = axes(&graph, Change::Order)?;
    let order = |axis: &ChannelAxis| grouped(&axis.views(&graph, &precisions), axis.channels);
    let orders: Vec<Vec<usize>> = axes.par_iter().map(order).collect();
    for (axis, order) in axes.iter().zip(&orders) {
        axis.reorder(&mut graph, order);
    }
    Ok(graph)
}

impl ChannelAxis {
    /// How ternary layers see the channels.
    fn views(&self, graph: &Graph, precisions: impl Fn(NodeId) -> Vec<Precision>) -> Vec<View> {
        let mut views = Vec::new();
        for reader in &self.readers {
            let Op::Conv(conv) = &graph.nodes[reader.node].op else { continue };
            for precision in precisions(reader.node) {
                if let Some(group) = precision.group().filter(|_| precision.is_ternary()) {
                    views.push(View::new(conv, reader.first, self.channels, group));
                }
            }
        }
        views
    }

    /// Channel `order[i]` becomes channel `i`.
    fn reorder(&self, graph: &mut Graph, order: &[usize]) {
        for &maker in &self.makers {
            permute(&mut graph.nodes[maker].op, order, 0);
        }
        for follower in &self.followers {
            permute(&mut graph.nodes[follower.node].op, order, follower.first);
        }
        for reader in &self.readers {
            if let Op::Conv(conv) = &mut graph.nodes[reader.node].op {
                let places = places(conv.weight.dim().1, order, reader.first);
                conv.weight = conv.weight.select(Axis(1), &places);
                conv.straighten();
            }
        }
    }
}

/// Parameters of the channels from `first` on change places.
fn permute(op: &mut Op, order: &[usize], first: usize) {
    let change = |values: &mut Vec<f32>| {
        if values.len() > 1 {
            *values = places(values.len(), order, first).into_iter().map(|from| values[from]).collect();
        }
    };
    match op {
        Op::Conv(conv) => {
            conv.weight = conv.weight.select(Axis(0), &places(conv.gain.len(), order, first));
            conv.straighten();
            [&mut conv.gain, &mut conv.bias].into_iter().for_each(change);
        }
        Op::BatchNorm(norm) => {
            let parameters = [&mut norm.gamma, &mut norm.beta, &mut norm.mean, &mut norm.variance];
            parameters.into_iter().for_each(change);
        }
        Op::GroupNorm(norm) => [&mut norm.gamma, &mut norm.beta].into_iter().for_each(change),
        Op::Affine(affine) => [&mut affine.scale, &mut affine.shift].into_iter().for_each(change),
        Op::PRelu(slopes) => change(slopes),
        _ => {}
    }
}

/// Where each of `len` channels comes from.
fn places(len: usize, order: &[usize], first: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..len).collect();
    for (place, channel) in order.iter().enumerate() {
        places[first + place] = first + channel;
    }
    places
}

#[cfg(test)]
mod tests;
