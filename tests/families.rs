//! Every network family converts, runs with integers only, and answers nearly as full precision does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fgq::{
    ConvertOptions, LoadOptions, PackedModel, Pattern, PixelImages, Precision, Preprocess, Session, convert,
    load,
};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

struct Family {
    name: String,
    model: PathBuf,
    pixels: Vec<Vec<u8>>,
    size: [usize; 2],
    /// Logits of ONNX Runtime, image after image.
    logits: Vec<f32>,
}

fn families() -> Vec<Family> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families");
    let mut models: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    models.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    models.sort();
    assert!(models.len() > 25, "only {} family models", models.len());
    models.into_iter().map(|model| family(&folder, model)).collect()
}

fn family(folder: &Path, model: PathBuf) -> Family {
    let name = model.file_stem().unwrap().to_string_lossy().into_owned();
    let base = name.split('-').next().unwrap();
    let bytes = std::fs::read(folder.join(format!("{base}.expected.safetensors"))).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let pixels = stored.tensor("pixels").unwrap();
    let size = [pixels.shape()[1], pixels.shape()[2]];
    let images = pixels.data().chunks(size[0] * size[1] * 3).map(<[u8]>::to_vec).collect();
    let logits = stored.tensor("logits").unwrap();
    let floats = logits.data().chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    Family { name, model, pixels: images, size, logits: floats }
}

fn converted(family: &Family, int8: bool) -> PackedModel {
    let graph = load(&family.model, &LoadOptions::default()).unwrap().graph;
    let preprocess = Preprocess::default_for(3, family.size[0], family.size[1]).unwrap();
    // Of every image one copy is held back, so that all of them are fitted.
    let copies = family.pixels.iter().flat_map(|image| std::iter::repeat_n(image.clone(), 4));
    let images = PixelImages { pixels: copies.collect(), labels: Vec::new() };
    let everywhere: Pattern = ".*".parse().unwrap();
    let overrides = if int8 { vec![(everywhere, Precision::int8())] } else { Vec::new() };
    let options = ConvertOptions { overrides, ..ConvertOptions::default() };
    convert(graph, &preprocess, &images, &options, &())
        .unwrap_or_else(|e| panic!("{}: {e}", family.name))
        .model
}

/// Relative error of the packed model's real logits, and their correlation with full precision's.
fn closeness(family: &Family, model: &PackedModel) -> (f64, f64) {
    let logits = Session::new(model).unwrap().run(&family.pixels.concat()).unwrap();
    let ours: Vec<f64> = logits.data.iter().map(|&logit| f64::from(logit) * model.logit_scale).collect();
    let theirs: Vec<f64> = family.logits.iter().map(|&logit| f64::from(logit)).collect();
    assert_eq!(ours.len(), theirs.len(), "{}", family.name);
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (a, b) = (mean(&ours), mean(&theirs));
    let dot = |x: &[f64], mx: f64, y: &[f64], my: f64| {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>()
    };
    let error: f64 = ours.iter().zip(&theirs).map(|(x, y)| (x - y).powi(2)).sum();
    let variance = dot(&theirs, b, &theirs, b);
    let correlation = dot(&ours, a, &theirs, b) / (dot(&ours, a, &ours, a) * variance).sqrt();
    ((error / variance).sqrt(), correlation)
}

#[test]
fn eight_bits_are_close_to_full_precision() {
    let mut failures = Vec::new();
    for family in families() {
        let (error, correlation) = closeness(&family, &converted(&family, true));
        println!("{:28} error {error:.3} correlation {correlation:.4}", family.name);
        // Squeeze layers of two channels amplify rounding; there is no other reason for its distance.
        let least = if family.name.starts_with("squeezenet") { 0.65 } else { 0.94 };
        if correlation < least {
            failures.push(format!("{} {error:.3} {correlation:.4}", family.name));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn ternary_follows_full_precision() {
    let mut failures = Vec::new();
    for family in families().into_iter().filter(|family| !family.name.contains('-')) {
        let (error, correlation) = closeness(&family, &converted(&family, false));
        println!("{:28} error {error:.3} correlation {correlation:.4}", family.name);
        let least = match family.name.as_str() {
            "tensorflow_style" => 0.99,
            "resnet_basic" | "regnet_y" => 0.85,
            // Random weights are no trained network: most of these only have to run and not be noise.
            _ => 0.2,
        };
        if correlation < least {
            failures.push(format!("{} {error:.3} {correlation:.4}", family.name));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
