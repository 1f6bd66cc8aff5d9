//! What runs a model.

use super::Logits;
use super::nodes::Nodes;
use super::schedule::{Schedule, SchedulePiece};
use super::step::Step;
use crate::clock::Instant;
use crate::error::{Error, ErrorKind, Result};
use crate::format::PackedId;
use crate::index::Per;
use crate::kernels::Kernels;
use crate::kernels::blocked::conv::ConvWeights;
use crate::tensor::Batch;
use std::sync::Arc;
use std::time::Duration;

/// What runs a model.
#[derive(Debug)]
pub(super) enum Engine {
    /// Fast kernels on memory laid out once.
    Schedule(Box<Schedule>),
    /// One operator after another, on values in the order image, row, column, channel.
    Steps(Steps),
}

/// The part of an engine that computes one node.
#[derive(Debug)]
pub(super) enum EnginePiece {
    Schedule(SchedulePiece),
    Step(Box<Step>),
}

impl EnginePiece {
    /// Bytes of weights that nothing else holds.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Schedule(_) => 0,
            Self::Step(step) => step.weights(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Steps {
    kernels: Kernels,
    steps: Per<PackedId, Step>,
    inputs: Per<PackedId, Vec<PackedId>>,
    /// For each step, the values that nobody reads after it.
    dead_after: Per<PackedId, Vec<PackedId>>,
}

impl Engine {
    /// Prepares a validated model.
    pub(super) fn new(nodes: &Nodes, kernels: Kernels) -> Self {
        match kernels.isa().and_then(|isa| Schedule::new(nodes, isa)) {
            Some(schedule) => Self::Schedule(Box::new(schedule)),
            None => Self::Steps(Steps::new(nodes, kernels)),
        }
    }

    /// Bytes of weights that each node of the model reads in a run, as its kernel holds them; known after the first run.
    pub(super) fn weight_bytes(&self) -> Per<PackedId, usize> {
        match self {
            Self::Steps(steps) => steps.steps.map(Step::weights),
            Self::Schedule(schedule) => schedule.weights(),
        }
    }

    /// For each node of the model the one whose kernel writes it too, if it has none of its own.
    pub(super) fn written_with(&self) -> Per<PackedId, Option<PackedId>> {
        match self {
            Self::Steps(steps) => Per::filled(None, steps.steps.len()),
            Self::Schedule(schedule) => schedule.written_with().clone(),
        }
    }

    /// The node whose part computes node `id`.
    pub(super) fn maker(&self, id: PackedId) -> PackedId {
        match self {
            Self::Steps(_) => id,
            Self::Schedule(schedule) => schedule.written_with()[id].unwrap_or(id),
        }
    }

    /// The weights of a node that depends on widths, where they are laid out apart.
    pub(super) fn take_weights(&mut self, node: PackedId) -> Option<Arc<ConvWeights>> {
        match self {
            Self::Steps(_) => None,
            Self::Schedule(schedule) => schedule.take_weights(node),
        }
    }

    /// What computes a node, and its weights where they are laid out apart; `weights` are those if they are known.
    pub(super) fn piece(
        &self,
        nodes: &Nodes,
        node: PackedId,
        weights: Option<Arc<ConvWeights>>,
    ) -> Option<(EnginePiece, Option<Arc<ConvWeights>>)> {
        Some(match self {
            Self::Steps(steps) => (EnginePiece::Step(Box::new(step(nodes, node, steps.kernels))), None),
            Self::Schedule(schedule) => {
                let (piece, weights) = schedule.piece(nodes, node, weights)?;
                (EnginePiece::Schedule(piece), weights)
            }
        })
    }

    /// Exchanges what computes a node for another piece of the same engine.
    pub(super) fn exchange(&mut self, node: PackedId, piece: &mut EnginePiece) {
        match (self, piece) {
            (Self::Steps(steps), EnginePiece::Step(step)) => {
                std::mem::swap(&mut steps.steps[node], step.as_mut())
            }
            (Self::Schedule(schedule), EnginePiece::Schedule(piece)) => schedule.exchange(node, piece),
            _ => {}
        }
    }
}

fn step(nodes: &Nodes, id: PackedId, kernels: Kernels) -> Step {
    let (node, operands) = (nodes.node(id), nodes.operands(id));
    Step::with_weights(&node, nodes.expanded(id), &operands, nodes.shapes[id], kernels)
}

impl Steps {
    fn new(nodes: &Nodes, kernels: Kernels) -> Self {
        let inputs = nodes.model.nodes.map(|node| node.inputs.clone());
        let steps = inputs.ids().map(|id| step(nodes, id, kernels)).collect();
        let dead_after = super::last_uses(inputs.iter().map(Vec::as_slice));
        Self { kernels, steps, inputs, dead_after }
    }

    /// The logits, and how long each step took.
    pub(super) fn run(&self, pixels: Batch<u8>) -> Result<(Logits, Per<PackedId, Duration>)> {
        let mut times = Per::filled(Duration::ZERO, self.steps.len());
        let mut values: Per<PackedId, Option<Batch<u8>>> = Per::filled(None, self.steps.len());
        values[PackedId::INPUT] = Some(pixels);
        for (id, step) in self.steps.enumerate().skip(1) {
            let inputs: Vec<&Batch<u8>> =
                self.inputs[id].iter().filter_map(|&i| values[i].as_ref()).collect();
            let start = Instant::now();
            if self.steps.is_last(id) {
                let logits = step.logits(&inputs)?;
                times[id] = start.elapsed();
                return Ok((logits, times));
            }
            let output = step.codes(&inputs)?;
            times[id] = start.elapsed();
            values[id] = Some(output);
            self.dead_after[id].iter().for_each(|&dead| values[dead] = None);
        }
        Err(Error::new(ErrorKind::Format, "the model has no operator"))
    }
}
