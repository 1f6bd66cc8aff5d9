//! What a conversion reads, and where its model goes.

use super::images;
use super::network::NetworkArgs;
use super::output::{check_writable, warn};
use anyhow::{bail, ensure};
use fgq::{Conversion, Dataset, ErrorKind, Graph, Plan, Provenance, Written};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Endings that a packed model's name does not keep from its source.
const ENDINGS: [&str; 8] =
    [".safetensors.index.json", ".safetensors", ".onnx", ".pth.tar", ".pth", ".pt", ".th", ".ckpt"];

/// What a conversion reads and writes.
#[derive(Debug, clap::Args)]
pub(super) struct FileArgs {
    /// The trained network: .onnx, .safetensors, .safetensors.index.json or .pth; - for an ONNX file on stdin
    pub(super) model: PathBuf,
    /// Sample images: a folder, a .tar, .zip or .parquet file of them, one image, or a .npy or .npz file of arrays; they
    /// need no labels
    #[arg(long, value_name = "DIR")]
    pub(super) calib: PathBuf,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// Where the packed model goes.
#[derive(Debug, clap::Args)]
pub(super) struct OutputArgs {
    /// Where to write the packed model; - for stdout, with everything else on stderr [default: the model's name with .fgq,
    /// in the current folder]
    #[arg(short, long, value_name = "OUT.fgq")]
    output: Option<PathBuf>,
    /// Replace what is there, even if it is no model of this network
    #[arg(long)]
    force: bool,
}

impl FileArgs {
    /// Where the packed model goes; checked before any work that a file can be written there.
    pub(super) fn output(&self) -> anyhow::Result<PathBuf> {
        let path = self.output.output.clone().unwrap_or_else(|| default_output(&self.model));
        if is_stdout(&path) {
            return Ok(path);
        }
        let same = |a: &Path, b: &Path| {
            fs::canonicalize(a).ok().is_some_and(|a| fs::canonicalize(b).ok() == Some(a))
        };
        if same(&path, &self.model) {
            bail!("{}: is the model itself; give another name with -o", path.display());
        }
        check_writable(&path, "-o")?;
        ensure!(
            self.output.force || self.may_replace(&path)?,
            "{}: is there and no model of this network; give another name with -o, or --force",
            path.display()
        );
        Ok(path)
    }

    /// Whether nothing is lost but a conversion of the same network.
    fn may_replace(&self, path: &Path) -> anyhow::Result<bool> {
        if !path.exists() {
            return Ok(true);
        }
        let Ok(found) = fgq::read_model(path) else { return Ok(false) };
        let mut ours = Provenance::default();
        ours.set_source(&self.model)?;
        Ok(found.provenance.source_sha256 == ours.source_sha256)
    }

    /// The images, with labels only where they are asked for.
    pub(super) fn images(&self, graph: &Graph, labelled: bool) -> anyhow::Result<Dataset> {
        let classes = graph.shapes()?.last().map_or(0, fgq::Shape::len);
        match labelled {
            true => images::labelled(&self.calib, None, classes),
            false => images::unlabelled(&self.calib),
        }
    }

    /// Which input an error of the conversion concerns, where it does not say so itself.
    pub(super) fn place(&self, error: fgq::Error) -> fgq::Error {
        match error.kind() {
            ErrorKind::Image | ErrorKind::Io => error.at_path(&self.calib),
            _ => error.at_path(&self.model),
        }
    }

    /// Writes the model with what the library does not know.
    pub(super) fn write(
        &self,
        path: &Path,
        conversion: &mut Conversion,
        classes: Vec<String>,
        network: &NetworkArgs,
        plan: Option<&Plan>,
    ) -> anyhow::Result<Written> {
        let model = &mut conversion.model;
        model.classes = classes;
        model.provenance.set_source(&self.model)?;
        warn_of_other_network(plan, &model.provenance.source_sha256);
        model.provenance.options.extend(network.record());
        match is_stdout(path) {
            true => Ok(model.write_to(io::stdout().lock())?),
            false => Ok(fgq::write_model(model, path)?),
        }
    }
}

/// Whether arguments ask for a model on stdout, where nothing else belongs then.
pub(super) fn takes_stdout(arguments: &[OsString]) -> bool {
    let in_one_word =
        |argument: &OsString| argument == "-o-" || argument == "-o=-" || argument == "--output=-";
    let in_two = |pair: &[OsString]| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == "-";
    arguments.iter().any(in_one_word) || arguments.windows(2).any(in_two)
}

/// Whether a path stands for stdout.
pub(super) fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

fn warn_of_other_network(plan: Option<&Plan>, sha256: &str) {
    if plan.is_some_and(|plan| !plan.network_sha256.is_empty() && plan.network_sha256 != sha256) {
        warn("the plan was made for another file of this network");
    }
}

fn default_output(model: &Path) -> PathBuf {
    let name = model.file_name().unwrap_or_default().to_string_lossy();
    let stem = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
    PathBuf::from(format!("{stem}.fgq"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_named_after_the_model() {
        let name = |model: &str| default_output(Path::new(model)).display().to_string();
        assert_eq!(name("a/net.v1.onnx"), "net.v1.fgq");
        assert_eq!(name("net.safetensors"), "net.fgq");
        assert_eq!(name("b/model.safetensors.index.json"), "model.fgq");
        assert_eq!(name("resnet20.pth"), "resnet20.fgq");
        assert_eq!(name("other"), "other.fgq");
    }

    #[test]
    fn an_output_on_stdout_is_seen_in_one_word_and_in_two() {
        let takes = |line: &str| takes_stdout(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        for line in [
            "convert a.onnx -o -",
            "convert -o- a.onnx",
            "convert --output=- a",
            "convert --output - a",
            "x -o=-",
        ] {
            assert!(takes(line), "{line}");
        }
        for line in ["convert - -o out.fgq", "convert - --output=out", "convert -o ./- a.onnx"] {
            assert!(!takes(line), "{line}");
        }
    }
}
