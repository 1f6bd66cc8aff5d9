//! Tests of the loader as a whole, against outputs of ONNX Runtime stored in `fixtures/`.

use crate::error::Result;
use crate::graph::Interpreter;
use crate::source::{LoadOptions, load};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder)
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

/// Runs `images` and returns the largest difference from `expected`, or why that is not possible.
fn compare(path: &Path, images: &[f32], expected: &[f32]) -> Result<f32> {
    let graph = load(path, &LoadOptions::default())?.graph;
    let interpreter = Interpreter::new(&graph)?;
    let images = images.chunks_exact(graph.input.len());
    let results = images.map(|image| interpreter.run(image)).collect::<Result<Vec<_>>>()?;
    Ok(difference(&results.concat(), expected))
}

/// Asserts that every comparison stays below `bound`.
fn assert_close(results: impl Iterator<Item = (String, Result<f32>)>, bound: f32) {
    let problem = |(name, result)| match result {
        Ok(difference) if difference <= bound => None,
        Ok(difference) => Some(format!("{name}: differs by {difference}")),
        Err(error) => Some(format!("{name}: {error}")),
    };
    let problems: Vec<String> = results.filter_map(problem).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn families_agree_with_onnx_runtime() {
    let results = models("families").into_iter().map(|model| {
        let family = model.split(['.', '-']).next().unwrap();
        let bytes =
            std::fs::read(fixtures("families").join(format!("{family}.expected.safetensors"))).unwrap();
        let stored = SafeTensors::deserialize(&bytes).unwrap();
        let pixels = stored.tensor("pixels").unwrap().data();
        let images: Vec<f32> = pixels.chunks_exact(pixels.len() / 4).flat_map(normalised).collect();
        let result = compare(&fixtures("families").join(&model), &images, &floats(&stored, "logits"));
        (model, result)
    });
    assert_close(results, 3e-5);
}

#[test]
fn operators_agree_with_onnx_runtime() {
    let bytes = std::fs::read(fixtures("onnx/ops.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let results = models("onnx/ops").into_iter().map(|model| {
        let name = model.trim_end_matches(".onnx");
        let (images, expected) =
            (floats(&stored, &format!("{name}.x")), floats(&stored, &format!("{name}.y")));
        let result = compare(&fixtures("onnx/ops").join(&model), &images, &expected);
        (model, result)
    });
    assert_close(results, 1e-5);
}

#[test]
fn refusals_say_what_is_wrong_and_where() {
    let text = std::fs::read_to_string(fixtures("onnx/refused.json")).unwrap();
    let refusals: BTreeMap<String, Vec<String>> = serde_json::from_str(&text).unwrap();
    let mut problems = Vec::new();
    for (name, pieces) in refusals {
        let path = fixtures("onnx/refused").join(format!("{name}.onnx"));
        let message = match load(&path, &LoadOptions::default()) {
            Ok(_) => "loads".to_owned(),
            Err(error) => error.to_string(),
        };
        let mut rest = message.as_str();
        let found = pieces.iter().all(|piece| match rest.split_once(piece.as_str()) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        });
        if !found || !message.starts_with(&path.display().to_string()) {
            problems.push(format!("{name}: {message} (expected {pieces:?})"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
