//! Applies a [`Preprocess`] to pictures.

use super::picture::Picture;
use super::resize::resize;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Channels, Preprocess, Resize, Size};
use std::ops::Range;

/// A decoded image → the network's input pixels: `crop.height × crop.width × channels` bytes, channel last, in the
/// network's channel order.
///
/// # Errors
/// `Image`, if the image has no pixels or another number of bytes than it says, or another size than the crop and is not
/// to be resized; `Argument`, if the preprocessing cannot be applied (see [`Preprocess::validate`]).
pub fn pixels_of(picture: Picture, preprocess: &Preprocess) -> Result<Vec<u8>> {
    preprocess.validate()?;
    picture.check()?;
    let picture = match preprocess.channels {
        Channels::Grey => picture.into_grey(),
        Channels::Rgb | Channels::Bgr => picture.into_rgb(),
    };
    let mut data = cut(picture, preprocess)?.data;
    if preprocess.channels == Channels::Bgr {
        data.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
    }
    Ok(data)
}

/// Resizes and takes the centre.
fn cut(picture: Picture, preprocess: &Preprocess) -> Result<Picture> {
    let (crop, size) = (preprocess.crop, Size { height: picture.height, width: picture.width });
    let resized = match preprocess.resize {
        _ if preprocess.as_is && size == crop => size,
        Resize::None if size == crop => size,
        Resize::None => return Err(wrong_size(size, crop)),
        Resize::Shorter(side) => shorter_side(size, side),
        Resize::Exact(exact) => exact,
    };
    if resized == size && size == crop {
        return Ok(picture);
    }
    let rows = CropSpan::centre(resized.height, crop.height);
    let columns = CropSpan::centre(resized.width, crop.width);
    let window = [rows.source.clone(), columns.source.clone()];
    let centre = resize(&picture, resized.into(), window, preprocess.interpolation);
    Ok(pad(centre, crop, rows.target, columns.target))
}

fn wrong_size(size: Size, crop: Size) -> Error {
    let remedy = "without resizing all images must have the input's size; set resize";
    Error::new(ErrorKind::Image, format!("image of {size} where {crop} is needed; {remedy}"))
}

/// torchvision's rule: the longer side in proportion, rounded down, but at least one pixel.
fn shorter_side(size: Size, side: usize) -> Size {
    let longer = |long: usize, short: usize| (side * long / short).max(1);
    if size.height <= size.width {
        Size { height: side, width: longer(size.width, size.height) }
    } else {
        Size { height: longer(size.height, size.width), width: side }
    }
}

/// One axis of a centre crop: which source pixels it takes, and where in the crop they begin.
#[derive(Debug, PartialEq, Eq)]
struct CropSpan {
    source: Range<usize>,
    target: usize,
}

impl CropSpan {
    /// torchvision's centre: half of the surplus, with halves rounded to even; what is missing is padded,
    /// the odd pixel at the end.
    fn centre(size: usize, crop: usize) -> Self {
        if crop > size {
            return Self { source: 0..size, target: (crop - size) / 2 };
        }
        let surplus = size - crop;
        let start = surplus / 2 + usize::from(surplus % 4 == 3);
        Self { source: start..start + crop, target: 0 }
    }
}

/// Places `picture` in a black image of size `crop`.
fn pad(picture: Picture, crop: Size, top: usize, left: usize) -> Picture {
    if picture.height == crop.height && picture.width == crop.width {
        return picture;
    }
    let channels = picture.channels;
    let mut data = vec![0; crop.height * crop.width * channels];
    let rows = data.chunks_exact_mut(crop.width * channels).skip(top);
    for (row, source) in rows.zip(picture.data.chunks_exact(picture.width * channels)) {
        row[left * channels..][..source.len()].copy_from_slice(source);
    }
    Picture { height: crop.height, width: crop.width, channels, data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Python's `round` takes halves to even.
        #[test]
        fn centre_is_torchvisions(size in 1usize..2000, crop in 1usize..2000) {
            let expected = if crop > size {
                CropSpan { source: 0..size, target: (crop - size) / 2 }
            } else {
                let start = ((size - crop) as f64 / 2.0).round_ties_even() as usize;
                CropSpan { source: start..start + crop, target: 0 }
            };
            prop_assert_eq!(CropSpan::centre(size, crop), expected);
        }

        #[test]
        fn shorter_side_is_exact(height in 1usize..5000, width in 1usize..5000, side in 1usize..600) {
            let size = shorter_side(Size { height, width }, side);
            prop_assert_eq!(size.height.min(size.width), side);
            let (short, long) = (height.min(width), height.max(width));
            prop_assert_eq!(size.height.max(size.width), (side as f64 * long as f64 / short as f64) as usize);
        }
    }
}
