//! Reading and preprocessing of image files.

use crate::data::apply::input_pixels;
use crate::data::dataset::Entry;
use crate::error::Result;
use crate::format::Preprocess;
use crate::inputs::read_regular;

/// Largest image file, in bytes.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 29;

/// Reads one image file and makes the network's input pixels of it, as [`input_pixels`].
///
/// # Errors
/// `Io`, if the file cannot be read; `Image`, if it cannot be decoded or has an unusable size. Both name the file.
pub fn load(entry: &Entry, preprocess: &Preprocess) -> Result<Vec<u8>> {
    let path = &entry.path;
    let bytes = read_regular(path, MAX_FILE_BYTES)?;
    input_pixels(&bytes, preprocess).map_err(|e| e.at_path(path))
}
