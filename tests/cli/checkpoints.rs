//! Safetensors checkpoints and networks with a background class.

use crate::support::{Digits, repository};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;
use std::fs;
use std::path::Path;

/// Names and shapes of the CIFAR ResNet-20.
fn resnet20() -> Vec<(String, Vec<usize>)> {
    let mut tensors = vec![("conv1.weight".to_owned(), vec![16, 3, 3, 3])];
    norm(&mut tensors, "bn1", 16);
    let mut inputs = 16;
    for (stage, width) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..3 {
            for conv in [1, 2] {
                let prefix = format!("layer{}.{block}", stage + 1);
                tensors.push((format!("{prefix}.conv{conv}.weight"), vec![width, inputs, 3, 3]));
                norm(&mut tensors, &format!("{prefix}.bn{conv}"), width);
                inputs = width;
            }
        }
    }
    tensors.extend([("linear.weight".to_owned(), vec![10, 64]), ("linear.bias".to_owned(), vec![10])]);
    tensors
}

fn norm(tensors: &mut Vec<(String, Vec<usize>)>, prefix: &str, width: usize) {
    let names = ["weight", "bias", "running_mean", "running_var"];
    tensors.extend(names.map(|name| (format!("{prefix}.{name}"), vec![width])));
}

/// Weights that are anything but trained, but of a sensible size.
fn values(name: &str, shape: &[usize]) -> Vec<u8> {
    let fan_in: usize = shape[1..].iter().product();
    let value = |index: usize| match shape.len() {
        1 if name.ends_with("weight") || name.ends_with("var") => 1.0,
        1 => 0.0,
        _ => (index as f32 * 12.9898).sin() * (3.0 / fan_in as f32).sqrt(),
    };
    (0..shape.iter().product()).flat_map(|index| f32::to_le_bytes(value(index))).collect()
}

fn write_resnet20(path: &Path) {
    let tensors: Vec<_> =
        resnet20().into_iter().map(|(name, shape)| (values(&name, &shape), name, shape)).collect();
    let view = |(bytes, name, shape): &'_ (Vec<u8>, String, Vec<usize>)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), Box::leak(bytes.clone().into())).unwrap())
    };
    fs::write(path, safetensors::serialize(tensors.iter().map(view), None).unwrap()).unwrap();
}

#[test]
fn a_configuration_beside_the_weights_names_architecture_and_preprocessing() {
    let digits = Digits::new();
    fs::create_dir(digits.join("hub")).unwrap();
    write_resnet20(&digits.join("hub/model.safetensors"));
    let convert = ["convert", "hub/model.safetensors", "--calib", "train", "--samples", "8", "--json"];
    digits.run(&convert).fails_with(&["hub/model.safetensors", "name the architecture", "resnet20"]);
    let config = json!({"architecture": "resnet20", "num_classes": 10, "pretrained_cfg":
        {"input_size": [3, 32, 32], "crop_pct": 0.8, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}});
    fs::write(digits.join("hub/config.json"), config.to_string()).unwrap();
    let json = digits.run(&convert).json();
    assert_eq!(
        (&json["output"], &json["preprocess_origin"]),
        (&json!("model.fgq"), &json!("hub/config.json"))
    );
    assert_eq!((&json["preprocess"]["resize"], &json["preprocess"]["mean"][0]), (&json!(40), &json!(0.5)));
    let eval =
        ["eval", "model.fgq", "--images", "test", "--limit", "10", "--reference", "hub/model.safetensors"];
    let run = digits.run(&[&eval[..], &["--arch", "resnet20", "--json"]].concat());
    assert_eq!(run.json()["images"], 10);
    let other = digits.run(&[&convert[..], &["--arch", "resnet18"]].concat());
    other.fails_with(&["not those of resnet18", "they fit resnet20"]);
}

#[test]
fn a_crop_sets_the_size_that_a_checkpoint_leaves_open() {
    let digits = Digits::new();
    write_resnet20(&digits.join("net.safetensors"));
    let convert = |more: &[&str]| {
        let base = ["convert", "net.safetensors", "--arch", "resnet20", "--calib", "train", "--samples", "4"];
        assert_eq!(digits.run(&[&base[..], more].concat()).code, 0);
        digits.run(&["inspect", "net.fgq", "--json"]).json()["input"].clone()
    };
    fs::write(digits.join("p.json"), r#"{"resize": 26, "crop": 24}"#).unwrap();
    assert_eq!(convert(&[]), json!([3, 32, 32]));
    assert_eq!(convert(&["--preprocess", "p.json"]), json!([3, 24, 24]));
    assert_eq!(convert(&["--preprocess", "p.json", "--crop", "20"]), json!([3, 20, 20]));
}

#[test]
fn a_background_class_is_recognised_and_said_to_be() {
    let digits = Digits::new();
    fs::create_dir(digits.join("val")).unwrap();
    fs::rename(digits.join("test/0"), digits.join("val/n01440764")).unwrap();
    fs::rename(digits.join("test/1"), digits.join("val/n15075141")).unwrap();
    let model = repository("fixtures/families/tensorflow_style.onnx");
    let run = digits.run(&["convert", &model, "--calib", "val", "-o", "tf.fgq"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let classes = digits.run(&["inspect", "tf.fgq", "--json"]).json()["classes"].clone();
    assert_eq!((&classes[0], &classes[1]), (&json!("background"), &json!("tench")));
    let run = digits.run(&["eval", "tf.fgq", "--imagenet-val", "val", "--json"]);
    assert!(run.json()["top5"].is_number());
    for part in ["2 folders with WordNet ids", "1001 outputs: the first is taken as a background class"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
}
