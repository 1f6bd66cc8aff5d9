//! Block-wise reconstruction (Li et al., arXiv 2102.05426, section 3.2): block after block learns to yield full precision's
//! values from what the converted blocks before it yield.

use super::blocks::{NetworkBlock, blocks};
use super::course::{Course, Reconstruction};
use super::examples::channel_first;
use super::optimise::Optimiser;
use super::quantizers::DropMask;
use super::simulate::Simulation;
use super::student::Student;
use super::tape::{BatchValue, Gradients, Tape};
use crate::calibrate::{CHUNK, Parts, RealSpool, Spool};
use crate::data::normalise;
use crate::error::Result;
use crate::graph::Interpreter;
use crate::prepare::Full;
use crate::progress::{Progress, advance};
use crate::random::Random;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How far a block's values are from full precision's, as a share of these, on the images held back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockError {
    /// The last layer of the block.
    pub name: String,
    /// Before the block learned.
    pub before: f64,
    /// After it; the same if learning did not help.
    pub after: f64,
}

/// Lets every block of `simulation` learn, the first first. What does not help on the images held back is undone.
///
/// # Errors
/// Values or gradients that are not finite; a temporary file that cannot be written.
pub(super) fn reconstruct(
    simulation: &mut Simulation,
    full: &Full,
    teacher: &Interpreter,
    pixels: &Parts,
    course: &Course,
    progress: &dyn Progress,
) -> Result<Vec<BlockError>> {
    let Some(reconstruction) = &course.reconstruction else { return Ok(Vec::new()) };
    let blocks = blocks(simulation, &full.structure, &full.graph);
    progress.start("blocks", blocks.len() * reconstruction.epochs * pixels.fitting.images());
    let mut streams = [&pixels.fitting, pixels.judging()]
        .into_iter()
        .map(|pixels| Stream::start(pixels, full))
        .collect::<Result<Vec<_>>>()?;
    let mut errors = Vec::new();
    for (index, block) in blocks.into_iter().enumerate() {
        let targets =
            streams.iter().map(|stream| stream.target(teacher, block)).collect::<Result<Vec<_>>>()?;
        let mut study = BlockStudy {
            simulation,
            block,
            inputs: &streams,
            targets: &targets,
            course,
            reconstruction,
            seed: Random::new(course.seed, &[1, index as u64]).next(),
            power: power(&targets[0])?,
        };
        let error = study.learn(progress)?;
        progress.status(&format!("{}: {:.4} → {:.4}", error.name, error.before, error.after));
        errors.push(error);
        let outputs =
            streams.iter().map(|stream| stream.output(simulation, block)).collect::<Result<Vec<_>>>()?;
        streams =
            outputs.into_iter().zip(targets).map(|(converted, full)| Stream { converted, full }).collect();
    }
    Ok(errors)
}

/// The value that passes from a block to the next, on all images.
struct Stream {
    /// Of the converted network.
    converted: RealSpool,
    /// Of full precision.
    full: RealSpool,
}

impl Stream {
    fn start(pixels: &Spool, full: &Full) -> Result<Self> {
        let (input, images) = (full.graph.input, pixels.images());
        let normalised =
            |image| Ok(normalise(&pixels.image(image)?, full.preprocess)?.into_raw_vec_and_offset().0);
        Ok(Self {
            converted: RealSpool::of(input, images, |image| Ok(channel_first(&pixels.image(image)?, input)))?,
            full: RealSpool::of(input, images, normalised)?,
        })
    }

    /// What the block should yield.
    fn target(&self, teacher: &Interpreter, block: NetworkBlock) -> Result<RealSpool> {
        let [from, to] = block.nodes;
        RealSpool::of(teacher.shapes()[to], self.full.images(), |image| {
            teacher.resume(from, self.full.image(image)?, to)
        })
    }

    /// What the block yields.
    fn output(&self, simulation: &Simulation, block: NetworkBlock) -> Result<RealSpool> {
        let shape = simulation.network.layers[block.layers[1]].shape;
        RealSpool::of(shape, self.converted.images(), |image| {
            let tape =
                Tape::between(&simulation.network, block.layers, vec![self.converted.image(image)?], 0)?;
            Ok(tape.outputs().concat())
        })
    }
}

/// Mean square of all values of an image.
fn power(values: &RealSpool) -> Result<f64> {
    let of_image =
        |image| Ok(values.image(image)?.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>());
    let squares: Vec<f64> = (0..values.images()).into_par_iter().map(of_image).collect::<Result<_>>()?;
    Ok((squares.iter().sum::<f64>() / squares.len().max(1) as f64).max(f64::MIN_POSITIVE))
}

/// A block that learns.
struct BlockStudy<'a> {
    simulation: &'a mut Simulation,
    block: NetworkBlock,
    /// Of the images that are fitted, and of those held back.
    inputs: &'a [Stream],
    targets: &'a [RealSpool],
    course: &'a Course,
    reconstruction: &'a Reconstruction,
    seed: u64,
    power: f64,
}

impl BlockStudy<'_> {
    fn learn(&mut self, progress: &dyn Progress) -> Result<BlockError> {
        let before = self.error()?;
        let (mut lowest, mut best) = (before, self.simulation.part(self.block.layers));
        let course = self.reconstruction.course(self.course);
        let mut optimiser = Optimiser::new(course.optimiser);
        for epoch in 0..course.epochs {
            self.epoch(epoch, &course, &mut optimiser, progress)?;
            self.simulation.refresh_within(self.block.layers);
            let error = self.error()?;
            if error < lowest {
                (lowest, best) = (error, self.simulation.part(self.block.layers));
            }
        }
        self.simulation.restore(best);
        let name = self.simulation.network.layers[self.block.layers[1]].name.clone();
        Ok(BlockError { name, before, after: lowest })
    }

    fn epoch(
        &mut self,
        epoch: usize,
        course: &Course,
        optimiser: &mut Optimiser,
        progress: &dyn Progress,
    ) -> Result<()> {
        let images = self.inputs[0].full.images();
        let order = Random::new(self.seed, &[epoch as u64]).order(images);
        for (step, batch) in order.chunks(course.batch).enumerate() {
            let done = (epoch * images + step * course.batch) as f64 / (course.epochs * images) as f64;
            let drop = DropMask::new(self.reconstruction.drop, self.seed, (epoch * images + step) as u64);
            self.simulation.refresh_within(self.block.layers);
            self.simulation.drop(self.block.layers, drop);
            let gradients = self.gradients(batch, drop);
            self.simulation.drop(self.block.layers, None);
            let rate = course.rate * course.schedule.at(done);
            course.change(self.simulation.learned(gradients?), optimiser, rate);
            advance(progress, batch.len())?;
        }
        Ok(())
    }

    fn gradients(&self, batch: &[usize], drop: Option<DropMask>) -> Result<Gradients> {
        let input = |&image: &usize| {
            let converted = self.inputs[0].converted.image(image)?;
            let dropped = drop.filter(|_| self.block.layers[0] > 0);
            let Some(drop) = dropped else { return Ok(converted) };
            Ok(drop.at(self.block.layers[0]).mixed(&self.inputs[0].full.image(image)?, converted))
        };
        let inputs: BatchValue = batch.par_iter().map(input).collect::<Result<_>>()?;
        let mut tape =
            Tape::between(&self.simulation.network, self.block.layers, inputs, self.course.memory)?;
        let factor = (2.0 / (self.power * batch.len() as f64)) as f32;
        let seed = |(&image, output): (&usize, &[f32])| {
            let target = self.targets[0].image(image)?;
            Ok(output.iter().zip(target).map(|(output, target)| factor * (output - target)).collect())
        };
        let seeds: BatchValue = batch.par_iter().zip(tape.outputs()).map(seed).collect::<Result<_>>()?;
        tape.backward(vec![(self.block.layers[1], seeds)])
    }

    /// The block's error on the images held back.
    fn error(&self) -> Result<f64> {
        let target = &self.targets[1];
        let images: Vec<usize> = (0..target.images()).collect();
        let mut sum = 0.0;
        for chunk in images.chunks(CHUNK) {
            let inputs: BatchValue =
                chunk.iter().map(|&image| self.inputs[1].converted.image(image)).collect::<Result<_>>()?;
            let tape = Tape::between(&self.simulation.network, self.block.layers, inputs, 0)?;
            let error = |(&image, output): (&usize, &[f32])| {
                let pairs = output.iter().zip(target.image(image)?);
                Ok(pairs.map(|(output, target)| f64::from(output - target).powi(2)).sum::<f64>())
            };
            let errors: Vec<f64> = chunk.par_iter().zip(tape.outputs()).map(error).collect::<Result<_>>()?;
            sum += errors.iter().sum::<f64>();
        }
        Ok(sum / (images.len().max(1) as f64 * self.power))
    }
}
