//! Compensation comes closer to full precision than the closed form does, for every kind of layer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fgq::{
    Channels, ConvertOptions, Graph, Interpreter, LoadOptions, Method, PackedModel, PixelImages, Preprocess,
    Session, convert, load, normalise,
};
use safetensors::SafeTensors;
use std::path::PathBuf;

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

fn tensor(path: &str, name: &str) -> Vec<u8> {
    let bytes = std::fs::read(fixture(path)).unwrap();
    SafeTensors::deserialize(&bytes).unwrap().tensor(name).unwrap().data().to_vec()
}

struct Network {
    graph: Graph,
    preprocess: Preprocess,
    calibration: Vec<Vec<u8>>,
    evaluation: Vec<Vec<u8>>,
}

impl Network {
    fn digits() -> Self {
        let graph = load(&fixture("digits/digits-resnet.onnx"), &LoadOptions::default()).unwrap().graph;
        let defaults = Preprocess::default_for(1, 8, 8).unwrap();
        let preprocess =
            Preprocess { mean: vec![0.3053], std: vec![0.3758], channels: Channels::Grey, ..defaults };
        let images = |name: &str, count: usize| {
            tensor("digits/digits.safetensors", name).chunks(64).take(count).map(<[u8]>::to_vec).collect()
        };
        let (calibration, evaluation) = (images("train_images", 300), images("test_images", 300));
        Self { graph, preprocess, calibration, evaluation }
    }

    /// Families have four images, which are all there is to calibrate and to compare on. Of every image one copy is held
    /// back, so that all of them are fitted.
    fn family(name: &str, size: usize) -> Self {
        let model = fixture(&format!("families/{name}.onnx"));
        let pixels = tensor(&format!("families/{name}.expected.safetensors"), "pixels");
        let images: Vec<Vec<u8>> = pixels.chunks(3 * size * size).map(<[u8]>::to_vec).collect();
        Self {
            graph: load(&model, &LoadOptions::default()).unwrap().graph,
            preprocess: Preprocess::default_for(3, size, size).unwrap(),
            calibration: images.iter().flat_map(|image| std::iter::repeat_n(image.clone(), 4)).collect(),
            evaluation: images,
        }
    }

    fn full_precision(&self) -> Vec<f64> {
        let interpreter = Interpreter::new(&self.graph).unwrap();
        let run = |image: &Vec<u8>| {
            let input: Vec<f32> = normalise(image, &self.preprocess).unwrap().into_iter().collect();
            interpreter.run(&input).unwrap()
        };
        self.evaluation.iter().flat_map(run).map(f64::from).collect()
    }

    fn converted(&self, method: Method, group: usize) -> PackedModel {
        let images = PixelImages { pixels: self.calibration.clone(), labels: Vec::new() };
        let options = ConvertOptions { method, group, ..ConvertOptions::default() };
        convert(self.graph.clone(), &self.preprocess, &images, &options, &()).unwrap().model
    }

    /// Squared error of the logits relative to their variance.
    fn error(&self, method: Method, group: usize) -> f64 {
        let model = self.converted(method, group);
        let logits = Session::new(&model).unwrap().run(&self.evaluation.concat()).unwrap();
        let full = self.full_precision();
        let mean = full.iter().sum::<f64>() / full.len() as f64;
        let ours = logits.data.iter().map(|&logit| f64::from(logit) * model.logit_scale);
        let error: f64 = ours.zip(&full).map(|(ours, full)| (ours - full).powi(2)).sum();
        error / full.iter().map(|full| (full - mean).powi(2)).sum::<f64>()
    }

    /// The share of the closed form's squared error that compensation leaves.
    fn share(&self, group: usize) -> f64 {
        let [compensated, closed] = [Method::Compensated, Method::ClosedForm].map(|m| self.error(m, group));
        println!("N={group}: {compensated:.4} compensated, {closed:.4} closed form");
        compensated / closed
    }
}

#[test]
fn a_trained_network_keeps_its_logits_on_other_images() {
    let digits = Network::digits();
    for group in [4, 16, 64] {
        let share = digits.share(group);
        assert!(share < 0.5, "N={group}: {share}");
    }
}

#[test]
fn residual_blocks_follow_full_precision() {
    for group in [4, 64] {
        let share = Network::family("resnet_basic", 32).share(group);
        assert!(share < 0.5, "N={group}: {share}");
    }
}

#[test]
fn grouped_convolutions_are_compensated() {
    let share = Network::family("resnext", 32).share(4);
    assert!(share < 0.5, "{share}");
}

/// AlexNet's hidden layers are two of convolution's kind on a single position.
#[test]
fn linear_layers_are_compensated() {
    let share = Network::family("alexnet", 64).share(4);
    assert!(share < 0.5, "{share}");
}
