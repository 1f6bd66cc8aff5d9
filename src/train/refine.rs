//! Refinement of a converted network: what its codes come from, gains, biases and steps move so that it answers like full
//! precision, without labels.

use super::blocks::{NetworkBlock, blocks};
use super::checkpoint::{Checkpoint, Epoch, Standing, digest};
use super::course::Course;
use super::examples::{Examples, VariedImage, channel_first};
use super::held_back::Judge;
use super::loss::{self, Criterion, LossTarget};
use super::optimise::Optimiser;
use super::reconstruct::{BlockError, reconstruct};
use super::simulate::Simulation;
use super::tape::{BatchValue, Tape};
use crate::calibrate::{Parts, Spool};
use crate::clock::Instant;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Interpreter, NodeId};
use crate::prepare::Full;
use crate::progress::Progress;
use crate::quantize::QuantizedGraph;
use crate::random::Random;
use rayon::prelude::*;
use std::path::Path;

/// Share of a label that is spread over all classes.
const SMOOTHING: f64 = 0.1;

/// The best network found.
pub(crate) struct Refinement {
    /// None if no epoch was better than the start.
    pub graph: Option<QuantizedGraph>,
    /// What every block learned before.
    pub blocks: Vec<BlockError>,
    /// The start, then epoch after epoch; where blocks learned before, the first.
    pub curve: Vec<Epoch>,
}

/// What a refinement is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lesson<'a> {
    pub course: &'a Course,
    /// Of the fitted images, or none.
    pub labels: &'a [usize],
    /// Where training stands is written there after every epoch, and read from there at the start.
    pub checkpoint: Option<&'a Path>,
}

/// Refines `graph`, which was fitted to `full`; the images held back choose among the epochs.
///
/// # Errors
/// Values or gradients that are not finite; parameters that integers cannot hold; a checkpoint of another training.
pub(crate) fn refine(
    graph: &QuantizedGraph,
    full: &Full,
    pixels: &Parts,
    lesson: Lesson,
    progress: &dyn Progress,
) -> Result<Refinement> {
    if pixels.held_back.is_none() {
        let message = "too few images to hold some back, which training needs to judge it; give at least 4";
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let teacher = Interpreter::new(&full.graph)?;
    let judge = Judge::new(&teacher, full, pixels.judging())?;
    let mut training = Training::new(graph, full, &teacher, &pixels.fitting, lesson);
    let subject = training.subject(lesson);
    let found = lesson.checkpoint.map(|path| Checkpoint::read(path, &subject)).transpose()?.flatten();
    let mut standing = match found {
        Some(found) => found.standing,
        None => start(&mut training, graph, full, pixels, &judge, progress)?,
    };
    let course = lesson.course;
    training.resume(&standing)?;
    progress.start("training", course.epochs * pixels.fitting.images());
    progress.advance(standing.epoch * pixels.fitting.images());
    while standing.epoch < course.epochs && training.progress_at(standing.epoch, 0.0) < 1.0 {
        let loss = training.epoch(standing.epoch, progress)?;
        let judgement = judge.of(&training.refined(graph))?;
        standing.add(Epoch { loss: Some(loss), judgement }, &mut training);
        progress.status(&standing.curve[standing.curve.len() - 1].to_string());
        if let Some(path) = lesson.checkpoint {
            Checkpoint { subject: subject.clone(), standing: standing.clone() }.write(path)?;
        }
    }
    let Standing { best, blocks, curve, .. } = standing;
    let best =
        best.map(|best| training.simulation.set(&best).map(|()| training.refined(graph))).transpose()?;
    Ok(Refinement { graph: best, blocks, curve })
}

/// Where training stands before its first epoch: blocks have learned, if they are to.
fn start(
    training: &mut Training,
    graph: &QuantizedGraph,
    full: &Full,
    pixels: &Parts,
    judge: &Judge,
    progress: &dyn Progress,
) -> Result<Standing> {
    let before = training.simulation.tensors();
    let mut standing = Standing::at(Epoch { loss: None, judgement: judge.of(graph)? }, before.clone());
    let course = training.course;
    standing.blocks =
        reconstruct(&mut training.simulation, full, training.teacher, pixels, course, progress)?;
    if !standing.blocks.is_empty() {
        let judgement = judge.of(&training.refined(graph))?;
        standing.judge(Epoch { loss: None, judgement }, training.simulation.tensors());
    }
    standing.now = standing.best.clone().unwrap_or(before);
    Ok(standing)
}

/// What is wanted of an image.
struct Wanted {
    /// Full precision's.
    logits: Vec<f32>,
    /// Full precision's values at the end of every block.
    features: Vec<Vec<f32>>,
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
    /// Full precision's.
    output: NodeId,
    /// Blocks whose last values are to be full precision's too.
    blocks: Vec<NetworkBlock>,
    start: Instant,
    /// Seconds of training before this process.
    spent: f64,
}

impl<'a> Training<'a> {
    fn new(
        graph: &QuantizedGraph,
        full: &'a Full<'a>,
        teacher: &'a Interpreter<'a>,
        pixels: &'a Spool,
        lesson: Lesson<'a>,
    ) -> Self {
        let Lesson { course, labels, .. } = lesson;
        let simulation = Simulation::new(graph, &full.graph);
        let blocks = match course.features > 0.0 {
            true => blocks(&simulation, &full.structure, &full.graph),
            false => Vec::new(),
        };
        Self {
            simulation,
            output: full.graph.output,
            blocks,
            optimiser: Optimiser::new(course.optimiser),
            course,
            teacher,
            examples: Examples {
                pixels,
                preprocess: full.preprocess,
                input: full.graph.input,
                labels,
                augment: course.augment(full.preprocess),
                mix: course.mix,
                seed: course.seed,
            },
            start: Instant::now(),
            spent: 0.0,
        }
    }

    /// What training depends on, in a few digits.
    fn subject(&self, lesson: Lesson) -> String {
        let course = Course { epochs: 0, minutes: None, memory: 0, ..lesson.course.clone() };
        digest(&self.simulation.tensors(), &format!("{course:?} {:?}", lesson.labels))
    }

    /// Goes on from where training stood.
    fn resume(&mut self, standing: &Standing) -> Result<()> {
        self.simulation.set(&standing.now)?;
        self.optimiser.steps = standing.steps;
        self.optimiser.means = standing.means.clone();
        self.spent = standing.seconds;
        Ok(())
    }

    fn seconds(&self) -> f64 {
        self.spent + self.start.elapsed().as_secs_f64()
    }

    /// What training has made of `graph`.
    fn refined(&self, graph: &QuantizedGraph) -> QuantizedGraph {
        let mut refined = graph.clone();
        self.simulation.store(&mut refined);
        refined
    }

    /// How much of the course is over, `within` an epoch.
    fn progress_at(&self, epoch: usize, within: f64) -> f64 {
        let by_epochs = (epoch as f64 + within) / self.course.epochs.max(1) as f64;
        let minutes = self.seconds() / 60.0;
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
        let example = |&image: &usize| self.example(epoch, image);
        let examples: Vec<(Vec<f32>, Wanted)> = batch.par_iter().map(example).collect::<Result<_>>()?;
        let (inputs, wanted): (BatchValue, Vec<Wanted>) = examples.into_iter().unzip();
        let last = self.simulation.network.layers.len() - 1;
        self.simulation.refresh([0, last]);
        let layers: Vec<NodeId> = self.blocks.iter().map(|block| block.layers[1]).collect();
        let network = &self.simulation.network;
        let mut tape = Tape::with_features(network, &layers, inputs, self.course.memory)?;
        let losses = tape.outputs().iter().zip(&wanted).map(|(logits, wanted)| self.loss(logits, wanted));
        let (losses, seeds): (Vec<f64>, BatchValue) = losses.unzip();
        let mut sum: f64 = losses.iter().sum();
        let mut seeds = vec![(last, seeds)];
        for (at, &layer) in layers.iter().enumerate() {
            let weight = self.course.features / layers.len() as f64;
            let losses = tape.feature(layer).iter().zip(&wanted);
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
        self.course.change(self.simulation.learned(gradients), &mut self.optimiser, rate);
        Ok(sum)
    }

    /// An image as the simulation reads it, and what is wanted of it.
    fn example(&self, epoch: usize, image: usize) -> Result<(Vec<f32>, Wanted)> {
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
        Ok((channel_first(&pixels, self.examples.input), Wanted { logits, features, classes }))
    }

    /// Loss of an image's logits, and its gradient.
    fn loss(&self, logits: &[f32], wanted: &Wanted) -> (f64, Vec<f32>) {
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

impl Standing {
    /// After another epoch.
    fn add(&mut self, epoch: Epoch, training: &mut Training) {
        self.epoch += 1;
        self.seconds = training.seconds();
        self.steps = training.optimiser.steps;
        self.means = training.optimiser.means.clone();
        self.now = training.simulation.tensors();
        self.judge(epoch, self.now.clone());
    }
}
