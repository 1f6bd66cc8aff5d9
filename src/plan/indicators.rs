//! How much damage every precision does in every layer: the file that plans are made from.

use super::Budgets;
use crate::error::{Error, ErrorKind, Result};
use crate::files::replace_file;
use crate::inputs::{MAX_JSON, read_text};
use crate::knapsack::{LARGEST_USE, MAX_ITEMS};
use crate::precision::Precision;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Most layers of a network.
pub(super) const MAX_LAYERS: usize = 1024;
/// Largest total of bits, multiplications or bit operations: exact as floating-point numbers.
pub(super) const LARGEST_TOTAL: u64 = LARGEST_USE;
/// Widest weights and activations.
pub(super) const MAX_BITS: u8 = 32;

/// Importance indicators of a network: per layer, what every precision of its weights and of its input activations
/// costs.
///
/// Read from fgq's own JSON or from the layout of indicators published with LIMPQ (arXiv 2203.08368).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Indicators {
    /// Where the indicators come from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// How they were found.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// SHA-256 of the full-precision network, in hexadecimal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network_sha256: String,
    /// Number of calibration images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,
    /// Factor of the weights' indicators against the activations'.
    #[serde(default = "one")]
    pub alpha: f64,
    /// Whether the figures were learned in training, so that one that is smaller with fewer bits is an accident.
    #[serde(default, skip_serializing_if = "is_false")]
    pub learned: bool,
    /// Whether all layers are there; `false` while indicators are being found.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub complete: bool,
    /// Candidate bits; where given, only these candidates of every layer are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<Vec<u8>>,
    /// What no choice changes.
    #[serde(default)]
    pub fixed: Fixed,
    /// The layers that there is a choice for, in execution order.
    pub layers: Vec<LayerIndicators>,
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_true(value: &bool) -> bool {
    *value
}

pub(super) fn is_false(value: &bool) -> bool {
    !*value
}

/// The part of a network that no choice changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fixed {
    /// Weights of the layers without a choice.
    pub parameters: u64,
    /// Bits of those weights and of everything else in the file: factors per channel, tables, metadata.
    pub bits: u64,
    /// Multiplications in the layers without a choice, for one image.
    pub multiplications: u64,
    /// Bytes of the record of a plan without budgets; 0 if sizes are to count no record.
    #[serde(skip_serializing_if = "is_zero")]
    pub record: u64,
}

/// Indicators with what LIMPQ's layout has besides.
#[derive(Deserialize)]
struct Published {
    #[serde(flatten)]
    indicators: Indicators,
    /// What no choice changes.
    fixed_8bit: Option<FixedEightBit>,
}

#[derive(Deserialize)]
struct FixedEightBit {
    total_params: u64,
}

/// What every precision costs in one layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerIndicators {
    /// Name of the layer.
    pub name: String,
    /// Number of weights.
    #[serde(alias = "params")]
    pub parameters: u64,
    /// Products of a weight and an activation, for one image.
    pub macs: u64,
    /// Input channels of one channel group: no group of weights is longer. Default: as many as any group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<u64>,
    /// Number of input activations, for one image; needed for budgets on their memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activations: Option<u64>,
    /// Whether the layer has 8 bits where no plan says otherwise, and so does not count in the mean bits.
    #[serde(default, skip_serializing_if = "is_false")]
    pub kept: bool,
    /// Bytes of the file that say that there are scales, for candidates with scales.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub description: u64,
    /// Indicator of every candidate for the weights: a [`Precision`] or a number of bits.
    pub weight: BTreeMap<String, f64>,
    /// Indicator of every candidate for the input activations, by number of bits.
    pub activation: BTreeMap<String, f64>,
}

/// A candidate for a layer's weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct WeightCandidate<'a> {
    /// A [`Precision`] or a number of bits.
    pub name: &'a str,
    /// Bits of all weights and scales of the layer.
    pub bits: u64,
    /// The same with the description of its scales.
    pub file_bits: u64,
    /// Multiplications by weights or scales, for one image.
    pub multiplications: u64,
    pub indicator: f64,
}

/// A candidate for a layer's input activations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ActivationCandidate {
    pub bits: u8,
    pub indicator: f64,
}

/// The indicators in `path`.
///
/// # Errors
/// A file that cannot be read or is no such JSON; numbers too large to plan with; a layer without candidates.
pub fn read_indicators(path: &Path) -> Result<Indicators> {
    let text = read_text(path, MAX_JSON)?;
    Indicators::from_json(&text).map_err(|error| error.at_path(path))
}

impl Indicators {
    /// Reads JSON.
    ///
    /// # Errors
    /// As for [`read_indicators`].
    pub fn from_json(text: &str) -> Result<Self> {
        let Published { mut indicators, fixed_8bit } = serde_json::from_str(text)
            .map_err(|error| invalid(format!("these are no indicators: {error}")).because(error))?;
        if let Some(fixed) = fixed_8bit {
            indicators.take_in(&fixed)?;
        }
        indicators.check()?;
        Ok(indicators)
    }

    /// Writes the indicators to `path`, whole or not at all.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| invalid("the indicators cannot be written").because(error))?;
        replace_file(path, (text + "\n").as_bytes())
    }

    /// Number of weights, of fixed layers too.
    pub fn parameters(&self) -> u64 {
        self.fixed.parameters + self.layers.iter().map(|layer| layer.parameters).sum::<u64>()
    }

    /// Number of weights that count in the mean bits.
    pub(super) fn averaged(&self) -> u64 {
        self.layers.iter().filter(|layer| !layer.kept).map(|layer| layer.parameters).sum()
    }

    /// Multiplications per image if no layer were ternary.
    pub fn multiplications(&self) -> u64 {
        self.fixed.multiplications + self.layers.iter().map(|layer| layer.macs).sum::<u64>()
    }

    /// Whether all indicators were learned: the file says so, or gives bits and no way to store weights, as LIMPQ does.
    pub fn are_learned(&self) -> bool {
        self.learned
            || self.layers.iter().flat_map(|layer| layer.weight.keys()).all(|name| name.parse::<u8>().is_ok())
    }

    /// The same, but what no choice changes includes the record of a plan with these budgets.
    pub(super) fn with_record(&self, budgets: &Budgets) -> Self {
        let mut indicators = self.clone();
        if self.fixed.record > 0 {
            indicators.fixed.bits += 8 * (self.fixed.record + budgets.record_len());
        }
        indicators
    }

    fn take_in(&mut self, FixedEightBit { total_params }: &FixedEightBit) -> Result<()> {
        let layers = self.layers.iter().try_fold(0u64, |sum, layer| sum.checked_add(layer.parameters));
        let parameters = layers.and_then(|layers| total_params.checked_sub(layers));
        let message = || invalid("'total_params' is less than the layers have together");
        let parameters = parameters.ok_or_else(message)?;
        self.fixed = Fixed { parameters, bits: parameters.saturating_mul(8), ..Fixed::default() };
        Ok(())
    }

    fn check(&self) -> Result<()> {
        ensure(self.alpha.is_finite() && self.alpha >= 0.0, || format!("alpha {}", self.alpha))?;
        ensure(self.layers.len() <= MAX_LAYERS, || format!("more than {MAX_LAYERS} layers"))?;
        let sizes = |layer: &LayerIndicators| {
            [layer.parameters, layer.macs, layer.activations.unwrap_or(0), layer.description]
        };
        let Fixed { parameters, bits, multiplications, record } = self.fixed;
        let fixed = [parameters, bits, multiplications, record];
        let mut all = self.layers.iter().flat_map(sizes).chain(fixed);
        // No bits are wider than 32, so that bit operations are at most 1024 times that.
        let total = all.try_fold(0u64, |sum, size| sum.checked_add(size));
        ensure(total.is_some_and(|total| total <= LARGEST_TOTAL >> 11), || {
            "the network is too large to plan for".into()
        })?;
        for layer in &self.layers {
            layer.check(self.bits.as_deref()).map_err(|error| error.at_node(&layer.name))?;
        }
        Ok(())
    }
}

impl LayerIndicators {
    /// The weights' candidates, most bits first.
    pub(super) fn weights(&self, only: Option<&[u8]>) -> Result<Vec<WeightCandidate<'_>>> {
        let candidates = self.weight.iter().filter(|(name, _)| is_asked_for(name, only));
        let mut candidates: Vec<WeightCandidate> = candidates
            .map(|(name, &indicator)| self.weight_candidate(name, indicator))
            .collect::<Result<_>>()?;
        candidates.sort_by_key(|candidate| std::cmp::Reverse((candidate.bits, candidate.multiplications)));
        Ok(candidates)
    }

    fn weight_candidate<'a>(&self, name: &'a str, indicator: f64) -> Result<WeightCandidate<'a>> {
        let (bits, multiplications, scales) = match bits_named(name) {
            Some(bits) => (self.parameters * u64::from(bits), self.macs, false),
            None => {
                let precision: Precision = name.parse()?;
                // Without a length of runs, the one where every group is whole.
                let inputs = self.inputs.unwrap_or(precision.group().unwrap_or(1) as u64);
                let scales = precision.grouping().is_some();
                (
                    precision.bits(self.parameters, inputs),
                    precision.multiplications(self.macs, inputs),
                    scales,
                )
            }
        };
        let file_bits = bits + if scales { 8 * self.description } else { 0 };
        Ok(WeightCandidate { name, bits, file_bits, multiplications, indicator })
    }

    /// The activations' candidates, most bits first.
    pub(super) fn activations(&self, only: Option<&[u8]>) -> Result<Vec<ActivationCandidate>> {
        let candidates = self.activation.iter().filter(|(name, _)| is_asked_for(name, only));
        let candidate = |(name, &indicator): (&String, &f64)| {
            let bits = bits_named(name).ok_or_else(|| invalid(format!("'{name}' activation bits")))?;
            Ok(ActivationCandidate { bits, indicator })
        };
        let mut candidates: Vec<_> = candidates.map(candidate).collect::<Result<_>>()?;
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.bits));
        Ok(candidates)
    }

    fn check(&self, only: Option<&[u8]>) -> Result<()> {
        let finite = self.weight.values().chain(self.activation.values()).all(|value| value.is_finite());
        ensure(finite, || "an indicator is not a finite number".into())?;
        ensure(self.parameters > 0, || "a layer without weights".into())?;
        ensure(self.inputs.is_none_or(|inputs| (1..=self.parameters).contains(&inputs)), || {
            "the number of inputs does not fit the number of weights".into()
        })?;
        let counts = [self.weights(only)?.len(), self.activations(only)?.len()];
        ensure(!counts.contains(&0), || "no candidates for its weights or for its activations".into())?;
        ensure(counts[0].saturating_mul(counts[1]) <= MAX_ITEMS, || {
            format!(
                "{} candidates for its weights times {} for its activations; at most {MAX_ITEMS}",
                counts[0], counts[1]
            )
        })?;
        let missing = only.unwrap_or_default().iter().map(u8::to_string);
        let missing = missing.into_iter().find(|bits| {
            !self.activation.contains_key(bits) || (!self.weight.contains_key(bits) && self.has_plain_bits())
        });
        match missing {
            None => Ok(()),
            Some(bits) => Err(invalid(format!("no indicator for {bits} bits"))),
        }
    }

    fn has_plain_bits(&self) -> bool {
        self.weight.keys().any(|name| bits_named(name).is_some())
    }
}

/// A plain number of bits, 1 to 32.
pub(super) fn bits_named(name: &str) -> Option<u8> {
    name.parse().ok().filter(|bits| (1..=MAX_BITS).contains(bits))
}

fn is_asked_for(name: &str, only: Option<&[u8]>) -> bool {
    match (only, bits_named(name)) {
        (Some(only), Some(bits)) => only.contains(&bits),
        _ => true,
    }
}

pub(super) fn ensure(condition: bool, message: impl FnOnce() -> String) -> Result<()> {
    if condition { Ok(()) } else { Err(invalid(message())) }
}

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, message)
}
