//! What a plan may use.

use super::indicators::{Indicators, LARGEST_TOTAL};
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bytes of `,\"\":\"\"`, the marks of a budget in a text within a text.
const RECORD_MARKS: usize = 10;
/// Every budget counts as if it had this many digits, so that the nearest feasible one is feasible although it has others.
const RECORD_DIGITS: usize = 12;

/// What a plan may use; every budget is optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budgets {
    /// Bytes of the file, of its fixed part too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// How many times smaller than all weights at 32 bits the file must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression_ratio: Option<f64>,
    /// Bits per weight, on average over the layers that there is a choice for and that are not
    /// [kept](super::LayerIndicators::kept) at 8 bits otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_bits: Option<f64>,
    /// Bit operations of those layers for one image: products times bits of the weight times bits of the activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_ops: Option<u64>,
    /// As many bit operations as with these bits in all of those layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<UniformBits>,
    /// Multiplications by weights or scales for one image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_multiplications: Option<u64>,
    /// Bytes of the input activations of any one of those layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_largest_activation: Option<u64>,
    /// Bytes of the input activations of all of those layers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_total_activation: Option<u64>,
}

/// Uniform bits of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UniformBits {
    /// Bits of weights.
    pub weight: f64,
    /// Bits of activations.
    pub activation: f64,
}

/// What a choice adds to, summed over layers; the largest activation is no sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    /// Of the file: weights, scales and what describes them.
    FileBits,
    /// Of the weights that count in the mean bits.
    WeightBits,
    BitOps,
    Multiplications,
    ActivationBits,
    LargestActivation,
}

/// A budget that was set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Budget {
    Size(u64),
    Ratio(f64),
    MeanBits(f64),
    BitOps(u64),
    Levels(UniformBits),
    Multiplications(u64),
    LargestActivation(u64),
    TotalActivation(u64),
}

impl Budgets {
    /// Names and values of those that are set.
    pub(crate) fn record(&self) -> BTreeMap<String, String> {
        let numbers = [
            ("compression_ratio", self.compression_ratio.map(|x| x.to_string())),
            ("mean_bits", self.mean_bits.map(|x| x.to_string())),
            ("levels", self.levels.map(|x| format!("{} {}", x.weight, x.activation))),
            ("max_size", self.max_size.map(|x| x.to_string())),
            ("bit_ops", self.bit_ops.map(|x| x.to_string())),
            ("max_multiplications", self.max_multiplications.map(|x| x.to_string())),
            ("max_largest_activation", self.max_largest_activation.map(|x| x.to_string())),
            ("max_total_activation", self.max_total_activation.map(|x| x.to_string())),
        ];
        numbers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// Bytes of that record in a model's file, at most.
    pub(super) fn record_len(&self) -> u64 {
        let digits = |value: String| value.len().max(RECORD_DIGITS);
        let entry = |(name, value): (String, String)| name.len() + digits(value) + RECORD_MARKS;
        self.record().into_iter().map(entry).sum::<usize>() as u64
    }

    /// Those that are set.
    ///
    /// # Errors
    /// A number that no plan can have, and budgets on activations whose number the indicators do not tell.
    pub(super) fn set(&self, indicators: &Indicators) -> Result<Vec<Budget>> {
        let set = self.given();
        set.iter().try_for_each(|budget| budget.check(indicators))?;
        Ok(set)
    }

    /// Whether there can be plans within the budgets, as far as that is known without indicators.
    ///
    /// # Errors
    /// A number that no plan can have.
    pub fn check(&self) -> Result<()> {
        self.given().into_iter().try_for_each(Budget::check_number)
    }

    fn given(&self) -> Vec<Budget> {
        let all = [
            self.max_size.map(Budget::Size),
            self.compression_ratio.map(Budget::Ratio),
            self.mean_bits.map(Budget::MeanBits),
            self.bit_ops.map(Budget::BitOps),
            self.levels.map(Budget::Levels),
            self.max_multiplications.map(Budget::Multiplications),
            self.max_largest_activation.map(Budget::LargestActivation),
            self.max_total_activation.map(Budget::TotalActivation),
        ];
        all.into_iter().flatten().collect()
    }
}

impl Budget {
    pub fn quantity(self) -> Quantity {
        match self {
            Self::Size(_) | Self::Ratio(_) => Quantity::FileBits,
            Self::MeanBits(_) => Quantity::WeightBits,
            Self::BitOps(_) | Self::Levels(_) => Quantity::BitOps,
            Self::Multiplications(_) => Quantity::Multiplications,
            Self::LargestActivation(_) => Quantity::LargestActivation,
            Self::TotalActivation(_) => Quantity::ActivationBits,
        }
    }

    /// Refuses a number that no plan can have.
    fn check_number(self) -> Result<()> {
        let positive = match self {
            Self::Ratio(x) | Self::MeanBits(x) => x.is_finite() && x > 0.0,
            Self::Levels(UniformBits { weight, activation }) => {
                [weight, activation].iter().all(|x| x.is_finite() && *x > 0.0 && *x <= 32.0)
            }
            _ => true,
        };
        if !positive {
            let message = format!("{} is no budget; give a number above 0", self.field());
            return Err(Error::new(ErrorKind::Argument, message));
        }
        Ok(())
    }

    fn check(self, indicators: &Indicators) -> Result<()> {
        self.check_number()?;
        let on_activations = matches!(self, Self::LargestActivation(_) | Self::TotalActivation(_));
        match indicators.layers.iter().find(|layer| layer.activations.is_none()) {
            Some(layer) if on_activations => {
                let message = format!(
                    "{} needs the number of activations of every layer in the indicators",
                    self.field()
                );
                Err(Error::new(ErrorKind::Argument, message).at_node(&layer.name))
            }
            _ => Ok(()),
        }
    }

    /// The limit of its quantity, in the layers that there is a choice for; negative if the fixed part is too much.
    pub fn limit(self, indicators: &Indicators) -> i64 {
        let fixed = indicators.fixed;
        let products: u64 = indicators.layers.iter().map(|layer| layer.macs).sum();
        match self {
            Self::Size(bytes) => whole(bytes).saturating_mul(8) - whole(fixed.bits),
            Self::Ratio(ratio) => floor(32.0 * indicators.parameters() as f64 / ratio) - whole(fixed.bits),
            Self::MeanBits(bits) => floor(bits * indicators.averaged() as f64),
            Self::BitOps(operations) => whole(operations),
            Self::Levels(UniformBits { weight, activation }) => floor(products as f64 * weight * activation),
            Self::Multiplications(count) => whole(count) - whole(fixed.multiplications),
            Self::LargestActivation(bytes) | Self::TotalActivation(bytes) => whole(bytes).saturating_mul(8),
        }
    }

    /// The field of [`Budgets`] and its value.
    pub fn field(self) -> String {
        match self {
            Self::Size(bytes) => format!("`max_size = {bytes}`"),
            Self::Ratio(ratio) => format!("`compression_ratio = {ratio}`"),
            Self::MeanBits(bits) => format!("`mean_bits = {bits}`"),
            Self::BitOps(operations) => format!("`bit_ops = {operations}`"),
            Self::Levels(UniformBits { weight, activation }) => {
                format!("`levels.weight = {weight}` `levels.activation = {activation}`")
            }
            Self::Multiplications(count) => format!("`max_multiplications = {count}`"),
            Self::LargestActivation(bytes) => format!("`max_largest_activation = {bytes}`"),
            Self::TotalActivation(bytes) => format!("`max_total_activation = {bytes}`"),
        }
    }

    /// The tightest budget of this kind that still allows `used` of its quantity.
    pub fn relaxed_to(self, used: u64, indicators: &Indicators) -> Self {
        let fixed = indicators.fixed;
        match self {
            Self::Size(_) => Self::Size((used + fixed.bits).div_ceil(8)),
            Self::Ratio(_) => {
                let ratio = 32.0 * indicators.parameters() as f64 / (used + fixed.bits).max(1) as f64;
                Self::Ratio((ratio * 1e4).floor() / 1e4)
            }
            Self::MeanBits(_) => {
                let bits = used as f64 / indicators.averaged().max(1) as f64;
                Self::MeanBits((bits * 1e4).ceil() / 1e4)
            }
            Self::BitOps(_) | Self::Levels(_) => Self::BitOps(used),
            Self::Multiplications(_) => Self::Multiplications(used + fixed.multiplications),
            Self::LargestActivation(_) => Self::LargestActivation(used.div_ceil(8)),
            Self::TotalActivation(_) => Self::TotalActivation(used.div_ceil(8)),
        }
    }
}

fn whole(number: u64) -> i64 {
    number.min(LARGEST_TOTAL) as i64
}

fn floor(number: f64) -> i64 {
    number.floor().min(LARGEST_TOTAL as f64) as i64
}
