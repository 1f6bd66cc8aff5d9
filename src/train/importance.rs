//! Importance that is learned (LIMPQ: Tang et al., arXiv 2203.08368): the steps of all layers for all candidate bits,
//! trained together. The larger the step that a layer ends with, the more it minds few bits.

use super::course::Course;
use super::examples::{Examples, WIDTHS};
use super::loss::LossTarget;
use super::optimise::{Optimiser, Parameter};
use super::switched::{CandidateBits, LearnedImportance, SwitchedNetwork};
use super::tape::{BatchValue, Tape};
use crate::calibrate::Spool;
use crate::clock::Instant;
use crate::error::Result;
use crate::graph::{Interpreter, NodeId};
use crate::prepare::Full;
use crate::progress::{Progress, advance};
use crate::random::Random;
use rayon::prelude::*;

/// Trains the convolutions `nodes` of a network with all candidate bits, on images that need no labels: it is full
/// precision that it learns to answer like.
///
/// # Errors
/// A network that was not observed; values or gradients that are not finite.
pub(crate) fn learn_importance(
    full: &Full,
    pixels: &Spool,
    nodes: &[NodeId],
    bits: CandidateBits,
    course: &Course,
    progress: &dyn Progress,
) -> Result<Vec<LearnedImportance>> {
    let teacher = Interpreter::new(&full.graph)?;
    let mut training = JointTraining {
        switched: SwitchedNetwork::new(&full.graph, &full.observation, nodes, bits)?,
        optimiser: Optimiser::new(course.optimiser),
        course,
        teacher: &teacher,
        examples: Examples {
            pixels,
            preprocess: full.preprocess,
            input: full.graph.input,
            labels: &[],
            augment: course.augment(full.preprocess),
            mix: course.mix,
            seed: course.seed,
        },
        start: Instant::now(),
    };
    progress.start("learning importance", course.epochs * pixels.images());
    for epoch in 0..course.epochs {
        training.epoch(epoch, progress)?;
    }
    Ok(training.switched.importance())
}

/// All widths on their common course.
struct JointTraining<'a> {
    switched: SwitchedNetwork,
    optimiser: Optimiser,
    course: &'a Course,
    teacher: &'a Interpreter<'a>,
    examples: Examples<'a>,
    start: Instant,
}

impl JointTraining<'_> {
    /// Sees every image once, in batches of like size.
    fn epoch(&mut self, epoch: usize, reports: &dyn Progress) -> Result<()> {
        let order = Random::new(self.course.seed, &[epoch as u64]).order(self.examples.pixels.images());
        let batches = (order.len() / self.course.batch).max(1);
        let mut sum = 0.0;
        for step in 0..batches {
            let epochs = epoch as f64 + step as f64 / batches as f64;
            let progress = self.course.progress(epochs, self.start.elapsed().as_secs_f64());
            if progress >= 1.0 {
                break;
            }
            let batch = &order[step * order.len() / batches..(step + 1) * order.len() / batches];
            sum += self.step([epoch, step], batch, progress)?;
            advance(reports, batch.len())?;
            reports.status(&format!("loss {:.4}", sum / (step + 1) as f64));
        }
        Ok(())
    }

    /// One pass with every width for the whole network and one with a random width for each convolution, then one change of
    /// all parameters; the mean loss.
    fn step(&mut self, [epoch, step]: [usize; 2], batch: &[usize], progress: f64) -> Result<f64> {
        let example = |&image: &usize| {
            let input = self.examples.of(epoch, image)?.input;
            let logits = self.teacher.run(&input)?;
            Ok((input, logits))
        };
        let examples: Vec<(Vec<f32>, Vec<f32>)> = batch.par_iter().map(example).collect::<Result<_>>()?;
        let (inputs, wanted): (BatchValue, BatchValue) = examples.into_iter().unzip();
        let passes = self.passes(epoch, step);
        let mut sum = 0.0;
        for widths in &passes {
            sum += self.pass(&inputs, &wanted, widths)?;
        }
        let rate = self.course.rate * self.course.schedule.at(progress);
        let course = self.course;
        let mut parameters: Vec<Parameter> = self
            .switched
            .learned()
            .map(|learned| {
                let (rate, decay) = (course.rate_of(learned.kind), course.decay_of(learned.kind));
                learned.parameter(rate, decay)
            })
            .collect();
        self.optimiser.step(&mut parameters, rate as f32);
        self.switched.learned().for_each(|learned| learned.settle());
        Ok(sum / passes.len() as f64)
    }

    /// The widths of every pass of a step, by convolution.
    fn passes(&self, epoch: usize, step: usize) -> Vec<Vec<usize>> {
        let (convs, widths) = (self.switched.len(), self.switched.widths());
        let mut random = Random::new(self.course.seed, &[WIDTHS, epoch as u64, step as u64]);
        let mixed = (0..convs).map(|_| random.below(widths)).collect();
        (0..widths).map(|width| vec![width; convs]).chain([mixed]).collect()
    }

    /// Adds up the gradients of one pass; its mean loss.
    fn pass(&mut self, inputs: &BatchValue, wanted: &BatchValue, widths: &[usize]) -> Result<f64> {
        self.switched.switch(widths);
        let mut tape = Tape::forward(&self.switched.network, inputs.clone(), self.course.memory)?;
        let loss = |(logits, wanted): (&[f32], &Vec<f32>)| {
            self.course.imitation.of(logits, LossTarget::Logits(wanted))
        };
        let (losses, mut seeds): (Vec<f64>, BatchValue) =
            tape.outputs().into_iter().zip(wanted).map(loss).unzip();
        let share = 1.0 / inputs.len() as f32;
        seeds.iter_mut().flatten().for_each(|seed| *seed *= share);
        let last = self.switched.network.layers.len() - 1;
        let gradients = tape.backward(vec![(last, seeds)])?;
        self.switched.accumulate(&gradients, widths);
        Ok(losses.iter().sum::<f64>() / inputs.len() as f64)
    }
}
