//! Images in archives and tables that other programs wrote (`fixtures/archives/make_archives.py`).

use crate::data::{Dataset, Images};
use crate::error::ErrorKind;
use crate::format::Preprocess;
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

/// Names and pictures in the order of names.
const SORTED: [(&str, u8); 6] = [
    ("ant/4.png", 4),
    ("ant/5.png", 5),
    ("cat/0.png", 0),
    ("cat/1.png", 1),
    ("cat/2.png", 2),
    ("cat/3.png", 3),
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/archives").join(name)
}

fn preprocess() -> Preprocess {
    Preprocess::default_for(3, 1, 2).unwrap()
}

/// Names and, by their first pixel, pictures.
fn content(images: &Dataset) -> Vec<(String, u8)> {
    let picture = |index| {
        let pixels = images.pixels(index, &preprocess()).unwrap();
        let first = pixels[0];
        assert_eq!(pixels, [[first; 3], [first + 1; 3]].concat());
        (images.name(index), first / 10)
    };
    (0..images.len()).map(picture).collect()
}

fn labels(images: &Dataset) -> Vec<usize> {
    images.entries().iter().filter_map(|entry| entry.label).collect()
}

fn message(path: &Path) -> String {
    let read = Dataset::unlabelled(path).and_then(|images| images.pixels(0, &preprocess()));
    let error = read.unwrap_err();
    assert!(error.path().is_some_and(|found| found.starts_with(path)), "{error}");
    error.to_string()
}

#[test]
fn archives_are_folders_in_one_file() {
    let sorted = SORTED.map(|(name, picture)| (name.to_owned(), picture));
    for name in ["folders.tar", "long_names.tar", "stored.zip", "deflated.zip"] {
        assert_eq!(content(&Dataset::unlabelled(&fixture(name)).unwrap()), sorted, "{name}");
        let images = Dataset::labelled(&fixture(name), None, 2).unwrap();
        assert_eq!(labels(&images), [0, 0, 1, 1, 1, 1], "{name}");
        assert_eq!(images.class_names().unwrap(), ["ant", "cat"]);
        assert_eq!(content(&images.spread(2)), [sorted[1].clone(), sorted[4].clone()]);
    }
}

#[test]
fn labels_come_from_a_file_if_one_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("some.txt");
    let lines = SORTED.map(|(name, picture)| format!("{name} {picture}\n"));
    fs::write(&file, lines.concat()).unwrap();
    for name in ["folders.tar", "snappy.parquet"] {
        let images = Dataset::labelled(&fixture(name), Some(&file), 6).unwrap();
        let pictures = content(&images).into_iter().map(|(_, picture)| usize::from(picture));
        assert_eq!(labels(&images), pictures.collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn numbers_beside_images_of_a_webdataset_are_labels() {
    let images = Dataset::labelled(&fixture("webdataset.tar"), None, 3).unwrap();
    assert_eq!(content(&images)[5], ("0005.png".to_owned(), 5));
    assert_eq!(labels(&images), [0, 1, 2, 0, 1, 2]);
    let error = Dataset::labelled(&fixture("webdataset.tar"), None, 2).unwrap_err().to_string();
    assert!(
        error.contains("label 2 is too large for 2 outputs") && error.contains("webdataset.tar"),
        "{error}"
    );
}

#[cfg(feature = "parquet")]
#[test]
fn tables_have_images_and_labels() {
    for (name, first) in
        [("snappy.parquet", "cat/0.png"), ("gzip.parquet", "cat/0.png"), ("bytes.parquet", "row 0")]
    {
        let images = Dataset::labelled(&fixture(name), None, 3).unwrap();
        let found = content(&images);
        assert_eq!(found[0].0, first);
        assert_eq!(found.iter().map(|it| it.1).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5], "{name}");
        assert_eq!(labels(&images), [0, 1, 2, 0, 1, 2], "{name}");
    }
    assert!(message(&fixture("no_images.parquet")).contains("no column of images among text, label"));
    assert!(message(&fixture("no_bytes.parquet")).contains("row 0 of its column of images holds no bytes"));
    assert!(message(&fixture("lz4.parquet")).to_lowercase().contains("lz4"));
}

#[test]
fn what_cannot_be_read_is_refused() {
    assert!(message(&fixture("lzma.zip")).contains("compressed in it in a way that is not known"));
    assert!(message(&fixture("twice.tar")).contains("'1.png' is in it twice"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("images.tar.gz");
    fs::write(&file, b"\x1f\x8b\x08\x00 and so on").unwrap();
    assert!(message(&file).contains("gunzip it"));
    let arrays = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/torch/kinds.pth");
    let error = Dataset::unlabelled(&arrays).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Image);
    assert!(error.to_string().contains("no image in this archive"), "{error}");
}

/// Whatever is in a file: an answer or an error.
fn try_reading(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("archive");
    fs::write(&file, bytes).unwrap();
    if let Ok(images) = Dataset::unlabelled(&file) {
        (0..images.len()).for_each(|index| drop(images.pixels(index, &preprocess())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_archives_are_answered(
        name in prop::sample::select(vec!["folders.tar", "webdataset.tar", "deflated.zip", "snappy.parquet", "gzip.parquet"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = fs::read(fixture(name)).unwrap();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        try_reading(&bytes);
    }
}
