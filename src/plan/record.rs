//! Plans and their file.

use super::budgets::Budgets;
use super::indicators::{LARGEST_TOTAL, MAX_BITS, MAX_LAYERS, bits_named, ensure, invalid, is_false};
use crate::error::{Error, ErrorKind, Result};
use crate::files::replace_file;
use crate::format::PlanRecord;
use crate::inputs::{MAX_JSON, read_text};
use crate::precision::{Precision, USUAL_SCALE};
use serde::{Deserialize, Serialize, Serializer};
use std::path::Path;

/// Group sizes of uniform models to compare with.
const UNIFORM: [usize; 5] = [4, 8, 16, 32, 64];

/// A precision for every layer, found for a budget.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Predicted damage: the sum over all layers of the activations' indicator and `alpha` times the weights'.
    pub objective: f64,
    /// No plan within the budgets has less; equal to `objective` where that is proven.
    pub bound: f64,
    /// Factor of the weights' indicators.
    pub alpha: f64,
    /// Where the indicators come from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// How the indicators were found.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// SHA-256 of the full-precision network, in hexadecimal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network_sha256: String,
    /// The budgets.
    pub budgets: Budgets,
    /// What the plan uses.
    pub uses: Uses,
    /// The layers that there was a choice for, in execution order.
    pub layers: Vec<PlannedLayer>,
}

/// What a plan uses, in the units of [`Budgets`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Uses {
    /// Bytes of the file, its fixed part included.
    pub bytes: u64,
    /// All weights at 32 bits, against the file.
    pub compression_ratio: f64,
    /// Bits per weight in the layers that count in it, see [`Budgets::mean_bits`].
    pub mean_bits: f64,
    /// Bit operations of those layers, for one image.
    pub bit_ops: u64,
    /// Multiplications by weights or scales, for one image.
    pub multiplications: u64,
    /// Bytes of the largest input activations; `None` if their number is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_activation: Option<u64>,
    /// Bytes of all input activations together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_activation: Option<u64>,
}

/// What a plan says of one layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlannedLayer {
    /// Name of the layer.
    pub name: String,
    /// How its weights are stored: a [`Precision`], or a number of bits where the indicators only say that.
    pub weights: String,
    /// Bits per weight, scales included.
    #[serde(serialize_with = "without_fraction")]
    pub weight_bits: f64,
    /// Bits of its input activations.
    pub activation_bits: u8,
    /// Number of its weights.
    pub parameters: u64,
    /// Bits of all its weights and scales, without what describes them.
    pub bits: u64,
    /// Its part of the predicted damage.
    pub damage: f64,
    /// Whether it has 8 bits where no plan says otherwise.
    #[serde(default, skip_serializing_if = "is_false")]
    pub kept: bool,
}

impl PlannedLayer {
    fn check(&self) -> Result<()> {
        let widest = f64::from(MAX_BITS);
        ensure((0.0..=widest).contains(&self.weight_bits), || {
            format!("{} bits per weight", self.weight_bits)
        })?;
        ensure((1..=MAX_BITS).contains(&self.activation_bits), || {
            format!("{} activation bits", self.activation_bits)
        })?;
        ensure(self.damage.is_finite(), || "its damage is not a finite number".into())?;
        match bits_named(&self.weights) {
            Some(_) => Ok(()),
            None => self.weights.parse::<Precision>().map(|_| ()),
        }
    }
}

/// Whole numbers without `.0`.
fn without_fraction<S: Serializer>(number: &f64, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    match number.fract() == 0.0 && (0.0..1e9).contains(number) {
        true => serializer.serialize_u32(*number as u32),
        false => serializer.serialize_f64(*number),
    }
}

/// The plan in `path`.
///
/// # Errors
/// A file that cannot be read or is no plan; bits that nothing has, numbers that no network has.
///
/// # Examples
/// ```
/// let error = fgq::read_plan("no-such-plan.json".as_ref()).unwrap_err();
/// assert_eq!(error.kind(), fgq::ErrorKind::Io);
/// ```
pub fn read_plan(path: &Path) -> Result<Plan> {
    Plan::from_json(&read_text(path, MAX_JSON)?).map_err(|error| error.at_path(path))
}

impl Plan {
    /// Reads JSON.
    ///
    /// # Errors
    /// As for [`read_plan`].
    pub fn from_json(text: &str) -> Result<Self> {
        let plan: Self = serde_json::from_str(text)
            .map_err(|error| invalid(format!("this is no plan as `fgq plan -o` writes it: {error}")))?;
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<()> {
        let finite = [self.objective, self.bound, self.alpha].iter().all(|number| number.is_finite());
        ensure(finite, || "a plan whose damage is not a finite number".into())?;
        ensure(self.layers.len() <= MAX_LAYERS, || format!("more than {MAX_LAYERS} layers"))?;
        let weights = self.layers.iter().try_fold(0u64, |sum, layer| sum.checked_add(layer.parameters));
        ensure(weights.is_some_and(|weights| weights <= LARGEST_TOTAL >> 11), || {
            "a plan for more weights than any network has".into()
        })?;
        self.layers.iter().try_for_each(|layer| layer.check().map_err(|error| error.at_node(&layer.name)))
    }

    /// Writes the plan to `path`, whole or not at all.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::new(ErrorKind::Format, "the plan cannot be written").because(error))?;
        replace_file(path, (text + "\n").as_bytes())
    }

    /// What a model remembers of the plan, whose convolutions have these names.
    pub(crate) fn for_model<'a>(&self, names: impl Iterator<Item = &'a str>) -> PlanRecord {
        let layer = |name: &str| {
            let layer = self.layers.iter().find(|layer| layer.name == name);
            layer.map_or("-".to_owned(), |layer| short(&layer.weights, layer.activation_bits))
        };
        PlanRecord {
            budgets: self.budgets.record(),
            objective: self.objective.to_string(),
            layers: names.map(layer).collect::<Vec<_>>().join(" "),
        }
    }

    /// The group size whose uniform model is nearest in size: `layers` gives name, weights and input channels of one channel
    /// group of every convolution.
    pub fn nearest_uniform<'a>(&self, layers: impl Iterator<Item = (&'a str, usize, usize)>) -> usize {
        let kept = |name: &str| self.layers.iter().find(|layer| layer.name == name).map(|layer| layer.kept);
        let layers: Vec<(bool, u64, u64)> = layers
            .filter_map(|(name, weights, inputs)| Some((kept(name)?, weights as u64, inputs as u64)))
            .collect();
        let planned: u64 = self.layers.iter().map(|layer| layer.bits).sum();
        let precision = |kept: bool, group: usize| match kept {
            true => Precision::int8(),
            false => Precision::ternary(group).with_scale_bits(USUAL_SCALE),
        };
        let bits = |group: usize| -> u64 {
            let layers = layers.iter();
            layers.map(|&(kept, weights, inputs)| precision(kept, group).bits(weights, inputs)).sum()
        };
        UNIFORM.into_iter().min_by_key(|&group| bits(group).abs_diff(planned)).unwrap_or(UNIFORM[0])
    }

    /// Whether it is proven that no plan within the budgets has less predicted damage.
    pub fn is_proven(&self) -> bool {
        self.bound >= self.objective
    }
}

/// As in [`PlanRecord::layers`].
pub(crate) fn short(weights: &str, activation_bits: u8) -> String {
    let weights = weights.replace("ternary:", "t").replace("int", "i");
    if activation_bits == 8 { weights } else { format!("{weights}/{activation_bits}") }
}

impl PlannedLayer {
    /// How its weights are stored.
    ///
    /// # Errors
    /// A number of bits instead, as in plans made from outside indicators.
    pub fn precision(&self) -> Result<Precision> {
        self.weights.parse().map_err(|error: Error| error.at_node(&self.name))
    }
}
