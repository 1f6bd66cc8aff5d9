//! Folders, label files and what becomes of them.

use crate::data::Images;
use crate::data::dataset::{Dataset, spread};
use crate::error::{ErrorKind, Result};
use crate::format::Preprocess;
use proptest::prelude::*;
use std::fs;
use tempfile::TempDir;

/// A folder with these files; a name that ends in `/` is an empty folder. Images need no content to be listed.
fn folder(files: &[&str]) -> TempDir {
    let root = TempDir::new().unwrap();
    for file in files {
        let path = root.path().join(file);
        fs::create_dir_all(if file.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
        if !file.ends_with('/') {
            fs::write(path, "text").unwrap();
        }
    }
    root
}

fn found(dataset: &Dataset) -> Vec<(&str, usize)> {
    dataset.entries().iter().map(|e| (e.name.as_str(), e.label.unwrap())).collect()
}

fn labelled(root: &TempDir, outputs: usize) -> Result<Dataset> {
    Dataset::labelled(root.path(), None, outputs)
}

fn with_labels(root: &TempDir, name: &str, text: &str, outputs: usize) -> Result<Dataset> {
    let file = root.path().join(name);
    fs::write(&file, text).unwrap();
    Dataset::labelled(root.path(), Some(&file), outputs)
}

#[test]
fn image_folder_is_indexed_in_sorted_order() {
    let root =
        folder(&["dog/2.png", "dog/1.png", "cat/sub/x.jpg", "cat/notes.txt", "ant/a.webp", ".git/x.png"]);
    let dataset = labelled(&root, 3).unwrap();
    assert_eq!(
        found(&dataset),
        [("ant/a.webp", 0), ("cat/sub/x.jpg", 1), ("dog/1.png", 2), ("dog/2.png", 2)]
    );
    assert_eq!(dataset.class_names().unwrap(), ["ant", "cat", "dog"]);
    assert!(dataset.entries()[0].path.is_file());
}

#[test]
fn class_folders_must_be_all_classes() {
    let root = folder(&["a/1.png", "b/1.png"]);
    let error = labelled(&root, 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(error.to_string().contains("2 class folders, but the network has 3 outputs"), "{error}");
    let hollow = folder(&["a/1.png", "b/", "c/1.png"]);
    assert!(labelled(&hollow, 2).unwrap_err().to_string().contains("class folder 'b' holds no image"));
    let mixed = folder(&["a/1.png", "2.png"]);
    assert!(labelled(&mixed, 1).unwrap_err().to_string().contains("'2.png' lies in no class folder"));
}

#[test]
fn numbered_folders_out_of_order_are_mentioned() {
    let names: Vec<String> = (0..11).map(|i| format!("{i}/x.png")).collect();
    let root = folder(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let dataset = labelled(&root, 11).unwrap();
    assert_eq!(found(&dataset)[2], ("10/x.png", 2));
    assert!(dataset.notes()[0].contains("0, 1, 10, 2"));
}

#[test]
fn wordnet_folders_are_indexed_among_all_classes() {
    let root = folder(&["n15075141/x.JPEG", "n01443537/x.JPEG", "n02119789/x.JPEG"]);
    let dataset = labelled(&root, 1000).unwrap();
    assert_eq!(dataset.entries().iter().map(|e| e.label.unwrap()).collect::<Vec<_>>(), [1, 278, 999]);
    assert_eq!(dataset.class_names().unwrap()[1], "goldfish");
    let shifted = labelled(&root, 1001).unwrap();
    assert_eq!(shifted.entries()[2].label, Some(1000));
    assert_eq!(shifted.class_names().unwrap()[0], "background");
    assert!(shifted.notes()[1].contains("background class"));
    let few = labelled(&root, 3).unwrap();
    assert_eq!(found(&few)[2], ("n15075141/x.JPEG", 2));
}

#[test]
fn unknown_wordnet_id_is_an_error() {
    let root = folder(&["n15075141/x.JPEG", "n00000001/x.JPEG"]);
    assert!(labelled(&root, 1000).unwrap_err().to_string().contains("'n00000001' is none of"));
}

#[test]
fn flat_folder_takes_a_label_file_by_its_usual_name() {
    let root = folder(&["val/ILSVRC2012_val_00000002.JPEG", "val/ILSVRC2012_val_00000001.JPEG"]);
    let images = root.path().join("val");
    let none = Dataset::labelled(&images, None, 1000).unwrap_err();
    assert!(none.to_string().contains("lines 'name label'"), "{none}");
    fs::write(
        root.path().join("val.txt"),
        "ILSVRC2012_val_00000001.JPEG 65\nILSVRC2012_val_00000002.JPEG 970\n",
    )
    .unwrap();
    let dataset = Dataset::labelled(&images, None, 1000).unwrap();
    assert_eq!(dataset.entries().iter().map(|e| e.label.unwrap()).collect::<Vec<_>>(), [65, 970]);
    assert!(dataset.notes()[0].contains("val.txt"));
}

#[test]
fn labels_fit_the_outputs() {
    let root = folder(&["a.png", "b.png"]);
    let text = |name: &str, outputs| with_labels(&root, "l.txt", name, outputs);
    assert_eq!(found(&text("a.png 0\nb.png 9", 10).unwrap()), [("a.png", 0), ("b.png", 9)]);
    let error = text("a.png 1\nb.png 10", 10).unwrap_err().to_string();
    assert!(error.contains("l.txt") && error.contains("label 10 of 'b.png' is too large"), "{error}");
    assert!(text("a.png n01440764\nb.png n01440764", 10).unwrap_err().to_string().contains("1000 classes"));
    assert!(text("a.png 18446744073709551615\nb.png 0", 1001).is_err());
}

#[test]
fn background_class_is_counted_once() {
    let root = folder(&["a.png", "b.png"]);
    let of = |text: &str| {
        let dataset = with_labels(&root, "l.txt", text, 1001).unwrap();
        dataset.entries().iter().map(|e| e.label.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(of("a.png 0\nb.png 999"), [1, 1000]);
    assert_eq!(of("a.png 1\nb.png 1000"), [1, 1000]);
    assert_eq!(of("a.png n01440764\nb.png n15075141"), [1, 1000]);
}

#[test]
fn ilsvrc_ground_truth_needs_its_table() {
    let root = folder(&["ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"]);
    let name = "ILSVRC2012_validation_ground_truth.txt";
    let error = with_labels(&root, name, "1\n3\n", 1000).unwrap_err().to_string();
    assert!(error.contains("map_clsloc.txt"), "{error}");
    let ids: Vec<&str> = include_str!("../imagenet_classes.txt").lines().map(|l| &l[..9]).collect();
    let table: String = (0..1000).map(|i| format!("{} {} x\n", ids[999 - i], i + 1)).collect();
    fs::write(root.path().join("map_clsloc.txt"), &table).unwrap();
    let dataset = with_labels(&root, name, "1\n3\n", 1000).unwrap();
    assert_eq!(dataset.entries().iter().map(|e| e.label.unwrap()).collect::<Vec<_>>(), [999, 997]);
    assert!(with_labels(&root, name, "0\n3\n", 1000).unwrap_err().to_string().contains("ILSVRC id 0"));
    fs::write(root.path().join("map_clsloc.txt"), &table[..table.len() / 2]).unwrap();
    assert!(with_labels(&root, name, "1\n3\n", 1000).is_err());
}

#[test]
fn calibration_images_need_no_labels() {
    let root = folder(&["b/2.png", "1.jpg", "readme.md", "b/deep/3.bmp"]);
    fs::write(root.path().join("photo"), b"\xFF\xD8\xFF\xE0 a JPEG without extension").unwrap();
    let names: Vec<String> =
        Dataset::unlabelled(root.path()).unwrap().entries().iter().map(|e| e.name.clone()).collect();
    assert_eq!(names, ["1.jpg", "b/2.png", "b/deep/3.bmp", "photo"]);
    let single = Dataset::unlabelled(&root.path().join("b/2.png")).unwrap();
    assert_eq!((single.entries().len(), single.entries()[0].path.is_file()), (1, true));
}

#[test]
fn empty_and_missing_folders_are_named() {
    let root = folder(&["a/notes.txt"]);
    for error in [Dataset::unlabelled(root.path()).unwrap_err(), labelled(&root, 10).unwrap_err()] {
        assert_eq!((error.kind(), error.path()), (ErrorKind::Image, Some(root.path())));
    }
    let missing = root.path().join("missing");
    let error = Dataset::unlabelled(&missing).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Io, Some(missing.as_path())));
}

#[cfg(unix)]
#[test]
fn links_in_a_circle_are_noted_and_left_out() {
    let root = folder(&["a/1.png", "b/2.png", "c/"]);
    for name in ["a/up", "c/up"] {
        std::os::unix::fs::symlink(root.path(), root.path().join(name)).unwrap();
    }
    let images = Dataset::unlabelled(root.path()).unwrap();
    let names: Vec<&str> = images.entries().iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["a/1.png", "b/2.png"]);
    let [first, second] = images.notes() else { panic!("{:?}", images.notes()) };
    assert!(first.contains("a/up") && first.contains("circle"), "{first}");
    assert!(second.contains("c/up"), "{second}");
    let empty = folder(&["a/"]);
    std::os::unix::fs::symlink(empty.path(), empty.path().join("a/up")).unwrap();
    let error = Dataset::unlabelled(empty.path()).unwrap_err().to_string();
    assert!(error.contains("no image in this folder; left out") && error.contains("circle"), "{error}");
}

/// A pipe would keep whoever opens it waiting for ever.
#[cfg(unix)]
#[test]
fn pipes_and_devices_in_a_folder_are_never_opened() {
    let root = folder(&["a/1.png"]);
    let pipes = ["a/2.png", "pipe"].map(|name| root.path().join(name));
    let made = std::process::Command::new("mkfifo").args(&pipes).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo is needed");
    std::os::unix::fs::symlink("/dev/zero", root.path().join("a/3.png")).unwrap();
    let images = Dataset::unlabelled(root.path()).unwrap();
    assert_eq!(images.len(), 3);
    let preprocess = Preprocess::default_for(3, 1, 1).unwrap();
    for (index, name) in [(1, "a/2.png"), (2, "a/3.png")] {
        let error = images.pixels(index, &preprocess).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("a device or a pipe"), "{error}");
    }
}

#[test]
fn spread_touches_every_class() {
    let names: Vec<String> = (0..10).flat_map(|c| (0..7).map(move |i| format!("{c}/{i}.png"))).collect();
    let root = folder(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let few = labelled(&root, 10).unwrap().spread(10);
    assert_eq!(
        few.entries().iter().map(|e| e.label.unwrap()).collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    assert_eq!(labelled(&root, 10).unwrap().spread(1000).entries().len(), 70);
}

proptest! {
    #[test]
    fn spread_is_even(length in 0usize..5000, count in 0usize..600) {
        let chosen = spread(length, count);
        prop_assert_eq!(chosen.len(), count.min(length));
        prop_assert!(chosen.iter().all(|&i| i < length));
        let gaps: Vec<usize> = chosen.windows(2).map(|w| w[1] - w[0]).collect();
        if let (Some(min), Some(max)) = (gaps.iter().min(), gaps.iter().max()) {
            prop_assert!(*min >= 1 && max - min <= 1);
        }
    }
}
