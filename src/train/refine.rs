//! Refinement of a converted network: what its codes come from, gains, biases and steps move so that it answers like full
//! precision, without labels.

use super::augment::{Augment, mixed};
use super::loss::{Loss, Target};
use super::optimise::{Method, Optimiser, Parameter, Schedule};
use super::parameters::Kind;
use super::random::Random;
use super::simulate::Simulation;
use super::tape::{BatchValue, Tape};
use crate::calibrate::{Parts, Spool};
use crate::clock::Instant;
use crate::data::normalise;
use crate::error::Result;
use crate::format::Preprocess;
use crate::graph::Interpreter;
use crate::judge::{Answers, Judgement};
use crate::pack::pack_graph;
use crate::prepare::Full;
use crate::progress::Progress;
use crate::quantize::QuantizedGraph;
use crate::runtime::Session;
use crate::tensor::Shape;
use rayon::prelude::*;
use std::fmt;

/// Bytes of values that a step may keep.
const BUDGET: usize = 1 << 30;

/// Images that are judged together.
const JUDGED: usize = 16;

/// How a network is refined.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// How often every image is seen.
    pub epochs: usize,
    /// Minutes after which it ends, whether or not all epochs are done; the rate falls accordingly. With a limit results
    /// depend on the machine.
    pub minutes: Option<f64>,
    /// Images of a step.
    pub batch: usize,
    /// By how much parameters change in a step at the start: weights in distances between levels, gains and steps in
    /// shares of themselves.
    pub rate: f64,
    /// Softens the class probabilities that are compared.
    pub temperature: f64,
    /// Half of the images are mirrored from left to right.
    pub flips: bool,
    /// Pixels by which images move at most.
    pub shift: usize,
    /// Share of images that are laid over another one, 0 to 1.
    pub mix: f64,
    /// Where randomness starts.
    pub seed: u64,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            epochs: 20,
            minutes: None,
            batch: 16,
            rate: 1e-3,
            temperature: 2.0,
            flips: true,
            shift: 0,
            mix: 0.5,
            seed: 0,
        }
    }
}

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

/// Refines `graph`, which was fitted to `full`; the images held back choose among the epochs.
///
/// # Errors
/// Values or gradients that are not finite; parameters that integers cannot hold.
pub(crate) fn refine(
    graph: &QuantizedGraph,
    full: &Full,
    pixels: &Parts,
    course: &Course,
    progress: &dyn Progress,
) -> Result<Refinement> {
    let teacher = Interpreter::new(&full.graph)?;
    let judge = Judge::new(&teacher, full, pixels.judging())?;
    let start = judge.of(graph)?;
    let mut curve = vec![Epoch { loss: None, judgement: start }];
    let mut best: Option<(f64, QuantizedGraph)> = None;
    let mut lowest = start.map_or(f64::INFINITY, |start| start.divergence);
    let mut training = Training::new(graph, full, &teacher, &pixels.fitting, course)?;
    progress.start("training", course.epochs * pixels.fitting.images());
    for epoch in 0..course.epochs {
        let loss = training.epoch(epoch, progress)?;
        let mut refined = graph.clone();
        training.simulation.store(&mut refined);
        let judgement = judge.of(&refined)?;
        curve.push(Epoch { loss: Some(loss), judgement });
        if let Some(found) = judgement.filter(|found| found.divergence < lowest) {
            lowest = found.divergence;
            best = Some((lowest, refined));
        }
        progress.status(&curve[epoch + 1].to_string());
        if training.progress_at(epoch + 1, 0.0) >= 1.0 {
            break;
        }
    }
    Ok(Refinement { graph: best.map(|(_, graph)| graph), curve })
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
        let session = Session::new(&model)?;
        let mut answers = Vec::with_capacity(self.logits.len());
        let images: Vec<usize> = (0..self.pixels.images()).collect();
        for batch in images.chunks(JUDGED) {
            let pixels: Vec<Vec<u8>> =
                batch.iter().map(|&image| self.pixels.image(image)).collect::<Result<_>>()?;
            let logits = session.run(&pixels.concat())?;
            for (place, &image) in batch.iter().enumerate() {
                let real: Vec<f64> =
                    logits.image(place).iter().map(|&logit| f64::from(logit) * model.logit_scale).collect();
                answers.push(Answers::of(&self.logits[image], &real));
            }
        }
        Ok(Judgement::of(&answers))
    }
}

/// A simulation on its course.
struct Training<'a> {
    simulation: Simulation,
    optimiser: Optimiser,
    schedule: Schedule,
    course: &'a Course,
    full: &'a Full<'a>,
    teacher: &'a Interpreter<'a>,
    pixels: &'a Spool,
    start: Instant,
}

impl<'a> Training<'a> {
    fn new(
        graph: &QuantizedGraph,
        full: &'a Full<'a>,
        teacher: &'a Interpreter<'a>,
        pixels: &'a Spool,
        course: &'a Course,
    ) -> Result<Self> {
        Ok(Self {
            simulation: Simulation::new(graph, &full.graph),
            optimiser: Optimiser::new(Method::ADAM_W),
            schedule: Schedule::Cosine { warm_up: 0.02 },
            course,
            full,
            teacher,
            pixels,
            start: Instant::now(),
        })
    }

    /// How much of the course is over, `within` an epoch.
    fn progress_at(&self, epoch: usize, within: f64) -> f64 {
        let by_epochs = (epoch as f64 + within) / self.course.epochs.max(1) as f64;
        let minutes = self.start.elapsed().as_secs_f64() / 60.0;
        self.course.minutes.map_or(by_epochs, |limit| by_epochs.max(minutes / limit))
    }

    /// Sees every image once; the mean loss.
    fn epoch(&mut self, epoch: usize, reports: &dyn Progress) -> Result<f64> {
        let order = Random::new(self.course.seed, &[epoch as u64]).order(self.pixels.images());
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
        let images: Vec<(Vec<f32>, Vec<f32>)> =
            batch.par_iter().map(|&image| self.image(epoch, image)).collect::<Result<_>>()?;
        let (inputs, targets): (BatchValue, Vec<Vec<f32>>) = images.into_iter().unzip();
        self.simulation.refresh();
        let mut tape = Tape::forward(&self.simulation.network, inputs, BUDGET)?;
        let loss = Loss::Divergence { temperature: self.course.temperature };
        let losses = tape
            .logits()
            .iter()
            .zip(&targets)
            .filter_map(|(own, wanted)| loss.of(own, Target::Logits(wanted)));
        let (losses, mut seeds): (Vec<f64>, BatchValue) = losses.unzip();
        let share = 1.0 / batch.len() as f32;
        seeds.iter_mut().flatten().for_each(|seed| *seed *= share);
        let gradients = tape.backward(vec![(self.simulation.network.layers.len() - 1, seeds)])?;
        let mut learned = self.simulation.learned(gradients);
        let mut parameters: Vec<Parameter> = learned
            .iter_mut()
            .map(|learned| Parameter {
                rate: rate_of(learned.kind),
                values: &mut *learned.values,
                gradient: &learned.gradient,
                units: &learned.units,
                decay: 0.0,
            })
            .collect();
        let rate = self.course.rate * self.schedule.at(progress);
        self.optimiser.step(&mut parameters, rate as f32);
        Ok(losses.iter().sum())
    }

    /// An image as the network in training reads it, and full precision's logits of it.
    fn image(&self, epoch: usize, image: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let mut random = Random::new(self.course.seed, &[epoch as u64, image as u64]);
        let mut pixels = self.augmented(image, &mut random)?;
        if random.unit() < self.course.mix {
            let other = random.below(self.pixels.images());
            pixels = mixed(&pixels, &self.augmented(other, &mut random)?, random.unit());
        }
        let input = normalise(&pixels, self.full.preprocess)?.into_raw_vec_and_offset().0;
        Ok((channel_first(&pixels, self.full.graph.input), self.teacher.run(&input)?))
    }

    fn augmented(&self, image: usize, random: &mut Random) -> Result<Vec<u8>> {
        let augment = Augment { flips: self.course.flips, shift: self.course.shift };
        Ok(augment.apply(&self.pixels.image(image)?, self.full.graph.input, random))
    }
}

/// Rates of kinds of parameters beside the common one.
fn rate_of(kind: Kind) -> f32 {
    match kind {
        Kind::Weight | Kind::Step | Kind::Gain | Kind::Bias => 1.0,
    }
}

fn channel_first(pixels: &[u8], shape: Shape) -> Vec<f32> {
    let channel =
        |channel: usize| pixels.iter().skip(channel).step_by(shape.channels).map(|&pixel| f32::from(pixel));
    (0..shape.channels).flat_map(channel).collect()
}
