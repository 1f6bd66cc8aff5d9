//! Image files → a network's input pixels → the real numbers of full precision.

use crate::data::decode::decode;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Preprocess, Size};
use crate::pixels::pixels_of;
use ndarray::Array3;

/// An image file's bytes → the network's input pixels: `crop.height × crop.width × channels` bytes, channel
/// last, in the network's channel order.
///
/// # Errors
/// `Image`, if the bytes cannot be decoded, or the image has another size than the crop and is not to be resized.
pub fn input_pixels(bytes: &[u8], preprocess: &Preprocess) -> Result<Vec<u8>> {
    pixels_of(decode(bytes)?, preprocess)
}

/// Input pixels → the real numbers a full-precision network takes, `channels × height × width`.
///
/// # Errors
/// `Shape`, if `pixels` has not the length that `preprocess` gives, or mean and standard deviation do not fit.
pub fn normalise(pixels: &[u8], preprocess: &Preprocess) -> Result<Array3<f32>> {
    preprocess.validate()?;
    let (channels, Size { height, width }) = (preprocess.channels.count(), preprocess.crop);
    if pixels.len() != channels * height * width {
        let message = format!("{} pixel bytes where {channels}x{height}x{width} are needed", pixels.len());
        return Err(Error::new(ErrorKind::Shape, message));
    }
    let Preprocess { mean, std, .. } = preprocess;
    let divisor = preprocess.scale.divisor();
    let mut values = Array3::zeros((channels, height, width));
    for (channel, mut plane) in values.outer_iter_mut().enumerate() {
        let pixels = pixels.iter().skip(channel).step_by(channels);
        let (mean, std) = (mean[channel], std[channel]);
        plane
            .iter_mut()
            .zip(pixels)
            .for_each(|(value, &pixel)| *value = (f32::from(pixel) / divisor - mean) / std);
    }
    Ok(values)
}
