//! Samples in arrays: pictures in bytes, and real numbers that the network itself reads.

use crate::support::{DIGITS, Digits, repository};
use safetensors::SafeTensors;
use std::fs;

/// Mean and deviation that the digits network was trained with.
const VALUES: [f32; 2] = [0.3053, 0.3758];
const COUNT: usize = 100;

/// A `.npy` file.
fn npy(descr: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let header = format!("{header:117}\n");
    [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), elements].concat()
}

/// Writes the first test images as `bytes.npy` and, as the network reads them, as `reals.npy`, with `labels.npy`.
fn write_arrays(digits: &Digits) {
    let bytes = fs::read(repository("fixtures/digits/digits.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let pixels = &file.tensor("test_images").unwrap().data()[..64 * COUNT];
    let labels = &file.tensor("test_labels").unwrap().data()[..COUNT];
    let reals = pixels.iter().map(|&pixel| (f32::from(pixel) / 255.0 - VALUES[0]) / VALUES[1]);
    let reals: Vec<u8> = reals.flat_map(f32::to_le_bytes).collect();
    fs::write(digits.join("bytes.npy"), npy("|u1", &format!("({COUNT}, 8, 8)"), pixels)).unwrap();
    fs::write(digits.join("reals.npy"), npy("<f4", &format!("({COUNT}, 1, 8, 8)"), &reals)).unwrap();
    fs::write(digits.join("labels.npy"), npy("|u1", &format!("({COUNT},)"), labels)).unwrap();
}

#[test]
fn arrays_are_what_image_files_are() {
    let digits = Digits::new();
    write_arrays(&digits);
    digits.convert("net.fgq", &["--samples", "16"]);
    let eval = |images: &str| digits.run(&["eval", "net.fgq", "--images", images, "--json"]).json();
    let [folder, bytes, reals] = ["test", "bytes.npy", "reals.npy"].map(eval);
    for array in [bytes, reals] {
        assert_eq!((&array["images"], &array["top1"]), (&folder["images"], &folder["top1"]));
    }
}

#[test]
fn the_range_of_real_numbers_is_found() {
    let digits = Digits::new();
    write_arrays(&digits);
    let model = repository(DIGITS);
    let run = digits.run(&["convert", &model, "--calib", "reals.npy", "--set", ".*=int8", "-o", "net.fgq"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("preprocessing (range of reals.npy)"), "{}", run.stderr);
    let run = digits.run(&["eval", "net.fgq", "--images", "reals.npy", "--reference", &model, "--json"]);
    let eval = run.json();
    assert!(eval["agreement"].as_f64().unwrap() >= 98.0, "{eval}");
    assert!(eval["reference"]["top1"].as_f64().unwrap() > 90.0, "{eval}");
}

#[test]
fn arrays_without_labels_or_of_other_shapes_are_refused() {
    let digits = Digits::new();
    write_arrays(&digits);
    digits.convert("net.fgq", &["--samples", "8"]);
    fs::remove_file(digits.join("labels.npy")).unwrap();
    digits.run(&["eval", "net.fgq", "--images", "bytes.npy"]).fails_with(&[
        "bytes.npy",
        "no labels",
        "labels.npy",
    ]);
    fs::write(digits.join("flat.npy"), npy("<f4", "(2, 64)", &[0; 512])).unwrap();
    fs::write(digits.join("labels.npy"), npy("|u1", "(2,)", &[0, 1])).unwrap();
    let run = digits.run(&["eval", "net.fgq", "--images", "flat.npy"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("[64] where the network reads [1, 8, 8]"), "{}", run.stderr);
}
