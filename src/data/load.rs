//! Reading and preprocessing of image files.

use crate::data::apply::input_pixels;
use crate::data::dataset::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Preprocess;
use std::fs;

/// Largest image file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 29;

/// Reads one image file and makes the network's input pixels of it, as [`input_pixels`].
///
/// # Errors
/// `Io`, if the file cannot be read; `Image`, if it cannot be decoded or has an unusable size. Both name the file.
pub fn load(entry: &Entry, preprocess: &Preprocess) -> Result<Vec<u8>> {
    let path = &entry.path;
    let size = fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if size > MAX_FILE_BYTES {
        return Err(
            Error::new(ErrorKind::Image, format!("{size} bytes are too many for an image")).at_path(path)
        );
    }
    let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
    input_pixels(&bytes, preprocess).map_err(|e| e.at_path(path))
}
