//! Learned precision: weights, gains, biases, and the step and range of every quantizer, until budgets hold.

use super::checkpoint::{Epoch, Standing};
use super::held_back::Judge;
use super::memory::MemoryUse;
use super::mixed::{MixedPrecision, PrecisionRules};
use super::student::Student;
use super::training::{Training, Tutoring, Verdict, check_held_back};
use crate::calibrate::Parts;
use crate::error::Result;
use crate::graph::Interpreter;
use crate::prepare::Full;
use crate::progress::Progress;
use crate::quantize::QuantizedGraph;

/// The state of a network after an epoch in which its precision was learned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearnedEpoch {
    /// Loss of the fitted images, and what those held back say.
    pub epoch: Epoch,
    /// What the network takes.
    pub memory: MemoryUse,
}

/// The best network within the budgets, and how it came about.
pub(crate) struct LearnedGraph {
    /// None if no epoch held the budgets.
    pub graph: Option<(QuantizedGraph, MemoryUse)>,
    /// Epoch after epoch.
    pub curve: Vec<LearnedEpoch>,
}

/// Learns weights and precisions of `graph`, whose quantizers say where activations start; the images held back choose among
/// the epochs that hold the budgets.
///
/// # Errors
/// Values or gradients that are not finite; parameters that integers cannot hold; too few images to hold some back.
pub(crate) fn learn_precision(
    graph: &QuantizedGraph,
    full: &Full,
    pixels: &Parts,
    told: Tutoring,
    rules: &PrecisionRules,
    progress: &dyn Progress,
) -> Result<LearnedGraph> {
    check_held_back(pixels)?;
    let teacher = Interpreter::new(&full.graph)?;
    let judge = Judge::new(&teacher, full, pixels.judging())?;
    let student = MixedPrecision::new(graph, &full.graph, rules);
    let mut training = Training::new(student, full, &teacher, &pixels.fitting, told);
    let verdict = |student: &mut MixedPrecision| {
        let (judgement, memory) = (judge.of(&student.learned_graph(graph))?, student.memory());
        Ok(Verdict { judgement, memory: Some(memory), counts: memory.is_within(&rules.budgets) })
    };
    let start = |training: &mut Training<MixedPrecision>| {
        Ok(Standing { now: training.student.tensors(), ..Standing::default() })
    };
    let Standing { best, curve, memory, .. } = training.run(start, verdict, progress)?;
    let student = &mut training.student;
    let best = best.map(|best| student.set(&best).map(|()| (student.learned_graph(graph), student.memory())));
    let curve = curve.into_iter().zip(memory).map(|(epoch, memory)| LearnedEpoch { epoch, memory }).collect();
    Ok(LearnedGraph { graph: best.transpose()?, curve })
}
