//! Arrays of samples, and what their numbers mean.
//!
//! Samples of bytes are pictures: rows, columns and maybe colours, which are prepared as image files are. Samples of real
//! numbers are what the network itself reads, as in the file it was trained in: `channels × height × width`. A model
//! reads bytes, so of a real number x it gets the code `⌊x·std + mean⌉` (times 255 if `scale` is `unit`), limited to
//! 0..=255: preprocessing turned round.

use super::npy::{ArrayFile, SIGNATURE};
use crate::archive::{self, Archive};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Preprocess, Size};
use crate::inputs::head;
use crate::pixels::{Picture, pixels_of};
use ndarray::Array3;
use std::path::{Path, PathBuf};

/// The names that samples and labels usually have in an archive.
const SAMPLES: [&str; 5] = ["x", "x_test", "images", "data", "arr_0"];
const LABELS: [&str; 5] = ["y", "y_test", "labels", "targets", "arr_1"];
/// The file of labels beside a file of samples.
const LABEL_FILE: &str = "labels.npy";

/// Samples in an array file.
#[derive(Debug)]
pub(super) struct SampleArray {
    array: ArrayFile,
}

impl SampleArray {
    /// Whether the file at `path` is one of arrays.
    pub(super) fn is_at(path: &Path) -> bool {
        let start = head(path, SIGNATURE.len() as u64);
        let zipped = start.starts_with(archive::SIGNATURE) && path.extension().is_some_and(|it| it == "npz");
        start == SIGNATURE || zipped
    }

    /// The samples in the `.npy` or `.npz` file at `path`.
    ///
    /// # Errors
    /// `Io`, if it cannot be read; `Format` or `Unsupported`, if it holds no samples that networks read.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let array = match archive_at(path)? {
            Some(archive) => {
                one_of(path, &archive, &SAMPLES, "samples")?.ok_or_else(|| nameless(&archive))?
            }
            None => ArrayFile::open(path)?,
        };
        if array.samples == 0 || array.shape.is_empty() || array.shape.contains(&0) {
            let shape = &array.shape;
            let message =
                format!("{} samples of shape {shape:?}; the first axis must count samples", array.samples);
            return Err(Error::new(ErrorKind::Image, message));
        }
        if !array.element.is_real() && !array.element.is_byte() {
            let message = "samples are neither bytes (uint8: pictures) nor real numbers (float32: what the network reads)";
            return Err(Error::new(ErrorKind::Unsupported, format!("{message}; convert them with .astype")));
        }
        Ok(Self { array })
    }

    pub(super) fn len(&self) -> usize {
        self.array.samples
    }

    /// Whether samples are what the network itself reads, not pictures.
    pub(super) fn is_real(&self) -> bool {
        self.array.element.is_real()
    }

    /// The codes that a model reads for a sample, in the order row, column, channel.
    pub(super) fn pixels(&self, index: usize, preprocess: &Preprocess) -> Result<Vec<u8>> {
        match self.values(index, preprocess)? {
            Some(values) => Ok(codes(&values, preprocess)),
            None => pixels_of(self.picture(index)?, preprocess),
        }
    }

    /// The real numbers of a sample, `channels × height × width`; `None` if samples are pictures.
    pub(super) fn values(&self, index: usize, preprocess: &Preprocess) -> Result<Option<Array3<f32>>> {
        if !self.is_real() {
            return Ok(None);
        }
        preprocess.validate()?;
        let values = self.array.element.reals(&self.array.sample(index)?);
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            let message = format!("element {place} is {}; every number must be finite", values[place]);
            return Err(Error::new(ErrorKind::Image, message));
        }
        arranged(values, &self.array.shape, preprocess).map(Some)
    }

    fn picture(&self, index: usize) -> Result<Picture> {
        let data = self.array.sample(index)?;
        match self.array.shape[..] {
            [height, width] => Ok(Picture { height, width, channels: 1, data }),
            [height, width, channels @ (1 | 3)] => Ok(Picture { height, width, channels, data }),
            [channels @ (1 | 3), height, width] => {
                let planes = Array3::from_shape_vec((channels, height, width), data).map_err(shapeless)?;
                let data = planes.permuted_axes([1, 2, 0]).iter().copied().collect();
                Ok(Picture { height, width, channels, data })
            }
            _ => {
                let message = format!("samples of shape {:?} are no pictures", self.array.shape);
                Err(Error::new(
                    ErrorKind::Image,
                    format!("{message}; those have height, width and 1 or 3 colours"),
                ))
            }
        }
    }
}

/// The labels that belong to the samples at `path`: those in `labels`, else in the same archive, else in the file beside
/// it; with where they are from. `None` if there are none.
///
/// # Errors
/// As [`SampleArray::open`], and labels that are no whole numbers.
pub(super) fn labels_of_array(path: &Path, labels: Option<&Path>) -> Result<Option<(Vec<usize>, PathBuf)>> {
    let beside = || Some(path.with_file_name(LABEL_FILE)).filter(|file| file.is_file() && file != path);
    let within = |file: &Path| match archive_at(file)? {
        Some(archive) => one_of(file, &archive, &LABELS, "labels"),
        None => ArrayFile::open(file).map(Some),
    };
    let found = match labels {
        Some(file) => Some((within(file)?.ok_or_else(|| unnamed_labels(file))?, file.to_owned())),
        None if archive_at(path)?.is_some() => within(path)?.map(|array| (array, path.to_owned())),
        None => None,
    };
    let found = match (found, beside()) {
        (None, Some(file)) => Some((ArrayFile::open(&file)?, file)),
        (found, _) => found,
    };
    found.map(|(array, file)| Ok((array.indices().map_err(|error| error.at_path(&file))?, file))).transpose()
}

fn archive_at(path: &Path) -> Result<Option<Archive>> {
    let zipped = head(path, archive::SIGNATURE.len() as u64) == archive::SIGNATURE;
    zipped.then(|| Archive::open(path)).transpose()
}

/// The one array of an archive that has one of the names.
fn one_of(path: &Path, archive: &Archive, names: &[&str], what: &str) -> Result<Option<ArrayFile>> {
    let is_there = |name: &str| archive.names().any(|entry| entry.strip_suffix(".npy") == Some(name));
    let mut present = names.iter().filter(|name| is_there(name));
    let (first, second) = (present.next(), present.next());
    match (first, second) {
        (Some(name), None) => ArrayFile::in_archive(path, archive, name),
        (Some(one), Some(other)) => {
            let message = format!("'{one}' and '{other}' could both be the {what}; leave one out");
            Err(Error::new(ErrorKind::Format, message))
        }
        _ => Ok(None),
    }
}

fn nameless(archive: &Archive) -> Error {
    let names: Vec<&str> = archive.names().map(|name| name.trim_end_matches(".npy")).collect();
    let message = format!("no array of samples among {}; call it x, and labels y", names.join(", "));
    Error::new(ErrorKind::Format, message)
}

fn unnamed_labels(path: &Path) -> Error {
    Error::new(ErrorKind::Format, "no array of labels in this archive; call it y").at_path(path)
}

/// `values` as `channels × height × width`; channels may also come last, or not at all if there is one.
fn arranged(values: Vec<f32>, shape: &[usize], preprocess: &Preprocess) -> Result<Array3<f32>> {
    let (channels, Size { height, width }) = (preprocess.channels.count(), preprocess.crop);
    if shape == [channels, height, width] || (channels == 1 && shape == [height, width]) {
        return Array3::from_shape_vec((channels, height, width), values).map_err(shapeless);
    }
    if shape == [height, width, channels] {
        let pixels = Array3::from_shape_vec((height, width, channels), values).map_err(shapeless)?;
        return Ok(pixels.permuted_axes([2, 0, 1]).as_standard_layout().into_owned());
    }
    let message =
        format!("a sample of shape {shape:?} where the network reads {:?}", [channels, height, width]);
    Err(Error::new(ErrorKind::Image, message))
}

fn shapeless(error: ndarray::ShapeError) -> Error {
    Error::new(ErrorKind::Shape, error.to_string())
}

/// Preprocessing turned round: what the model reads for real numbers.
fn codes(values: &Array3<f32>, preprocess: &Preprocess) -> Vec<u8> {
    let divisor = f64::from(preprocess.scale.divisor());
    let code = |channel: usize, value: f32| {
        let [mean, std] = [preprocess.mean[channel], preprocess.std[channel]].map(f64::from);
        ((f64::from(value) * std + mean) * divisor).round().clamp(0.0, 255.0) as u8
    };
    let (channels, height, width) = values.dim();
    let places = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
    let places = places.flat_map(|(row, column)| (0..channels).map(move |channel| (channel, row, column)));
    places.map(|place| code(place.0, values[place])).collect()
}

#[cfg(test)]
mod tests {
    use super::super::npy::tests::{floats, npy};
    use super::super::{Dataset, Images, normalise};
    use super::*;
    use std::fs;

    fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn preprocess(height: usize, width: usize, channels: usize) -> Preprocess {
        Preprocess::default_for(channels, height, width).unwrap()
    }

    #[test]
    fn real_numbers_return_what_preprocessing_made_of_pixels() {
        let preprocess = preprocess(2, 3, 3);
        let pixels: Vec<u8> = (0..18).map(|i| i * 14).collect();
        let values = normalise(&pixels, &preprocess).unwrap();
        let (_folder, path) = written("x.npy", &floats(&[1, 3, 2, 3], values.as_slice().unwrap()));
        let dataset = Dataset::unlabelled(&path).unwrap();
        assert!(dataset.is_real());
        assert_eq!(dataset.pixels(0, &preprocess).unwrap(), pixels);
        assert_eq!(dataset.values(0, &preprocess).unwrap().unwrap(), values);
        let last: Vec<f32> = values.permuted_axes([1, 2, 0]).iter().copied().collect();
        let (_folder, path) = written("x.npy", &floats(&[1, 2, 3, 3], &last));
        assert_eq!(Dataset::unlabelled(&path).unwrap().pixels(0, &preprocess).unwrap(), pixels);
    }

    #[test]
    fn bytes_are_pictures() {
        let preprocess = preprocess(1, 2, 3);
        for (shape, bytes) in [([1, 1, 2, 3], [1, 2, 3, 4, 5, 6]), ([1, 3, 1, 2], [1, 4, 2, 5, 3, 6])] {
            let (_folder, path) = written("x.npy", &npy("|u1", &shape, &bytes));
            let dataset = Dataset::unlabelled(&path).unwrap();
            assert!(!dataset.is_real() && dataset.values(0, &preprocess).unwrap().is_none());
            assert_eq!(dataset.pixels(0, &preprocess).unwrap(), [1, 2, 3, 4, 5, 6]);
        }
    }

    #[test]
    fn labels_lie_beside_or_are_given() {
        let (folder, path) = written("x.npy", &npy("|u1", &[3, 2, 2], &[0; 12]));
        let error = Dataset::labelled(&path, None, 3).unwrap_err().to_string();
        assert!(error.contains("labels.npy"), "{error}");
        let labels = |dataset: Dataset| dataset.entries().iter().map(|it| it.label).collect::<Vec<_>>();
        fs::write(folder.path().join("labels.npy"), npy("<i4", &[3], &[2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]))
            .unwrap();
        assert_eq!(labels(Dataset::labelled(&path, None, 3).unwrap()), [2, 0, 1].map(Some));
        let other = folder.path().join("other.npy");
        fs::write(&other, npy("|u1", &[3], &[1, 1, 2])).unwrap();
        assert_eq!(labels(Dataset::labelled(&path, Some(&other), 3).unwrap()), [1, 1, 2].map(Some));
        let text = folder.path().join("labels.txt");
        fs::write(&text, "0\n2\n1\n").unwrap();
        assert_eq!(labels(Dataset::labelled(&path, Some(&text), 3).unwrap()), [0, 2, 1].map(Some));
        assert!(Dataset::labelled(&path, Some(&other), 2).unwrap_err().to_string().contains("label 2"));
        fs::write(&other, npy("|u1", &[2], &[1, 1])).unwrap();
        assert!(
            Dataset::labelled(&path, Some(&other), 3)
                .unwrap_err()
                .to_string()
                .contains("2 labels for 3 samples")
        );
    }

    #[test]
    fn what_no_network_reads_is_refused() {
        let message = |bytes: &[u8]| {
            let (_folder, path) = written("x.npy", bytes);
            let read = Dataset::unlabelled(&path).and_then(|it| it.pixels(0, &preprocess(1, 2, 1)));
            read.unwrap_err().to_string()
        };
        assert!(message(&npy("|i1", &[1, 1, 2], &[0; 2])).contains("neither bytes"));
        assert!(message(&npy("<u2", &[1, 1, 2], &[0; 4])).contains("neither bytes"));
        assert!(message(&npy("|u1", &[0, 1, 2], &[])).contains("0 samples"));
        assert!(message(&floats(&[1, 2, 1], &[0.0; 2])).contains("[2, 1] where the network reads [1, 1, 2]"));
        let error = message(&floats(&[1, 1, 2], &[0.0, f32::NAN]));
        assert!(error.contains("element 1 is NaN") && error.contains("x.npy"), "{error}");
        assert!(message(&npy("|u1", &[1, 1, 1, 1, 2], &[0; 2])).contains("no pictures"));
    }

    #[test]
    fn archives_need_names_that_say_what_is_what() {
        let (_folder, path) = written("x.npz", b"PK\x03\x04 and nothing more");
        assert!(Dataset::unlabelled(&path).unwrap_err().to_string().contains("not a ZIP archive"));
    }

    /// Written by `fixtures/arrays/make_arrays.py`: `numpy.savez` and `numpy.savez_compressed`.
    #[test]
    fn archives_of_numpy_are_read() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/arrays");
        for name in ["stored.npz", "compressed.npz"] {
            let path = fixtures.join(name);
            let dataset = Dataset::labelled(&path, None, 4).unwrap();
            let values = dataset.values(2, &preprocess(2, 3, 1)).unwrap().unwrap();
            assert_eq!(
                values.iter().copied().collect::<Vec<_>>(),
                [12.0, 13.0, 14.0, 15.0, 16.0, 17.0],
                "{name}"
            );
            let labels: Vec<_> = dataset.entries().iter().map(|it| it.label).collect();
            assert_eq!(labels, [3, 0, 2].map(Some));
            assert_eq!(dataset.entries()[2].name, format!("{name}[2]"));
            assert_eq!(
                dataset.clone().spread(1).values(0, &preprocess(2, 3, 1)).unwrap().unwrap()[[0, 0, 0]],
                6.0
            );
        }
        let other = Dataset::unlabelled(&fixtures.join("nameless.npz")).unwrap_err().to_string();
        assert!(other.contains("no array of samples among first, second"), "{other}");
    }
}
