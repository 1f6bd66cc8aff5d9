//! Finding the images of a folder.

use crate::data::decode::looks_like_image;
use crate::error::{Error, ErrorKind, Result};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Deepest nesting of folders.
const MAX_DEPTH: usize = 32;
/// Names that promise an image, readable or not.
const IMAGE_EXTENSIONS: [&str; 16] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "gif", "tif", "tiff", "ppm", "pgm", "heic",
    "avif", "jxl",
];

/// The paths of all images in `folder` and the folders below it, relative to it and sorted.
///
/// A file is an image if its extension or its first bytes say so; hidden files are left out. So a
/// damaged `.jpg` is listed (and fails when it is read), while text files are not.
///
/// # Errors
/// `Io`, if a folder cannot be read; `Image`, if there is no image at all.
pub fn images_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(folder, Path::new(""), &mut Vec::new(), &mut found)?;
    if found.is_empty() {
        return Err(Error::new(ErrorKind::Image, "there is no image in this folder").at_path(folder));
    }
    found.sort();
    Ok(found)
}

fn collect(root: &Path, below: &Path, above: &mut Vec<PathBuf>, found: &mut Vec<PathBuf>) -> Result<()> {
    let folder = root.join(below);
    enter(&folder, above)?;
    for entry in fs::read_dir(&folder).map_err(|e| Error::io(&folder, e))? {
        let entry = entry.map_err(|e| Error::io(&folder, e))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let relative = below.join(entry.file_name());
        if entry.path().is_dir() {
            collect(root, &relative, above, found)?;
        } else if is_image(&entry.path()) {
            found.push(relative);
        }
    }
    above.pop();
    Ok(())
}

/// Notes that `folder` is being walked; a link that leads back to a folder above it is an error.
fn enter(folder: &Path, above: &mut Vec<PathBuf>) -> Result<()> {
    let real = folder.canonicalize().map_err(|e| Error::io(folder, e))?;
    if above.contains(&real) || above.len() == MAX_DEPTH {
        let message = format!("links in a circle, or more than {MAX_DEPTH} nested folders");
        return Err(Error::new(ErrorKind::Image, message).at_path(folder));
    }
    above.push(real);
    Ok(())
}

fn is_image(file: &Path) -> bool {
    let extension = file.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    extension.is_some_and(|e| IMAGE_EXTENSIONS.contains(&e.as_str())) || begins_like_image(file)
}

fn begins_like_image(file: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(file).and_then(|f| f.take(16).read_to_end(&mut start));
    read.is_ok() && looks_like_image(&start)
}
