//! Images by index: from files or from memory.

use super::dataset::Source;
use super::{Dataset, input_pixels, load, spread};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Preprocess;
use ndarray::Array3;

/// Names of images that could not be read, and why.
pub(crate) type Unreadable = Vec<(String, Error)>;

/// Images that a network can be calibrated or evaluated on.
pub trait Images: Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The network's input pixels of image `index`, in the order row, column, channel.
    ///
    /// # Errors
    /// An image that cannot be read.
    fn pixels(&self, index: usize, preprocess: &Preprocess) -> Result<Vec<u8>>;

    /// What full precision reads for image `index`, `channels × height × width`, if that is more exact than its pixels.
    ///
    /// # Errors
    /// An image that cannot be read.
    fn values(&self, _index: usize, _preprocess: &Preprocess) -> Result<Option<Array3<f32>>> {
        Ok(None)
    }

    /// The right output of the network for image `index`, if known.
    fn label(&self, index: usize) -> Option<usize>;

    /// What to call image `index` in messages.
    fn name(&self, index: usize) -> String;
}

/// The labels of all images.
///
/// # Errors
/// An image without a label.
pub(crate) fn labels_of(images: &dyn Images) -> Result<Vec<usize>> {
    let label = |image: usize| {
        let message = format!("image '{}' has no label; give class folders", images.name(image));
        images.label(image).ok_or_else(|| Error::new(ErrorKind::Argument, message))
    };
    (0..images.len()).map(label).collect()
}

/// The labels of some images, given those of all; none if there are none.
pub(crate) fn labels_at(labels: &[usize], images: &[usize]) -> Vec<usize> {
    images.iter().filter_map(|&image| labels.get(image).copied()).collect()
}

impl Images for Dataset {
    fn len(&self) -> usize {
        self.entries().len()
    }

    fn pixels(&self, index: usize, preprocess: &Preprocess) -> Result<Vec<u8>> {
        let entry = &self.entries()[index];
        let read = match self.source() {
            Source::Files => return load(entry, preprocess),
            Source::Array(array) => array.pixels(entry.row, preprocess),
            Source::Archive(archive) => {
                archive.bytes(entry.row).and_then(|bytes| input_pixels(&bytes, preprocess))
            }
        };
        read.map_err(|error| error.at_path(&entry.path))
    }

    fn values(&self, index: usize, preprocess: &Preprocess) -> Result<Option<Array3<f32>>> {
        let Source::Array(array) = self.source() else { return Ok(None) };
        let entry = &self.entries()[index];
        array.values(entry.row, preprocess).map_err(|error| error.at_path(&entry.path))
    }

    fn label(&self, index: usize) -> Option<usize> {
        self.entries()[index].label
    }

    fn name(&self, index: usize) -> String {
        self.entries()[index].name.clone()
    }
}

/// Images in memory that already have the network's input size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PixelImages {
    /// Pixels of each image, in the order row, column, channel.
    pub pixels: Vec<Vec<u8>>,
    /// The right output for each image; empty if unknown.
    pub labels: Vec<usize>,
}

impl PixelImages {
    /// At most `count` images, spread evenly.
    #[must_use]
    pub fn spread(&self, count: usize) -> Self {
        let chosen = spread(self.pixels.len(), count);
        Self {
            pixels: chosen.iter().map(|&index| self.pixels[index].clone()).collect(),
            labels: chosen.iter().filter_map(|&index| self.labels.get(index).copied()).collect(),
        }
    }
}

impl Images for PixelImages {
    fn len(&self) -> usize {
        self.pixels.len()
    }

    fn pixels(&self, index: usize, _: &Preprocess) -> Result<Vec<u8>> {
        Ok(self.pixels[index].clone())
    }

    fn label(&self, index: usize) -> Option<usize> {
        self.labels.get(index).copied()
    }

    fn name(&self, index: usize) -> String {
        format!("image {index}")
    }
}
