//! Random changes of images that leave what they show.

use crate::format::Interpolation;
use crate::pixels::{Picture, luma, resize};
use crate::random::Random;
use crate::tensor::Shape;
use std::ops::Range;

/// How often a part that does not fit is drawn again.
const ATTEMPTS: usize = 10;
/// The widest part's width for its height; the narrowest's height for its width.
const PROPORTION: f64 = 4.0 / 3.0;

/// Which changes are made of the pixels of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Augment {
    /// Half of the images are mirrored from left to right.
    pub flips: bool,
    /// Pixels by which an image moves at most, up or down and left or right; what comes in repeats the border.
    pub shift: usize,
    /// The smallest share of an image's area that is cut out and enlarged; 1 for no cut.
    pub crop: f64,
    /// How far brightness, contrast and saturation change at most, as a share of themselves.
    pub colour: f64,
    /// Whether blue comes first.
    pub is_bgr: bool,
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
        let mut pixels = self.moved(pixels, shape, random);
        if self.crop < 1.0 && matches!(shape.channels, 1 | 3) {
            pixels = enlarged(pixels, shape, crop(self.crop, shape, random));
        }
        if self.colour > 0.0 && shape.channels == 3 {
            jitter(&mut pixels, self.colour, self.is_bgr, random);
        }
        pixels
    }

    fn moved(self, pixels: &[u8], shape: Shape, random: &mut Random) -> Vec<u8> {
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

/// Rows and columns of a random part as torchvision's `RandomResizedCrop` draws it: its share of the area is even between
/// `least` and 1, the logarithm of its proportions between those of 3:4 and 4:3.
fn crop(least: f64, shape: Shape, random: &mut Random) -> [Range<usize>; 2] {
    for _ in 0..ATTEMPTS {
        let area = (shape.height * shape.width) as f64 * (least + (1.0 - least) * random.unit());
        let proportion = ((2.0 * random.unit() - 1.0) * PROPORTION.ln()).exp();
        let [width, height] =
            [area * proportion, area / proportion].map(|square| square.sqrt().round() as usize);
        if (1..=shape.width).contains(&width) && (1..=shape.height).contains(&height) {
            let top = random.below(shape.height - height + 1);
            let left = random.below(shape.width - width + 1);
            return [top..top + height, left..left + width];
        }
    }
    [0..shape.height, 0..shape.width]
}

/// The part of an image, resized to the image.
fn enlarged(pixels: Vec<u8>, shape: Shape, [rows, columns]: [Range<usize>; 2]) -> Vec<u8> {
    let Shape { channels, height, width } = shape;
    let row = |row: usize| {
        pixels[(row * width + columns.start) * channels..(row * width + columns.end) * channels]
            .iter()
            .copied()
    };
    let part =
        Picture { height: rows.len(), width: columns.len(), channels, data: rows.flat_map(row).collect() };
    resize(&part, [height, width], [0..height, 0..width], Interpolation::Bilinear).data
}

/// What of an image's colours changes.
#[derive(Debug, Clone, Copy)]
enum Aspect {
    Brightness,
    Contrast,
    Saturation,
}

/// Brightness, contrast and saturation in random order, each times a factor within `strength` of 1, as torchvision's
/// `ColorJitter` does.
fn jitter(pixels: &mut [u8], strength: f64, is_bgr: bool, random: &mut Random) {
    let aspects = [Aspect::Brightness, Aspect::Contrast, Aspect::Saturation];
    for at in random.order(aspects.len()) {
        let factor = 1.0 + strength * (2.0 * random.unit() - 1.0);
        enhance(pixels, aspects[at], factor as f32, is_bgr);
    }
}

/// One aspect times a factor, as Pillow's `ImageEnhance` does it.
fn enhance(pixels: &mut [u8], aspect: Aspect, factor: f32, is_bgr: bool) {
    let grey = |pixel: &[u8]| match is_bgr {
        true => luma([pixel[2], pixel[1], pixel[0]]),
        false => luma([pixel[0], pixel[1], pixel[2]]),
    };
    let mean = match aspect {
        Aspect::Contrast => {
            let sum: u64 = pixels.chunks_exact(3).map(|pixel| u64::from(grey(pixel))).sum();
            (sum as f64 / (pixels.len() / 3).max(1) as f64 + 0.5) as u8
        }
        Aspect::Brightness | Aspect::Saturation => 0,
    };
    for pixel in pixels.chunks_exact_mut(3) {
        let away = if matches!(aspect, Aspect::Saturation) { grey(pixel) } else { mean };
        pixel.iter_mut().for_each(|value| *value = blended(away, *value, factor));
    }
}

/// Pillow's `Image.blend` of two bytes: `factor` of the second, beyond 1 away from the first.
fn blended(first: u8, second: u8, factor: f32) -> u8 {
    (f32::from(first) + factor * (f32::from(second) - f32::from(first))).clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

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
        let none = Augment { flips: false, shift: 0, crop: 1.0, colour: 0.0, is_bgr: false };
        let plain = none.apply(&pixels, shape, &mut Random::new(0, &[]));
        assert_eq!(plain, pixels);
        let seen = |augment: Augment, seeds: u64| -> Vec<Vec<u8>> {
            let of_seed = |seed| augment.apply(&pixels, shape, &mut Random::new(seed, &[]));
            (0..seeds).map(of_seed).collect::<BTreeSet<_>>().into_iter().collect()
        };
        let flipped = seen(Augment { flips: true, ..none }, 20);
        assert_eq!(flipped, [pixels.clone(), vec![4, 5, 2, 3, 0, 1, 10, 11, 8, 9, 6, 7]]);
        let seen = seen(Augment { shift: 1, ..none }, 200);
        assert_eq!(seen.len(), 9);
        assert!(seen.contains(&vec![0, 1, 0, 1, 2, 3, 0, 1, 0, 1, 2, 3]));
    }

    /// `ImageEnhance.Brightness`, `Contrast` and `Color` of Pillow 12 on a picture of two rows.
    #[test]
    fn colours_change_as_with_pillow() {
        let pixels: Vec<u8> = (0..18).map(|i| (i * 37 + 11) as u8).collect();
        let mirrored = |pixels: &[u8]| -> Vec<u8> {
            pixels.chunks_exact(3).flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect()
        };
        for (aspect, factor, expected) in ENHANCED {
            let mut own = pixels.clone();
            enhance(&mut own, aspect, factor, false);
            assert_eq!(own, expected, "{aspect:?} {factor}");
            let mut own = mirrored(&pixels);
            enhance(&mut own, aspect, factor, true);
            assert_eq!(mirrored(&own), expected, "{aspect:?} {factor}");
        }
    }

    const ENHANCED: [(Aspect, f32, [u8; 18]); 6] = [
        (Aspect::Brightness, 0.6, [6, 28, 51, 73, 95, 117, 139, 8, 30, 52, 75, 97, 119, 141, 10, 32, 54, 76]),
        (
            Aspect::Brightness,
            1.3,
            [14, 62, 110, 158, 206, 254, 255, 18, 66, 114, 162, 210, 255, 255, 22, 70, 118, 166],
        ),
        (
            Aspect::Contrast,
            0.6,
            [51, 74, 96, 118, 140, 162, 185, 53, 75, 98, 120, 142, 164, 186, 55, 77, 99, 122],
        ),
        (
            Aspect::Contrast,
            1.3,
            [0, 28, 76, 124, 172, 220, 255, 0, 32, 80, 128, 176, 224, 255, 0, 36, 84, 132],
        ),
        (
            Aspect::Saturation,
            0.6,
            [23, 45, 67, 134, 156, 178, 173, 42, 64, 100, 122, 144, 199, 221, 90, 66, 88, 110],
        ),
        (
            Aspect::Saturation,
            1.3,
            [2, 50, 98, 113, 161, 209, 255, 0, 41, 79, 127, 175, 198, 246, 0, 45, 93, 141],
        ),
    ];

    /// Parts have the wanted areas and proportions, lie anywhere, and fill the image.
    #[test]
    fn parts_are_cut_out_and_enlarged() {
        let shape = Shape::new(3, 40, 60);
        let mut areas = Vec::new();
        for seed in 0..500 {
            let [rows, columns] = crop(0.25, shape, &mut Random::new(seed, &[]));
            assert!(rows.end <= 40 && columns.end <= 60);
            let proportion = columns.len() as f64 / rows.len() as f64;
            assert!((0.7..1.43).contains(&proportion) || rows.len() * columns.len() == 2400, "{proportion}");
            areas.push((rows.len() * columns.len()) as f64 / 2400.0);
        }
        let mean = areas.iter().sum::<f64>() / 500.0;
        assert!(
            areas.iter().all(|area| (0.23..=1.0).contains(area)) && (0.45..0.65).contains(&mean),
            "{mean}"
        );
        let gradient: Vec<u8> =
            (0..40 * 60).flat_map(|at| [(at / 60 * 6) as u8, (at % 60 * 4) as u8, 9]).collect();
        let none = Augment { flips: false, shift: 0, crop: 0.25, colour: 0.0, is_bgr: false };
        let found = none.apply(&gradient, shape, &mut Random::new(3, &[]));
        let [rows, columns] = {
            let mut random = Random::new(3, &[]);
            (0..2).for_each(|_| _ = random.below(1));
            crop(0.25, shape, &mut random)
        };
        assert_eq!(found.len(), gradient.len());
        let near = |value: u8, wanted: usize| value.abs_diff(wanted as u8) <= 4;
        assert!(near(found[0], rows.start * 6) && near(found[1], columns.start * 4));
        let last = found.len() - 3;
        assert!(near(found[last], (rows.end - 1) * 6) && near(found[last + 1], (columns.end - 1) * 4));
    }
}
