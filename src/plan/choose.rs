//! Rules and patterns, and what a plan says: a precision for every convolution.

use super::{Pattern, Plan, PlannedLayer};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, NodeId, Op};
use crate::index::Per;
use crate::precision::Precision;

/// Most input channels, per channel group, of a 1×1 kernel that keeps 8 bits.
const NARROW: usize = 64;

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
    /// So few inputs average no error out, and there are few weights.
    Narrow,
    /// A plan says so.
    Plan,
    /// A pattern names the layer.
    Pattern,
    /// Training found it.
    Learned,
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
/// The first convolution, the classifier, convolutions with fewer than two input channels per channel group and 1×1
/// kernels on few channels keep 8 bits, the others get the default of their kernel, 1×1 or larger, unless the plan says otherwise;
/// `overrides` come last, and of several that match, the last wins.
///
/// # Errors
/// A pattern that matches no convolution; a plan for other layers, or with precisions that cannot be stored.
pub(crate) fn choose(
    graph: &Graph,
    defaults: [Precision; 2],
    plan: Option<&Plan>,
    overrides: &[(Pattern, Precision)],
) -> Result<Per<NodeId, Option<Choice>>> {
    let mut choices: Per<NodeId, Option<Choice>> =
        graph.nodes.ids().map(|id| default_choice(graph, id, defaults)).collect();
    for (id, layer) in planned(graph, plan)? {
        choices[id] = Some(Choice { precision: layer.precision()?, reason: Reason::Plan });
    }
    for (pattern, precision) in overrides {
        let names = graph.nodes.iter().zip(&choices).filter(|(_, choice)| choice.is_some());
        pattern.check_matches("overrides", names.map(|(node, _)| node.name.as_str()))?;
        for (node, choice) in graph.nodes.iter().zip(&mut choices) {
            if choice.is_some() && pattern.matches(&node.name) {
                *choice = Some(Choice { precision: *precision, reason: Reason::Pattern });
            }
        }
    }
    Ok(choices)
}

/// Bits of the input activations that the plan wants, by node; `None` where it says nothing.
///
/// # Errors
/// A plan for other layers, or with bits that cannot be stored.
pub(crate) fn planned_activations(graph: &Graph, plan: Option<&Plan>) -> Result<Per<NodeId, Option<u8>>> {
    let mut bits = Per::filled(None, graph.nodes.len());
    for (id, layer) in planned(graph, plan)? {
        if !(2..=8).contains(&layer.activation_bits) {
            let message = format!("the plan has {}-bit activations; use 2 to 8", layer.activation_bits);
            return Err(Error::new(ErrorKind::Argument, message).at_node(&layer.name));
        }
        bits[id] = Some(layer.activation_bits);
    }
    Ok(bits)
}

/// The planned layers and their nodes.
fn planned<'a>(graph: &Graph, plan: Option<&'a Plan>) -> Result<Vec<(NodeId, &'a PlannedLayer)>> {
    let place = |layer: &'a PlannedLayer| {
        let id =
            graph.nodes.ids().find(|&id| graph.nodes[id].name == layer.name && is_convolution(graph, id));
        let message = "the plan names this layer, but the network has none of that name with weights; \
                       is the plan for another network?";
        let error = || Error::new(ErrorKind::Argument, message).at_node(&layer.name);
        Ok((id.ok_or_else(error)?, layer))
    };
    plan.iter().flat_map(|plan| &plan.layers).map(place).collect()
}

fn default_choice(graph: &Graph, id: NodeId, [pointwise, spatial]: [Precision; 2]) -> Option<Choice> {
    let Op::Conv(conv) = &graph.nodes[id].op else { return None };
    let kept = |reason| Choice { precision: Precision::int8(), reason };
    Some(if !reads_convolution(graph, id) {
        kept(Reason::First)
    } else if !feeds_convolution(graph, id) {
        kept(Reason::Classifier)
    } else if conv.weight.dim().1 < 2 {
        kept(Reason::Depthwise)
    } else if conv.window.area() == 1 && conv.weight.dim().1 <= NARROW {
        kept(Reason::Narrow)
    } else {
        let precision = if conv.window.area() == 1 { pointwise } else { spatial };
        Choice { precision, reason: Reason::Default }
    })
}

fn is_convolution(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.nodes[id].op, Op::Conv(_))
}

/// Whether node `id` lies between convolutions.
pub(crate) fn is_inner(graph: &Graph, id: NodeId) -> bool {
    reads_convolution(graph, id) && feeds_convolution(graph, id)
}

/// Whether a convolution lies between the input and node `id`.
fn reads_convolution(graph: &Graph, id: NodeId) -> bool {
    let mut below = Per::filled(false, graph.nodes.len());
    for node in graph.nodes.ids_between(NodeId::INPUT, id) {
        let inputs = &graph.nodes[node].inputs;
        below[node] = inputs.iter().any(|&input| below[input] || is_convolution(graph, input));
    }
    below[id]
}

/// Whether a convolution lies between node `id` and the output.
fn feeds_convolution(graph: &Graph, id: NodeId) -> bool {
    let mut reached = Per::filled(false, graph.nodes.len());
    reached[id] = true;
    for node in graph.nodes.ids_after(id) {
        if graph.nodes[node].inputs.iter().any(|&input| reached[input]) {
            if is_convolution(graph, node) {
                return true;
            }
            reached[node] = true;
        }
    }
    false
}
