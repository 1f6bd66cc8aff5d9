//! Loading files, pixels to numbers.

use super::pillow::fixture;
use crate::data::apply::normalise;
use crate::data::dataset::Entry;
use crate::data::load::load;
use crate::error::ErrorKind;
use crate::format::{Channels, Interpolation, Preprocess, Resize, Scale, Size};
use crate::pixels::{Picture, pixels_of};

fn small() -> Preprocess {
    Preprocess {
        resize: Resize::Shorter(12),
        crop: Size::square(11),
        ..Preprocess::preset("imagenet").unwrap()
    }
}

#[test]
fn unreadable_images_are_reported_with_their_file() {
    let error = |name: &str| {
        let path = fixture(name);
        load(&Entry { name: name.into(), path, label: None, row: 0 }, &small()).unwrap_err()
    };
    let kinds = ["resize.json", "gone.png"].map(|name| {
        let error = error(name);
        assert!(error.path().unwrap().ends_with(name));
        error.kind()
    });
    assert_eq!(kinds, [ErrorKind::Image, ErrorKind::Io]);
}

fn picture(height: usize, width: usize) -> Picture {
    Picture { height, width, channels: 3, data: (0..height * width * 3).map(|i| i as u8).collect() }
}

#[test]
fn images_of_the_input_size_are_taken_as_they_are() {
    let default = Preprocess::default_for(3, 4, 6).unwrap();
    assert_eq!(pixels_of(picture(4, 6), &default).unwrap(), picture(4, 6).data);
    assert_ne!(
        pixels_of(picture(4, 6), &Preprocess { as_is: false, ..default.clone() }).unwrap(),
        picture(4, 6).data
    );
    assert_eq!(pixels_of(picture(9, 9), &default).unwrap().len(), 4 * 6 * 3);
    let never = Preprocess { resize: Resize::None, as_is: false, ..default };
    assert_eq!(pixels_of(picture(4, 6), &never).unwrap(), picture(4, 6).data);
    let error = pixels_of(picture(6, 4), &never).unwrap_err();
    assert_eq!(
        error.to_string(),
        "image of 6x4 where 4x6 is needed; without resizing all images must have the input's size; set resize"
    );
}

#[test]
fn channel_order_is_the_networks() {
    let base = Preprocess { resize: Resize::None, crop: Size { height: 1, width: 2 }, ..small() };
    let of = |channels| {
        let count = if channels == Channels::Grey { 1 } else { 3 };
        let (mean, std) = (vec![0.0; count], vec![1.0; count]);
        pixels_of(picture(1, 2), &Preprocess { channels, mean, std, ..base.clone() }).unwrap()
    };
    assert_eq!(of(Channels::Rgb), [0, 1, 2, 3, 4, 5]);
    assert_eq!(of(Channels::Bgr), [2, 1, 0, 5, 4, 3]);
    assert_eq!(of(Channels::Grey), [1, 4]);
}

#[test]
fn extreme_proportions_cost_no_memory() {
    for (height, width) in [(1, 60_000), (60_000, 1)] {
        for interpolation in [Interpolation::Nearest, Interpolation::Bilinear, Interpolation::Bicubic] {
            let preprocess = Preprocess { interpolation, ..Preprocess::preset("imagenet").unwrap() };
            assert_eq!(pixels_of(picture(height, width), &preprocess).unwrap().len(), 224 * 224 * 3);
        }
    }
}

#[test]
fn normalise_is_channel_first_and_exact() {
    let preprocess = Preprocess {
        crop: Size { height: 1, width: 2 },
        mean: vec![0.5, 0.25, 0.0],
        std: vec![0.5, 1.0, 2.0],
        ..small()
    };
    let pixels = [255, 0, 51, 0, 255, 255];
    let numbers = normalise(&pixels, &preprocess).unwrap();
    assert_eq!(numbers.dim(), (3, 1, 2));
    assert_eq!(numbers.into_raw_vec_and_offset().0, [1.0, -1.0, -0.25, 0.75, 0.1, 0.5]);
    let bytes =
        Preprocess { scale: Scale::Byte, mean: vec![55.0; 3], std: vec![2.0; 3], ..preprocess.clone() };
    assert_eq!(normalise(&pixels, &bytes).unwrap()[[0, 0, 0]], 100.0);
    assert_eq!(normalise(&pixels[1..], &preprocess).unwrap_err().kind(), ErrorKind::Shape);
    assert!(normalise(&pixels, &Preprocess { mean: vec![], ..preprocess }).is_err());
}
