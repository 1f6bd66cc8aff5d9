//! Random changes of images that leave what they show.

use super::random::Random;
use crate::tensor::Shape;

/// Which changes are made of the pixels of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Augment {
    /// Half of the images are mirrored from left to right.
    pub flips: bool,
    /// Pixels by which an image moves at most, up or down and left or right; what comes in repeats the border.
    pub shift: usize,
}

impl Augment {
    /// The image (rows, columns, channels) as `random` changes it.
    pub(super) fn apply(self, pixels: &[u8], shape: Shape, random: &mut Random) -> Vec<u8> {
        let flip = self.flips && random.below(2) == 1;
        let offsets = [0; 2].map(|_| random.below(2 * self.shift + 1));
        let source = |place: usize, axis: usize, size: usize| {
            (place + offsets[axis]).saturating_sub(self.shift).min(size - 1)
        };
        let mut result = Vec::with_capacity(pixels.len());
        for row in 0..shape.height {
            let row = source(row, 0, shape.height);
            for column in 0..shape.width {
                let column = source(column, 1, shape.width);
                let column = if flip { shape.width - 1 - column } else { column };
                result.extend_from_slice(&pixels[(row * shape.width + column) * shape.channels..][..shape.channels]);
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_moved_and_mirrored() {
        let shape = Shape::new(2, 2, 3);
        let pixels: Vec<u8> = (0..12).collect();
        let plain = Augment::default().apply(&pixels, shape, &mut Random::new(0, &[]));
        assert_eq!(plain, pixels);
        let flips = Augment { flips: true, shift: 0 };
        let mut seen: Vec<Vec<u8>> = (0..20).map(|seed| flips.apply(&pixels, shape, &mut Random::new(seed, &[]))).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, [pixels.clone(), vec![4, 5, 2, 3, 0, 1, 10, 11, 8, 9, 6, 7]]);
        let shifts = Augment { flips: false, shift: 1 };
        let mut seen: Vec<Vec<u8>> = (0..200).map(|seed| shifts.apply(&pixels, shape, &mut Random::new(seed, &[]))).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 9);
        assert!(seen.contains(&vec![0, 1, 0, 1, 2, 3, 0, 1, 0, 1, 2, 3]));
    }
}
