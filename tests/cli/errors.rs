//! What goes wrong ends with exit code 2 and an error that names the file, the node and the remedy.

use crate::support::{DIGITS, Digits, fgq_in, names, repository};
use fgq::Uses;
use safetensors::SafeTensors;
use serde_json::json;
use std::fs;
use std::path::Path;

/// The digits network with some bytes replaced wherever they occur.
fn patched(digits: &Digits, from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(repository(DIGITS)).unwrap();
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty());
    places.iter().for_each(|&at| bytes[at..][..to.len()].copy_from_slice(to));
    fs::write(digits.join("patched.onnx"), bytes).unwrap();
}

/// Bytes of the first weights of a layer in the ONNX file; the safetensors file has the same numbers as f16.
fn first_weights(name: &str) -> Vec<u8> {
    let bytes = fs::read(repository("fixtures/digits/digits-resnet.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let halves =
        file.tensor(name).unwrap().data()[..8].chunks_exact(2).map(|b| [b[0], b[1]]).collect::<Vec<_>>();
    halves.into_iter().flat_map(|half| half::f16::from_le_bytes(half).to_f32().to_le_bytes()).collect()
}

fn convert_patched(digits: &Digits) -> crate::support::Run {
    let run = digits.run(&["convert", "patched.onnx", "--calib", "train", "-o", "net.fgq"]);
    assert!(!digits.join("net.fgq").exists());
    run
}

#[test]
fn models_that_cannot_be_read() {
    let digits = Digits::new();
    let convert = |model: &str| digits.run(&["convert", model, "--calib", "train"]);
    convert("none.onnx").fails_with(&["none.onnx", "No such file"]);
    convert("train").fails_with(&["train", "expected .onnx"]);
    fs::write(digits.join("text.onnx"), "not a model").unwrap();
    convert("text.onnx").fails_with(&["text.onnx", "not an ONNX file"]);
    fs::write(digits.join("weights.safetensors"), "x").unwrap();
    convert("weights.safetensors").fails_with(&["weights.safetensors"]);
    let whole = fs::read(repository(DIGITS)).unwrap();
    fs::write(digits.join("half.onnx"), &whole[..whole.len() / 2]).unwrap();
    convert("half.onnx").fails_with(&["half.onnx"]);
    let weights = repository("fixtures/digits/digits-resnet.safetensors");
    convert(&weights).fails_with(&["digits-resnet.safetensors", "name the architecture"]);
    digits
        .run(&["convert", &weights, "--calib", "train", "--arch", "resnet20"])
        .fails_with(&["the tensors are not those of resnet20", "missing"]);
    digits
        .run(&["convert", &weights, "--calib", "train", "--arch", "resnet9"])
        .fails_with(&["'resnet9' is not known"]);
}

#[test]
fn an_unsupported_operator_is_named() {
    let digits = Digits::new();
    patched(&digits, b"\x22\x04Relu", b"\x22\x04Rela");
    convert_patched(&digits).fails_with(&["patched.onnx", "Rela"]);
}

#[test]
fn a_weight_that_is_no_number_is_named() {
    let digits = Digits::new();
    let from = first_weights("layer2.0.conv1.weight");
    let to = [&from[..4], &f32::NAN.to_le_bytes(), &from[8..]].concat();
    patched(&digits, &from, &to);
    convert_patched(&digits).fails_with(&["patched.onnx", "layer2.0.conv1", "NaN"]);
}

#[test]
fn images_that_cannot_be_read() {
    let digits = Digits::new();
    fs::create_dir_all(digits.join("empty/0")).unwrap();
    fs::create_dir(digits.join("bad")).unwrap();
    fs::write(digits.join("bad/a.png"), "x").unwrap();
    let model = repository(DIGITS);
    let convert = |folder: &str| digits.run(&["convert", &model, "--calib", folder, "-o", "net.fgq"]);
    convert("missing").fails_with(&["missing", "No such file"]);
    convert("empty").fails_with(&["empty", "no image"]);
    convert("bad").fails_with(&["none of 1 calibration images can be read", "because: ", "a.png"]);
    assert_eq!(names(digits.path()), ["bad", "empty", "test", "train"]);
}

#[test]
fn options_that_cannot_be_used() {
    let digits = Digits::new();
    let fails = |options: &[&str], parts: &[&str]| digits.convert("net.fgq", options).fails_with(parts);
    fails(&["--group", "0"], &["group size of 0", "at least 1"]);
    fails(&["--act-bits", "1"], &["1 activation bits", "2 to 8"]);
    fails(&["--samples", "0"], &["--samples 0"]);
    fails(&["--threads", "0"], &["--threads"]);
    fails(&["--set", "x.*=int8"], &["--set 'x.*' matches no layer", "layer1.0/conv1", "linear"]);
    fails(&["--act", "x.*=4"], &["--act 'x.*' matches no"]);
    fails(&["--set", "conv=int9"], &["unknown precision 'int9'", "ternary:N"]);
    fails(&["--set", "(=int8"], &["no regular expression"]);
    fails(&["--set", "conv"], &["PATTERN=VALUE"]);
    fails(&["--range", "biggest"], &["unknown range 'biggest'"]);
    fails(&["--input-size", "16"], &["--input-size"]);
    fails(&["--crop", "9"], &["8x8", "9x9"]);
    fails(&["--channels", "rgb"], &["takes 1 channels", "gives 3 (rgb)", "set channels"]);
    fails(&["--preprocess", "nothing"], &["nothing", "JSON file or one of imagenet"]);
    fails(&["--preprocess", "imagenet"], &["channels"]);
    fails(&["--output-name", "nothing"], &["nothing"]);
    fails(&["--frobnicate"], &["--frobnicate"]);
    assert_eq!(names(digits.path()), ["test", "train"]);
}

/// None of the images can be read, so that whatever else is wrong must have been found before.
#[test]
fn everything_is_refused_before_the_images_are_read() {
    let digits = Digits::new();
    fs::create_dir(digits.join("bad")).unwrap();
    fs::write(digits.join("bad/a.png"), "x").unwrap();
    let plan = |layer: &str, weights: &str, bits: u8| {
        json!({ "objective": 0, "bound": 0, "alpha": 1, "budgets": {}, "uses": Uses::default(), "layers": [{
            "name": layer, "weights": weights, "weight_bits": 8, "activation_bits": bits, "parameters": 1,
            "bits": 8, "damage": 0,
        }] })
    };
    let plans = [
        ("other.json", plan("other", "int8", 8), "is the plan for another network"),
        ("weights.json", plan("/linear/Gemm", "8", 8), "unknown precision '8'"),
        ("bits.json", plan("/linear/Gemm", "int8", 99), "99"),
    ];
    let model = repository(DIGITS);
    let convert = |more: &[&str]| digits.run(&[&["convert", &model, "--calib", "bad"], more].concat());
    for (name, plan, part) in plans {
        fs::write(digits.join(name), plan.to_string()).unwrap();
        convert(&["--plan", name]).fails_with(&[part]);
    }
    convert(&["--plan", "missing.json"]).fails_with(&["missing.json", "No such file"]);
    convert(&["--act", "other=4"]).fails_with(&["--act 'other' matches no"]);
    convert(&["--set", "other=int8"]).fails_with(&["--set 'other' matches no"]);
    convert(&["--act-bits", "99"]).fails_with(&["99 activation bits"]);
    convert(&["--group", "0"]).fails_with(&["group size of 0"]);
    convert(&[]).fails_with(&["calibration images can be read"]);
    let plan = |more: &[&str]| digits.run(&[&["plan", &model, "--calib", "bad"], more].concat());
    plan(&["-o", "missing/plan.json"]).fails_with(&["missing", "create the folder"]);
    plan(&["--report", "missing/plan.html"]).fails_with(&["missing", "create the folder"]);
    plan(&["--indicators", "missing/i.json"]).fails_with(&["missing", "create the folder"]);
    plan(&["--mean-bits", "0"]).fails_with(&["--mean-bits 0 is no budget"]);
    plan(&["--mean-bits", "1"]).fails_with(&["no plan reaches --mean-bits 1"]);
    plan(&["--max-size", "1KB"]).fails_with(&["nothing but weights", "no plan reaches --max-size 1000"]);
    plan(&["--alpha=-1"]).fails_with(&["alpha"]);
    plan(&["--act-bits", "99"]).fails_with(&["activation"]);
    plan(&["--measure", "0"]).fails_with(&["at least 1"]);
    plan(&[]).fails_with(&["calibration images can be read"]);
}

#[test]
fn outputs_that_cannot_be_written() {
    let digits = Digits::new();
    digits.convert("missing/net.fgq", &[]).fails_with(&["missing", "create the folder"]);
    digits.convert("train", &[]).fails_with(&["is a folder"]);
    fs::copy(repository(DIGITS), digits.join("net.onnx")).unwrap();
    digits
        .run(&["convert", "net.onnx", "--calib", "train", "-o", "net.onnx"])
        .fails_with(&["is the model itself"]);
    assert_eq!(fs::read(digits.join("net.onnx")).unwrap(), fs::read(repository(DIGITS)).unwrap());
}

#[test]
fn packed_models_that_cannot_be_read() {
    let digits = Digits::new();
    assert_eq!(digits.convert("net.fgq", &["--samples", "5"]).code, 0);
    let whole = fs::read(digits.join("net.fgq")).unwrap();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(digits.join("half.fgq"), &whole[..length]).unwrap();
        digits.run(&["inspect", "half.fgq"]).fails_with(&["half.fgq", "not a packed model"]);
    }
    let images = ["--images", "test"];
    digits.run(&[&["eval", "half.fgq"], &images[..]].concat()).fails_with(&["half.fgq"]);
    digits.run(&["classify", "half.fgq", "test"]).fails_with(&["half.fgq"]);
    let weights = repository("fixtures/digits/digits.safetensors");
    digits.run(&["inspect", &weights]).fails_with(&["digits.safetensors", "name the architecture"]);
}

#[test]
fn evaluations_that_cannot_be_done() {
    let digits = Digits::new();
    assert_eq!(digits.convert("net.fgq", &["--samples", "5"]).code, 0);
    let eval = |more: &[&str]| digits.run(&[&["eval", "net.fgq"], more].concat());
    eval(&[]).fails_with(&["--images", "--imagenet-val"]);
    eval(&["--images", "test", "--imagenet-val", "test"]).fails_with(&["cannot be used with"]);
    eval(&["--imagenet-val", "test"]).fails_with(&["10 outputs", "1000 classes"]);
    eval(&["--images", "test/3"]).fails_with(&["label"]);
    eval(&["--images", "test", "--labels", "none.txt"]).fails_with(&["none.txt"]);
    let other = repository("fixtures/families/resnet_basic.onnx");
    eval(&["--images", "test", "--reference", &other]).fails_with(&["the reference reads 3x", "1x8x8"]);
    digits.run(&["classify", "net.fgq", "none.png"]).fails_with(&["none.png"]);
    digits.run(&["classify", "net.fgq", "test", "--dump-input", "x.npy"]).fails_with(&["one image, not 100"]);
    fs::remove_dir_all(digits.join("test/4")).unwrap();
    eval(&["--images", "test"]).fails_with(&["9 class folders", "10 outputs"]);
}

#[test]
fn no_command_is_a_usage_error() {
    let run = fgq_in::<&str>(Path::new("."), &[]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("Usage: fgq"));
}
