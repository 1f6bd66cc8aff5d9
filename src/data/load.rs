//! Reading and preprocessing many images: in parallel, in order, in bounded memory.

use crate::data::apply::input_pixels;
use crate::data::dataset::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Preprocess;
use rayon::prelude::*;
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

/// Calls `run` with every `batch` entries in order and what loading each of them gave: pixels, or an error that names
/// the file. While `run` works on one batch the next is being loaded, so two batches are in memory.
///
/// # Errors
/// The first error of `run`, which also ends the loop; `Argument`, if `batch` is 0.
pub fn for_each_batch<F>(entries: &[Entry], preprocess: &Preprocess, batch: usize, mut run: F) -> Result<()>
where
    F: FnMut(&[Entry], Vec<Result<Vec<u8>>>) -> Result<()> + Send,
{
    if batch == 0 {
        return Err(Error::new(ErrorKind::Argument, "a batch must have at least one image"));
    }
    let load_all =
        |entries: &[Entry]| entries.par_iter().map(|entry| load(entry, preprocess)).collect::<Vec<_>>();
    let mut batches = entries.chunks(batch).peekable();
    let mut ready = batches.peek().map(|first| load_all(first)).unwrap_or_default();
    while let Some(current) = batches.next() {
        let coming = batches.peek().copied().unwrap_or_default();
        let (outcome, loaded) = rayon::join(|| run(current, ready), || load_all(coming));
        outcome?;
        ready = loaded;
    }
    Ok(())
}
