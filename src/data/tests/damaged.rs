//! Images that are truncated, damaged, misnamed or of other kinds.

use super::pillow::{Listed, fixture, listed};
use crate::data::decode::decode;
use crate::error::ErrorKind;
use proptest::prelude::*;

fn images() -> Vec<(String, Vec<u8>)> {
    let read = |Listed { name, .. }: Listed| {
        let bytes = std::fs::read(fixture("images").join(&name)).unwrap();
        (name, bytes)
    };
    listed("decoded.json").into_iter().map(read).collect()
}

fn message(bytes: &[u8]) -> String {
    let error = decode(bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Image);
    error.to_string()
}

#[test]
fn truncated_images_are_errors() {
    for (name, bytes) in images().iter().filter(|(name, _)| name != "animated.webp") {
        for share in [0, 1, 5, 25, 50, 75] {
            let start = &bytes[..bytes.len() * share / 100];
            assert!(decode(start).is_err(), "{name} cut at {share}%");
        }
    }
}

#[test]
fn every_prefix_is_an_image_or_an_error_but_no_panic() {
    for (name, bytes) in images() {
        for length in 0..bytes.len() {
            if let Err(error) = decode(&bytes[..length]) {
                assert!(!error.to_string().contains("decoder failed"), "{name} cut at {length}");
            }
        }
    }
}

#[test]
fn type_is_told_by_content() {
    let pixels = |name: &str| decode(&std::fs::read(fixture("images").join(name)).unwrap()).unwrap();
    assert_eq!(pixels("jpeg_named.png"), pixels("rgb_420.jpg"));
}

#[test]
fn other_kinds_are_named() {
    assert!(message(b"GIF89a\x01\x00\x01\x00").contains("GIF images are not supported"));
    assert!(message(b"II*\0........").contains("TIFF"));
    assert!(message(b"\0\0\0\x20ftypavif").contains("AVIF"));
    assert!(message(b"P6\n2 2 255\n").contains("PNM"));
    assert!(message(b"hello").contains("not a JPEG, PNG, WebP or BMP"));
    assert!(message(b"").contains("empty"));
}

#[test]
fn bombs_are_refused_by_their_header() {
    let mut png = std::fs::read(fixture("images/rgb.png")).unwrap();
    png[16..24].copy_from_slice(&[0, 0, 0xC3, 0x50, 0, 0, 0xC3, 0x50]);
    let text = message(&png);
    assert!(text.contains("PNG"), "{text}");
    let mut jpeg = std::fs::read(fixture("images/rgb_444.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xC3, 0x50, 0xC3, 0x50]);
    let text = message(&jpeg);
    assert!(text.contains("has more than 89478485 pixels"), "{text}");
}

/// A PNG that is small as a file and large in memory, and one whose colour profile is.
#[test]
fn images_that_inflate_are_refused() {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let body = [kind, data].concat();
        let sum = crc32fast::hash(&body).to_be_bytes();
        [&(data.len() as u32).to_be_bytes()[..], &body, &sum].concat()
    };
    let deflated = |bytes: usize| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), bytes as u64), &mut encoder).unwrap();
        encoder.finish().unwrap()
    };
    let png = |side: u32, profile: usize| {
        let header = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[16, 6, 0, 0, 0]].concat();
        let profile = [b"icc\0\0".as_slice(), &deflated(profile)].concat();
        let rows = side as usize * (8 * side as usize + 1);
        let data = deflated(rows.min(1 << 20));
        let chunks =
            [chunk(b"IHDR", &header), chunk(b"iCCP", &profile), chunk(b"IDAT", &data), chunk(b"IEND", b"")];
        [b"\x89PNG\r\n\x1a\n".as_slice(), &chunks.concat()].concat()
    };
    assert_eq!(decode(&png(4, 1000)).unwrap().data, [0; 48]);
    assert!(message(&png(9000, 1000)).contains("bytes to decode, more than"));
    // Without the profile, which nothing here uses.
    assert_eq!(decode(&png(4, 64 << 20)).unwrap().data, [0; 48]);
}

/// Every sampling of every channel: the decoder relies on four channels to fit each other.
#[test]
fn channels_that_are_sampled_differently_never_panic() {
    for name in ["cmyk.jpg", "ycck.jpg", "rgb_420.jpg", "grey.jpg"] {
        let jpeg = std::fs::read(fixture("images").join(name)).unwrap();
        let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
        let channels = usize::from(jpeg[frame + 9]);
        for channel in 0..channels {
            for sampling in 0..=0x55 {
                let mut damaged = jpeg.clone();
                damaged[frame + 11 + 3 * channel] = sampling;
                if let Err(error) = decode(&damaged) {
                    assert!(!error.to_string().contains("decoder failed"), "{name} {channel} {sampling:x}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_bytes_never_panic(which in any::<prop::sample::Index>(), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let all = images();
        let (name, mut bytes) = all[which.index(all.len())].clone();
        for (place, value) in edits {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Err(error) = decode(&bytes) {
            prop_assert!(!error.to_string().contains("decoder failed"), "{name}");
        }
    }
}
