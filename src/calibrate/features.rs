//! How samples that are no pictures become codes.

use super::histogram::Histogram;
use super::range::{RangeMethod, quantizer_for};
use crate::data::Images;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Preprocess, Resize, Scale};
use crate::tensor::Shape;

/// Bits of the codes that a network reads.
const INPUT_BITS: u8 = 8;

/// Preprocessing for samples of real numbers, whose range in each channel becomes 256 codes: `mean` is the code that stands
/// for zero, a whole number, and `std` how many codes one unit takes. `None`, if `images` are pictures.
///
/// # Errors
/// Samples that cannot be read, or an input with other than 1 or 3 channels.
pub fn feature_preprocess(
    images: &dyn Images,
    input: Shape,
    range: RangeMethod,
) -> Result<Option<Preprocess>> {
    let start = Preprocess::default_for(input.channels, input.height, input.width)?;
    let Some(histograms) = histograms(images, &start)? else { return Ok(None) };
    let quantizers: Vec<_> = histograms.iter().map(|it| quantizer_for(it, range, INPUT_BITS)).collect();
    Ok(Some(Preprocess {
        resize: Resize::None,
        as_is: true,
        mean: quantizers.iter().map(|quantizer| f32::from(quantizer.zero_point)).collect(),
        std: quantizers.iter().map(|quantizer| (1.0 / quantizer.scale) as f32).collect(),
        scale: Scale::Byte,
        ..start
    }))
}

/// The distribution of every channel; `None` if images are pictures.
fn histograms(images: &dyn Images, preprocess: &Preprocess) -> Result<Option<Vec<Histogram>>> {
    let mut histograms = vec![Histogram::default(); preprocess.channels.count()];
    for index in 0..images.len() {
        let Some(values) = images.values(index, preprocess)? else { return Ok(None) };
        for (histogram, plane) in histograms.iter_mut().zip(values.outer_iter()) {
            if !histogram.extend(&plane.iter().copied().collect::<Vec<_>>()) {
                let message = format!("sample '{}' has numbers that are not finite", images.name(index));
                return Err(Error::new(ErrorKind::Image, message));
            }
        }
    }
    Ok(Some(histograms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::PixelImages;
    use ndarray::Array3;

    /// Samples that are real numbers.
    struct Numbers(Vec<Vec<f32>>);

    impl Images for Numbers {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn pixels(&self, _: usize, _: &Preprocess) -> Result<Vec<u8>> {
            Ok(Vec::new())
        }

        fn values(&self, index: usize, _: &Preprocess) -> Result<Option<Array3<f32>>> {
            Ok(Some(Array3::from_shape_vec((1, 1, 3), self.0[index].clone()).unwrap()))
        }

        fn label(&self, _: usize) -> Option<usize> {
            None
        }

        fn name(&self, index: usize) -> String {
            index.to_string()
        }
    }

    #[test]
    fn the_range_becomes_256_codes() {
        let samples = Numbers(vec![vec![-3.0, 0.0, 1.0], vec![12.75, 9.75, 2.0]]);
        let input = Shape { channels: 1, height: 1, width: 3 };
        let found = feature_preprocess(&samples, input, RangeMethod::MinMax).unwrap().unwrap();
        // 15.75 in 255 steps; zero is 3 / 15.75 · 255 = 48.57 steps from the lowest value.
        assert_eq!((found.mean[0], found.scale, found.resize), (49.0, Scale::Byte, Resize::None));
        assert!((found.std[0] - 255.0 / 15.75).abs() < 1e-5);
        assert_eq!(found.crop.width, 3);
    }

    #[test]
    fn pictures_are_left_alone() {
        let pictures = PixelImages { pixels: vec![vec![0; 3]], labels: Vec::new() };
        let input = Shape { channels: 1, height: 1, width: 3 };
        assert_eq!(feature_preprocess(&pictures, input, RangeMethod::Mse).unwrap(), None);
    }

    #[test]
    fn every_number_must_be_finite() {
        let samples = Numbers(vec![vec![0.0, f32::INFINITY, 1.0]]);
        let input = Shape { channels: 1, height: 1, width: 3 };
        let error = feature_preprocess(&samples, input, RangeMethod::Mse).unwrap_err();
        assert!(error.to_string().contains("'0' has numbers that are not finite"));
    }
}
