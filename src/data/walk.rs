//! Finding the images of a folder.

use crate::data::decode::looks_like_image;
use crate::error::{Error, ErrorKind, Result};
use crate::inputs::head;
use std::fs;
use std::path::{Path, PathBuf};

/// Deepest nesting of folders.
const MAX_DEPTH: usize = 32;
/// Names that promise an image, readable or not.
const IMAGE_EXTENSIONS: [&str; 16] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "gif", "tif", "tiff", "ppm", "pgm", "heic",
    "avif", "jxl",
];

/// The images of a folder.
#[derive(Debug, Default)]
pub struct Walked {
    /// Paths of all images in the folder and those below it, relative to it and sorted.
    pub images: Vec<PathBuf>,
    /// Which folders were left out, and why.
    pub notes: Vec<String>,
}

/// The images in `folder` and the folders below it.
///
/// A file is an image if its extension or its first bytes say so; hidden files are left out. So a damaged `.jpg` is
/// listed (and fails when it is read), while text files are not. Folders below that cannot be read, or lead back to one
/// above them, are left out and noted.
///
/// # Errors
/// `Io`, if the folder cannot be read; `Image`, if there is no image at all.
pub fn images_in(folder: &Path) -> Result<Walked> {
    let mut found = Walked::default();
    collect(folder, Path::new(""), &mut Vec::new(), &mut found)?;
    if found.images.is_empty() {
        let left_out = found.notes.iter().map(|note| format!("; {note}"));
        let message = format!("there is no image in this folder{}", left_out.collect::<String>());
        return Err(Error::new(ErrorKind::Image, message).at_path(folder));
    }
    found.images.sort();
    found.notes.sort();
    Ok(found)
}

fn collect(root: &Path, below: &Path, above: &mut Vec<PathBuf>, found: &mut Walked) -> Result<()> {
    let folder = root.join(below);
    let io = |error| Error::io(&folder, error);
    let real = folder.canonicalize().map_err(io)?;
    if above.contains(&real) || above.len() == MAX_DEPTH {
        let message = format!("links in a circle, or more than {MAX_DEPTH} nested folders");
        return Err(Error::new(ErrorKind::Image, message).at_path(&folder));
    }
    let entries = fs::read_dir(&folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>).map_err(io)?;
    above.push(real);
    for entry in entries.iter().filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".")) {
        let relative = below.join(entry.file_name());
        if entry.path().is_dir() {
            if let Err(error) = collect(root, &relative, above, found) {
                found.notes.push(format!("left out {error}"));
            }
        } else if is_image(&entry.path()) {
            found.images.push(relative);
        }
    }
    above.pop();
    Ok(())
}

fn is_image(file: &Path) -> bool {
    has_image_name(file) || begins_like_image(file)
}

/// Whether a file's name promises an image.
pub(super) fn has_image_name(file: &Path) -> bool {
    let extension = file.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    extension.is_some_and(|e| IMAGE_EXTENSIONS.contains(&e.as_str()))
}

fn begins_like_image(file: &Path) -> bool {
    looks_like_image(&head(file, 16))
}
