//! Activations of the images that are fitted, and of those that judge.

use super::spool::Spool;
use crate::data::spread;
use crate::error::Result;

/// One activation tensor of all calibration images.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Of the images that ranges, statistics and fits come from.
    pub fitting: Spool,
    /// Of the images that nothing else looks at; `None` if there were too few to hold some back.
    pub held_back: Option<Spool>,
}

impl Parts {
    /// Holds back that many of the images, spread evenly.
    ///
    /// # Errors
    /// A temporary file that cannot be written or read.
    pub(crate) fn split(all: Spool, held_back: usize) -> Result<Self> {
        if held_back == 0 {
            return Ok(Self { fitting: all, held_back: None });
        }
        let judging = Self::judging_places(all.images(), held_back);
        let mut fitting = Spool::new(all.shape(), all.images() - judging.len())?;
        let mut held_back = Spool::new(all.shape(), judging.len())?;
        for image in 0..all.images() {
            let part = if judging.contains(&image) { &mut held_back } else { &mut fitting };
            part.push(&all.image(image)?)?;
        }
        Ok(Self { fitting, held_back: Some(held_back) })
    }

    /// Which of so many images judge.
    pub(crate) fn judging_places(images: usize, held_back: usize) -> Vec<usize> {
        spread(images, held_back)
    }

    /// Of the images that judge: all, if none could be held back.
    pub(crate) fn judging(&self) -> &Spool {
        self.held_back.as_ref().unwrap_or(&self.fitting)
    }

    /// Number of images of both kinds.
    pub(crate) fn images(&self) -> usize {
        self.fitting.images() + self.held_back.as_ref().map_or(0, Spool::images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    fn parts(images: u8, held_back: usize) -> Parts {
        let mut all = Spool::new(Shape::new(1, 1, 1), 1).unwrap();
        (0..images).for_each(|image| all.push(&[image]).unwrap());
        Parts::split(all, held_back).unwrap()
    }

    fn images(spool: &Spool) -> Vec<u8> {
        (0..spool.chunks()).flat_map(|chunk| spool.chunk(chunk).unwrap().data).collect()
    }

    #[test]
    fn every_image_has_one_part() {
        let parts = parts(40, 5);
        assert_eq!(images(parts.judging()), [4, 12, 20, 28, 36]);
        let fitting: Vec<u8> = (0..40).filter(|image| image % 8 != 4).collect();
        assert_eq!((images(&parts.fitting), parts.images()), (fitting, 40));
    }

    #[test]
    fn without_images_held_back_all_judge() {
        let parts = parts(3, 0);
        assert!(parts.held_back.is_none());
        assert_eq!(
            (images(&parts.fitting), images(parts.judging()), parts.images()),
            (vec![0, 1, 2], vec![0, 1, 2], 3)
        );
    }
}
