//! How many bits the codes of every operator have.

use super::structure::{Kind, Structure};
use crate::calibrate::ActivationRule;
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::plan::{Pattern, is_inner};

/// What decides the bits of activations; the later, the stronger: the default, a plan, rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ActivationBits<'a> {
    /// 4 or 8: of what convolutions between others read; all else has 8.
    pub default: u8,
    /// Bits of a convolution's input activations where a plan says so, by node of the graph.
    pub planned: &'a [Option<u8>],
    pub rules: &'a [(Pattern, ActivationRule)],
}

impl ActivationBits<'_> {
    /// Refuses a pattern that matches no activation tensor.
    pub(crate) fn check(&self, structure: &Structure) -> Result<()> {
        let names = || structure.operators.iter().skip(1).map(|operator| operator.name.as_str());
        self.rules.iter().try_for_each(|(pattern, _)| pattern.check_matches("--act", names()))
    }

    /// By operator; those that share a quantizer have the same.
    pub(crate) fn of_operators(&self, graph: &Graph, structure: &Structure) -> Vec<u8> {
        let classes = structure.quantizer_classes();
        let (inner, planned) = (read_by_inner_layers(graph, structure), self.planned_by_readers(structure));
        let of_class = |&class: &usize| {
            if class == 0 {
                return 8;
            }
            let members = members(&classes, class);
            let chosen = if members.iter().any(|&id| inner[id]) { self.default } else { 8 };
            let planned = members.iter().filter_map(|&id| planned[id]).max();
            let set = self.rules_of(structure, &members).filter_map(|rule| match rule {
                ActivationRule::Bits(bits) => Some(*bits),
                ActivationRule::Range(_) => None,
            });
            set.last().or(planned).unwrap_or(chosen)
        };
        classes.iter().map(of_class).collect()
    }

    /// The convolutions, by node of the graph, whose input has fewer than 8 bits.
    pub(crate) fn narrow_readers(&self, graph: &Graph, structure: &Structure) -> Vec<NodeId> {
        let bits = self.of_operators(graph, structure);
        let narrow = structure.operators.iter().filter_map(|operator| match operator.kind {
            Kind::Conv { source, .. } if bits[operator.inputs[0]] < 8 => Some(source),
            _ => None,
        });
        narrow.collect()
    }

    /// The rules that name one of these operators.
    pub(super) fn rules_of<'m>(
        &'m self,
        structure: &'m Structure,
        members: &'m [usize],
    ) -> impl Iterator<Item = &'m ActivationRule> {
        let named =
            |pattern: &Pattern| members.iter().any(|&id| pattern.matches(&structure.operators[id].name));
        self.rules.iter().filter(move |(pattern, _)| named(pattern)).map(|(_, rule)| rule)
    }

    /// The most bits that a plan wants of an operator's codes for the layers that read them.
    fn planned_by_readers(&self, structure: &Structure) -> Vec<Option<u8>> {
        let mut bits = vec![None; structure.operators.len()];
        for operator in &structure.operators {
            if let Kind::Conv { source, .. } = operator.kind {
                let place = &mut bits[operator.inputs[0]];
                *place = self.planned[source].max(*place);
            }
        }
        bits
    }
}

/// Operators whose codes a convolution reads that is neither the first nor the classifier.
fn read_by_inner_layers(graph: &Graph, structure: &Structure) -> Vec<bool> {
    let mut inner = vec![false; structure.operators.len()];
    for operator in &structure.operators {
        if let Kind::Conv { source, .. } = operator.kind {
            inner[operator.inputs[0]] |= is_inner(graph, source);
        }
    }
    inner
}

/// The operators of a class.
pub(super) fn members(classes: &[usize], class: usize) -> Vec<usize> {
    (0..classes.len()).filter(|&id| classes[id] == class).collect()
}
