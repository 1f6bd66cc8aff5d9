//! Refinement of a converted network: what its codes come from, gains, biases and steps move so that it answers like full
//! precision, without labels.

use super::blocks::blocks;
use super::checkpoint::{Epoch, Standing};
use super::held_back::Judge;
use super::reconstruct::{BlockError, reconstruct};
use super::simulate::Simulation;
use super::student::Student;
use super::training::{Training, Tutoring, Verdict, check_held_back};
use crate::calibrate::Parts;
use crate::error::Result;
use crate::graph::Interpreter;
use crate::prepare::Full;
use crate::progress::Progress;
use crate::quantize::QuantizedGraph;

/// The best network found.
pub(crate) struct Refinement {
    /// None if no epoch was better than the start.
    pub graph: Option<QuantizedGraph>,
    /// What every block learned before.
    pub blocks: Vec<BlockError>,
    /// The start, then epoch after epoch; where blocks learned before, the first.
    pub curve: Vec<Epoch>,
}

/// Refines `graph`, which was fitted to `full`; the images held back choose among the epochs.
///
/// # Errors
/// Values or gradients that are not finite; parameters that integers cannot hold; a checkpoint of another training.
pub(crate) fn refine(
    graph: &QuantizedGraph,
    full: &Full,
    pixels: &Parts,
    told: Tutoring,
    progress: &dyn Progress,
) -> Result<Refinement> {
    check_held_back(pixels)?;
    let teacher = Interpreter::new(&full.graph)?;
    let judge = Judge::new(&teacher, full, pixels.judging())?;
    let simulation = Simulation::new(graph, &full.graph);
    let mut training = Training::new(simulation, full, &teacher, &pixels.fitting, told);
    if told.course.features > 0.0 {
        training.blocks = blocks(&training.student, &full.structure, &full.graph);
    }
    let verdict = |simulation: &Simulation| {
        let judgement = judge.of(&simulation.refined(graph))?;
        Ok(Verdict { judgement, memory: None, counts: true })
    };
    let start = |training: &mut Training<Simulation>| start(training, graph, full, pixels, &judge, progress);
    let Standing { best, blocks, curve, .. } = training.run(start, verdict, progress)?;
    let simulation = &mut training.student;
    let best = best.map(|best| simulation.set(&best).map(|()| simulation.refined(graph))).transpose()?;
    Ok(Refinement { graph: best, blocks, curve })
}

/// Where training stands before its first epoch: blocks have learned, if they are to.
fn start(
    training: &mut Training<Simulation>,
    graph: &QuantizedGraph,
    full: &Full,
    pixels: &Parts,
    judge: &Judge,
    progress: &dyn Progress,
) -> Result<Standing> {
    let before = training.student.tensors();
    let mut standing = Standing::at(Epoch { loss: None, judgement: judge.of(graph)? }, before.clone());
    let (teacher, course) = (training.teacher, training.course);
    standing.blocks = reconstruct(&mut training.student, full, teacher, pixels, course, progress)?;
    if !standing.blocks.is_empty() {
        let judgement = judge.of(&training.student.refined(graph))?;
        standing.judge(Epoch { loss: None, judgement }, true, &training.student.tensors());
    }
    standing.now = standing.best.clone().unwrap_or(before);
    Ok(standing)
}
