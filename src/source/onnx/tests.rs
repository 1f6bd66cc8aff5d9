//! Tests of the loader as a whole, against outputs of ONNX Runtime stored in `fixtures/`.

use crate::graph::Interpreter;
use crate::source::{LoadOptions, Loaded, load};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder)
}

fn load_fixture(folder: &str, name: &str) -> Loaded {
    load(&fixtures(folder).join(name), &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn models(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(fixtures(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".onnx")).collect();
    names.sort();
    names
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = tensors.tensor(name).unwrap().data().to_vec();
    bytes.as_chunks().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect()
}

/// Largest difference, relative to the largest expected value.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(f32::MIN_POSITIVE, |scale, value| scale.max(value.abs()));
    found.iter().zip(expected).fold(0.0, |worst, (a, b)| f32::max(worst, (a - b).abs())) / scale
}

/// Images as the families expect them: ImageNet mean and standard deviation, channels first.
fn normalised(pixels: &[u8]) -> Vec<f32> {
    let (mean, deviation) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let plane = |channel: usize| {
        let values = pixels.iter().skip(channel).step_by(3);
        values.map(move |&pixel| (f32::from(pixel) / 255.0 - mean[channel]) / deviation[channel])
    };
    (0..3).flat_map(plane).collect()
}

#[test]
fn families_agree_with_onnx_runtime() {
    let mut failures = Vec::new();
    for model in models("families") {
        let family = model.split(['.', '-']).next().unwrap();
        let bytes =
            std::fs::read(fixtures("families").join(format!("{family}.expected.safetensors"))).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let loaded = match load(&fixtures("families").join(&model), &LoadOptions::default()) {
            Ok(loaded) => loaded,
            Err(error) => {
                failures.push(error.to_string());
                continue;
            }
        };
        let interpreter = Interpreter::new(&loaded.graph).unwrap();
        let pixels = expected.tensor("pixels").unwrap().data();
        let images = pixels.chunks_exact(pixels.len() / 4);
        let found: Vec<f32> = images.flat_map(|image| interpreter.run(&normalised(image)).unwrap()).collect();
        let worst = difference(&found, &floats(&expected, "logits"));
        if worst > 3e-5 {
            failures.push(format!("{model}: {worst}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
