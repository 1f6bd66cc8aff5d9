//! Which layer gets which precision: by rules and patterns, or by a plan with the least damage under a budget.

mod allocate;
mod budgets;
mod frontier;
mod indicators;
mod pattern;
mod picture;
mod precision;
mod record;

#[cfg(test)]
mod tests;

pub use allocate::{Outliers, PlanOptions, plan};
pub use budgets::{Budgets, Levels};
pub use frontier::{FrontierPoint, frontier};
pub use indicators::{Fixed, Indicators, LayerIndicators, read_indicators};
pub use pattern::Pattern;
pub use precision::Precision;
pub use record::{Plan, PlannedLayer, Uses, read_plan};

use crate::error::Result;
use crate::graph::{Graph, NodeId, Op};

/// Why a layer has the precision it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The precision asked for all layers.
    Default,
    /// The first convolution reads pixels.
    First,
    /// The classifier yields the logits.
    Classifier,
    /// Fewer than two input channels per channel group leave nothing to share a scale.
    Depthwise,
    /// A pattern names the layer.
    Pattern,
}

/// The precision of one convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// How its weights are stored.
    pub precision: Precision,
    /// Why.
    pub reason: Reason,
}

/// Chooses a precision for every convolution: `None` for other nodes.
///
/// The first convolution, the classifier and convolutions with fewer than two input channels per channel
/// group keep 8 bits; `overrides` come last, and of several that match, the last wins.
///
/// # Errors
/// A pattern that matches no convolution.
pub(crate) fn choose(
    graph: &Graph,
    group: usize,
    overrides: &[(Pattern, Precision)],
) -> Result<Vec<Option<Choice>>> {
    let mut choices: Vec<Option<Choice>> =
        (0..graph.nodes.len()).map(|id| default_choice(graph, id, group)).collect();
    for (pattern, precision) in overrides {
        let names = graph.nodes.iter().zip(&choices).filter(|(_, choice)| choice.is_some());
        pattern.check_matches("--set", names.map(|(node, _)| node.name.as_str()))?;
        for (node, choice) in graph.nodes.iter().zip(&mut choices) {
            if choice.is_some() && pattern.matches(&node.name) {
                *choice = Some(Choice { precision: *precision, reason: Reason::Pattern });
            }
        }
    }
    Ok(choices)
}

fn default_choice(graph: &Graph, id: NodeId, group: usize) -> Option<Choice> {
    let Op::Conv(conv) = &graph.nodes[id].op else { return None };
    let kept = |reason| Choice { precision: Precision::Int8, reason };
    Some(if !reads_convolution(graph, id) {
        kept(Reason::First)
    } else if !feeds_convolution(graph, id) {
        kept(Reason::Classifier)
    } else if conv.weight.dim().1 < 2 {
        kept(Reason::Depthwise)
    } else {
        Choice { precision: Precision::Ternary { group }, reason: Reason::Default }
    })
}

fn is_convolution(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.nodes[id].op, Op::Conv(_))
}

/// Whether a convolution lies between the input and node `id`.
pub(crate) fn reads_convolution(graph: &Graph, id: NodeId) -> bool {
    let mut below = vec![false; id + 1];
    for node in 1..=id {
        let inputs = &graph.nodes[node].inputs;
        below[node] = inputs.iter().any(|&input| below[input] || is_convolution(graph, input));
    }
    below[id]
}

/// Whether a convolution lies between node `id` and the output.
pub(crate) fn feeds_convolution(graph: &Graph, id: NodeId) -> bool {
    let mut reached = vec![false; graph.nodes.len()];
    reached[id] = true;
    for node in id + 1..graph.nodes.len() {
        if graph.nodes[node].inputs.iter().any(|&input| reached[input]) {
            if is_convolution(graph, node) {
                return true;
            }
            reached[node] = true;
        }
    }
    false
}
