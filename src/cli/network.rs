//! A trained network to work on: where its parts come from, and how images are prepared for it.

use super::output::note;
use super::preprocess::{Chosen, PreprocessArgs};
use super::source::{SourceArgs, outputs, told};
use anyhow::ensure;
use fgq::{Dataset, Graph, Loaded, Size};
use std::fs;
use std::path::{Path, PathBuf};

/// Options on the network.
#[derive(Debug, clap::Args)]
pub struct NetworkArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Height and width of the input, for models that leave them open
    #[arg(long, value_name = "N|HxW")]
    input_size: Option<Size>,
    #[command(flatten)]
    preprocess: PreprocessArgs,
}

/// Option on the names of the classes.
#[derive(Debug, clap::Args)]
pub struct ClassArgs {
    /// Names of the classes, one per line, in the order of the outputs
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
}

impl NetworkArgs {
    /// The network in `model`, at the size that the preprocessing crops to if nothing else says it, and its
    /// preprocessing, which `samples` may say.
    pub fn load(&self, model: &Path, samples: Option<&Path>) -> anyhow::Result<(Graph, Chosen)> {
        let graph = told(self.read(model)?);
        let chosen = self.preprocess.resolve(&graph, model, samples)?;
        Ok((graph, chosen))
    }

    /// The network of [`Self::load`] once more, where keeping it would take memory all the time.
    pub fn reload(&self, model: &Path) -> anyhow::Result<Graph> {
        Ok(self.read(model)?.graph)
    }

    fn read(&self, model: &Path) -> fgq::Result<Loaded> {
        match (self.input_size, self.preprocess.crop()) {
            (None, Some(crop)) => self.source.read_at(model, crop),
            (size, _) => self.source.read(model, size),
        }
    }

    /// Options on where the network comes from alone.
    pub fn source(&self) -> &SourceArgs {
        &self.source
    }

    /// Whether size and preprocessing are left to the model.
    pub fn leaves_images_open(&self) -> bool {
        self.input_size.is_none() && self.preprocess.is_empty()
    }

    /// Options worth recording in the file.
    pub fn record(&self) -> impl Iterator<Item = (String, String)> {
        self.source.record()
    }
}

impl ClassArgs {
    /// Class names from `--classes`, else from the folders of the calibration images, else ImageNet's if there are
    /// as many outputs.
    pub fn names(&self, graph: &Graph, calib: &Path) -> anyhow::Result<Vec<String>> {
        let outputs = outputs(graph)?;
        let folders = Dataset::labelled(calib, None, outputs).ok().filter(|_| self.classes.is_none());
        if let Some(names) = folders.as_ref().and_then(Dataset::class_names) {
            note(format!("class names come from the folders in {}", calib.display()));
            return Ok(names.to_vec());
        }
        let names = self.known(graph)?;
        if self.classes.is_none() {
            note(match names.is_empty() {
                false => format!("{outputs} outputs: class names are ImageNet's"),
                true => "class names are not known; give them with --classes".to_owned(),
            });
        }
        Ok(names)
    }

    /// Whether names were given.
    pub fn is_given(&self) -> bool {
        self.classes.is_some()
    }

    /// Class names from `--classes`, else ImageNet's if there are as many outputs.
    pub fn known(&self, graph: &Graph) -> anyhow::Result<Vec<String>> {
        let outputs = outputs(graph)?;
        match &self.classes {
            Some(path) => read_class_names(path, outputs),
            None => Ok(fgq::class_names(outputs).unwrap_or_default()),
        }
    }
}

fn read_class_names(path: &Path, outputs: usize) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(|error| fgq::Error::io(path, error))?;
    let names: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
    ensure!(
        names.len() == outputs,
        "{}: {} class names, but the network has {outputs} outputs; give one name per line",
        path.display(),
        names.len()
    );
    Ok(names)
}
