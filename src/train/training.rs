//! A student on its course: steps, epochs, and where they stand.

use super::blocks::NetworkBlock;
use super::checkpoint::{Epoch, Standing, digest};
use super::course::{Course, Imitation};
use super::examples::{Examples, VariedImage, channel_first};
use super::loss::{self, Criterion, LossTarget};
use super::memory::MemoryUse;
use super::network::LayerId;
use super::optimise::Optimiser;
use super::student::Student;
use super::tape::{BatchValue, Tape};
use crate::calibrate::{Parts, Spool};
use crate::clock::Instant;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Interpreter, NodeId};
use crate::judge::Judgement;
use crate::prepare::Full;
use crate::progress::{Progress, advance};
use crate::random::Random;
use rayon::prelude::*;
use std::path::Path;

/// What a network in training should answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lesson<'a> {
    /// How it should answer like full precision, if it should.
    pub imitation: Option<Imitation>,
    /// Classes of the fitted images; empty if they are not learned.
    pub labels: &'a [usize],
    /// Share of a label that is spread over all classes.
    pub smoothing: f64,
}

/// What a training is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tutoring<'a> {
    pub course: &'a Course,
    pub lesson: Lesson<'a>,
    /// Where training stands is written there after every epoch, and read from there at the start.
    pub checkpoint: Option<&'a Path>,
}

/// What the network of an epoch is worth.
pub(super) struct Verdict {
    /// What the images held back say.
    pub judgement: Option<Judgement>,
    /// What it takes, if precision is learned.
    pub memory: Option<MemoryUse>,
    /// Whether it may be the best.
    pub counts: bool,
}

/// What is wanted of an image.
struct WantedAnswers {
    /// Full precision's.
    logits: Vec<f32>,
    /// Full precision's values at the end of every block.
    features: Vec<Vec<f32>>,
    /// Classes with their shares, where labels are known.
    classes: Vec<(usize, f64)>,
}

/// A student on its course.
pub(super) struct Training<'a, S> {
    pub student: S,
    pub course: &'a Course,
    pub teacher: &'a Interpreter<'a>,
    /// Blocks whose last values are to be full precision's too.
    pub blocks: Vec<NetworkBlock>,
    lesson: Lesson<'a>,
    checkpoint: Option<&'a Path>,
    optimiser: Optimiser,
    examples: Examples<'a>,
    /// Full precision's.
    output: NodeId,
    start: Instant,
    /// Seconds of training before this process.
    spent: f64,
}

impl<'a, S: Student + Sync> Training<'a, S> {
    pub(super) fn new(
        student: S,
        full: &'a Full<'a>,
        teacher: &'a Interpreter<'a>,
        pixels: &'a Spool,
        told: Tutoring<'a>,
    ) -> Self {
        let Tutoring { course, lesson, checkpoint } = told;
        Self {
            student,
            course,
            teacher,
            blocks: Vec::new(),
            lesson,
            checkpoint,
            optimiser: Optimiser::new(course.optimiser),
            examples: Examples {
                pixels,
                preprocess: full.preprocess,
                input: full.graph.input,
                labels: lesson.labels,
                augment: course.augment(full.preprocess),
                mix: course.mix,
                seed: course.seed,
            },
            output: full.graph.output,
            start: Instant::now(),
            spent: 0.0,
        }
    }

    /// Goes on from the checkpoint, if there is one, else from where `start` leaves, until the course is over; `judge` says
    /// what the network of an epoch is worth.
    ///
    /// # Errors
    /// Values or gradients that are not finite; a checkpoint of another training; whatever `start` and `judge` refuse.
    pub(super) fn run(
        &mut self,
        start: impl FnOnce(&mut Self) -> Result<Standing>,
        judge: impl Fn(&mut S) -> Result<Verdict>,
        progress: &dyn Progress,
    ) -> Result<Standing> {
        let file = self.checkpoint.map(|path| (path, self.subject()));
        let found = file.as_ref().map(|(path, subject)| Standing::read(path, subject)).transpose()?.flatten();
        let mut standing = found.map_or_else(|| start(self), Ok)?;
        let images = self.examples.pixels.images();
        self.resume(&standing)?;
        progress.start("training", self.course.epochs * images);
        progress.advance(standing.epoch * images);
        while standing.epoch < self.course.epochs && self.progress_at(standing.epoch, 0.0) < 1.0 {
            let loss = self.epoch(standing.epoch, progress)?;
            let verdict = judge(&mut self.student)?;
            self.record(loss, verdict, &mut standing);
            progress.status(&standing.curve.last().map(Epoch::to_string).unwrap_or_default());
            if let Some((path, subject)) = &file {
                standing.write(path, subject)?;
            }
        }
        Ok(standing)
    }

    /// What training depends on, in a few digits.
    fn subject(&self) -> String {
        let course = Course { epochs: 0, minutes: None, memory: 0, ..self.course.clone() };
        let told = format!("{course:?} {:?} {}", self.lesson, self.student.rules());
        digest(&self.student.tensors(), &told)
    }

    fn resume(&mut self, standing: &Standing) -> Result<()> {
        self.student.set(&standing.now)?;
        self.optimiser.steps = standing.steps;
        self.optimiser.means = standing.means.clone();
        self.spent = standing.seconds;
        Ok(())
    }

    /// Where training stands after another epoch.
    fn record(&self, loss: f64, verdict: Verdict, standing: &mut Standing) {
        standing.epoch += 1;
        standing.seconds = self.seconds();
        standing.steps = self.optimiser.steps;
        standing.means = self.optimiser.means.clone();
        standing.memory.extend(verdict.memory);
        let (epoch, now) = (Epoch { loss: Some(loss), judgement: verdict.judgement }, self.student.tensors());
        standing.judge(epoch, verdict.counts, &now);
        standing.now = now;
    }

    fn seconds(&self) -> f64 {
        self.spent + self.start.elapsed().as_secs_f64()
    }

    /// How much of the course is over, `within` an epoch.
    fn progress_at(&self, epoch: usize, within: f64) -> f64 {
        self.course.progress(epoch as f64 + within, self.seconds())
    }

    /// Sees every image once; the mean loss.
    pub(super) fn epoch(&mut self, epoch: usize, reports: &dyn Progress) -> Result<f64> {
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
            advance(reports, batch.len())?;
        }
        Ok(sum / count.max(1) as f64)
    }

    /// One change of all parameters; the sum of the images' losses.
    fn step(&mut self, epoch: usize, batch: &[usize], progress: f64) -> Result<f64> {
        let example = |&image: &usize| self.example(epoch, image);
        let examples: Vec<(Vec<f32>, WantedAnswers)> =
            batch.par_iter().map(example).collect::<Result<_>>()?;
        let (inputs, wanted): (BatchValue, Vec<WantedAnswers>) = examples.into_iter().unzip();
        self.student.refresh(progress);
        let layers: Vec<LayerId> = self.blocks.iter().map(|block| block.layers[1]).collect();
        let network = self.student.network();
        let last = network.layers.len() - 1;
        let mut tape = Tape::with_features(network, &layers, inputs, self.course.memory)?;
        let losses =
            tape.outputs().into_iter().zip(&wanted).map(|(logits, wanted)| self.loss(logits, wanted));
        let (losses, seeds): (Vec<f64>, BatchValue) = losses.unzip();
        let mut sum: f64 = losses.iter().sum();
        let mut seeds = vec![(last, seeds)];
        for (at, &layer) in layers.iter().enumerate() {
            let weight = self.course.features / layers.len() as f64;
            let losses = tape.feature(layer).into_iter().zip(&wanted);
            let losses =
                losses.map(|(values, wanted)| loss::relative_distance(values, &wanted.features[at], weight));
            let (losses, own): (Vec<f64>, BatchValue) = losses.unzip();
            sum += losses.iter().sum::<f64>();
            seeds.push((layer, own));
        }
        let share = 1.0 / batch.len() as f32;
        seeds.iter_mut().flat_map(|(_, seeds)| seeds).flatten().for_each(|seed| *seed *= share);
        let gradients = tape.backward(seeds)?;
        let rate = self.course.rate * self.course.schedule.at(progress);
        self.course.change(self.student.learned(gradients), &mut self.optimiser, rate);
        Ok(sum)
    }

    /// An image as the simulation reads it, and what is wanted of it.
    fn example(&self, epoch: usize, image: usize) -> Result<(Vec<f32>, WantedAnswers)> {
        let VariedImage { pixels, input, classes } = self.examples.of(epoch, image)?;
        let mut features = vec![Vec::new(); self.blocks.len()];
        let mut logits = Vec::new();
        self.teacher.observe(&input, |node, values| {
            let places = self.blocks.iter().zip(&mut features);
            places.filter(|(block, _)| block.nodes[1] == node).for_each(|(_, to)| *to = values.to_vec());
            if node == self.output {
                logits = values.to_vec();
            }
        })?;
        Ok((channel_first(&pixels, self.examples.input), WantedAnswers { logits, features, classes }))
    }

    /// Loss of an image's logits, and its gradient.
    fn loss(&self, logits: &[f32], wanted: &WantedAnswers) -> (f64, Vec<f32>) {
        let imitated = |imitation: Imitation| imitation.of(logits, LossTarget::Logits(&wanted.logits));
        let nothing = || (0.0, vec![0.0; logits.len()]);
        let (mut sum, mut gradient) = self.lesson.imitation.map_or_else(nothing, imitated);
        for &(class, share) in &wanted.classes {
            let (loss, own) = Criterion::CrossEntropy { smoothing: self.lesson.smoothing }
                .of(logits, LossTarget::Class(class));
            sum += share * loss;
            gradient.iter_mut().zip(own).for_each(|(sum, own)| *sum += share as f32 * own);
        }
        (sum, gradient)
    }
}

/// Refuses images so few that none judges.
pub(super) fn check_held_back(pixels: &Parts) -> Result<()> {
    let message = "too few images to hold some back, which training needs to judge it; give at least 4";
    let missing = || Error::new(ErrorKind::Argument, message);
    pixels.held_back.as_ref().map(|_| ()).ok_or_else(missing)
}
