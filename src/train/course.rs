//! What training is told.

use super::loss::Criterion;
use super::optimise::{Descent, RateSchedule};
use super::parameters::Kind;
use crate::error::{Error, ErrorKind, Result};
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
    /// Where randomness starts.
    pub seed: u64,
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
        if self.epochs == 0 {
            return refuse("`epochs = 0` trains nothing; give at least 1".into());
        }
        if self.batch == 0 {
            return refuse("`batch = 0` leaves a step no image; give at least 1".into());
        }
        if !(self.rate > 0.0 && self.rate.is_finite()) {
            return refuse(format!("`rate = {}`; give more than 0, as 0.0001", self.rate));
        }
        if !(0.0..=1.0).contains(&self.mix) {
            return refuse(format!("`mix = {}`; give a share from 0 to 1", self.mix));
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

    /// A kind's rate beside the common one.
    pub(super) fn rate_of(&self, kind: Kind) -> f32 {
        if kind == Kind::Weight { self.weight_rate as f32 } else { 1.0 }
    }

    pub(super) fn decay_of(&self, kind: Kind) -> f32 {
        if kind == Kind::Weight { self.decay as f32 } else { 0.0 }
    }
}
