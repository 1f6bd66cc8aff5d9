//! Images as a network in training sees them.

use super::augment::{Augment, mixed};
use crate::calibrate::Spool;
use crate::data::normalise;
use crate::error::Result;
use crate::format::Preprocess;
use crate::random::Random;
use crate::tensor::Shape;

/// Leads to random numbers that choose no image, but widths.
pub(super) const WIDTHS: u64 = u64::MAX;

/// The images that train, and how they are varied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Examples<'a> {
    pub pixels: &'a Spool,
    pub preprocess: &'a Preprocess,
    /// Of the images.
    pub input: Shape,
    /// Of each image; empty if they are not to be used.
    pub labels: &'a [usize],
    pub augment: Augment,
    /// Share of images that are laid over another one.
    pub mix: f64,
    pub seed: u64,
}

/// An image as it is seen in one epoch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct VariedImage {
    /// In the order row, column, channel.
    pub pixels: Vec<u8>,
    /// What full precision reads: normalised, in the order channel, row, column.
    pub input: Vec<f32>,
    /// Classes with their shares, where labels are known.
    pub classes: Vec<(usize, f64)>,
}

impl Examples<'_> {
    /// The image at a place as it is seen in an epoch: the same whenever it is asked for.
    pub(super) fn of(&self, epoch: usize, image: usize) -> Result<VariedImage> {
        let mut random = Random::new(self.seed, &[epoch as u64, image as u64]);
        let mut pixels = self.augmented(image, &mut random)?;
        let mut shares = vec![(image, 1.0)];
        if random.unit() < self.mix {
            let (other, share) = (random.below(self.pixels.images()), random.unit());
            pixels = mixed(&pixels, &self.augmented(other, &mut random)?, share);
            shares = vec![(image, share), (other, 1.0 - share)];
        }
        let input = normalise(&pixels, self.preprocess)?.into_raw_vec_and_offset().0;
        let class = |(image, share): (usize, f64)| Some((*self.labels.get(image)?, share));
        let classes = shares.into_iter().filter_map(class).collect();
        Ok(VariedImage { pixels, input, classes })
    }

    fn augmented(&self, image: usize, random: &mut Random) -> Result<Vec<u8>> {
        Ok(self.augment.apply(&self.pixels.image(image)?, self.input, random))
    }
}

/// Pixels as real numbers in the order channel, row, column.
pub(super) fn channel_first(pixels: &[u8], shape: Shape) -> Vec<f32> {
    let channel =
        |channel: usize| pixels.iter().skip(channel).step_by(shape.channels).map(|&pixel| f32::from(pixel));
    (0..shape.channels).flat_map(channel).collect()
}
