//! A model that runs.

use crate::description::description;
use fgq::{PackedModel, Picture, Preprocess, Result, Session};

/// A model ready to run on pictures.
#[derive(Debug)]
pub struct Running {
    session: Session,
    preprocess: Preprocess,
}

impl Running {
    /// Prepares the model in a file's bytes, and says what it is, in JSON.
    ///
    /// # Errors
    /// Bytes that are no packed model.
    pub fn new(file: &[u8]) -> Result<(Self, String)> {
        let model = PackedModel::from_bytes(file)?;
        let session = Session::new(&model)?;
        let description = description(&model, &session, file.len())?;
        Ok((Self { session, preprocess: model.preprocess }, description))
    }

    /// The logits of a picture in the order red, green, blue, alpha.
    ///
    /// # Errors
    /// Bytes that are no such picture, or a size that the model does not take.
    pub fn logits(&self, rgba: &[u8], width: usize, height: usize) -> Result<Vec<i32>> {
        Ok(self.session.run(&self.pixels(rgba, width, height)?)?.data)
    }

    /// Milliseconds that each of the model's nodes takes on a picture.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn times(&self, rgba: &[u8], width: usize, height: usize) -> Result<Vec<f64>> {
        let (_, times) = self.session.run_timed(&self.pixels(rgba, width, height)?)?;
        Ok(times.iter().map(|time| 1e3 * time.as_secs_f64()).collect())
    }

    /// Gives all layers that switch the widths of a setting; the widths of all.
    ///
    /// # Errors
    /// A setting that the model does not have.
    pub fn set(&mut self, setting: &str) -> Result<Vec<u8>> {
        self.session.set(setting)?;
        Ok(self.widths())
    }

    /// Gives a layer a width; the widths of all.
    ///
    /// # Errors
    /// A layer or a width that the model does not have.
    pub fn set_layer(&mut self, layer: &str, width: u8) -> Result<Vec<u8>> {
        self.session.set_bits(Some(layer), width)?;
        Ok(self.widths())
    }

    fn widths(&self) -> Vec<u8> {
        self.session.layers().map(|(_, width)| width).collect()
    }

    /// What the model reads of a picture, whose alpha counts for nothing.
    fn pixels(&self, rgba: &[u8], width: usize, height: usize) -> Result<Vec<u8>> {
        let data = rgba.chunks(4).flat_map(|pixel| &pixel[..pixel.len().min(3)]).copied().collect();
        fgq::pixels_of(Picture { height, width, channels: 3, data }, &self.preprocess)
    }
}
