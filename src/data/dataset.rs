//! Image folders and array files, and what class each image has.

use crate::data::archived::ImageArchive;
use crate::data::arrays::{SampleArray, labels_of_array};
use crate::data::imagenet::{self, CLASS_COUNT};
use crate::data::labels::Labels;
use crate::data::walk::{Walked, images_in};
use crate::error::{Error, ErrorKind, Result};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Outputs of ImageNet networks that count a background class first, as TensorFlow's do.
const WITH_BACKGROUND: usize = CLASS_COUNT + 1;
/// Label files that are taken without being asked for, in the folder of images or the one above it.
const LABEL_FILES: [&str; 6] = [
    "val.txt",
    "labels.txt",
    "synset_labels.txt",
    "imagenet_2012_validation_synset_labels.txt",
    "LOC_val_solution.csv",
    "ILSVRC2012_validation_ground_truth.txt",
];

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where the file is; of one in an archive, its name after the archive's path.
    pub path: PathBuf,
    /// Its path below the folder or in the archive that was opened, with `/`.
    pub name: String,
    /// Index of the network's output that is right, if known.
    pub label: Option<usize>,
    /// Its place in the archive or array that was opened, else 0.
    pub row: usize,
}

/// Images in the order of their relative paths, or the samples of an array file.
#[derive(Debug, Clone)]
pub struct Dataset {
    entries: Vec<Entry>,
    source: Source,
    class_names: Option<Vec<String>>,
    notes: Vec<String>,
}

/// What is read to have an image.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// The file at its path.
    Files,
    Array(Arc<SampleArray>),
    Archive(Arc<ImageArchive>),
}

impl Dataset {
    /// All images in a folder and below it, those in a TAR or ZIP archive or a Parquet table, a single image, or the samples
    /// of a `.npy` or `.npz` file, without labels.
    ///
    /// Folders that all images of an archive have in common are left out of their names, but for the innermost. A table
    /// has a column `image` of encoded images, alone or with their `path`. Arrays count samples along their first axis; in an archive they are called `x`. Bytes are pictures, which are
    /// prepared as image files are; real numbers are what the network itself reads, `channels × height × width`.
    ///
    /// # Errors
    /// `Io`, if `path` does not exist or cannot be read; `Image`, if there is no image; `Format` or `Unsupported`, if an
    /// archive or array file is damaged or holds something else.
    pub fn unlabelled(path: &Path) -> Result<Self> {
        if SampleArray::is_at(path) {
            return Self::of_array(path, None, Vec::new());
        }
        Ok(Listing::of(path)?.unlabelled())
    }

    /// Image files in the order given, with labels if there are any.
    ///
    /// # Errors
    /// `Image`, if there is none; `Argument`, if there are labels, but not one for each.
    ///
    /// # Examples
    /// ```
    /// let images = fgq::Dataset::of_files(vec!["a.png".into(), "b.png".into()], &[0, 3])?;
    /// assert_eq!(images.entries()[1].label, Some(3));
    /// # Ok::<(), fgq::Error>(())
    /// ```
    pub fn of_files(paths: Vec<PathBuf>, labels: &[usize]) -> Result<Self> {
        if paths.is_empty() {
            return Err(Error::new(ErrorKind::Image, "no images; give at least one"));
        }
        if !labels.is_empty() && labels.len() != paths.len() {
            let (labels, images) = (labels.len(), paths.len());
            return Err(argument(format!("{labels} labels for {images} images; give one for each, or none")));
        }
        let entry = |(index, path): (usize, PathBuf)| {
            let name = path.to_string_lossy().into_owned();
            Entry { path, name, label: labels.get(index).copied(), row: 0 }
        };
        let entries = paths.into_iter().enumerate().map(entry).collect();
        Ok(Self { entries, source: Source::Files, class_names: None, notes: Vec::new() })
    }

    /// The images at `path` with labels for a network with `outputs` outputs. Labels come from
    ///
    /// - `labels`, a text file that gives each image a class index or a WordNet id, as the usual ones do, if given;
    /// - class folders named by WordNet ids, if the network has ImageNet's 1000 or 1001 outputs: the index among all 1000
    ///   ids, even when only some folders are there;
    /// - other class folders: their index in sorted order (torchvision's `ImageFolder`), of which there must be as many as
    ///   outputs;
    /// - a label file with a usual name in a flat folder or the one above it, or beside an archive;
    /// - an archive itself: a column `label` of a table, a number in `x.cls` for the image `x.jpg` (WebDataset);
    /// - for samples in arrays, `labels`, which may be an array too, `y` in the same archive, or `labels.npy` beside it.
    ///
    /// For networks with 1001 outputs, labels that do not count the background class are shifted by one.
    ///
    /// # Errors
    /// `Io`, if `path` or `labels` cannot be read; `Image`, if there is no image; `Format`, if a label file cannot be
    /// understood; `Argument`, if labels are missing, unknown, or do not fit the outputs.
    pub fn labelled(path: &Path, labels: Option<&Path>, outputs: usize) -> Result<Self> {
        if SampleArray::is_at(path) {
            return Self::labelled_array(path, labels, outputs);
        }
        let listing = Listing::of(path)?;
        let found = listing.found(labels, outputs)?;
        Ok(listing.labelled(found))
    }

    fn labelled_array(path: &Path, labels: Option<&Path>, outputs: usize) -> Result<Self> {
        let unlabelled = Self::of_array(path, None, Vec::new())?;
        if let Some(file) = labels.filter(|file| !SampleArray::is_at(file)) {
            let names: Vec<PathBuf> =
                unlabelled.entries.iter().map(|entry| PathBuf::from(&entry.name)).collect();
            let found = from_file(file, &names, outputs).map_err(|error| error.at_path(file))?;
            return Self::of_array(path, Some(found.labels), found.notes);
        }
        let (labels, source) = labels_of_array(path, labels)?.ok_or_else(|| missing_labels(path))?;
        check_labels(&labels, unlabelled.entries.len(), outputs).map_err(|error| error.at_path(&source))?;
        Self::of_array(path, Some(labels), vec![format!("labels from {}", source.display())])
    }

    fn of_array(path: &Path, labels: Option<Vec<usize>>, notes: Vec<String>) -> Result<Self> {
        let array = SampleArray::open(path).map_err(|error| error.at_path(path))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let label = |row: usize| labels.as_ref().and_then(|labels| labels.get(row).copied());
        let entry =
            |row| Entry { path: path.to_owned(), name: format!("{file}[{row}]"), label: label(row), row };
        let entries = (0..array.len()).map(entry).collect();
        Ok(Self { entries, source: Source::Array(Arc::new(array)), class_names: None, notes })
    }

    /// Whether the file at `path` holds arrays (`.npy`, `.npz`), by its first bytes.
    pub fn is_array(path: &Path) -> bool {
        SampleArray::is_at(path)
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Whether samples are the real numbers that the network itself reads, not pictures.
    pub fn is_real(&self) -> bool {
        matches!(&self.source, Source::Array(array) if array.is_real())
    }

    /// The images.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Names of the classes in order of their index, if folders say so.
    pub fn class_names(&self) -> Option<&[String]> {
        self.class_names.as_deref()
    }

    /// What was left out and how labels were understood, for the user to read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// At most `count` images, spread evenly over the sorted list and so over all classes.
    #[must_use]
    pub fn spread(mut self, count: usize) -> Self {
        let chosen = spread(self.entries.len(), count);
        self.entries = chosen.into_iter().filter_map(|i| self.entries.get(i).cloned()).collect();
        self
    }
}

/// At most `count` indices below `length`, the middles of `count` equal parts.
pub fn spread(length: usize, count: usize) -> Vec<usize> {
    let count = count.min(length);
    (0..count).map(|i| (2 * i + 1) * length / (2 * count)).collect()
}

/// Labels for the images of a list, and how they were found.
struct Found {
    labels: Vec<usize>,
    class_names: Option<Vec<String>>,
    notes: Vec<String>,
}

/// The images at a path.
struct Listing {
    /// What names are relative to: a folder or an archive.
    root: PathBuf,
    names: Vec<PathBuf>,
    source: Source,
    /// What was left out.
    notes: Vec<String>,
}

impl Listing {
    fn of(path: &Path) -> Result<Self> {
        let kind = fs::metadata(path).map_err(|e| Error::io(path, e))?;
        if ImageArchive::is_at(path) {
            let archive = ImageArchive::open(path).map_err(|error| error.at_path(path))?;
            let names = archive.names();
            let source = Source::Archive(Arc::new(archive));
            return Ok(Self { root: path.to_owned(), names, source, notes: Vec::new() });
        }
        if let (Some(name), false) = (path.file_name(), kind.is_dir()) {
            let names = vec![PathBuf::from(name)];
            return Ok(Self {
                root: path.with_file_name(""),
                names,
                source: Source::Files,
                notes: Vec::new(),
            });
        }
        let Walked { images, notes } = images_in(path)?;
        Ok(Self { root: path.to_owned(), names: images, source: Source::Files, notes })
    }

    fn found(&self, labels: Option<&Path>, outputs: usize) -> Result<Found> {
        let Self { root, names, source, .. } = self;
        let within = match source {
            Source::Archive(archive) if labels.is_none() => archive.labels(),
            _ => None,
        };
        if let Some(labels) = within {
            check_labels(&labels, names.len(), outputs).map_err(|error| error.at_path(root))?;
            let notes = vec![format!("labels from {}", root.display())];
            return Ok(Found { labels, class_names: None, notes });
        }
        match labels.map(Path::to_owned).or_else(|| usual_label_file(root, names)) {
            Some(file) => from_file(&file, names, outputs).map_err(|error| error.at_path(&file)),
            None => from_folders(root, names, outputs).map_err(|error| error.at_path(root)),
        }
    }

    fn unlabelled(self) -> Dataset {
        let labels = vec![None; self.names.len()];
        self.dataset(labels, None, Vec::new())
    }

    fn labelled(self, found: Found) -> Dataset {
        self.dataset(found.labels.into_iter().map(Some).collect(), found.class_names, found.notes)
    }

    fn dataset(
        self,
        labels: Vec<Option<usize>>,
        class_names: Option<Vec<String>>,
        notes: Vec<String>,
    ) -> Dataset {
        let is_archive = matches!(self.source, Source::Archive(_));
        let entry = |(row, (name, label)): (usize, (PathBuf, Option<usize>))| Entry {
            path: self.root.join(&name),
            name: slashed(&name),
            label,
            row: if is_archive { row } else { 0 },
        };
        let entries = self.names.into_iter().zip(labels).enumerate().map(entry).collect();
        Dataset { entries, source: self.source, class_names, notes: [self.notes, notes].concat() }
    }
}

fn slashed(path: &Path) -> String {
    path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

fn usual_label_file(root: &Path, names: &[PathBuf]) -> Option<PathBuf> {
    if names.iter().any(|name| name.components().count() > 1) {
        return None;
    }
    let folders = [Some(root), root.parent()].into_iter().flatten();
    folders.flat_map(|folder| LABEL_FILES.map(|file| folder.join(file))).find(|file| file.is_file())
}

fn from_file(file: &Path, names: &[PathBuf], outputs: usize) -> Result<Found> {
    let source = Labels::read(file)?;
    let labels = source.of(&names.iter().map(|name| slashed(name)).collect::<Vec<_>>())?;
    let mut notes = vec![format!("labels from {}", file.display())];
    let offset = match source.imagenet {
        true => imagenet_offset(outputs, &mut notes)?,
        false => index_offset(&source, outputs, &mut notes),
    };
    let labels: Vec<usize> = labels.into_iter().map(|label| label.saturating_add(offset)).collect();
    match labels.iter().zip(names).find(|&(&label, _)| label >= outputs) {
        Some((label, name)) => {
            let name = name.display();
            Err(argument(format!(
                "label {label} of '{name}' is too large for {outputs} outputs (labels count from 0)"
            )))
        }
        None => Ok(Found { labels, class_names: None, notes }),
    }
}

/// What to add to an ImageNet class index for a network with `outputs` outputs.
fn imagenet_offset(outputs: usize, notes: &mut Vec<String>) -> Result<usize> {
    match outputs {
        CLASS_COUNT => Ok(0),
        WITH_BACKGROUND => {
            notes.push(
                "1001 outputs: the first is taken as a background class, labels are shifted by one".into(),
            );
            Ok(1)
        }
        _ => Err(argument(format!(
            "the labels are of ImageNet's 1000 classes, but the network has {outputs} outputs"
        ))),
    }
}

/// Indices in a file may count the background class or not; the highest tells.
fn index_offset(source: &Labels, outputs: usize, notes: &mut Vec<String>) -> usize {
    if outputs != WITH_BACKGROUND {
        return 0;
    }
    let counted = source.classes().any(|class| class == CLASS_COUNT);
    notes.push(match counted {
        true => "1001 outputs: the labels reach 1000, so they count the background class".into(),
        false => "1001 outputs: the first is taken as a background class, labels are shifted by one".into(),
    });
    usize::from(!counted)
}

fn from_folders(root: &Path, names: &[PathBuf], outputs: usize) -> Result<Found> {
    let folders: Vec<String> = names.iter().map(|name| class_folder(name)).collect::<Result<_>>()?;
    let present: BTreeSet<&str> = folders.iter().map(String::as_str).collect();
    let wordnet = present.iter().all(|name| imagenet::is_wordnet_id(name));
    let mut notes = Vec::new();
    let (order, class_names) = if wordnet && matches!(outputs, CLASS_COUNT | WITH_BACKGROUND) {
        notes.push(format!(
            "{} folders with WordNet ids, indexed among ImageNet's 1000 classes",
            present.len()
        ));
        let offset = imagenet_offset(outputs, &mut notes)?;
        (wordnet_order(&present, offset)?, imagenet::class_names(outputs))
    } else {
        refuse_empty_folders(root, &present)?;
        let names: Vec<String> = present.iter().map(|&name| name.to_owned()).collect();
        (sorted_order(&present, outputs, &mut notes)?, Some(names))
    };
    let places: HashMap<&str, usize> = present.into_iter().zip(order).collect();
    let labels = folders.iter().filter_map(|folder| places.get(folder.as_str()).copied()).collect();
    Ok(Found { labels, class_names, notes })
}

fn class_folder(name: &Path) -> Result<String> {
    let mut parts = name.iter();
    match (parts.next(), parts.next()) {
        (Some(folder), Some(_)) => Ok(folder.to_string_lossy().into_owned()),
        _ => Err(argument(format!(
            "'{}' lies in no class folder and there is no label file; give a text file with lines 'name label'",
            name.display()
        ))),
    }
}

fn wordnet_order(present: &BTreeSet<&str>, offset: usize) -> Result<Vec<usize>> {
    let class = |&id: &&str| {
        let unknown = || argument(format!("folder '{id}' is none of ImageNet's 1000 WordNet ids"));
        imagenet::class_of(id).map(|class| class + offset).ok_or_else(unknown)
    };
    present.iter().map(class).collect()
}

fn sorted_order(present: &BTreeSet<&str>, outputs: usize, notes: &mut Vec<String>) -> Result<Vec<usize>> {
    let count = present.len();
    if count != outputs {
        return Err(argument(format!(
            "{count} class folders, but the network has {outputs} outputs; folders are numbered in sorted order, so all \
             classes must be there: otherwise give a text file with lines 'name label'"
        )));
    }
    let numbers: Option<Vec<u64>> = present.iter().map(|name| name.parse().ok()).collect();
    if numbers.is_some_and(|numbers| !numbers.is_sorted()) {
        notes.push("class folders are numbers, but indexed in the order of their text (0, 1, 10, 2) as by ImageFolder".into());
    }
    Ok((0..count).collect())
}

/// A folder without images would be left out of the numbering, and every class behind it get the wrong index.
fn refuse_empty_folders(root: &Path, present: &BTreeSet<&str>) -> Result<()> {
    if !root.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(root).map_err(|e| Error::io(root, e))? {
        let entry = entry.map_err(|e| Error::io(root, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') && !present.contains(name.as_str()) {
            return Err(argument(format!("class folder '{name}' holds no image; remove it or fill it")));
        }
    }
    Ok(())
}

fn missing_labels(path: &Path) -> Error {
    argument(
        "no labels; give them as y in the same .npz file, as labels.npy beside it, or a file of their own",
    )
    .at_path(path)
}

fn check_labels(labels: &[usize], samples: usize, outputs: usize) -> Result<()> {
    if labels.len() != samples {
        return Err(argument(format!("{} labels for {samples} samples", labels.len())));
    }
    match labels.iter().find(|&&label| label >= outputs) {
        Some(label) => {
            Err(argument(format!("label {label} is too large for {outputs} outputs (labels count from 0)")))
        }
        None => Ok(()),
    }
}

fn argument(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Argument, message)
}
