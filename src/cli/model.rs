//! A model that may be packed or a full-precision network.

use super::network::NetworkArgs;
use super::preprocess::Chosen;
use super::settings::BitsArgs;
use super::source::outputs;
use anyhow::ensure;
use fgq::{Graph, PackedModel, Preprocess};
use std::path::Path;

/// What a path on the command line names.
#[derive(Debug)]
pub enum Model {
    /// A packed model, with its preprocessing in it.
    Packed(Box<PackedModel>),
    /// A full-precision network, and how images are prepared for it.
    Full(Graph, Chosen),
}

impl Model {
    /// Reads the model at `path`; `network` says what the file of a full-precision one leaves open,
    /// `samples` what it is to see, where that says how it is prepared.
    pub fn open(path: &Path, network: &NetworkArgs, samples: Option<&Path>) -> anyhow::Result<Self> {
        if !is_packed(path) {
            let (graph, chosen) = network.load(path, samples)?;
            return Ok(Self::Full(graph, chosen));
        }
        ensure!(
            network.leaves_images_open(),
            "{}: a packed model has its input size and preprocessing in it; leave out the options on them",
            path.display()
        );
        Ok(Self::Packed(Box::new(fgq::read_model(path)?)))
    }

    /// The model at the widths that were asked for.
    pub fn at(self, path: &Path, bits: &BitsArgs) -> anyhow::Result<Self> {
        match self {
            Self::Packed(model) => Ok(Self::Packed(Box::new(bits.at(path, *model)?))),
            Self::Full(..) => bits.refuse(path).map(|()| self),
        }
    }

    /// How images are prepared.
    pub fn preprocess(&self) -> &Preprocess {
        match self {
            Self::Packed(model) => &model.preprocess,
            Self::Full(_, chosen) => &chosen.preprocess,
        }
    }

    /// Number of outputs.
    pub fn outputs(&self) -> fgq::Result<usize> {
        match self {
            Self::Packed(model) => Ok(model.shapes()?.last().map_or(0, |shape| shape.channels)),
            Self::Full(graph, _) => outputs(graph),
        }
    }
}

/// Whether the file is to be read as a packed model: by its ending or by its first bytes.
fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "fgq") || fgq::is_packed_model(path)
}
