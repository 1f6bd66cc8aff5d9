//! The JSON in the file's metadata.

use super::{Multiplier, PackedSlice, Preprocess, Provenance, Quantizer, Rescale};
use crate::precision::{CodePacking, Grouping, Levels, Precision};
use crate::tensor::{Shape, Span, Window};
use serde::{Deserialize, Serialize};

/// Only the version, whatever else there is.
#[derive(Deserialize)]
pub(super) struct VersionRecord {
    pub version: Option<u32>,
}

/// The whole metadata value.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelRecord {
    /// Of everything else in the file; none before version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    pub version: u32,
    pub name: String,
    pub input: Shape,
    pub preprocess: Preprocess,
    pub classes: Vec<String>,
    pub provenance: Provenance,
    pub logit_scale: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fidelity: Option<FidelityRecord>,
    pub nodes: Vec<NodeRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switching: Option<SwitchingRecord>,
}

/// What can be switched; changes of gains and biases lie in tensors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SwitchingRecord {
    pub widths: Vec<u8>,
    pub layers: Vec<SwitchedLayerRecord>,
    pub copies: Vec<SwitchedCopyRecord>,
    pub settings: Vec<SettingRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SwitchedLayerRecord {
    pub node: usize,
    pub own: bool,
    pub gain_shifts: Vec<i8>,
    pub bias_shifts: Vec<i8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SwitchedCopyRecord {
    pub node: usize,
    pub lower: Vec<(Rescale, Quantizer)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingRecord {
    pub name: String,
    pub widths: Vec<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<JudgedRecord>,
}

/// A judgement with the number of its images.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JudgedRecord {
    pub images: usize,
    pub judgement: JudgementRecord,
}

/// What was measured; the figures of the layers lie in a tensor.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FidelityRecord {
    pub images: usize,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held_back: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judgement: Option<JudgementRecord>,
}

/// What the images say of the logits.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JudgementRecord {
    pub agreeing: usize,
    pub divergence: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence_error: Option<f64>,
}

/// One operator; what is long lies in tensors named after the node.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeRecord {
    pub name: String,
    pub inputs: Vec<usize>,
    pub quantizer: Quantizer,
    pub op: OpRecord,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum OpRecord {
    Input { pad: Vec<u8> },
    Conv(ConvRecord),
    Table,
    Add { left: Rescale, right: Rescale, fraction: u8 },
    Mul(Multiplier),
    Narrow(Rescale),
    Concat,
    Slice(PackedSlice),
    Pad { before: [usize; 3], after: [usize; 3] },
    MaxPool(Window),
    AveragePool { window: Window, count_include_pad: bool, by_count: Vec<Multiplier> },
    GroupNorm { groups: usize, span: Span, epsilon: u64, fraction: u8 },
    GlobalAveragePool(Multiplier),
    GlobalSum,
    Flatten,
    ChannelShuffle { groups: usize },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConvRecord {
    pub outputs: usize,
    pub group_inputs: usize,
    pub groups: usize,
    pub window: Window,
    pub weights: WeightsRecord,
    pub store: StoreRecord,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum WeightsRecord {
    General(GeneralRecord),
    Old(OldRecord),
}

/// Any precision.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GeneralRecord {
    pub levels: LevelsRecord,
    pub packing: PackingRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_bits: Option<u8>,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub planes: u8,
}

fn one() -> u8 {
    1
}

fn is_one(planes: &u8) -> bool {
    *planes == 1
}

/// All whole numbers from −n to n, or a list in ascending order.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum LevelsRecord {
    Linear(u8),
    Listed(Vec<i8>),
}

#[derive(Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum PackingRecord {
    Digits(u32),
    Bits(u32),
}

impl From<CodePacking> for PackingRecord {
    fn from(packing: CodePacking) -> Self {
        match packing {
            CodePacking::Digits(digits) => Self::Digits(digits),
            CodePacking::Bits(bits) => Self::Bits(bits),
        }
    }
}

impl From<Precision> for GeneralRecord {
    fn from(precision: Precision) -> Self {
        let levels = precision.levels();
        let grouping = precision.grouping();
        Self {
            levels: match levels.are_linear() {
                true => LevelsRecord::Linear(levels.largest()),
                false => LevelsRecord::Listed(levels.iter().collect()),
            },
            packing: CodePacking::of(levels).into(),
            group: grouping.map(|grouping| grouping.size),
            scale_bits: grouping.map(|grouping| grouping.scale_bits),
            planes: precision.planes() as u8,
        }
    }
}

impl GeneralRecord {
    /// The precision, if there is such a one and this is how it is written.
    pub(super) fn precision(&self) -> Option<Precision> {
        let levels = match &self.levels {
            LevelsRecord::Linear(largest) => {
                Some(*largest).filter(|largest| (1..=127).contains(largest)).map(Levels::linear)
            }
            LevelsRecord::Listed(levels) => Levels::listed(levels).filter(|levels| !levels.are_linear()),
        }?;
        let grouping = match (self.group, self.scale_bits) {
            (Some(size), Some(scale_bits)) => Some(Grouping { size, scale_bits }),
            (None, None) => None,
            _ => return None,
        };
        let precision = Precision::of(levels, grouping, self.planes)?;
        (self.packing == CodePacking::of(levels).into()).then_some(precision)
    }
}

/// The precisions of versions 1 and 2.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum OldRecord {
    Ternary {
        group: usize,
    },
    Int4 {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<usize>,
    },
    Int8,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum StoreRecord {
    Codes {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        residual: Option<Rescale>,
        fraction: u8,
        low: u8,
        high: u8,
    },
    Logits {
        shift: u8,
    },
}
