//! What the integer runtime makes of spooled images.

use super::spool::{CHUNK, Spool};
use crate::error::Result;
use crate::format::PackedModel;
use crate::runtime::{Logits, Session};

/// The logits of a model for all images of `pixels`.
///
/// # Errors
/// A model that is not valid; a temporary file that cannot be read.
pub(crate) fn logits_of(model: &PackedModel, pixels: &Spool) -> Result<Logits> {
    let session = Session::new(model)?;
    let mut all = Logits { classes: 0, data: Vec::new() };
    for first in (0..pixels.images()).step_by(CHUNK) {
        let images = first..pixels.images().min(first + CHUNK);
        let batch: Vec<Vec<u8>> = images.map(|image| pixels.image(image)).collect::<Result<_>>()?;
        let logits = session.run(&batch.concat())?;
        all.classes = logits.classes;
        all.data.extend(logits.data);
    }
    Ok(all)
}
