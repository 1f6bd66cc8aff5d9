//! The embedded network that reads digits, and its images.

use fgq::{Channels, Graph, LoadOptions, PixelImages, Preprocess, load};
use safetensors::SafeTensors;
use std::path::PathBuf;

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/digits").join(path)
}

pub fn network() -> (Graph, Preprocess) {
    let graph = load(&fixture("digits-resnet.onnx"), &LoadOptions::default()).unwrap().graph;
    let defaults = Preprocess::default_for(1, 8, 8).unwrap();
    (graph, Preprocess { mean: vec![0.3053], std: vec![0.3758], channels: Channels::Grey, ..defaults })
}

/// The first images of a part, train or test, with their labels.
pub fn images(part: &str, count: usize) -> PixelImages {
    let bytes = std::fs::read(fixture("digits.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |what: &str| file.tensor(&format!("{part}_{what}")).unwrap();
    PixelImages {
        pixels: tensor("images").data().chunks(64).take(count).map(<[u8]>::to_vec).collect(),
        labels: tensor("labels").data().iter().take(count).map(|&class| usize::from(class)).collect(),
    }
}
