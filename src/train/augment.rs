//! Random changes of images that leave what they show.

use crate::random::Random;
use crate::tensor::Shape;

/// Which changes are made of the pixels of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Augment {
    /// Half of the images are mirrored from left to right.
    pub flips: bool,
    /// Pixels by which an image moves at most, up or down and left or right; what comes in repeats the border.
    pub shift: usize,
}

/// Two images laid over each other, pixel by pixel: `share` of the first (Zhang et al., arXiv 1710.09412, equation 1). Full
/// precision is less sure of what it sees, and there are as many such images as pairs (Beyer et al., arXiv 2106.05237).
pub(super) fn mixed(first: &[u8], second: &[u8], share: f64) -> Vec<u8> {
    let parts = (share * 256.0).round() as u32;
    let mix = |(&a, &b): (&u8, &u8)| ((u32::from(a) * parts + u32::from(b) * (256 - parts) + 128) >> 8) as u8;
    first.iter().zip(second).map(mix).collect()
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
                result.extend_from_slice(
                    &pixels[(row * shape.width + column) * shape.channels..][..shape.channels],
                );
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_images_lie_between() {
        assert_eq!(mixed(&[0, 200, 255], &[100, 100, 255], 1.0), [0, 200, 255]);
        assert_eq!(mixed(&[0, 200, 255], &[100, 100, 255], 0.0), [100, 100, 255]);
        assert_eq!(mixed(&[0, 200, 255], &[100, 101, 255], 0.5), [50, 151, 255]);
    }

    #[test]
    fn images_are_moved_and_mirrored() {
        let shape = Shape::new(2, 2, 3);
        let pixels: Vec<u8> = (0..12).collect();
        let plain = Augment::default().apply(&pixels, shape, &mut Random::new(0, &[]));
        assert_eq!(plain, pixels);
        let flips = Augment { flips: true, shift: 0 };
        let mut seen: Vec<Vec<u8>> =
            (0..20).map(|seed| flips.apply(&pixels, shape, &mut Random::new(seed, &[]))).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, [pixels.clone(), vec![4, 5, 2, 3, 0, 1, 10, 11, 8, 9, 6, 7]]);
        let shifts = Augment { flips: false, shift: 1 };
        let mut seen: Vec<Vec<u8>> =
            (0..200).map(|seed| shifts.apply(&pixels, shape, &mut Random::new(seed, &[]))).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 9);
        assert!(seen.contains(&vec![0, 1, 0, 1, 2, 3, 0, 1, 0, 1, 2, 3]));
    }
}
