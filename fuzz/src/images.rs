//! Images, alone and in archives, arrays of samples, labels, preprocessing.

use super::files::with_files;
use fgq::{Channels, Dataset, Images, Interpolation, Preprocess, Resize, Scale, Size};

/// Most images of an archive that are decoded.
const DECODED: usize = 8;
/// Outputs of the network that labels are for.
const OUTPUTS: usize = 1000;

fn preprocess() -> Preprocess {
    Preprocess {
        resize: Resize::Shorter(9),
        as_is: true,
        crop: Size::square(8),
        interpolation: Interpolation::Bicubic,
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
        scale: Scale::Unit,
        channels: Channels::Rgb,
    }
}

/// An image file.
pub fn image(bytes: &[u8]) -> bool {
    let pixels = fgq::input_pixels(bytes, &preprocess());
    pixels.is_ok_and(|pixels| {
        assert_eq!(pixels.len(), 8 * 8 * 3);
        true
    })
}

/// A `.npy` or `.npz` file.
pub fn array(bytes: &[u8]) -> bool {
    dataset("samples.npz", bytes)
}

/// A TAR or ZIP archive or a Parquet table.
pub fn archive(bytes: &[u8]) -> bool {
    dataset("images.archive", bytes)
}

/// Whether there are images in a file, and the first of them can be read or all their labels.
fn dataset(name: &str, bytes: &[u8]) -> bool {
    with_files(&[(name, bytes)], |folder| {
        let path = folder.join(name);
        let is_labelled = Dataset::labelled(&path, None, OUTPUTS).is_ok();
        let Ok(images) = Dataset::unlabelled(&path) else { return false };
        let is_read = |index| {
            let pixels = images.pixels(index, &preprocess());
            pixels.is_ok() | images.values(index, &preprocess()).is_ok_and(|values| values.is_some())
        };
        (0..images.len().min(DECODED)).filter(|&index| is_read(index)).count() > 0 || is_labelled
    })
}

/// A text file of labels.
pub fn labels(bytes: &[u8]) -> bool {
    let images = ["00000001", "00000002"].map(|number| format!("images/ILSVRC2012_val_{number}.JPEG"));
    let [first, second] = &images;
    with_files(&[(first, b""), (second, b""), ("labels.txt", bytes)], |folder| {
        let read = Dataset::labelled(&folder.join("images"), Some(&folder.join("labels.txt")), OUTPUTS);
        read.is_ok_and(|images| {
            assert!(images.entries().iter().all(|entry| entry.label.is_some_and(|label| label < OUTPUTS)));
            true
        })
    })
}

/// A JSON file of preprocessing, ours or another library's. What was read is read again from what is written.
pub fn preprocess_file(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(found) = fgq::parse_preprocess(text, &preprocess()) else { return false };
    found.validate().expect("what was read is valid");
    let written = serde_json::to_string(&found).expect("valid");
    assert_eq!(fgq::parse_preprocess(&written, &preprocess()).expect("written"), found);
    true
}
