//! How indicators are found.

use super::damage::TEMPERATURE;
use crate::calibrate::RangeMethod;
use crate::error::{Error, ErrorKind, Result};
use crate::precision::{Precision, USUAL_SCALE};
#[cfg(feature = "train")]
use crate::train::Course;
use std::fmt;
use std::str::FromStr;

/// What stands for the damage of a precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Indicator {
    /// Divergence of the softened class probabilities from full precision's with only that layer converted and fitted.
    #[default]
    Divergence,
    /// Error of that layer's outputs, times how much the logits mind noise there: one run per layer in place of one
    /// for each of its precisions.
    OutputError,
    /// The step that a quantizer of that precision learns while all layers and precisions are trained together (LIMPQ: Tang et
    /// al., arXiv 2203.08368); for plain bits only, and not for the classifier, which keeps 8.
    #[cfg(feature = "train")]
    Learned,
    /// The loss that rounding to that precision adds, to first order, in the same training.
    #[cfg(feature = "train")]
    LearnedDamage,
}

impl Indicator {
    /// Whether it is trained for all layers at once.
    pub fn is_learned(self) -> bool {
        !matches!(self, Self::Divergence | Self::OutputError)
    }
}

impl fmt::Display for Indicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Divergence => "divergence",
            Self::OutputError => "output-error",
            #[cfg(feature = "train")]
            Self::Learned => "learned",
            #[cfg(feature = "train")]
            Self::LearnedDamage => "learned-damage",
        })
    }
}

impl FromStr for Indicator {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "divergence" => Ok(Self::Divergence),
            "output-error" => Ok(Self::OutputError),
            #[cfg(feature = "train")]
            "learned" => Ok(Self::Learned),
            #[cfg(feature = "train")]
            "learned-damage" => Ok(Self::LearnedDamage),
            _ => {
                let message = format!(
                    "unknown indicator '{text}'; use divergence, output-error, learned or learned-damage"
                );
                Err(Error::new(ErrorKind::Argument, message))
            }
        }
    }
}

/// How [`indicate`](crate::indicate()) finds indicators.
#[derive(Debug, Clone)]
pub struct IndicatorOptions {
    /// What stands for the damage.
    pub indicator: Indicator,
    /// Candidates for weights. Groups larger than a layer's are left out where a smaller one is the same.
    pub precisions: Vec<Precision>,
    /// Candidates for input activations, each 2 to 8.
    pub activation_bits: Vec<u8>,
    /// How activation ranges are chosen.
    pub range: RangeMethod,
    /// On how many of the images held back the logits are compared.
    pub measured: usize,
    /// Images held back from fitting, at most half of all; as many as are measured if nothing is said.
    pub held_back: Option<usize>,
    /// How [`Indicator::Learned`] is trained.
    #[cfg(feature = "train")]
    pub course: Course,
    /// Names of the classes, which will be part of the file; they do not change the indicators.
    pub classes: Vec<String>,
    /// Only these layers, so that several calls, on several machines, find those of all: their layers together are `known` to
    /// the last one, without this. Not for indicators that are learned.
    pub only: Option<Vec<String>>,
}

impl Default for IndicatorOptions {
    fn default() -> Self {
        let ternary = |group| Precision::ternary(group).with_scale_bits(USUAL_SCALE);
        Self {
            indicator: Indicator::default(),
            precisions: vec![
                ternary(4),
                ternary(8),
                ternary(16),
                ternary(64),
                Precision::int(3),
                Precision::int(4),
                Precision::int8(),
            ],
            activation_bits: vec![8, 4],
            range: RangeMethod::default(),
            measured: 64,
            held_back: None,
            #[cfg(feature = "train")]
            course: Course::joint(),
            classes: Vec::new(),
            only: None,
        }
    }
}

impl IndicatorOptions {
    /// Those of indicators that are learned: 2 to 6 bits.
    #[cfg(feature = "train")]
    pub fn learned() -> Self {
        Self {
            indicator: Indicator::Learned,
            precisions: (2..=6).rev().map(Precision::int).collect(),
            activation_bits: (2..=6).rev().collect(),
            ..Self::default()
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let argument = |message: &str| Err(Error::new(ErrorKind::Argument, message));
        if self.precisions.is_empty() || self.activation_bits.is_empty() {
            return argument("no candidates; give at least one for weights and one for activations");
        }
        if !self.activation_bits.iter().all(|bits| (2..=8).contains(bits)) {
            return argument("activations have 2 to 8 bits");
        }
        if self.indicator.is_learned() && self.only.is_some() {
            return argument("learned indicators of all layers are found together; leave out `only`");
        }
        if self.indicator.is_learned() {
            self.check_learned()?;
        }
        self.range.check()?;
        if self.measured == 0 {
            return argument("no images to compare logits on; give at least 1");
        }
        Ok(())
    }

    /// Refuses candidates whose weights have more than one step.
    fn check_learned(&self) -> Result<()> {
        let is_plain = |precision: &Precision| *precision == Precision::int(precision.levels().bits() as u8);
        if let Some(other) = self.precisions.iter().find(|&precision| !is_plain(precision)) {
            let message =
                format!("`precisions = {other}` has no single step that could be learned; give int2 to int8");
            return Err(Error::new(ErrorKind::Argument, message));
        }
        #[cfg(feature = "train")]
        self.course.check()?;
        Ok(())
    }

    /// In one line: what [`Indicators::method`](crate::Indicators::method) then is.
    pub fn method(&self) -> String {
        format!(
            "{}, {} and {} bits, {}",
            self.indicator,
            self.precisions.iter().map(Precision::to_string).collect::<Vec<_>>().join(" "),
            self.activation_bits.iter().map(u8::to_string).collect::<Vec<_>>().join(" "),
            self.means()
        )
    }

    /// Where the figures are from.
    fn means(&self) -> String {
        #[cfg(feature = "train")]
        if self.indicator.is_learned() {
            return self.course.to_string();
        }
        format!("range {}, logits over {TEMPERATURE} of {} images held back", self.range, self.measured)
    }

    /// The candidates that differ for runs of `inputs` input channels; no groups where a weight shares its scale with
    /// none.
    pub(super) fn precisions_for(&self, inputs: usize) -> Vec<Precision> {
        let mut kept: Vec<Precision> = Vec::new();
        for &precision in
            self.precisions.iter().filter(|&&precision| inputs > 1 || precision.group().is_none())
        {
            if !kept.iter().any(|&other| other.within(inputs) == precision.within(inputs)) {
                kept.push(precision);
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests;
