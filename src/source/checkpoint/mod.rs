//! Weights of known architectures, in safetensors files and in files of `torch.save`.

mod architectures;
mod builder;
mod names;
mod numbers;
mod shards;
#[cfg(test)]
mod tests;
mod torch;

use super::{LoadOptions, Loaded};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Graph;
use crate::inputs::read_regular;
use crate::tensor::Shape;
use architectures::{ARCHITECTURES, Architecture};
use builder::{Builder, Misfits};
use serde_json::Value;
use shards::{MAX_HEADER, Safetensors};
use std::path::Path;
use torch::Torch;

/// How many names of each kind an error lists.
const LISTED: usize = 12;

/// Named tensors of a checkpoint.
trait Tensors {
    /// All names.
    fn names(&self) -> Vec<&str>;
    /// The shape of a tensor, if there is one of this name.
    fn shape(&self, name: &str) -> Option<&[usize]>;
    /// The values of a tensor, all finite.
    fn read(&self, name: &str) -> Result<Vec<f32>>;
}

/// Reads the weights at `path` (`*.safetensors`, or `*.safetensors.index.json` of several files) into the network
/// named by `options.architecture`, else by `config.json` beside the file.
///
/// # Errors
/// Damaged files; an unknown or missing name of an architecture; one error that lists all tensors that are missing,
/// unexpected or misshapen; weights that are not finite, naming tensor and index.
pub(crate) fn load_safetensors(path: &Path, options: &LoadOptions) -> Result<Loaded> {
    let graph = network(&Safetensors::open(path)?, path, options)?;
    Ok(Loaded { graph, notes: Vec::new() })
}

/// As [`load_safetensors`], of a state dict that `torch.save` wrote.
///
/// # Errors
/// Also everything in the file that is not data.
pub(crate) fn load_torch(path: &Path, options: &LoadOptions) -> Result<Loaded> {
    let checkpoint = Torch::open(path).map_err(|error| error.at_path(path))?;
    Ok(Loaded { graph: network(&checkpoint, path, options)?, notes: checkpoint.notes() })
}

fn network(tensors: &dyn Tensors, path: &Path, options: &LoadOptions) -> Result<Graph> {
    let config = TimmConfig::beside(path)?;
    build(tensors, &config, options).map_err(|error| error.at_path(path))
}

/// Names of the known architectures.
pub(super) fn architectures() -> Vec<&'static str> {
    ARCHITECTURES.iter().map(|architecture| architecture.name).collect()
}

fn build(tensors: &dyn Tensors, config: &TimmConfig, options: &LoadOptions) -> Result<Graph> {
    let name =
        options.architecture.as_ref().or(config.architecture.as_ref()).ok_or_else(|| unnamed(tensors))?;
    let architecture = find(name).ok_or_else(|| unknown(name, tensors))?;
    let described =
        config.architecture.as_deref().and_then(find).is_some_and(|found| found.name == architecture.name);
    let config = if described { config } else { &TimmConfig::default() };
    let size = options.input_size.or(config.input_size).unwrap_or(architecture.default_size());
    let misfits = compare(architecture, tensors, config.classes, size)?;
    if !misfits.is_empty() {
        return Err(misfit(architecture, tensors, &misfits));
    }
    let mut builder = Builder::new(tensors, config.classes, true);
    let input = architecture.build(&mut builder, size)?;
    let graph = builder.finish(architecture.name, input);
    graph.validate()?;
    Ok(graph)
}

/// What keeps `tensors` from being the weights of `architecture`.
fn compare(
    architecture: &Architecture,
    tensors: &dyn Tensors,
    classes: Option<usize>,
    size: [usize; 2],
) -> Result<Misfits> {
    let mut builder = Builder::new(tensors, classes, false);
    architecture.build(&mut builder, size)?;
    Ok(builder.misfits())
}

/// An architecture by name; a publisher before it (`timm/`) and a tag after it (`.a1_in1k`) do not matter.
fn find(name: &str) -> Option<&'static Architecture> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.split('.').next().unwrap_or(name);
    ARCHITECTURES.iter().find(|architecture| architecture.name == name)
}

fn unnamed(tensors: &dyn Tensors) -> Error {
    let message = format!("the file holds weights only: name the architecture; {}", suggestion(tensors));
    Error::new(ErrorKind::Argument, message)
}

fn unknown(name: &str, tensors: &dyn Tensors) -> Error {
    let message = format!("architecture '{name}' is not known; {}", suggestion(tensors));
    Error::new(ErrorKind::Argument, message)
}

fn misfit(architecture: &Architecture, tensors: &dyn Tensors, misfits: &Misfits) -> Error {
    let Misfits { missing, misshapen, unexpected } = misfits;
    let parts = [("missing", missing), ("misshapen", misshapen), ("unexpected", unexpected)];
    let parts = parts
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}: {}", listed(names)));
    let parts = parts.collect::<Vec<_>>().join("; ");
    let message =
        format!("the tensors are not those of {}: {parts}; {}", architecture.name, suggestion(tensors));
    Error::new(ErrorKind::Format, message)
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The architectures that these tensors fit, or else all that are known.
fn suggestion(tensors: &dyn Tensors) -> String {
    let fits = |architecture: &&Architecture| {
        compare(architecture, tensors, None, architecture.default_size())
            .is_ok_and(|misfits| misfits.is_empty())
    };
    let fitting = ARCHITECTURES.iter().filter(fits).map(|architecture| architecture.name).collect::<Vec<_>>();
    if fitting.is_empty() {
        return format!("known are {}; export other networks to ONNX", architectures().join(", "));
    }
    format!("they fit {}", fitting.join(", "))
}

/// What timm's `config.json` says about the weights beside it.
#[derive(Debug, Default)]
struct TimmConfig {
    architecture: Option<String>,
    classes: Option<usize>,
    input_size: Option<[usize; 2]>,
}

impl TimmConfig {
    fn beside(path: &Path) -> Result<Self> {
        let path = path.with_file_name("config.json");
        if !path.is_file() {
            return Ok(Self::default());
        }
        let bytes = read_regular(&path, MAX_HEADER)?;
        let broken = |error| Error::new(ErrorKind::Format, "not valid JSON").because(error).at_path(&path);
        serde_json::from_slice(&bytes).map(|value| Self::parse(&value)).map_err(broken)
    }

    fn parse(value: &Value) -> Self {
        let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
        let find = |key: &str| value.get(key).or_else(|| value.get("pretrained_cfg")?.get(key));
        let sizes = find("input_size")
            .and_then(Value::as_array)
            .map(|sizes| sizes.iter().map(number).collect::<Vec<_>>());
        Self {
            architecture: find("architecture").and_then(Value::as_str).map(str::to_owned),
            classes: find("num_classes").and_then(number),
            input_size: match sizes.as_deref() {
                Some([_, Some(height), Some(width)]) => Some([*height, *width]),
                _ => None,
            },
        }
    }
}

impl Architecture {
    /// Describes the network to `builder` and gives its input's shape.
    fn build(&self, builder: &mut Builder<'_>, [height, width]: [usize; 2]) -> Result<Shape> {
        let channels = builder.extent(&format!("{}.weight", self.first()), 1).unwrap_or(3);
        let input = Shape::new(channels, height, width);
        self.family.build(builder, input)?;
        Ok(input)
    }
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, message)
}

fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}
