//! A packed model ready to run.

use super::schedule::Schedule;
use super::step::{Operand, Step};
use crate::clock::Instant;
use crate::error::{Error, ErrorKind, Result};
use crate::format::PackedModel;
use crate::kernels::Kernels;
use crate::tensor::{Batch, Shape};
use crate::threads;
use std::time::Duration;

/// A packed model ready to run, with integers only, on any number of threads.
///
/// The logits are the same to the bit on every machine, for any batch size and any number of threads.
/// Threads come from the current `rayon` pool.
///
/// # Examples
/// ```no_run
/// let model = fgq::read_model("resnet32.fgq".as_ref())?;
/// let session = fgq::Session::new(&model)?;
/// let pixels = vec![0; session.input().len()];
/// let logits = session.run(&pixels)?;
/// println!("class {}", logits.top(0, 1)[0]);
/// # Ok::<(), fgq::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    input: Shape,
    classes: usize,
    kernels: Kernels,
    engine: Engine,
}

/// What runs a model.
#[derive(Debug)]
enum Engine {
    /// Fast kernels on memory laid out once.
    Schedule(Box<Schedule>),
    /// One operator after another, on values in the order image, row, column, channel.
    Steps(Steps),
}

#[derive(Debug)]
struct Steps {
    steps: Vec<Step>,
    inputs: Vec<Vec<usize>>,
    /// For each step, the values that nobody reads after it.
    dead_after: Vec<Vec<usize>>,
}

/// Integer logits of a batch, all classes in one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logits {
    /// Number of classes.
    pub classes: usize,
    /// `images × classes` values.
    pub data: Vec<i32>,
}

impl Logits {
    /// The logits of one image.
    pub fn image(&self, index: usize) -> &[i32] {
        &self.data[index * self.classes..][..self.classes]
    }

    /// The `count` largest classes of image `index`, best first; the smaller class wins a tie.
    pub fn top(&self, index: usize, count: usize) -> Vec<usize> {
        let logits = self.image(index);
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by_key(|&class| (std::cmp::Reverse(logits[class]), class));
        order.truncate(count);
        order
    }
}

impl Session {
    /// Prepares a model for execution, with the kernels that `FGQ_KERNELS` names or the fastest ones.
    ///
    /// # Errors
    /// A model that is not valid (see [`PackedModel::shapes`]).
    pub fn new(model: &PackedModel) -> Result<Self> {
        Self::with_kernels(model, Kernels::from_env()?)
    }

    /// Prepares a model for execution with the given kernels.
    ///
    /// # Errors
    /// A model that is not valid (see [`PackedModel::shapes`]); kernels that this machine cannot run.
    pub fn with_kernels(model: &PackedModel, kernels: Kernels) -> Result<Self> {
        kernels.check()?;
        let shapes = model.shapes()?;
        let classes = shapes.last().map_or(0, Shape::len);
        let schedule = kernels.isa().and_then(|isa| Schedule::new(model, &shapes, isa));
        let engine = match schedule {
            Some(schedule) => Engine::Schedule(Box::new(schedule)),
            None => Engine::Steps(Steps::new(model, &shapes, kernels)),
        };
        Ok(Self { input: model.input, classes, kernels, engine })
    }

    /// Shape of one input image.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Which kernels run.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// Bytes of weights that each node of the model reads in a run, as its kernel holds them; known after the first run.
    pub(crate) fn weight_bytes(&self) -> Vec<usize> {
        match &self.engine {
            Engine::Steps(steps) => steps.steps.iter().map(Step::weights).collect(),
            Engine::Schedule(schedule) => schedule.weights(),
        }
    }

    /// For each node of the model the one whose kernel writes it too, if it has none of its own.
    pub(crate) fn written_with(&self) -> Vec<Option<usize>> {
        match &self.engine {
            Engine::Steps(steps) => vec![None; steps.steps.len()],
            Engine::Schedule(schedule) => schedule.written_with().to_vec(),
        }
    }

    /// The logits of one image, and how long each node of the model took; nothing where another's kernel writes it too.
    ///
    /// # Errors
    /// A number of pixels that is not one image's.
    pub fn run_timed(&self, pixels: &[u8]) -> Result<(Logits, Vec<Duration>)> {
        if pixels.len() != self.input.len() {
            let message = format!("{} pixels are not one image of {}", pixels.len(), self.input);
            return Err(Error::new(ErrorKind::Shape, message));
        }
        match &self.engine {
            Engine::Steps(steps) => steps.run(Batch { images: 1, shape: self.input, data: pixels.to_vec() }),
            Engine::Schedule(schedule) => {
                let mut logits = Logits::zeroed(1, self.classes);
                let mut times = vec![Duration::ZERO; schedule.nodes()];
                schedule.run_timed(pixels, &mut logits.data, &mut times);
                Ok((logits, times))
            }
        }
    }

    /// The logits of a batch of images.
    ///
    /// `pixels` holds any number of images in the order row, column, channel, preprocessed as the model
    /// states (see [`PackedModel::preprocess`]).
    ///
    /// # Errors
    /// A number of pixels that is not a multiple of an image's.
    pub fn run(&self, pixels: &[u8]) -> Result<Logits> {
        if !pixels.len().is_multiple_of(self.input.len()) {
            let message = format!("{} pixels are no whole number of {} images", pixels.len(), self.input);
            return Err(Error::new(ErrorKind::Shape, message));
        }
        let images = pixels.len() / self.input.len();
        match &self.engine {
            Engine::Steps(steps) => {
                Ok(steps.run(Batch { images, shape: self.input, data: pixels.to_vec() })?.0)
            }
            Engine::Schedule(schedule) => {
                let mut logits = Logits::zeroed(images, self.classes);
                if images == 1 {
                    // This thread works itself, wherever it comes from.
                    schedule.run(pixels, &mut logits.data);
                    return Ok(logits);
                }
                let image = |index: usize| &pixels[index * self.input.len()..][..self.input.len()];
                let run = |(): &mut (), index, row: &mut [i32]| schedule.run(image(index), row);
                threads::for_chunks(&mut logits.data, self.classes, || (), run);
                Ok(logits)
            }
        }
    }
}

impl Steps {
    fn new(model: &PackedModel, shapes: &[Shape], kernels: Kernels) -> Self {
        let operand = |&id: &usize| Operand::new(model, shapes, id);
        let steps = model.nodes.iter().zip(shapes).map(|(node, &shape)| {
            let inputs: Vec<Operand> = node.inputs.iter().map(operand).collect();
            Step::new(node, &inputs, shape, kernels)
        });
        let inputs: Vec<_> = model.nodes.iter().map(|node| node.inputs.clone()).collect();
        let dead_after = super::last_uses(&inputs);
        Self { steps: steps.collect(), inputs, dead_after }
    }

    /// The logits, and how long each step took.
    fn run(&self, pixels: Batch<u8>) -> Result<(Logits, Vec<Duration>)> {
        let mut times = vec![Duration::ZERO; self.steps.len()];
        let mut values: Vec<Option<Batch<u8>>> = vec![None; self.steps.len()];
        values[0] = Some(pixels);
        for (id, step) in self.steps.iter().enumerate().skip(1) {
            let inputs: Vec<&Batch<u8>> =
                self.inputs[id].iter().filter_map(|&i| values[i].as_ref()).collect();
            let start = Instant::now();
            if id + 1 == self.steps.len() {
                let logits = step.logits(&inputs)?;
                times[id] = start.elapsed();
                return Ok((logits, times));
            }
            let output = step.codes(&inputs)?;
            times[id] = start.elapsed();
            values[id] = Some(output);
            self.dead_after[id].iter().for_each(|&dead| values[dead] = None);
        }
        Err(Error::new(ErrorKind::Format, "the model has no operator"))
    }
}
