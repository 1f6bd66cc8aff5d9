//! The JSON in the file's metadata.

use super::{Multiplier, PackedSlice, Preprocess, Provenance, Quantizer, Rescale};
use crate::tensor::{Shape, Window};
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
}

/// What was measured; the figures of the layers lie in a tensor.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FidelityRecord {
    pub images: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<f64>,
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
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum WeightsRecord {
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
