//! Writing packed models: same model, same bytes; never half a file.

use super::checksum;
use super::fidelity::FIGURES;
use super::hash::hex;
use super::record::{
    ConvRecord, JudgedRecord, ModelRecord, NodeRecord, OpRecord, SettingRecord, StoreRecord,
    SwitchedCopyRecord, SwitchedLayerRecord, SwitchingRecord, WeightsRecord,
};
use super::{
    FIDELITY_TENSOR, Fidelity, METADATA_KEY, Multiplier, PLAIN_VERSION, PackedConv, PackedModel, PackedNode,
    PackedNorm, PackedOp, PackedWeights, Setting, Store, SwitchedLayer, Switching, VERSION,
};
use crate::error::{Error, ErrorKind, Result};
use crate::files::replace_file;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

/// What [`write_model`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Size of the file in bytes.
    pub bytes: usize,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// Writes `model` to `path`, replacing a file that is there only once the new one is complete.
///
/// # Errors
/// An invalid model, or an input or output error; the file that was at `path` is then still there.
pub fn write_model(model: &PackedModel, path: &Path) -> Result<Written> {
    let bytes = model.to_bytes()?;
    replace_file(path, &bytes)?;
    Ok(Written::of(&bytes))
}

impl Written {
    fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len(), sha256: hex(&Sha256::digest(bytes)) }
    }
}

impl PackedModel {
    /// Writes the bytes of the model's file to `sink`, and flushes it.
    ///
    /// # Errors
    /// An invalid model; `Io`, if `sink` does not take all of them.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> fgq::Result<()> {
    /// # let bytes = include_bytes!("../../fixtures/runtime/bits.fgq");
    /// let model = fgq::PackedModel::from_bytes(bytes)?;
    /// let mut file = Vec::new();
    /// assert_eq!(model.write_to(&mut file)?.bytes, file.len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn write_to(&self, mut sink: impl Write) -> Result<Written> {
        let bytes = self.to_bytes()?;
        let written = sink.write_all(&bytes).and_then(|()| sink.flush());
        written.map_err(|error| Error::new(ErrorKind::Io, "the model cannot be written").because(error))?;
        Ok(Written::of(&bytes))
    }

    /// The bytes of the model's file: the same model gives the same bytes.
    ///
    /// # Errors
    /// An invalid model (see [`PackedModel::shapes`]).
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.shapes()?;
        encode(self)
    }
}

/// The bytes of a model that need not be valid.
pub(super) fn encode(model: &PackedModel) -> Result<Vec<u8>> {
    let figures = model.fidelity.iter().map(figures);
    let layers = model.switching.iter().flat_map(|switching| &switching.layers);
    let changes = layers.filter_map(|layer| Some(changes(layer, model.nodes.get(layer.node)?)));
    let tensors: Vec<OwnedTensor> =
        model.nodes.iter().flat_map(tensors).chain(figures).chain(changes).collect();
    let views: Result<Vec<_>> = tensors.iter().map(|t| Ok((t.name.as_str(), t.view()?))).collect();
    let record = serde_json::to_string(&record(model)).map_err(unserialisable)?;
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), record)]);
    let mut bytes = safetensors::serialize(views?, Some(metadata)).map_err(unserialisable)?;
    checksum::seal(&mut bytes)?;
    Ok(bytes)
}

fn unserialisable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Format, "the model cannot be written").because(error)
}

struct OwnedTensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl OwnedTensor {
    fn view(&self) -> Result<TensorView<'_>> {
        TensorView::new(self.dtype, self.shape.clone(), &self.bytes).map_err(unserialisable)
    }
}

fn figures(fidelity: &Fidelity) -> OwnedTensor {
    let shape = vec![fidelity.layers.len(), FIGURES];
    OwnedTensor { name: FIDELITY_TENSOR.to_owned(), dtype: Dtype::I16, shape, bytes: fidelity.to_bytes() }
}

fn changes(layer: &SwitchedLayer, node: &PackedNode) -> OwnedTensor {
    let pairs = layer.shifts.len();
    let outputs = layer.changes.len().checked_div(pairs).unwrap_or(0);
    let bytes = layer.changes.iter().flat_map(|change| [change.gain as u8, change.bias as u8]).collect();
    OwnedTensor {
        name: format!("{}.changes", node.name),
        dtype: Dtype::I8,
        shape: vec![pairs, outputs, 2],
        bytes,
    }
}

fn tensors(node: &PackedNode) -> Vec<OwnedTensor> {
    let tensor = |kind: &str, dtype, shape: Vec<usize>, bytes| {
        let name = format!("{}.{kind}", node.name);
        OwnedTensor { name, dtype, shape, bytes }
    };
    match &node.op {
        PackedOp::Table { entries } => {
            vec![tensor("table", Dtype::U8, vec![entries.len() / 256, 256], entries.clone())]
        }
        PackedOp::Conv(conv) => {
            let PackedWeights { codes, scales, .. } = &conv.weights;
            let mut all = vec![tensor("codes", Dtype::U8, vec![codes.len()], codes.clone())];
            if conv.weights.precision.grouping().is_some() {
                all.push(tensor("scales", Dtype::U8, vec![scales.len()], scales.clone()));
            }
            all.push(tensor("requant", Dtype::I32, vec![conv.outputs, 2], requant_bytes(conv)));
            all
        }
        PackedOp::GroupNorm(norm) => {
            let bias = norm.bias.iter().map(|&bias| i32::from(bias));
            let words = norm.multipliers.iter().map(word);
            vec![tensor("requant", Dtype::I32, vec![norm.bias.len(), 2], pairs(bias.zip(words)))]
        }
        _ => Vec::new(),
    }
}

/// Per output channel the bias, then the multiplier (low 16 bits) with its shift, or the logit factor.
fn requant_bytes(conv: &PackedConv) -> Vec<u8> {
    let words: Vec<i32> = match &conv.store {
        Store::Codes { multipliers, .. } => multipliers.iter().map(word).collect(),
        Store::Logits { factors, .. } => factors.clone(),
    };
    pairs(conv.bias.iter().copied().zip(words))
}

/// A multiplier in its low 16 bits, its shift above.
fn word(multiplier: &Multiplier) -> i32 {
    i32::from(multiplier.shift) << 16 | i32::from(multiplier.value as u16)
}

fn pairs(pairs: impl Iterator<Item = (i32, i32)>) -> Vec<u8> {
    pairs.flat_map(|(first, second)| [first.to_le_bytes(), second.to_le_bytes()].concat()).collect()
}

fn record(model: &PackedModel) -> ModelRecord {
    ModelRecord {
        checksum: Some(checksum::UNKNOWN.to_owned()),
        version: if model.switching.is_some() { VERSION } else { PLAIN_VERSION },
        name: model.name.clone(),
        input: model.input,
        preprocess: model.preprocess.clone(),
        classes: model.classes.clone(),
        provenance: model.provenance.clone(),
        logit_scale: model.logit_scale,
        fidelity: model.fidelity.as_ref().map(Fidelity::record),
        nodes: model.nodes.iter().map(node_record).collect(),
        switching: model.switching.as_ref().map(switching_record),
    }
}

fn switching_record(switching: &Switching) -> SwitchingRecord {
    let layer = |layer: &SwitchedLayer| SwitchedLayerRecord {
        node: layer.node.index(),
        own: layer.own,
        gain_shifts: layer.shifts.iter().map(|shifts| shifts.gain).collect(),
        bias_shifts: layer.shifts.iter().map(|shifts| shifts.bias).collect(),
    };
    let setting = |setting: &Setting| SettingRecord {
        name: setting.name.clone(),
        widths: setting.widths.clone(),
        judged: setting
            .judgement
            .map(|judgement| JudgedRecord { images: judgement.images, judgement: judgement.into() }),
    };
    let copies = switching.copies.iter();
    SwitchingRecord {
        widths: switching.widths.clone(),
        layers: switching.layers.iter().map(layer).collect(),
        copies: copies
            .map(|copy| SwitchedCopyRecord { node: copy.node.index(), lower: copy.lower.clone() })
            .collect(),
        settings: switching.settings.iter().map(setting).collect(),
    }
}

fn node_record(node: &PackedNode) -> NodeRecord {
    NodeRecord {
        name: node.name.clone(),
        inputs: node.inputs.iter().map(|input| input.index()).collect(),
        quantizer: node.quantizer,
        op: op_record(&node.op),
    }
}

fn op_record(op: &PackedOp) -> OpRecord {
    match op.clone() {
        PackedOp::Input { pad } => OpRecord::Input { pad },
        PackedOp::Conv(conv) => OpRecord::Conv(conv_record(&conv)),
        PackedOp::Table { .. } => OpRecord::Table,
        PackedOp::Add { left, right, fraction } => OpRecord::Add { left, right, fraction },
        PackedOp::Mul(by) => OpRecord::Mul(by),
        PackedOp::Narrow(by) => OpRecord::Narrow(by),
        PackedOp::Concat => OpRecord::Concat,
        PackedOp::Slice(slice) => OpRecord::Slice(slice),
        PackedOp::Pad { before, after } => OpRecord::Pad { before, after },
        PackedOp::MaxPool(window) => OpRecord::MaxPool(window),
        PackedOp::AveragePool { window, count_include_pad, by_count } => {
            OpRecord::AveragePool { window, count_include_pad, by_count }
        }
        PackedOp::GroupNorm(PackedNorm { groups, span, epsilon, fraction, .. }) => {
            OpRecord::GroupNorm { groups, span, epsilon, fraction }
        }
        PackedOp::GlobalAveragePool(by) => OpRecord::GlobalAveragePool(by),
        PackedOp::GlobalSum => OpRecord::GlobalSum,
        PackedOp::Flatten => OpRecord::Flatten,
        PackedOp::ChannelShuffle { groups } => OpRecord::ChannelShuffle { groups },
    }
}

fn conv_record(conv: &PackedConv) -> ConvRecord {
    let weights = WeightsRecord::General(conv.weights.precision.into());
    let store = match conv.store {
        Store::Codes { residual, fraction, low, high, .. } => {
            StoreRecord::Codes { residual, fraction, low, high }
        }
        Store::Logits { shift, .. } => StoreRecord::Logits { shift },
    };
    let PackedConv { outputs, group_inputs, groups, window, .. } = *conv;
    ConvRecord { outputs, group_inputs, groups, window, weights, store }
}
