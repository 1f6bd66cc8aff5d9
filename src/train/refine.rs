//! Refinement of a converted network: what its codes come from, gains, biases and steps move so that it answers like full
//! precision, without labels.

use super::blocks::blocks;
use super::checkpoint::{Epoch, Standing};
use super::held_back::Judge;
use super::nested::{NestedStudent, SwitchingStages};
use super::reconstruct::{BlockError, reconstruct};
use super::simulate::Simulation;
use super::student::Student;
use super::training::{Training, Tutoring, Verdict, check_held_back};
use crate::calibrate::Parts;
use crate::error::Result;
use crate::graph::Interpreter;
use crate::judge::Judgement;
use crate::prepare::Full;
use crate::progress::Progress;
use crate::quantize::{NestedGraph, QuantizedGraph};

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
    let verdict = |simulation: &mut Simulation| {
        let judgement = judge.of(&simulation.refined(graph))?;
        Ok(Verdict { judgement, memory: None, counts: true })
    };
    let start = |training: &mut Training<Simulation>| start(training, graph, full, pixels, &judge, progress);
    let Standing { best, blocks, curve, .. } = training.run(start, verdict, progress)?;
    let simulation = &mut training.student;
    let best = best.map(|best| simulation.set(&best).map(|()| simulation.refined(graph))).transpose()?;
    Ok(Refinement { graph: best, blocks, curve })
}

/// What the images held back say of a network that switches, at several of its widths.
pub(crate) type NestedJudge<'a> = dyn Fn(&NestedGraph) -> Result<Option<Judgement>> + 'a;

/// As [`refine`], for a network that switches, the network if an epoch was better than the start; no blocks learn before.
///
/// # Errors
/// As [`refine`].
pub(crate) fn refine_nested(
    nested: &NestedGraph,
    full: &Full,
    pixels: &Parts,
    told: Tutoring,
    stages: SwitchingStages,
    judge: &NestedJudge,
    progress: &dyn Progress,
) -> Result<(Option<NestedGraph>, Vec<Epoch>)> {
    check_held_back(pixels)?;
    let teacher = Interpreter::new(&full.graph)?;
    let student = NestedStudent::new(nested, &full.graph, stages, told.course.seed);
    let mut training = Training::new(student, full, &teacher, &pixels.fitting, told);
    if told.course.features > 0.0 {
        training.blocks = blocks(&training.student.simulation, &full.structure, &full.graph);
    }
    let verdict = |student: &mut NestedStudent| {
        let judgement = judge(&student.refined(nested))?;
        Ok(Verdict { judgement, memory: None, counts: true })
    };
    let start = |training: &mut Training<NestedStudent>| {
        let before = Epoch { loss: None, judgement: judge(nested)? };
        Ok(Standing::at(before, training.student.tensors()))
    };
    let Standing { best, curve, .. } = training.run(start, verdict, progress)?;
    let student = &mut training.student;
    let best = best.map(|best| student.set(&best).map(|()| student.refined(nested))).transpose()?;
    Ok((best, curve))
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
