//! Sample images become the network's input pixels.

use crate::calibrate::{CHUNK, Spool};
use crate::data::{Images, Unreadable};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Preprocess;
use crate::progress::{Progress, advance};
use crate::tensor::Shape;
use rayon::prelude::*;

/// Pixels of all readable images, their places among all, and the names of the others.
///
/// # Errors
/// No readable image; a temporary file that cannot be written.
pub(super) fn read_pixels(
    input: Shape,
    preprocess: &Preprocess,
    images: &dyn Images,
    progress: &dyn Progress,
) -> Result<(Spool, Vec<usize>, Unreadable)> {
    progress.start("reading images", images.len());
    let mut spool = Spool::new(input, images.len())?;
    let (mut pending, mut readable, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    for first in (0..images.len()).step_by(CHUNK) {
        let indices = first..images.len().min(first + CHUNK);
        let count = indices.len();
        let read: Vec<_> =
            indices.into_par_iter().map(|index| (index, images.pixels(index, preprocess))).collect();
        for (index, pixels) in read {
            match pixels {
                Ok(pixels) => {
                    pending.extend(pixels);
                    readable.push(index);
                }
                Err(error) => unreadable.push((images.name(index), error)),
            }
        }
        flush(&mut spool, &mut pending, input.len() * CHUNK)?;
        advance(progress, count)?;
    }
    spool.push(&pending)?;
    if spool.images() == 0 {
        Err(none_readable(images, unreadable))
    } else {
        Ok((spool, readable, unreadable))
    }
}

/// Moves whole chunks to the spool.
fn flush(spool: &mut Spool, pending: &mut Vec<u8>, chunk_len: usize) -> Result<()> {
    while pending.len() >= chunk_len {
        let rest = pending.split_off(chunk_len);
        spool.push(&std::mem::replace(pending, rest))?;
    }
    Ok(())
}

fn none_readable(images: &dyn Images, unreadable: Unreadable) -> Error {
    let message = format!("none of {} calibration images can be read", images.len());
    let error = Error::new(ErrorKind::Image, message);
    match unreadable.into_iter().next() {
        Some((_, cause)) => error.because(cause),
        None => error,
    }
}
