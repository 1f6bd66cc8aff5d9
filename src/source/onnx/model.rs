//! What is needed of a decoded file: one input, one output, and the nodes between them in order.

use super::{malformed, unsupported};
use crate::error::{Error, ErrorKind, Result};
use crate::proto::tensor_proto::DataType;
use crate::proto::tensor_shape_proto::dimension::Value as Extent;
use crate::proto::type_proto::Value as Type;
use crate::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use crate::source::LoadOptions;
use std::collections::{BTreeSet, HashMap, HashSet};

/// The oldest operator set that is read.
pub(super) const MIN_OPSET: i64 = 9;
/// The newest operator set whose operators were checked.
pub(super) const MAX_OPSET: i64 = 28;
/// Longest extent of an axis of the input.
const MAX_EXTENT: usize = 1 << 16;

/// One input, one output, and the nodes between them.
pub(super) struct OnnxModel {
    /// Version of the operator set.
    pub(super) opset: i64,
    /// Every node that the output needs, inputs before users.
    pub(super) nodes: Vec<NodeProto>,
    /// Stored tensors by name.
    pub(super) initializers: HashMap<String, TensorProto>,
    /// The tensor that holds the images.
    pub(super) input: ImageInput,
    /// Name of the tensor that holds the logits.
    pub(super) output: String,
}

/// The tensor that holds the images.
pub(super) struct ImageInput {
    /// Its name.
    pub(super) name: String,
    /// Number of images; 1 if the file leaves it open.
    pub(super) batch: usize,
    /// Extents of one image in the order of the file.
    pub(super) extents: [usize; 3],
    /// Whether the order is rows, columns, channels instead of channels, rows, columns.
    pub(super) channels_last: bool,
}

impl OnnxModel {
    /// Picks input, output and live nodes.
    ///
    /// # Errors
    /// Opsets that are not known, several inputs or outputs, extents left open, cycles, tensors without origin.
    pub(super) fn new(proto: ModelProto, options: &LoadOptions) -> Result<Self> {
        let opset = opset(&proto)?;
        let graph = proto.graph.ok_or_else(|| malformed("no graph inside; not an ONNX model"))?;
        if !graph.sparse_initializer.is_empty() {
            return Err(unsupported("sparse weights; export the model with dense weights"));
        }
        let output = output(&graph, options)?;
        let stored: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
        let input = input(&graph, &stored, options)?;
        let order = order(&graph, &stored, &input.name, &output)?;
        let GraphProto { node, initializer, .. } = graph;
        Ok(Self { opset, nodes: select(node, &order), initializers: by_name(initializer)?, input, output })
    }
}

fn opset(proto: &ModelProto) -> Result<i64> {
    let standard = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let version = proto.opset_import.iter().find(|set| standard(set.domain())).map(|set| set.version());
    match version {
        None => Err(malformed("no operator set named; not an ONNX model, or damaged")),
        Some(version) if version < MIN_OPSET => Err(unsupported(format!(
            "opset {version} is older than {MIN_OPSET}; convert it with onnx.version_converter or export again"
        ))),
        Some(version) if version > MAX_OPSET => Err(unsupported(format!(
            "opset {version} is newer than {MAX_OPSET}, the newest that fgq knows; export with opset_version={MAX_OPSET}"
        ))),
        Some(version) => Ok(version),
    }
}

fn by_name(tensors: Vec<TensorProto>) -> Result<HashMap<String, TensorProto>> {
    let mut named = HashMap::new();
    for tensor in tensors {
        if let Some(twin) = named.insert(tensor.name().to_owned(), tensor) {
            return Err(malformed(format!("two stored tensors are named '{}'", twin.name())));
        }
    }
    Ok(named)
}

fn select(nodes: Vec<NodeProto>, order: &[usize]) -> Vec<NodeProto> {
    let mut nodes: Vec<_> = nodes.into_iter().map(Some).collect();
    order.iter().filter_map(|&index| nodes.get_mut(index).and_then(Option::take)).collect()
}

/// The output that is asked for, or the only one that holds real numbers.
fn output(graph: &GraphProto, options: &LoadOptions) -> Result<String> {
    let names: Vec<_> = graph.output.iter().map(|output| output.name()).collect();
    if let Some(wanted) = &options.output {
        let found = names.contains(&wanted.as_str());
        return found.then(|| wanted.clone()).ok_or_else(|| {
            Error::new(ErrorKind::Argument, format!("no output is named '{wanted}'; there are {names:?}"))
        });
    }
    let real: Vec<_> = graph.output.iter().filter(|output| may_be_real(output)).map(|o| o.name()).collect();
    match real.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(unsupported(format!(
            "no output holds real numbers (outputs: {names:?}); fgq needs the logits, so export without the \
             operators that pick the class"
        ))),
        _ => Err(Error::new(
            ErrorKind::Argument,
            format!("several outputs {names:?}; say which one holds the logits"),
        )),
    }
}

fn may_be_real(output: &ValueInfoProto) -> bool {
    element_type(output).is_none_or(is_real)
}

fn is_real(kind: DataType) -> bool {
    matches!(
        kind,
        DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double | DataType::Undefined
    )
}

fn element_type(value: &ValueInfoProto) -> Option<DataType> {
    match value.r#type.as_ref()?.value.as_ref()? {
        Type::TensorType(tensor) => DataType::try_from(tensor.elem_type()).ok(),
        _ => None,
    }
}

fn input(graph: &GraphProto, stored: &HashSet<&str>, options: &LoadOptions) -> Result<ImageInput> {
    let open: Vec<_> = graph.input.iter().filter(|input| !stored.contains(input.name())).collect();
    let [value] = open.as_slice() else {
        let names: Vec<_> = open.iter().map(|input| input.name()).collect();
        return Err(unsupported(format!(
            "{} inputs {names:?}; fgq reads networks with one image input",
            names.len()
        )));
    };
    let name = value.name().to_owned();
    let about = |error: Error| Error::new(error.kind(), format!("input '{name}': {error}"));
    if !element_type(value).is_some_and(is_real) {
        return Err(about(unsupported(
            "its elements are not real numbers; export the model with a float input",
        )));
    }
    let dims = declared_dims(value).map_err(about)?;
    let channels_last = channels_last(graph, &name, &dims);
    let (batch, extents) = image_extents(dims, channels_last, options).map_err(about)?;
    Ok(ImageInput { name, batch, extents, channels_last })
}

/// The four extents; `None` where the file leaves one open.
fn declared_dims(value: &ValueInfoProto) -> Result<[Option<usize>; 4]> {
    let shape = match value.r#type.as_ref().and_then(|kind| kind.value.as_ref()) {
        Some(Type::TensorType(tensor)) => tensor.shape.as_ref(),
        _ => None,
    };
    let shape =
        shape.ok_or_else(|| unsupported("its shape is not given; export the model with input shapes"))?;
    let dims: Vec<_> = shape.dim.iter().map(|dim| positive(dim.value.as_ref())).collect();
    <[_; 4]>::try_from(dims).map_err(|dims| {
        unsupported(format!(
            "it has {} axes; fgq reads images with four (batch, channels, rows, columns)",
            dims.len()
        ))
    })
}

fn positive(extent: Option<&Extent>) -> Option<usize> {
    match extent {
        Some(&Extent::DimValue(value)) if value > 0 => usize::try_from(value).ok(),
        _ => None,
    }
}

/// Whether images are stored row, column, channel: the last extent looks like a number of colours, the
/// second does not, and no convolution (always channels first in ONNX) reads the input.
fn channels_last(graph: &GraphProto, name: &str, dims: &[Option<usize>; 4]) -> bool {
    let colours = |extent: Option<usize>| matches!(extent, Some(1 | 3 | 4));
    let reads = |node: &&NodeProto| node.input.iter().any(|input| input == name);
    let convolved = graph.node.iter().filter(reads).any(|node| node.op_type() == "Conv");
    colours(dims[3]) && !colours(dims[1]) && !convolved
}

fn image_extents(
    dims: [Option<usize>; 4],
    channels_last: bool,
    options: &LoadOptions,
) -> Result<(usize, [usize; 3])> {
    let [batch, first, second, third] = dims;
    let (channels, height, width) =
        if channels_last { (third, first, second) } else { (first, second, third) };
    let channels = channels
        .ok_or_else(|| unsupported("the number of channels is left open; export with a fixed one"))?;
    let [height, width] = image_size(height, width, options.input_size)?;
    let extents = if channels_last { [height, width, channels] } else { [channels, height, width] };
    if extents.iter().chain(&batch).any(|&extent| extent == 0 || extent > MAX_EXTENT) {
        return Err(unsupported(format!("extents {extents:?} are beyond 1 to {MAX_EXTENT}")));
    }
    Ok((batch.unwrap_or(1), extents))
}

fn image_size(height: Option<usize>, width: Option<usize>, wanted: Option<[usize; 2]>) -> Result<[usize; 2]> {
    match (height, width, wanted) {
        (Some(height), Some(width), None) => Ok([height, width]),
        (_, _, None) => Err(Error::new(
            ErrorKind::Argument,
            "the file leaves the image size open; give it with `input_size`, for example `input_size = 224x224`",
        )),
        (height, width, Some(wanted)) => {
            let fits = height.is_none_or(|h| h == wanted[0]) && width.is_none_or(|w| w == wanted[1]);
            fits.then_some(wanted).ok_or_else(|| {
                let fixed =
                    [height, width].map(|extent| extent.map_or("?".into(), |value| value.to_string()));
                let message =
                    format!("the file fixes the image size to {}; leave out `input_size`", fixed.join("x"));
                Error::new(ErrorKind::Argument, message)
            })
        }
    }
}

/// Indices of the nodes that `output` needs, inputs before users, otherwise in the order of the file.
fn order(graph: &GraphProto, stored: &HashSet<&str>, input: &str, output: &str) -> Result<Vec<usize>> {
    let producers = producers(graph)?;
    let live = live(graph, &producers, output);
    let mut users: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut waiting: HashMap<usize, usize> = HashMap::new();
    for &index in &live {
        let node = &graph.node[index];
        for name in node.input.iter().filter(|name| !name.is_empty()) {
            match producers.get(name.as_str()) {
                Some(&producer) => {
                    users.entry(producer).or_default().push(index);
                    *waiting.entry(index).or_insert(0) += 1;
                }
                None if name == input || stored.contains(name.as_str()) => {}
                None => {
                    return Err(malformed(format!("tensor '{name}' comes from nowhere")).at_node(node.name()));
                }
            }
        }
    }
    let order = sort(&live, &users, waiting);
    if order.len() < live.len() {
        return Err(malformed("the nodes form a cycle"));
    }
    Ok(order)
}

fn producers(graph: &GraphProto) -> Result<HashMap<&str, usize>> {
    let mut producers = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if producers.insert(name.as_str(), index).is_some() {
                return Err(malformed(format!("tensor '{name}' is produced twice")).at_node(node.name()));
            }
        }
    }
    Ok(producers)
}

fn live(graph: &GraphProto, producers: &HashMap<&str, usize>, output: &str) -> BTreeSet<usize> {
    let mut live = BTreeSet::new();
    let mut pending: Vec<_> = producers.get(output).copied().into_iter().collect();
    while let Some(index) = pending.pop() {
        if live.insert(index) {
            let inputs = &graph.node[index].input;
            pending.extend(inputs.iter().filter_map(|name| producers.get(name.as_str())));
        }
    }
    live
}

fn sort(
    live: &BTreeSet<usize>,
    users: &HashMap<usize, Vec<usize>>,
    mut waiting: HashMap<usize, usize>,
) -> Vec<usize> {
    let mut ready: BTreeSet<_> = live.iter().copied().filter(|index| !waiting.contains_key(index)).collect();
    let mut order = Vec::new();
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for &user in users.get(&index).into_iter().flatten() {
            let left = waiting.entry(user).and_modify(|left| *left -= 1).or_default();
            if *left == 0 {
                ready.insert(user);
            }
        }
    }
    order
}
