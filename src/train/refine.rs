//! Refinement of a converted network: what its codes come from, gains, biases and steps move so that it answers like full
//! precision, without labels.

use super::augment::Augment;
use super::course::Course;
use super::examples::{Examples, channel_first};
use super::loss::{Criterion, LossTarget};
use super::optimise::{Optimiser, Parameter, clip};
use super::simulate::Simulation;
use super::tape::{BatchValue, Tape};
use crate::calibrate::{Parts, Spool, logits_of};
use crate::clock::Instant;
use crate::data::normalise;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Preprocess;
use crate::graph::Interpreter;
use crate::judge::{Answers, Judgement};
use crate::pack::pack_graph;
use crate::prepare::Full;
use crate::progress::Progress;
use crate::quantize::QuantizedGraph;
use crate::random::Random;
use rayon::prelude::*;
use std::fmt;

/// Bytes of values that a step may keep.
pub(super) const BUDGET: usize = 1 << 30;

/// Share of a label that is spread over all classes.
const SMOOTHING: f64 = 0.1;

/// The state of a refinement after an epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Mean loss of the images that were fitted; none before the first.
    pub loss: Option<f64>,
    /// What the images held back say.
    pub judgement: Option<Judgement>,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(loss) = self.loss {
            write!(f, "loss {loss:.4}")?;
        }
        match &self.judgement {
            Some(found) => write!(f, " {:.1}% {:.4}", found.agreement_percent(), found.divergence),
            None => Ok(()),
        }
    }
}

/// The best network found.
pub(crate) struct Refinement {
    /// None if no epoch was better than the start.
    pub graph: Option<QuantizedGraph>,
    /// The start, then epoch after epoch.
    pub curve: Vec<Epoch>,
}

/// Refines `graph`, which was fitted to `full`; the images held back choose among the epochs. `labels` are those of the
/// fitted images, or none.
///
/// # Errors
/// Values or gradients that are not finite; parameters that integers cannot hold.
pub(crate) fn refine(
    graph: &QuantizedGraph,
    full: &Full,
    pixels: &Parts,
    labels: &[usize],
    course: &Course,
    progress: &dyn Progress,
) -> Result<Refinement> {
    if pixels.held_back.is_none() {
        let message = "too few images to hold some back, which training needs to judge it; give at least 4";
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let teacher = Interpreter::new(&full.graph)?;
    let judge = Judge::new(&teacher, full, pixels.judging())?;
    let start = judge.of(graph)?;
    let mut curve = vec![Epoch { loss: None, judgement: start }];
    let mut best = None;
    let mut lowest = start.map_or(f64::INFINITY, |start| start.divergence);
    let mut training = Training::new(graph, full, &teacher, &pixels.fitting, labels, course);
    progress.start("training", course.epochs * pixels.fitting.images());
    for epoch in 0..course.epochs {
        let loss = training.epoch(epoch, progress)?;
        let mut refined = graph.clone();
        training.simulation.store(&mut refined);
        let judgement = judge.of(&refined)?;
        curve.push(Epoch { loss: Some(loss), judgement });
        if let Some(found) = judgement.filter(|found| found.divergence < lowest) {
            lowest = found.divergence;
            best = Some(refined);
        }
        progress.status(&curve[epoch + 1].to_string());
        if training.progress_at(epoch + 1, 0.0) >= 1.0 {
            break;
        }
    }
    Ok(Refinement { graph: best, curve })
}

/// The images that judge, with full precision's logits.
struct Judge<'a> {
    preprocess: &'a Preprocess,
    pixels: &'a Spool,
    logits: Vec<Vec<f64>>,
}

impl<'a> Judge<'a> {
    fn new(teacher: &Interpreter, full: &Full<'a>, pixels: &'a Spool) -> Result<Self> {
        let logits = |image: usize| {
            let input = normalise(&pixels.image(image)?, full.preprocess)?;
            let logits = teacher.run(&input.into_raw_vec_and_offset().0)?;
            Ok(logits.into_iter().map(f64::from).collect())
        };
        let logits = (0..pixels.images()).into_par_iter().map(logits).collect::<Result<_>>()?;
        Ok(Self { preprocess: full.preprocess, pixels, logits })
    }

    /// What the integer runtime makes of `graph`.
    fn of(&self, graph: &QuantizedGraph) -> Result<Option<Judgement>> {
        let model = pack_graph(graph, self.preprocess)?;
        let logits = logits_of(&model, self.pixels)?;
        let answer = |(image, reference): (usize, &Vec<f64>)| {
            let real = logits.image(image).iter().map(|&logit| f64::from(logit) * model.logit_scale);
            Answers::of(reference, &real.collect::<Vec<_>>())
        };
        let answers: Vec<Answers> = self.logits.iter().enumerate().map(answer).collect();
        Ok(Judgement::of(&answers))
    }
}

/// What the logits of an image should be.
struct LogitTarget {
    /// Full precision's.
    logits: Vec<f32>,
    /// Classes with their shares, where labels are known.
    classes: Vec<(usize, f64)>,
}

/// A simulation on its course.
struct Training<'a> {
    simulation: Simulation,
    optimiser: Optimiser,
    course: &'a Course,
    teacher: &'a Interpreter<'a>,
    examples: Examples<'a>,
    start: Instant,
}

impl<'a> Training<'a> {
    fn new(
        graph: &QuantizedGraph,
        full: &'a Full<'a>,
        teacher: &'a Interpreter<'a>,
        pixels: &'a Spool,
        labels: &'a [usize],
        course: &'a Course,
    ) -> Self {
        Self {
            simulation: Simulation::new(graph, &full.graph),
            optimiser: Optimiser::new(course.optimiser),
            course,
            teacher,
            examples: Examples {
                pixels,
                preprocess: full.preprocess,
                input: full.graph.input,
                labels,
                augment: Augment { flips: course.flips, shift: course.shift },
                mix: course.mix,
                seed: course.seed,
            },
            start: Instant::now(),
        }
    }

    /// How much of the course is over, `within` an epoch.
    fn progress_at(&self, epoch: usize, within: f64) -> f64 {
        let by_epochs = (epoch as f64 + within) / self.course.epochs.max(1) as f64;
        let minutes = self.start.elapsed().as_secs_f64() / 60.0;
        self.course.minutes.map_or(by_epochs, |limit| by_epochs.max(minutes / limit))
    }

    /// Sees every image once; the mean loss.
    fn epoch(&mut self, epoch: usize, reports: &dyn Progress) -> Result<f64> {
        let order = Random::new(self.course.seed, &[epoch as u64]).order(self.examples.pixels.images());
        let (mut sum, mut count) = (0.0, 0);
        for (step, batch) in order.chunks(self.course.batch.max(1)).enumerate() {
            let within = (step * self.course.batch) as f64 / order.len() as f64;
            let progress = self.progress_at(epoch, within);
            if progress >= 1.0 {
                break;
            }
            sum += self.step(epoch, batch, progress)?;
            count += batch.len();
            reports.advance(batch.len());
        }
        Ok(sum / count.max(1) as f64)
    }

    /// One change of all parameters; the sum of the images' losses.
    fn step(&mut self, epoch: usize, batch: &[usize], progress: f64) -> Result<f64> {
        let example = |&image: &usize| {
            let example = self.examples.of(epoch, image)?;
            let logits = self.teacher.run(&example.input)?;
            Ok((
                channel_first(&example.pixels, self.examples.input),
                LogitTarget { logits, classes: example.classes },
            ))
        };
        let examples: Vec<(Vec<f32>, LogitTarget)> = batch.par_iter().map(example).collect::<Result<_>>()?;
        let (inputs, wanted): (BatchValue, Vec<LogitTarget>) = examples.into_iter().unzip();
        self.simulation.refresh();
        let mut tape = Tape::forward(&self.simulation.network, inputs, BUDGET)?;
        let losses = tape.logits().iter().zip(&wanted).map(|(logits, wanted)| self.loss(logits, wanted));
        let (losses, mut seeds): (Vec<f64>, BatchValue) = losses.unzip();
        let share = 1.0 / batch.len() as f32;
        seeds.iter_mut().flatten().for_each(|seed| *seed *= share);
        let gradients = tape.backward(vec![(self.simulation.network.layers.len() - 1, seeds)])?;
        let mut learned = self.simulation.learned(gradients);
        if let Some(limit) = self.course.clip {
            clip(&mut learned.iter_mut().map(|learned| &mut learned.gradient[..]).collect::<Vec<_>>(), limit);
        }
        let mut parameters: Vec<Parameter> = learned
            .iter_mut()
            .map(|learned| Parameter {
                rate: self.course.rate_of(learned.kind),
                decay: self.course.decay_of(learned.kind),
                values: &mut *learned.values,
                gradient: &learned.gradient,
                units: &learned.units,
            })
            .collect();
        let rate = self.course.rate * self.course.schedule.at(progress);
        self.optimiser.step(&mut parameters, rate as f32);
        Ok(losses.iter().sum())
    }

    /// Loss of an image's logits, and its gradient.
    fn loss(&self, logits: &[f32], wanted: &LogitTarget) -> (f64, Vec<f32>) {
        let (mut sum, mut gradient) = self.course.imitation.of(logits, LossTarget::Logits(&wanted.logits));
        for &(class, share) in &wanted.classes {
            let (loss, own) =
                Criterion::CrossEntropy { smoothing: SMOOTHING }.of(logits, LossTarget::Class(class));
            sum += share * loss;
            gradient.iter_mut().zip(own).for_each(|(sum, own)| *sum += share as f32 * own);
        }
        (sum, gradient)
    }
}
