//! Small pictures of a network's inputs, inside of a page.

use super::page::base64;
use crate::format::{Channels, Interpolation, Preprocess};
use crate::pixels::{Picture, resize};
use libjpeg_turbo_rs::{PixelFormat, Subsampling, compress};

/// Longest side in pixels.
const SIDE: usize = 96;
const QUALITY: u8 = 88;

/// Input pixels as the address of a picture; none if they are no picture.
pub(super) fn thumbnail(pixels: Vec<u8>, preprocess: &Preprocess) -> Option<String> {
    let picture = small(picture(pixels, preprocess)?);
    let format = if picture.channels == 1 { PixelFormat::Grayscale } else { PixelFormat::Rgb };
    let jpeg =
        compress(&picture.data, picture.width, picture.height, format, QUALITY, Subsampling::S444).ok()?;
    Some(format!("data:image/jpeg;base64,{}", base64(&jpeg)))
}

fn picture(mut data: Vec<u8>, preprocess: &Preprocess) -> Option<Picture> {
    let (crop, channels) = (preprocess.crop, preprocess.channels.count());
    if preprocess.channels == Channels::Bgr {
        data.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
    }
    let whole = data.len() == crop.height * crop.width * channels && !data.is_empty();
    whole.then_some(Picture { height: crop.height, width: crop.width, channels, data })
}

fn small(picture: Picture) -> Picture {
    let longest = picture.height.max(picture.width);
    if longest <= SIDE {
        return picture;
    }
    let side = |extent: usize| (extent * SIDE / longest).max(1);
    let size = [side(picture.height), side(picture.width)];
    resize(&picture, size, size.map(|extent| 0..extent), Interpolation::Bilinear)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preprocess(channels: Channels, height: usize, width: usize) -> Preprocess {
        let count = channels.count();
        let base = Preprocess::default_for(count, height, width).unwrap();
        Preprocess { channels, ..base }
    }

    #[test]
    fn inputs_of_all_kinds_become_pictures() {
        for (channels, height, width) in
            [(Channels::Rgb, 8, 8), (Channels::Bgr, 300, 200), (Channels::Grey, 1, 500)]
        {
            let preprocess = preprocess(channels, height, width);
            let pixels = vec![100; height * width * channels.count()];
            let address = thumbnail(pixels, &preprocess).unwrap();
            // JPEG files begin with FF D8 FF.
            assert!(address.starts_with("data:image/jpeg;base64,/9j/"), "{address}");
        }
    }

    #[test]
    fn blue_and_red_change_places() {
        let found = picture(vec![1, 2, 3], &preprocess(Channels::Bgr, 1, 1)).unwrap();
        assert_eq!(found.data, [3, 2, 1]);
        assert_eq!(picture(vec![1, 2], &preprocess(Channels::Bgr, 1, 1)), None);
    }
}
