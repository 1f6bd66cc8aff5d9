//! Images as the command line names them.

use super::output::note;
use fgq::Dataset;
use std::path::Path;

/// The images at `path`, after what is to be said of them.
pub(super) fn unlabelled(path: &Path) -> anyhow::Result<Dataset> {
    Ok(told(Dataset::unlabelled(path)?))
}

/// The same with labels for a network of so many outputs.
pub(super) fn labelled(path: &Path, labels: Option<&Path>, outputs: usize) -> anyhow::Result<Dataset> {
    Ok(told(Dataset::labelled(path, labels, outputs)?))
}

fn told(images: Dataset) -> Dataset {
    images.notes().iter().for_each(note);
    images
}
