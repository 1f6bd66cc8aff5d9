//! Full-precision networks from every source: checked, inspected, evaluated, classified with; and those that are refused.

use crate::support::{DIGITS, DIGITS_VALUES, Digits, repository};
use serde_json::{Value, json};
use std::fs;

fn with_values<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &DIGITS_VALUES[..]].concat()
}

/// The parts of layers that a check and a conversion both tell.
fn told(json: &Value) -> Vec<Value> {
    let layers = json["layers"].as_array().unwrap().iter();
    layers
        .map(|layer| json!(["name", "kind", "precision", "reason", "bytes"].map(|key| &layer[key])))
        .collect()
}

#[test]
fn a_check_foretells_what_a_conversion_makes() {
    let digits = Digits::new();
    let model = repository(DIGITS);
    let options = ["--group", "16", "--set", ".*layer2.0/conv1.*=int4", "--act-bits", "5", "--json"];
    let run = digits.run(&with_values(&[&["check", &model], &options[..]].concat()));
    let check = run.json();
    let converted = digits.convert("net.fgq", &[&["--samples", "8"], &options[..]].concat()).json();
    assert_eq!(told(&check), told(&converted));
    let [foretold, made] =
        [&check["bytes"]["total"], &converted["bytes"]].map(|bytes| bytes.as_u64().unwrap());
    assert!(foretold.abs_diff(made) < made / 50, "{foretold} bytes instead of {made}");
    assert_eq!((&check["convertible"], &check["refused"]), (&json!(true), &json!([])));
    assert_eq!(
        (&check["layers"][0]["activation_bits"], &check["layers"][1]["activation_bits"]),
        (&json!(8), &json!(5))
    );
    let text = digits.run(&with_values(&["check", &model])).stdout;
    for part in ["ternary:4/4", "first convolution", "classifier", "predicted bytes", "It can be converted."]
    {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_check_lists_all_that_is_refused() {
    let digits = Digits::new();
    let mut patched = fs::read(repository(DIGITS)).unwrap();
    for at in 0..patched.len() - 6 {
        if &patched[at..at + 6] == b"\x22\x04Relu" {
            patched[at + 5] = b'a';
        }
    }
    fs::write(digits.join("patched.onnx"), patched).unwrap();
    let run = digits.run(&["check", "patched.onnx"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stdout.starts_with("patched.onnx cannot be converted:"), "{}", run.stdout);
    let run = digits.run(&["check", "patched.onnx", "--json"]);
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    let refused = json["refused"].as_array().unwrap();
    assert!(run.code == 1 && json["convertible"] == false && refused.len() == 7, "{}", run.stdout);
    for refusal in refused {
        assert_eq!(refusal["operator"], "Rela");
        assert!(refusal["node"].as_str().unwrap().to_lowercase().contains("relu"), "{refusal}");
    }
}

#[test]
fn what_is_wrong_with_files_and_options_is_an_error_of_a_check() {
    let digits = Digits::new();
    let model = repository(DIGITS);
    digits.run(&["check", "none.onnx"]).fails_with(&["none.onnx", "No such file"]);
    digits
        .run(&["check", &model, "--set", "x=int8"])
        .fails_with(&["--set 'x' matches no layer", "digits-resnet"]);
    digits.run(&["check", &model, "--plan", "none.json"]).fails_with(&["none.json"]);
    digits.run(&["check", &model, "--crop", "9"]).fails_with(&["8x8", "9x9"]);
}

#[test]
fn files_of_other_programs_are_refused_with_the_command_that_exports_them() {
    let digits = Digits::new();
    let files: [(&str, &[u8], &[&str]); 11] = [
        (
            "net.h5",
            b"\x89HDF\r\n\x1a\n",
            &["a Keras model", "load_model('net.h5')", "--saved-model net-saved"],
        ),
        ("weights.onnx", b"\x89HDF\r\n\x1a\n", &["a Keras model"]),
        ("net.tflite", b"\x1c\0\0\0TFL3", &["TensorFlow Lite", "--tflite net.tflite --output net.onnx"]),
        ("net.keras", b"PK\x03\x04", &["a Keras model", "tf2onnx.convert"]),
        ("frozen.pb", b"\x0a", &["a TensorFlow graph", "--graphdef frozen.pb"]),
        ("net.onnx.data", b"\0", &["the weights of an ONNX model", "give the .onnx file"]),
        ("net.engine", b"x", &["a TensorRT engine", "export that"]),
        ("net.mlmodel", b"x", &["a Core ML model", "export that"]),
        ("net.xml", b"<?xml", &["an OpenVINO model", "export that"]),
        ("net.bin", b"\0\0\0\0", &["OpenVINO", "export that"]),
        ("net.safetensors", b"version https://git-lfs.github.com/spec/v1\n", &["Git LFS", "git lfs pull"]),
    ];
    for (name, bytes, parts) in files {
        fs::write(digits.join(name), bytes).unwrap();
        digits.run(&["convert", name, "--calib", "train"]).fails_with(&[&[name], parts].concat());
        let run = digits.run(&["check", name]);
        assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{name}");
        assert!(run.stdout.contains(parts[0]), "{}", run.stdout);
    }
    fs::create_dir(digits.join("saved")).unwrap();
    fs::write(digits.join("saved/saved_model.pb"), b"\x08\x01").unwrap();
    for path in ["saved", "saved/saved_model.pb"] {
        digits.run(&["inspect", path]).fails_with(&["a TensorFlow model", "--saved-model saved --output"]);
    }
}

#[test]
fn programs_of_pytorch_are_refused_with_the_command_that_exports_them() {
    let digits = Digits::new();
    let refused = |name: &str| {
        let run = digits.run(&["check", &repository(&format!("fixtures/torch/{name}"))]);
        assert_eq!(run.code, 1, "{}", run.stderr);
        run.stdout
    };
    assert!(refused("whole.pth").contains("torch.load('network.pth'"));
    assert!(refused("script.pt").contains("torch.jit.load('network.pt'"));
}

#[test]
fn a_state_dict_is_converted() {
    let digits = Digits::new();
    let weights = repository("fixtures/torch/resnet20.pth");
    digits.run(&["check", &weights]).fails_with(&["name the architecture; they fit resnet20"]);
    let options =
        ["--arch", "resnet20", "--method", "closed-form", "--calib", "train", "--samples", "4", "--json"];
    let json = digits.run(&[&["convert", &weights], &options[..]].concat()).json();
    assert_eq!(json["output"], "resnet20.fgq");
    let inspect = digits.run(&["inspect", &weights, "--arch", "resnet20", "--json"]).json();
    let weights = 9 * (3 * 16 + 6 * 256 + 512 + 5 * 1024 + 2048 + 5 * 4096) + 640;
    assert_eq!((&inspect["weights"], &inspect["input"]), (&json!(weights), &json!([3, 32, 32])));
}

#[test]
fn full_precision_is_evaluated_as_it_is_as_a_reference() {
    let digits = Digits::new();
    let model = repository(DIGITS);
    assert_eq!(digits.convert("net.fgq", &["--samples", "8"]).code, 0);
    let packed = digits.run(&["eval", "net.fgq", "--images", "test", "--reference", &model, "--json"]).json();
    let full = digits.run(&with_values(&["eval", &model, "--images", "test", "--json"])).json();
    assert_eq!((&full["top1"], &full["top5"]), (&packed["reference"]["top1"], &packed["reference"]["top5"]));
    assert_eq!((&full["images"], &full["drop"]), (&json!(100), &Value::Null));
    let run = digits.run(&with_values(&["eval", &model, "--images", "test", "--min-top1", "101"]));
    assert!(run.code == 1 && run.stdout.contains("full precision"), "{}", run.stdout);
    digits
        .run(&with_values(&["eval", &model, "--images", "test", "--reference", &model]))
        .fails_with(&["--reference is for packed models"]);
    for command in [
        &["eval", "net.fgq", "--images", "test"][..],
        &["inspect", "net.fgq"],
        &["classify", "net.fgq", "test"],
    ] {
        digits.run(&with_values(command)).fails_with(&["net.fgq", "preprocessing in it"]);
    }
}

#[test]
fn full_precision_is_inspected_and_classifies() {
    let digits = Digits::new();
    let model = repository(DIGITS);
    let json = digits.run(&with_values(&["inspect", &model, "--json"])).json();
    assert_eq!((&json["input"], &json["outputs"]), (&json!([1, 8, 8]), &json!(10)));
    assert_eq!(json["weights"], 74_512);
    assert_eq!(json["bytes"].as_u64().unwrap(), 4 * json["parameters"].as_u64().unwrap());
    assert_eq!(json["operators"]["Relu"], 7);
    let text = digits.run(&with_values(&["inspect", &model])).stdout;
    for part in ["full precision", "multiplications", "preprocessing", "layer1.0/conv1"] {
        assert!(text.contains(part), "{text}");
    }
    let run = digits.run(&with_values(&["classify", &model, "test/3", "--json"]));
    let images = run.json()["images"].as_array().unwrap().clone();
    let right = images.iter().filter(|image| image["top"][0]["class"] == 3).count();
    assert!(images.len() > 3 && right >= images.len() - 1, "{}", run.stdout);
    let sum: f64 =
        images[0]["top"].as_array().unwrap().iter().map(|guess| guess["probability"].as_f64().unwrap()).sum();
    assert!(sum > 90.0 && sum < 100.0 + 1e-9);
}
