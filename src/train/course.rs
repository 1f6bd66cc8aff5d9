//! What training is told.

use super::augment::Augment;
use super::loss::Criterion;
use super::optimise::{Descent, Optimiser, Parameter, RateSchedule, clip};
use super::parameters::Kind;
use super::simulate::Learned;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Channels, Preprocess};
use std::collections::BTreeMap;
use std::fmt;

/// How a network is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// How often every image is seen.
    pub epochs: usize,
    /// Minutes after which it ends, whether or not all epochs are done; the rate falls accordingly. With a limit results
    /// depend on the machine.
    pub minutes: Option<f64>,
    /// Images of a step.
    pub batch: usize,
    /// By how much parameters change in a step at the start: weights in distances between levels, scales of groups in whole
    /// numbers, gains and steps in shares of themselves, biases in shares of the largest.
    pub rate: f64,
    /// The rate of weights, which decides their codes, as a share of the others'; 0 leaves all codes.
    pub weight_rate: f64,
    /// How gradients become changes.
    pub optimiser: Descent,
    /// How the rate goes over the course.
    pub schedule: RateSchedule,
    /// Share by which weights shrink per unit of rate; nothing else does.
    pub decay: f64,
    /// Norm that all gradients together have at most.
    pub clip: Option<f64>,
    /// How far the logits are from full precision's.
    pub imitation: Imitation,
    /// Half of the images are mirrored from left to right.
    pub flips: bool,
    /// Pixels by which images move at most.
    pub shift: usize,
    /// Share of images that are laid over another one, 0 to 1.
    pub mix: f64,
    /// The smallest share of an image's area that is cut out and enlarged; 1 for no cut.
    pub crop: f64,
    /// How far brightness, contrast and saturation change at most, as a share of themselves.
    pub colour: f64,
    /// Weight of the squared distance of blocks' values from full precision's, as a share of these; 0 for the logits
    /// alone.
    pub features: f64,
    /// Whether blocks learn first, one after another.
    pub reconstruction: Option<Reconstruction>,
    /// Bytes of values that a step may keep; beyond it they are computed again.
    pub memory: usize,
    /// Where randomness starts.
    pub seed: u64,
}

/// How blocks learn full precision's values, one after another.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconstruction {
    /// How often every image is seen by a block.
    pub epochs: usize,
    /// As in [`Course`].
    pub rate: f64,
    /// As in [`Course`].
    pub weight_rate: f64,
    /// Share of activations whose rounding is dropped at random in every step, 0 to 1.
    pub drop: f64,
}

impl Default for Reconstruction {
    fn default() -> Self {
        Self { epochs: 10, rate: 1e-3, weight_rate: 1.0, drop: 0.0 }
    }
}

impl Reconstruction {
    fn check(&self) -> Result<()> {
        check_rate(self.rate)?;
        if self.epochs > 0 && (0.0..=1.0).contains(&self.drop) {
            return Ok(());
        }
        let Self { epochs, drop, .. } = self;
        let message = format!(
            "blocks with `epochs = {epochs}`, `drop = {drop}`; give at least 1, and a share from 0 to 1"
        );
        Err(Error::new(ErrorKind::Argument, message))
    }

    /// The course of a block.
    pub(super) fn course(&self, course: &Course) -> Course {
        let Self { epochs, rate, weight_rate, .. } = *self;
        Course { epochs, rate, weight_rate, ..course.clone() }
    }
}

/// How the distance of logits from full precision's is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Imitation {
    /// Divergence of the class probabilities, softened by a temperature of at least 1.
    Divergence {
        /// 1 for the probabilities as they are.
        temperature: f64,
    },
    /// Mean squared distance.
    Distance,
}

impl Imitation {
    pub(super) fn of(self, logits: &[f32], wanted: super::loss::LossTarget<'_>) -> (f64, Vec<f32>) {
        match self {
            Self::Divergence { temperature } => Criterion::Divergence { temperature }.of(logits, wanted),
            Self::Distance => Criterion::Distance.of(logits, wanted),
        }
    }
}

/// What indicators depend on, in one line.
impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epochs, batch, rate, seed, .. } = self;
        write!(f, "{epochs} epochs in batches of {batch}, rate {rate}, seed {seed}")?;
        match self.minutes {
            Some(minutes) => write!(f, ", at most {minutes} minutes"),
            None => Ok(()),
        }
    }
}

impl Default for Course {
    fn default() -> Self {
        Self {
            epochs: 20,
            minutes: None,
            batch: 16,
            rate: 1e-4,
            weight_rate: 0.0,
            optimiser: Descent::ADAM_W,
            schedule: RateSchedule::Cosine { warm_up: 0.02 },
            decay: 0.0,
            clip: None,
            imitation: Imitation::Divergence { temperature: 2.0 },
            flips: true,
            shift: 0,
            mix: 0.5,
            crop: 1.0,
            colour: 0.0,
            features: 0.0,
            reconstruction: None,
            memory: 1 << 30,
            seed: 0,
        }
    }
}

impl Course {
    /// What suits indicators that are learned.
    pub fn joint() -> Self {
        Self {
            epochs: 3,
            batch: 32,
            rate: 3e-3,
            weight_rate: 0.3,
            schedule: RateSchedule::Cosine { warm_up: 0.0 },
            decay: 2.5e-5,
            mix: 0.0,
            ..Self::default()
        }
    }

    /// Refuses what makes no sense.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::new(ErrorKind::Argument, what));
        if self.epochs == 0 && self.reconstruction.is_none() {
            return refuse("`epochs = 0` trains nothing; give at least 1".into());
        }
        if let Some(blocks) = &self.reconstruction {
            blocks.check()?;
        }
        if self.batch == 0 {
            return refuse("`batch = 0` leaves a step no image; give at least 1".into());
        }
        check_rate(self.rate)?;
        let shares = [("mix", self.mix), ("crop", self.crop), ("colour", self.colour)];
        if let Some((name, share)) = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return refuse(format!("`{name} = {share}`; give a share from 0 to 1"));
        }
        if !(self.features >= 0.0 && self.features.is_finite()) {
            return refuse(format!("`features = {}`; give 0 or more", self.features));
        }
        if self.minutes.is_some_and(|minutes| minutes.is_nan() || minutes <= 0.0) {
            return refuse("`minutes` must be more than 0".into());
        }
        match self.imitation {
            Imitation::Divergence { temperature } if temperature.is_nan() || temperature < 1.0 => {
                refuse(format!("`temperature = {temperature}`; give at least 1"))
            }
            _ => Ok(()),
        }
    }

    /// How much of the course is over after so many epochs and seconds.
    pub(super) fn progress(&self, epochs: f64, seconds: f64) -> f64 {
        let by_epochs = epochs / self.epochs.max(1) as f64;
        self.minutes.map_or(by_epochs, |limit| by_epochs.max(seconds / 60.0 / limit))
    }

    /// How images are varied that were prepared like this.
    pub(super) fn augment(&self, preprocess: &Preprocess) -> Augment {
        Augment {
            flips: self.flips,
            shift: self.shift,
            crop: self.crop,
            colour: self.colour,
            is_bgr: preprocess.channels == Channels::Bgr,
        }
    }

    /// Changes what is learned once, at this rate.
    pub(super) fn change(&self, mut learned: Vec<Learned<'_>>, optimiser: &mut Optimiser, rate: f64) {
        if let Some(limit) = self.clip {
            clip(&mut learned.iter_mut().map(|learned| &mut learned.gradient[..]).collect::<Vec<_>>(), limit);
        }
        let mut parameters: Vec<Parameter> = learned
            .iter_mut()
            .map(|learned| Parameter {
                rate: self.rate_of(learned.kind),
                decay: self.decay_of(learned.kind),
                values: &mut *learned.values,
                gradient: &learned.gradient,
                units: &learned.units,
            })
            .collect();
        optimiser.step(&mut parameters, rate as f32);
    }

    /// As text, for the record in a file; `verb` begins every name.
    pub(crate) fn record(&self, verb: &str) -> BTreeMap<String, String> {
        let mut record = BTreeMap::new();
        let mut note = |key: &str, value: String| record.insert(format!("{verb}_{key}"), value);
        note("epochs", self.epochs.to_string());
        note("batch", self.batch.to_string());
        note("rate", self.rate.to_string());
        note("weight_rate", self.weight_rate.to_string());
        note("optimiser", format!("{:?}", self.optimiser));
        note("schedule", format!("{:?}", self.schedule));
        note("imitation", format!("{:?}", self.imitation));
        note("decay", self.decay.to_string());
        note("flips", self.flips.to_string());
        note("shift", self.shift.to_string());
        note("mix", self.mix.to_string());
        note("crop", self.crop.to_string());
        note("colour", self.colour.to_string());
        note("features", self.features.to_string());
        note("seed", self.seed.to_string());
        if let Some(minutes) = self.minutes {
            note("minutes", minutes.to_string());
        }
        if let Some(clip) = self.clip {
            note("clip", clip.to_string());
        }
        if let Some(blocks) = &self.reconstruction {
            note("block_epochs", blocks.epochs.to_string());
            note("block_rate", blocks.rate.to_string());
            note("block_weight_rate", blocks.weight_rate.to_string());
            note("drop", blocks.drop.to_string());
        }
        record
    }

    /// A kind's rate beside the common one.
    pub(super) fn rate_of(&self, kind: Kind) -> f32 {
        if kind == Kind::Weight { self.weight_rate as f32 } else { 1.0 }
    }

    pub(super) fn decay_of(&self, kind: Kind) -> f32 {
        if kind == Kind::Weight { self.decay as f32 } else { 0.0 }
    }
}

fn check_rate(rate: f64) -> Result<()> {
    if rate > 0.0 && rate.is_finite() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Argument, format!("`rate = {rate}`; give more than 0, as 0.0001")))
}
