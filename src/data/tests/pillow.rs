//! Byte for byte against stored outputs of Pillow and torchvision (`fixtures/make_pillow.py`).

use crate::data::decode::decode;
use crate::format::{Interpolation, Preprocess, Resize, Size};
use crate::pixels::{Picture, pixels_of, resize};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;

pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/pillow").join(name)
}

/// The images that the script lists.
#[derive(Deserialize)]
pub struct Listed {
    pub name: String,
    pub height: usize,
    pub width: usize,
}

pub fn listed<T: DeserializeOwned>(name: &str) -> Vec<T> {
    serde_json::from_str(&std::fs::read_to_string(fixture(name)).unwrap()).unwrap()
}

/// The script's `noise`.
fn noise(seed: u32, height: usize, width: usize, channels: usize) -> Picture {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match (state >> 24) as u8 {
            0..43 => 0,
            213.. => 255,
            value => value,
        }
    };
    let data = (0..height * width * channels).map(|_| next()).collect();
    Picture { height, width, channels, data }
}

/// Cuts the next `length` bytes off a blob.
fn next<'a>(blob: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (head, tail) = blob.split_at(length);
    *blob = tail;
    head
}

fn largest_difference(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

#[test]
fn every_kind_of_image_decodes_as_by_pillow() {
    let blob = std::fs::read(fixture("decoded.bin")).unwrap();
    let mut blob = blob.as_slice();
    let mut different = Vec::new();
    for Listed { name, height, width } in listed("decoded.json") {
        let picture = decode(&std::fs::read(fixture("images").join(&name)).unwrap()).expect(&name);
        assert_eq!((picture.height, picture.width), (height, width), "{name}");
        let rgb = largest_difference(&picture.clone().into_rgb().data, next(&mut blob, height * width * 3));
        let grey = largest_difference(&picture.into_grey().data, next(&mut blob, height * width));
        if (rgb, grey) != (0, 0) {
            different.push((name, rgb, grey));
        }
    }
    assert!(blob.is_empty());
    assert!(different.is_empty(), "largest differences in RGB and grey: {different:?}");
}

#[derive(Deserialize)]
struct ResizeCase {
    seed: u32,
    from: [usize; 3],
    to: [usize; 2],
    interpolation: Interpolation,
}

#[test]
fn resize_equals_pillow() {
    let blob = std::fs::read(fixture("resize.bin")).unwrap();
    let mut blob = blob.as_slice();
    for ResizeCase { seed, from: [height, width, channels], to, interpolation } in listed("resize.json") {
        let whole = [0..to[0], 0..to[1]];
        let found = resize(&noise(seed, height, width, channels), to, whole, interpolation);
        let stored = next(&mut blob, to[0] * to[1] * channels);
        assert!(found.data == stored, "{height}x{width}x{channels} to {to:?}, {interpolation}");
    }
    assert!(blob.is_empty());
}

#[derive(Deserialize)]
struct CropCase {
    seed: u32,
    from: [usize; 2],
    resize: Resize,
    crop: Size,
    interpolation: Interpolation,
}

#[test]
fn resize_and_crop_equal_torchvision() {
    let blob = std::fs::read(fixture("crop.bin")).unwrap();
    let mut blob = blob.as_slice();
    for CropCase { seed, from: [height, width], resize, crop, interpolation } in listed("crop.json") {
        let preprocess =
            Preprocess { resize, crop, interpolation, ..Preprocess::preset("imagenet").unwrap() };
        let found = pixels_of(noise(seed, height, width, 3), &preprocess).unwrap();
        let stored = next(&mut blob, crop.height * crop.width * 3);
        assert!(found == stored, "{height}x{width}, {resize:?}, crop {crop}, {interpolation}");
    }
    assert!(blob.is_empty());
}
