//! What runs a model.

use super::Logits;
use super::nodes::Nodes;
use super::schedule::{Schedule, SchedulePiece};
use super::step::Step;
use crate::clock::Instant;
use crate::error::{Error, ErrorKind, Result};
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
    steps: Vec<Step>,
    inputs: Vec<Vec<usize>>,
    /// For each step, the values that nobody reads after it.
    dead_after: Per<usize, Vec<usize>>,
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
    pub(super) fn weight_bytes(&self) -> Vec<usize> {
        match self {
            Self::Steps(steps) => steps.steps.iter().map(Step::weights).collect(),
            Self::Schedule(schedule) => schedule.weights(),
        }
    }

    /// For each node of the model the one whose kernel writes it too, if it has none of its own.
    pub(super) fn written_with(&self) -> Vec<Option<usize>> {
        match self {
            Self::Steps(steps) => vec![None; steps.steps.len()],
            Self::Schedule(schedule) => schedule.written_with().to_vec(),
        }
    }

    /// The node whose part computes node `id`.
    pub(super) fn maker(&self, id: usize) -> usize {
        match self {
            Self::Steps(_) => id,
            Self::Schedule(schedule) => schedule.written_with()[id].unwrap_or(id),
        }
    }

    /// The weights of a node that depends on widths, where they are laid out apart.
    pub(super) fn take_weights(&mut self, node: usize) -> Option<Arc<ConvWeights>> {
        match self {
            Self::Steps(_) => None,
            Self::Schedule(schedule) => schedule.take_weights(node),
        }
    }

    /// What computes a node, and its weights where they are laid out apart; `weights` are those if they are known.
    pub(super) fn piece(
        &self,
        nodes: &Nodes,
        node: usize,
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
    pub(super) fn exchange(&mut self, node: usize, piece: &mut EnginePiece) {
        match (self, piece) {
            (Self::Steps(steps), EnginePiece::Step(step)) => {
                std::mem::swap(&mut steps.steps[node], step.as_mut())
            }
            (Self::Schedule(schedule), EnginePiece::Schedule(piece)) => schedule.exchange(node, piece),
            _ => {}
        }
    }
}

fn step(nodes: &Nodes, id: usize, kernels: Kernels) -> Step {
    let (node, operands) = (nodes.node(id), nodes.operands(id));
    Step::with_weights(&node, nodes.expanded(id), &operands, nodes.shapes[id], kernels)
}

impl Steps {
    fn new(nodes: &Nodes, kernels: Kernels) -> Self {
        let inputs: Vec<_> = nodes.model.nodes.iter().map(|node| node.inputs.clone()).collect();
        let steps = (0..inputs.len()).map(|id| step(nodes, id, kernels)).collect();
        let dead_after = super::last_uses(inputs.iter().map(Vec::as_slice));
        Self { kernels, steps, inputs, dead_after }
    }

    /// The logits, and how long each step took.
    pub(super) fn run(&self, pixels: Batch<u8>) -> Result<(Logits, Vec<Duration>)> {
        let mut times = vec![Duration::ZERO; self.steps.len()];
        let mut values: Vec<Option<Batch<u8>>> = vec![None; self.steps.len()];
        values[0] = Some(pixels);
        for (id, step) in self.steps.iter().enumerate().skip(1) {
            let inputs: Vec<&Batch<u8>> =
                self.inputs[id].iter().filter_map(|&i| values[i].as_ref()).collect();
            let start = Instant::now();
            if id + 1 == self.steps.len() {
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
