//! Full-precision networks as the command line names them.

use super::output::note;
use fgq::{Graph, LoadOptions, Loaded, Size};
use std::path::Path;

/// What a model file may leave open.
#[derive(Debug, clap::Args)]
pub struct SourceArgs {
    /// Architecture whose weights a .safetensors or .pth file holds, such as resnet50; `fgq info` lists those known
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// Which output holds the logits, for ONNX files with several
    #[arg(long, value_name = "NAME")]
    output_name: Option<String>,
}

impl SourceArgs {
    /// Reads the network in `path` at the given size, or at its own if it fixes another, passing on the loader's notes.
    pub fn load_at(&self, path: &Path, size: Size) -> anyhow::Result<Graph> {
        Ok(told(self.read_at(path, size)?))
    }

    /// As [`Self::load_at`], saying nothing.
    pub fn read_at(&self, path: &Path, size: Size) -> fgq::Result<Loaded> {
        self.read(path, Some(size)).or_else(|_| self.read(path, None))
    }

    /// Reads the network in `path`, saying nothing.
    pub fn read(&self, path: &Path, input_size: Option<Size>) -> fgq::Result<Loaded> {
        let options = LoadOptions {
            input_size: input_size.map(Into::into),
            output: self.output_name.clone(),
            architecture: self.arch.clone(),
        };
        fgq::load(path, &options)
    }

    /// Options worth recording in the file.
    pub fn record(&self) -> impl Iterator<Item = (String, String)> {
        let all = [("arch", &self.arch), ("output_name", &self.output_name)];
        all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)))
    }
}

/// The network, after its notes.
pub fn told(loaded: Loaded) -> Graph {
    loaded.notes.iter().for_each(note);
    loaded.graph
}

/// Number of outputs of a network.
pub fn outputs(graph: &Graph) -> fgq::Result<usize> {
    Ok(graph.shapes()?.get(graph.output).map_or(0, |shape| shape.len()))
}
