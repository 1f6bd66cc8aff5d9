//! What the kinds of archives have in common: a list of images, and the bytes of each.

use super::tape;
use crate::archive::{self, Archive, Contents};
use crate::data::load::MAX_FILE_BYTES;
use crate::data::walk::has_image_name;
use crate::error::{Error, ErrorKind, Result};
use crate::inputs::{Extent, SharedFile, head, open_regular};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Most images in an archive.
pub(super) const MAX_IMAGES: usize = 1 << 24;
const GZIP: &[u8] = &[0x1F, 0x8B];
const TABLE: &[u8] = b"PAR1";

/// The images of an archive in the order of their names, those of a table in its own order.
#[derive(Debug)]
pub(in super::super) struct ImageArchive {
    images: Vec<ArchivedImage>,
    file: SharedFile,
    zip: Option<Archive>,
}

/// An image in an archive.
#[derive(Debug)]
pub(super) struct ArchivedImage {
    /// Its path within, with `/`.
    pub name: String,
    /// Where its bytes lie; `None` if the directory of the archive says it.
    pub extent: Option<Extent>,
    /// Its class, if the archive says it.
    pub label: Option<usize>,
}

/// The kinds of files that hold many images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ArchiveKind {
    Tar,
    Zip,
    Table,
    Compressed,
}

impl ArchiveKind {
    /// By the first bytes of the file at `path`.
    fn of(path: &Path) -> Option<Self> {
        match head(path, tape::BLOCK).as_slice() {
            start if start.starts_with(archive::SIGNATURE) => Some(Self::Zip),
            start if start.starts_with(TABLE) => Some(Self::Table),
            start if start.starts_with(GZIP) => Some(Self::Compressed),
            start => tape::begins_like_tar(start).then_some(Self::Tar),
        }
    }
}

impl ImageArchive {
    /// Whether the file at `path` is an archive.
    pub(in super::super) fn is_at(path: &Path) -> bool {
        ArchiveKind::of(path).is_some()
    }

    /// The images of the archive at `path`.
    ///
    /// # Errors
    /// `Io`, if it cannot be read; `Format` or `Unsupported`, if it is damaged or of an unknown kind; `Image`, if there is no
    /// image in it.
    pub(in super::super) fn open(path: &Path) -> Result<Self> {
        let file = open_regular(path)?;
        let opened = match ArchiveKind::of(path) {
            Some(ArchiveKind::Zip) => Self::of_zip(file, Archive::open(path)?),
            Some(ArchiveKind::Table) => table(file)?,
            Some(ArchiveKind::Compressed) => {
                return Err(unsupported(
                    "compressed as a whole, so that no image can be read alone; gunzip it",
                ));
            }
            _ => Self { images: tape::images(&file)?, file: SharedFile::new(file), zip: None },
        };
        match opened.images.is_empty() {
            true => Err(Error::new(ErrorKind::Image, "there is no image in this archive")),
            false => Ok(opened),
        }
    }

    fn of_zip(file: File, zip: Archive) -> Self {
        let names = zip.names().filter(|name| is_image(name));
        let images =
            names.map(|name| ArchivedImage { name: name.to_owned(), extent: None, label: None }).collect();
        Self { images, file: SharedFile::new(file), zip: Some(zip) }
    }

    /// Images whose bytes were copied to `file`, one after another.
    #[cfg(feature = "parquet")]
    pub(super) fn unpacked(images: Vec<ArchivedImage>, file: File) -> Self {
        Self { images, file: SharedFile::new(file), zip: None }
    }

    /// Paths of the images, without folders that all have in common but for the innermost.
    pub(in super::super) fn names(&self) -> Vec<PathBuf> {
        let mut names: Vec<&str> = self.images.iter().map(|image| image.name.as_str()).collect();
        while let Some(shorter) = without_common_folder(&names) {
            names = shorter;
        }
        names.into_iter().map(PathBuf::from).collect()
    }

    /// The classes of all images, if the archive says them.
    pub(in super::super) fn labels(&self) -> Option<Vec<usize>> {
        self.images.iter().map(|image| image.label).collect()
    }

    /// The bytes of an image file.
    ///
    /// # Errors
    /// `Io`, if they cannot be read; `Format` or `Unsupported`, if they are damaged, compressed in an unknown way, or too many.
    pub(in super::super) fn bytes(&self, index: usize) -> Result<Vec<u8>> {
        let image = &self.images[index];
        let from_directory = |zip: &Archive| zip.contents(&image.name, MAX_FILE_BYTES).transpose();
        match (image.extent, self.zip.as_ref().and_then(from_directory).transpose()?) {
            (Some(extent), _) | (None, Some(Contents::Stored(extent))) => self.read(extent),
            (None, Some(Contents::Deflated(bytes))) => Ok(bytes),
            (None, None) => Err(Error::new(ErrorKind::Format, "the archive has no such entry")),
        }
    }

    fn read(&self, extent: Extent) -> Result<Vec<u8>> {
        if extent.length > MAX_FILE_BYTES {
            return Err(unsupported(&format!("more than {MAX_FILE_BYTES} bytes")));
        }
        self.file.read(extent)
    }
}

#[cfg(feature = "parquet")]
fn table(file: File) -> Result<ImageArchive> {
    super::table::images(file)
}

#[cfg(not(feature = "parquet"))]
fn table(_file: File) -> Result<ImageArchive> {
    Err(unsupported("Parquet tables are read by builds with the feature `parquet` only"))
}

/// Whether an entry of this name is an image; hidden files are not, nor what macOS adds to archives.
pub(super) fn is_image(name: &str) -> bool {
    let hidden = name.split('/').any(|part| (part.starts_with('.') && part != ".") || part == "__MACOSX");
    !hidden && has_image_name(Path::new(name))
}

/// All names without their first folder, if that is the same and each has another one below it.
fn without_common_folder<'a>(names: &[&'a str]) -> Option<Vec<&'a str>> {
    let (first, _) = names.first()?.split_once('/')?;
    let below = |name: &&'a str| {
        let (folder, rest) = name.split_once('/')?;
        (folder == first && rest.contains('/')).then_some(rest)
    };
    names.iter().map(below).collect()
}

fn unsupported(message: &str) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_outer_folders_in_common_are_left_out() {
        let shorter = |names: &[&str]| without_common_folder(names).map(|names| names.join(" "));
        assert_eq!(shorter(&["a/b/1.png", "a/c/2.png"]).as_deref(), Some("b/1.png c/2.png"));
        assert_eq!(shorter(&["a/1.png", "a/2.png"]), None);
        assert_eq!(shorter(&["a/b/1.png", "b/b/2.png"]), None);
        assert_eq!(shorter(&["a/b/1.png", "2.png"]), None);
    }

    #[test]
    fn what_is_hidden_is_no_image() {
        assert!(is_image("./a/1.JPEG") && is_image("1.png"));
        assert!(!is_image("a/._1.png") && !is_image("__MACOSX/1.png") && !is_image("a/1.txt"));
    }
}
