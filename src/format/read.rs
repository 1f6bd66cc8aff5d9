//! Reading packed models: every byte is checked before it is used.

use super::checksum;
use super::container::{Container, Dtype, StoredTensor};
use super::fidelity::{FIGURES, convolutions};
use super::record::{
    ConvRecord, FidelityRecord, ModelRecord, NodeRecord, OldRecord, OpRecord, SettingRecord, StoreRecord,
    SwitchedCopyRecord, SwitchedLayerRecord, SwitchingRecord, VersionRecord, WeightsRecord,
};
use super::unique::has_unique_keys;
use super::{
    AffineChange, FIDELITY_TENSOR, Fidelity, METADATA_KEY, Multiplier, PLAIN_VERSION, PackedConv, PackedId,
    PackedModel, PackedNode, PackedNorm, PackedOp, PackedWeights, PairShifts, Setting, Store, SwitchedCopy,
    SwitchedLayer, Switching, VERSION,
};
use crate::error::{Error, ErrorKind, Result};
use crate::index::Per;
use crate::inputs::{head, read_regular};
use std::collections::HashMap;
use std::path::Path;

/// Bytes of the length that the container starts with.
const LENGTH: u64 = 8;
/// Most bytes of a packed model.
const MAX_FILE: u64 = 1 << 32;

/// Reads a packed model. What is checked is a copy of the file, so that nobody can change it meanwhile.
///
/// # Errors
/// A file that cannot be read, is a device or a pipe, or has more than 4 GiB; a file a file that is not a valid packed model in every part: unknown format version,
/// missing, surplus or misshapen tensors, invalid codes, sums that could overflow 32 bits.
pub fn read_model(path: &Path) -> Result<PackedModel> {
    let bytes = read_regular(path, MAX_FILE)?;
    PackedModel::from_bytes(&bytes).map_err(|error| error.at_path(path))
}

/// Whether the file at `path` starts as a packed model does, whole or not. A file that cannot be read does not.
pub fn is_packed_model(path: &Path) -> bool {
    let start = format!("{{\"__metadata__\":{{\"{METADATA_KEY}\":");
    let head = head(path, LENGTH + start.len() as u64);
    head.get(LENGTH as usize..) == Some(start.as_bytes())
}

impl PackedModel {
    /// The model that a file's bytes hold; memory stays in proportion to their number.
    ///
    /// # Errors
    /// As [`read_model`], without a path.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        parse(bytes)
    }
}

fn parse(bytes: &[u8]) -> Result<PackedModel> {
    let file = Container::of(bytes).map_err(|error| {
        invalid("not a packed model: fgq models are safetensors files written by `fgq convert`")
            .because(error)
    })?;
    let record = metadata(&file)?;
    check_version(&record, bytes)?;
    let mut tensors = StoredTensors { tensors: file.tensors };
    let nodes: Result<Per<PackedId, PackedNode>> =
        record.nodes.into_iter().map(|node| tensors.node(node)).collect();
    let nodes = nodes?;
    let fidelity = record.fidelity.map(|fidelity| tensors.fidelity(&fidelity, &nodes)).transpose()?;
    let switching = record.switching.map(|switching| tensors.switching(switching, &nodes)).transpose()?;
    let model = PackedModel {
        name: record.name,
        input: record.input,
        preprocess: record.preprocess,
        classes: record.classes,
        provenance: record.provenance,
        nodes,
        logit_scale: record.logit_scale,
        fidelity,
        switching,
    };
    tensors.all_used()?;
    model.shapes()?;
    Ok(model)
}

/// Old versions have no checksum and not all operators; weights are of their own.
fn check_version(record: &ModelRecord, bytes: &[u8]) -> Result<()> {
    let version = record.version;
    if version >= PLAIN_VERSION {
        checksum::check(bytes)?;
    } else if record.checksum.is_some() {
        return Err(invalid(format!("a checksum in format version {version}")));
    }
    let needed = |node: &NodeRecord| match &node.op {
        OpRecord::Narrow(_) | OpRecord::GroupNorm { .. } => PLAIN_VERSION..=VERSION,
        OpRecord::Conv(conv) => match &conv.weights {
            WeightsRecord::General(_) => PLAIN_VERSION..=VERSION,
            WeightsRecord::Old(old) => old.version()..=PLAIN_VERSION - 1,
        },
        _ => 1..=VERSION,
    };
    let plan = if record.provenance.plan.is_some() { 2 } else { 1 };
    match record.nodes.iter().find(|node| !needed(node).contains(&version)) {
        Some(node) => {
            let message = format!("format version {version} has no such operator or weights");
            Err(invalid(message).at_node(&node.name))
        }
        None if version < plan => Err(invalid(format!("format version {version} has no plans"))),
        None if version < PLAIN_VERSION && is_judged(record) => {
            Err(invalid(format!("format version {version} has no judgements")))
        }
        None if (version == VERSION) != record.switching.is_some() => {
            let message = format!("format version {VERSION} is that of models that switch, and of no others");
            Err(invalid(message))
        }
        None => Ok(()),
    }
}

fn is_judged(record: &ModelRecord) -> bool {
    record.fidelity.as_ref().is_some_and(|fidelity| fidelity.held_back || fidelity.judgement.is_some())
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, message)
}

fn metadata(file: &Container) -> Result<ModelRecord> {
    // Other readers may take the first of two tensors with one name, this one the last.
    if !has_unique_keys(file.header) {
        return Err(invalid("the safetensors header names something twice"));
    }
    let only = file.metadata.get(METADATA_KEY).filter(|_| file.metadata.len() == 1);
    let json = only.ok_or_else(|| {
        invalid("not a packed model: the metadata must have the one key 'fgq'; convert the model first")
    })?;
    let version: VersionRecord = serde_json::from_str(json)
        .map_err(|error| invalid(format!("the metadata is not JSON with a format version: {error}")))?;
    match version.version {
        Some(version) if (1..=VERSION).contains(&version) => {}
        Some(version) => {
            return Err(invalid(format!(
                "format version {version}; this fgq reads versions 1 to {VERSION}: use a matching fgq or convert again"
            )));
        }
        None => return Err(invalid("the metadata has no format version")),
    }
    serde_json::from_str(json)
        .map_err(|error| invalid(format!("the metadata is not what the format requires: {error}")))
}

struct StoredTensors<'a> {
    tensors: HashMap<String, StoredTensor<'a>>,
}

impl<'a> StoredTensors<'a> {
    fn node(&mut self, record: NodeRecord) -> Result<PackedNode> {
        let NodeRecord { name, inputs, quantizer, op } = record;
        let op = self.op(&name, op).map_err(|error| error.at_node(&name))?;
        let inputs = inputs.into_iter().map(PackedId::from_index).collect();
        Ok(PackedNode { name, op, inputs, quantizer })
    }

    fn op(&mut self, name: &str, record: OpRecord) -> Result<PackedOp> {
        Ok(match record {
            OpRecord::Input { pad } => PackedOp::Input { pad },
            OpRecord::Conv(conv) => PackedOp::Conv(self.conv(name, conv)?),
            OpRecord::Table => PackedOp::Table { entries: self.table(name)? },
            OpRecord::Add { left, right, fraction } => PackedOp::Add { left, right, fraction },
            OpRecord::Mul(by) => PackedOp::Mul(by),
            OpRecord::Narrow(by) => PackedOp::Narrow(by),
            OpRecord::Concat => PackedOp::Concat,
            OpRecord::Slice(slice) => PackedOp::Slice(slice),
            OpRecord::Pad { before, after } => PackedOp::Pad { before, after },
            OpRecord::MaxPool(window) => PackedOp::MaxPool(window),
            OpRecord::AveragePool { window, count_include_pad, by_count } => {
                PackedOp::AveragePool { window, count_include_pad, by_count }
            }
            OpRecord::GroupNorm { groups, span, epsilon, fraction } => {
                let (bias, multipliers) = self.norm(name)?;
                PackedOp::GroupNorm(PackedNorm { groups, span, epsilon, fraction, multipliers, bias })
            }
            OpRecord::GlobalAveragePool(by) => PackedOp::GlobalAveragePool(by),
            OpRecord::GlobalSum => PackedOp::GlobalSum,
            OpRecord::Flatten => PackedOp::Flatten,
            OpRecord::ChannelShuffle { groups } => PackedOp::ChannelShuffle { groups },
        })
    }

    fn conv(&mut self, name: &str, record: ConvRecord) -> Result<PackedConv> {
        let ConvRecord { outputs, group_inputs, groups, window, weights, store } = record;
        let [kh, kw] = window.kernel;
        let weights = self.weights(name, &weights, [outputs, kh, kw, group_inputs])?;
        let requant = self.take(name, "requant", Dtype::I32, &[outputs, 2])?;
        let (bias, words) = words(requant);
        let store = read_store(store, &words)?;
        Ok(PackedConv { weights, outputs, group_inputs, groups, window, bias, store })
    }

    /// Biases and multipliers of a normalisation.
    fn norm(&mut self, name: &str) -> Result<(Vec<i16>, Vec<Multiplier>)> {
        let tensor = self.remove(&format!("{name}.requant"))?;
        let (Dtype::I32, &[_, 2]) = (tensor.dtype, tensor.shape.as_slice()) else {
            let (dtype, shape) = (tensor.dtype, &tensor.shape);
            return Err(invalid(format!("tensor '{name}.requant' is {dtype:?} {shape:?}, not I32 [n, 2]")));
        };
        let (bias, words) = words(tensor.data);
        let narrow = |&bias: &i32| i16::try_from(bias).map_err(|_| invalid(format!("a bias of {bias}")));
        let bias: Result<_> = bias.iter().map(narrow).collect();
        let multipliers: Result<_> = words.iter().map(|&word| multiplier(word)).collect();
        Ok((bias?, multipliers?))
    }

    fn weights(&mut self, name: &str, record: &WeightsRecord, shape: [usize; 4]) -> Result<PackedWeights> {
        let none = || invalid("no such way to store weights");
        match record {
            WeightsRecord::General(record) => {
                let precision = record.precision().ok_or_else(none)?;
                let codes = self.bytes(name, "codes")?;
                let scales = precision.grouping().map(|_| self.bytes(name, "scales")).transpose()?;
                Ok(PackedWeights { precision, codes, scales: scales.unwrap_or_default() })
            }
            WeightsRecord::Old(record) => {
                let precision = record.precision().ok_or_else(none)?;
                let count = product(&shape)?;
                let [outputs, kh, kw, inputs] = shape;
                let codes = match record {
                    OldRecord::Int8 => self.take(name, "codes", Dtype::I8, &shape)?,
                    _ => self.take(name, "codes", Dtype::U8, &[count.div_ceil(record.per_byte())])?,
                };
                let scales = match precision.group() {
                    Some(size) => {
                        self.take(name, "scales", Dtype::U8, &[outputs, kh, kw, inputs.div_ceil(size)])?
                    }
                    None => &[],
                };
                let error = || invalid(format!("invalid codes for {count} weights"));
                record.weights(count, codes, scales).ok_or_else(error)
            }
        }
    }

    /// Bytes, as many as there are; whether that is right is checked with all else.
    fn bytes(&mut self, name: &str, kind: &str) -> Result<Vec<u8>> {
        let name = format!("{name}.{kind}");
        let tensor = self.remove(&name)?;
        match (tensor.dtype, tensor.shape.as_slice()) {
            (Dtype::U8, [_]) => Ok(tensor.data.to_vec()),
            (dtype, shape) => Err(invalid(format!("tensor '{name}' is {dtype:?} {shape:?}, not U8 [n]"))),
        }
    }

    fn table(&mut self, name: &str) -> Result<Vec<u8>> {
        let tensor = self.remove(&format!("{name}.table"))?;
        match (tensor.dtype, tensor.shape.as_slice()) {
            (Dtype::U8, [_, 256]) => Ok(tensor.data.to_vec()),
            (dtype, shape) => {
                Err(invalid(format!("tensor '{name}.table' is {dtype:?} {shape:?}, not U8 [n, 256]")))
            }
        }
    }

    fn fidelity(&mut self, record: &FidelityRecord, nodes: &Per<PackedId, PackedNode>) -> Result<Fidelity> {
        let shape = [convolutions(nodes).count(), FIGURES];
        let bytes = self.take_named(FIDELITY_TENSOR, Dtype::I16, &shape)?;
        Ok(Fidelity::new(record, nodes, bytes))
    }

    fn switching(&mut self, record: SwitchingRecord, nodes: &Per<PackedId, PackedNode>) -> Result<Switching> {
        let layers: Result<Vec<_>> =
            record.layers.into_iter().map(|layer| self.switched_layer(layer, nodes)).collect();
        let copy = |SwitchedCopyRecord { node, lower }: SwitchedCopyRecord| SwitchedCopy {
            node: PackedId::from_index(node),
            lower,
        };
        let setting = |SettingRecord { name, widths, judged }: SettingRecord| Setting {
            name,
            widths,
            judgement: judged.map(|judged| judged.judgement.of(judged.images)),
        };
        Ok(Switching {
            widths: record.widths,
            layers: layers?,
            copies: record.copies.into_iter().map(copy).collect(),
            settings: record.settings.into_iter().map(setting).collect(),
        })
    }

    fn switched_layer(
        &mut self,
        record: SwitchedLayerRecord,
        nodes: &Per<PackedId, PackedNode>,
    ) -> Result<SwitchedLayer> {
        let SwitchedLayerRecord { node, own, gain_shifts, bias_shifts } = record;
        if gain_shifts.len() != bias_shifts.len() {
            return Err(invalid("a shift of gains and one of biases for each pair of widths"));
        }
        let node = PackedId::from_index(node);
        let (name, outputs) = match nodes.get(node) {
            Some(PackedNode { name, op: PackedOp::Conv(conv), .. }) => (name, conv.outputs),
            _ => return Err(invalid(format!("node {node} switches and is no convolution"))),
        };
        let bytes = self.take(name, "changes", Dtype::I8, &[bias_shifts.len(), outputs, 2])?;
        let (pairs, _) = bytes.as_chunks::<2>();
        let change = |&[gain, bias]: &[u8; 2]| AffineChange { gain: gain as i8, bias: bias as i8 };
        let shifts = gain_shifts.into_iter().zip(bias_shifts).map(|(gain, bias)| PairShifts { gain, bias });
        Ok(SwitchedLayer { node, own, shifts: shifts.collect(), changes: pairs.iter().map(change).collect() })
    }

    fn remove(&mut self, name: &str) -> Result<StoredTensor<'a>> {
        self.tensors.remove(name).ok_or_else(|| invalid(format!("tensor '{name}' is missing")))
    }

    fn take(&mut self, name: &str, kind: &str, dtype: Dtype, shape: &[usize]) -> Result<&'a [u8]> {
        self.take_named(&format!("{name}.{kind}"), dtype, shape)
    }

    fn take_named(&mut self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&'a [u8]> {
        let tensor = self.remove(name)?;
        if tensor.dtype != dtype || tensor.shape != shape {
            return Err(invalid(format!(
                "tensor '{name}' is {:?} {:?}, not {dtype:?} {shape:?}",
                tensor.dtype, tensor.shape
            )));
        }
        Ok(tensor.data)
    }

    fn all_used(&self) -> Result<()> {
        match self.tensors.keys().min() {
            None => Ok(()),
            Some(name) => Err(invalid(format!("tensor '{name}' belongs to no node"))),
        }
    }
}

fn product(extents: &[usize]) -> Result<usize> {
    let product = extents.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    product.ok_or_else(|| invalid(format!("extents {extents:?} overflow")))
}

/// Splits pairs of little-endian words.
fn words(bytes: &[u8]) -> (Vec<i32>, Vec<i32>) {
    let (words, _) = bytes.as_chunks::<4>();
    let pairs = words.chunks_exact(2).map(|pair| (i32::from_le_bytes(pair[0]), i32::from_le_bytes(pair[1])));
    pairs.unzip()
}

fn read_store(record: StoreRecord, words: &[i32]) -> Result<Store> {
    Ok(match record {
        StoreRecord::Logits { shift } => Store::Logits { factors: words.to_vec(), shift },
        StoreRecord::Codes { residual, fraction, low, high } => {
            let multipliers: Result<Vec<_>> = words.iter().map(|&word| multiplier(word)).collect();
            Store::Codes { multipliers: multipliers?, residual, fraction, low, high }
        }
    })
}

fn multiplier(word: i32) -> Result<Multiplier> {
    let shift = u8::try_from(word >> 16).map_err(|_| invalid(format!("requantization word {word:#x}")))?;
    Ok(Multiplier { shift, value: word as i16 })
}
