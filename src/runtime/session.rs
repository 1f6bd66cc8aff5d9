//! A packed model ready to run.

use super::engine::Engine;
use super::nodes::Nodes;
use super::switch::Switch;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{PackedId, PackedModel, Setting};
use crate::index::Per;
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
    /// Of a model that switches.
    switch: Option<Box<Switch>>,
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
        let made = |nodes: &Nodes| Engine::new(nodes, kernels);
        let (switch, engine) = match &model.switching {
            Some(switching) => {
                let (switch, engine) = Switch::new(model, switching, &shapes, made);
                (Some(Box::new(switch)), engine)
            }
            None => (None, made(&Nodes::plain(model, &shapes))),
        };
        Ok(Self { input: model.input, classes, kernels, engine, switch })
    }

    /// The widths that the model's layers can have, in ascending order: how many planes, or how many bits of their codes,
    /// they take. None of a model that does not switch.
    pub fn widths(&self) -> &[u8] {
        self.switch.as_ref().map_or(&[], |switch| &switch.switching().widths)
    }

    /// The widths that have a name.
    pub fn settings(&self) -> &[Setting] {
        self.switch.as_ref().map_or(&[], |switch| &switch.switching().settings)
    }

    /// The layers that switch, in execution order, and the width that each has now.
    pub fn layers(&self) -> impl Iterator<Item = (&str, u8)> {
        self.switch.iter().flat_map(|switch| switch.layers())
    }

    /// Gives one layer, or all that switch, another width; at first every layer has its full one.
    ///
    /// What a layer needs for a width is made when it first has it, and then kept, as far as
    /// [`keep_at_most`](Self::keep_at_most) allows; to go back to a width allocates nothing. The logits are then those of
    /// [`PackedModel::at`], to the bit.
    ///
    /// # Errors
    /// A model that does not switch, a width or a layer that it does not have; nothing has changed then.
    ///
    /// # Examples
    /// ```no_run
    /// let mut session = fgq::Session::new(&fgq::read_model("switchable.fgq".as_ref())?)?;
    /// let pixels = vec![0; session.input().len()];
    /// for width in session.widths().to_vec() {
    ///     session.set_bits(None, width)?;
    ///     println!("{width}: class {}", session.run(&pixels)?.top(0, 1)[0]);
    /// }
    /// # Ok::<(), fgq::Error>(())
    /// ```
    pub fn set_bits(&mut self, layer: Option<&str>, width: u8) -> Result<()> {
        let switch = self.switch.as_mut().ok_or_else(not_switching)?;
        switch.set(&mut self.engine, layer, width)
    }

    /// Gives every layer that switches a width, in execution order; see [`set_bits`](Self::set_bits).
    ///
    /// # Errors
    /// A model that does not switch, widths that it does not have; nothing has changed then.
    pub fn set_widths(&mut self, widths: &[u8]) -> Result<()> {
        let switch = self.switch.as_mut().ok_or_else(not_switching)?;
        switch.set_all(&mut self.engine, widths)
    }

    /// Gives all layers the widths that `setting` says: a width for all, or the name of one of the
    /// [`settings`](Self::settings).
    ///
    /// # Errors
    /// A model that does not switch, a setting that it does not have; nothing has changed then.
    pub fn set(&mut self, setting: &str) -> Result<()> {
        if let Ok(width) = setting.parse() {
            return self.set_bits(None, width);
        }
        let switch = self.switch.as_mut().ok_or_else(not_switching)?;
        let widths = switch.switching().widths_of(setting)?;
        switch.set_all(&mut self.engine, &widths)
    }

    /// Keeps no more than so many bytes of weights that are not in use: those that were not for longest are made again when
    /// they are wanted. At first all are kept.
    pub fn keep_at_most(&mut self, bytes: usize) {
        self.switch.iter_mut().for_each(|switch| switch.keep_at_most(bytes));
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
    pub(crate) fn weight_bytes(&self) -> Per<PackedId, usize> {
        self.engine.weight_bytes()
    }

    /// For each node of the model the one whose kernel writes it too, if it has none of its own.
    pub(crate) fn written_with(&self) -> Per<PackedId, Option<PackedId>> {
        self.engine.written_with()
    }

    /// The logits of one image, and how long each node of the model took; nothing where another's kernel writes it too.
    ///
    /// # Errors
    /// A number of pixels that is not one image's.
    pub fn run_timed(&self, pixels: &[u8]) -> Result<(Logits, Per<PackedId, Duration>)> {
        if pixels.len() != self.input.len() {
            let message = format!("{} pixels are not one image of {}", pixels.len(), self.input);
            return Err(Error::new(ErrorKind::Shape, message));
        }
        match &self.engine {
            Engine::Steps(steps) => steps.run(Batch { images: 1, shape: self.input, data: pixels.to_vec() }),
            Engine::Schedule(schedule) => {
                let mut logits = Logits::zeroed(1, self.classes);
                let mut times = Per::filled(Duration::ZERO, schedule.nodes());
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

fn not_switching() -> Error {
    Error::new(ErrorKind::Argument, "the model does not switch; `fgq convert --nested` makes one that does")
}
