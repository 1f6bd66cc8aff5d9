//! Learned precision: weights, gains, biases, and the step and range of every quantizer, until budgets hold.

use super::checkpoint::Epoch;
use super::course::Course;
use super::held_back::Judge;
use super::memory::MemoryUse;
use super::mixed::{MixedPrecision, PrecisionRules};
use super::training::{Lesson, Training, check_held_back};
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
    lesson: Lesson,
    rules: &PrecisionRules,
    course: &Course,
    progress: &dyn Progress,
) -> Result<LearnedGraph> {
    check_held_back(pixels)?;
    let teacher = Interpreter::new(&full.graph)?;
    let judge = Judge::new(&teacher, full, pixels.judging())?;
    let student = MixedPrecision::new(graph, &full.graph, rules);
    let mut training = Training::new(student, full, &teacher, &pixels.fitting, lesson, course);
    let (mut found, mut lowest) = (LearnedGraph { graph: None, curve: Vec::new() }, f64::INFINITY);
    progress.start("learning", course.epochs * pixels.fitting.images());
    for epoch in 0..course.epochs {
        let loss = training.epoch(epoch, progress)?;
        let mut learned = graph.clone();
        training.student.store(&mut learned);
        let (judgement, memory) = (judge.of(&learned)?, training.student.memory());
        let epoch_found = Epoch { loss: Some(loss), judgement };
        progress.status(&epoch_found.to_string());
        found.curve.push(LearnedEpoch { epoch: epoch_found, memory });
        let holds = memory.is_within(&rules.budgets);
        if let Some(judgement) = judgement.filter(|found| holds && found.divergence < lowest) {
            lowest = judgement.divergence;
            found.graph = Some((learned, memory));
        }
        if training.progress_at(epoch + 1, 0.0) >= 1.0 {
            break;
        }
    }
    Ok(found)
}
