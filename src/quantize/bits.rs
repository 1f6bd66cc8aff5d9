//! How many bits the codes of every operator have, and which convolutions read a copy in fewer.

use super::operators::{OperatorId, PerOperator};
use super::structure::{Classes, Operator, OperatorKind, Plain, Structure};
use crate::calibrate::ActivationRule;
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::index::Per;
use crate::plan::{Pattern, is_inner};
use std::iter;

/// Bits of a code at most.
const WIDEST: u8 = 8;

/// What decides the bits with which convolutions read their inputs; the later, the stronger: the default, a plan, rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ActivationBits<'a> {
    /// 2 to 8: of what convolutions between others read.
    pub default: u8,
    /// By node of the graph, where a plan says so.
    pub planned: &'a Per<NodeId, Option<u8>>,
    /// By the operator that makes what is read.
    pub rules: &'a [(Pattern, ActivationRule)],
}

impl ActivationBits<'_> {
    /// The structure with these bits. A tensor that is read by nothing but convolutions that want the same bits has
    /// these; others keep 8, and convolutions that want fewer read a copy.
    ///
    /// # Errors
    /// A pattern that matches no activation tensor.
    pub(crate) fn narrowed(&self, graph: &Graph, mut structure: Structure) -> Result<Structure> {
        self.check_names(&structure, |rule| matches!(rule, ActivationRule::Bits(_)))?;
        let classes = structure.quantizer_classes();
        let wanted = self.of_readers(graph, &structure, &classes);
        for id in classes.ids() {
            structure.operators[id].bits = self.of_class(&structure, &classes, &wanted, classes[id]);
        }
        let structure = structure.with_copies(&wanted);
        self.check_names(&structure, |rule| matches!(rule, ActivationRule::Range(_)))?;
        Ok(structure)
    }

    fn check_names(&self, structure: &Structure, which: impl Fn(&ActivationRule) -> bool) -> Result<()> {
        let names = || structure.operators.iter().skip(1).map(|operator| operator.name.as_str());
        let mut rules = self.rules.iter().filter(|(_, rule)| which(rule));
        rules.try_for_each(|(pattern, _)| pattern.check_matches("rules", names()))
    }

    /// The bits with which each operator that is a convolution wants to read its input.
    fn of_readers(&self, graph: &Graph, structure: &Structure, classes: &Classes) -> PerOperator<Option<u8>> {
        let of_reader = |operator: &Operator| {
            let OperatorKind::Conv { source, .. } = operator.kind else { return None };
            if operator.inputs[0] == OperatorId::INPUT {
                return Some(WIDEST);
            }
            let default = if is_inner(graph, source) { self.default } else { WIDEST };
            let set = self.set_bits(structure, classes, operator.inputs[0]);
            Some(set.or(self.planned[source]).unwrap_or(default))
        };
        structure.operators.iter().map(of_reader).collect()
    }

    /// Bits of the operators that share a quantizer, given what convolutions want.
    fn of_class(
        &self,
        structure: &Structure,
        classes: &Classes,
        wanted: &PerOperator<Option<u8>>,
        class: OperatorId,
    ) -> u8 {
        let uses = uses_of(structure, classes, wanted, class);
        match uses.iter().flatten().next() {
            _ if class == OperatorId::INPUT || classes.last() == Some(&class) => WIDEST,
            Some(&bits) if uses.iter().all(|&other| other == Some(bits)) => bits,
            Some(_) => WIDEST,
            None => self.set_bits(structure, classes, class).unwrap_or(WIDEST),
        }
    }

    /// The bits that rules set for what an operator makes.
    fn set_bits(&self, structure: &Structure, classes: &Classes, id: OperatorId) -> Option<u8> {
        let bits = rules_of(self.rules, structure, classes, id).filter_map(|rule| match rule {
            ActivationRule::Bits(bits) => Some(*bits),
            ActivationRule::Range(_) => None,
        });
        bits.last()
    }
}

/// Who reads the codes of a class: the bits that a convolution wants of its input, `None` for any other use.
fn uses_of(
    structure: &Structure,
    classes: &Classes,
    wanted: &PerOperator<Option<u8>>,
    class: OperatorId,
) -> Vec<Option<u8>> {
    let mut uses = Vec::new();
    for (operator, &wanted) in structure.operators.iter().zip(wanted) {
        let inputs = operator.inputs.iter().enumerate().filter(|(_, input)| classes[**input] == class);
        if !operator.kind.keeps_codes() {
            uses.extend(inputs.map(|(place, _)| wanted.filter(|_| place == 0)));
        }
    }
    uses.extend((classes.last() == Some(&class)).then_some(None));
    uses
}

impl Structure {
    /// The convolutions, by node of the graph, whose input has fewer than 8 bits.
    pub(crate) fn narrow_readers(&self) -> Vec<NodeId> {
        let narrow = self.operators.iter().filter_map(|operator| match operator.kind {
            OperatorKind::Conv { source, .. } if self.operators[operator.inputs[0]].bits < WIDEST => {
                Some(source)
            }
            _ => None,
        });
        narrow.collect()
    }

    /// The same, but each of the convolutions `readers`, by node of the graph, reads a copy of its own in so many bits.
    pub(crate) fn with_own_copies(self, readers: &[NodeId], bits: u8) -> Self {
        let mut places: PerOperator<OperatorId> = PerOperator::default();
        let mut operators: PerOperator<Operator> = PerOperator::default();
        for mut operator in self.operators {
            operator.inputs.iter_mut().for_each(|input| *input = places[*input]);
            let reads_copy = |kind: &OperatorKind| match kind {
                OperatorKind::Conv { source, .. } => readers.contains(source),
                _ => false,
            };
            if reads_copy(&operator.kind) {
                let input = operator.inputs[0];
                let name = format!("{}.input", operator.name);
                let copy = Operator { name, ..operators[input].copy(input, bits) };
                operator.inputs[0] = operators.push(copy);
            }
            places.push(operators.push(operator));
        }
        Self { operators }
    }

    /// The same, but convolutions that want fewer bits than their input has read a copy, which follows the input and
    /// which all share that want as many.
    fn with_copies(self, wanted: &PerOperator<Option<u8>>) -> Self {
        let copies: PerOperator<Vec<u8>> = wanted.ids().map(|id| self.copies_of(id, wanted)).collect();
        let mut places: PerOperator<Vec<OperatorId>> = PerOperator::default();
        let mut operators = PerOperator::default();
        for (id, mut operator) in wanted.ids().zip(self.operators) {
            for (place, input) in operator.inputs.iter_mut().enumerate() {
                let bits = wanted[id].filter(|_| place == 0);
                let copy = copies[*input].iter().position(|&copy| Some(copy) == bits);
                *input = places[*input][copy.map_or(0, |copy| copy + 1)];
            }
            let original = operators.push(operator);
            let copy = |&bits: &u8| operators.push(operators[original].copy(original, bits));
            places.push(iter::once(original).chain(copies[id].iter().map(copy)).collect());
        }
        Self { operators }
    }

    /// Bits of the copies of an operator's codes that convolutions want, most first.
    fn copies_of(&self, id: OperatorId, wanted: &PerOperator<Option<u8>>) -> Vec<u8> {
        let readers =
            self.operators.iter().zip(wanted).filter(|(operator, _)| operator.inputs.first() == Some(&id));
        let mut bits: Vec<u8> = readers.filter_map(|(_, &bits)| bits).collect();
        bits.retain(|&bits| bits < self.operators[id].bits);
        bits.sort_unstable_by(|a, b| b.cmp(a));
        bits.dedup();
        bits
    }
}

impl Operator {
    fn copy(&self, input: OperatorId, bits: u8) -> Self {
        let name = format!("{}.{bits}bits", self.name);
        Self { name, kind: OperatorKind::Plain(Plain::Narrow), inputs: vec![input], value: self.value, bits }
    }
}

/// The rules that name an operator, one that shares its quantizer, or what it is a copy of.
pub(super) fn rules_of<'a>(
    rules: &'a [(Pattern, ActivationRule)],
    structure: &'a Structure,
    classes: &'a Classes,
    id: OperatorId,
) -> impl Iterator<Item = &'a ActivationRule> {
    let original = match structure.operators[id].kind {
        OperatorKind::Plain(Plain::Narrow) => structure.operators[id].inputs[0],
        _ => id,
    };
    let members =
        classes.ids().filter(move |&other| [classes[id], classes[original]].contains(&classes[other]));
    let names: Vec<&str> = members.map(|id| structure.operators[id].name.as_str()).collect();
    rules
        .iter()
        .filter(move |(pattern, _)| names.iter().any(|name| pattern.matches(name)))
        .map(|(_, rule)| rule)
}

/// The operators of a class.
pub(super) fn members(classes: &Classes, class: OperatorId) -> Vec<OperatorId> {
    classes.ids().filter(|&id| classes[id] == class).collect()
}

#[cfg(test)]
mod tests;
