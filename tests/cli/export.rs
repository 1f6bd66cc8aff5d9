//! Packed models as C and ONNX.

use crate::support::{Digits, keys, names, repository};
use fgq::{PackedModel, Session, read_model};
use safetensors::SafeTensors;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The first test images, as bytes.
fn pixels(count: usize) -> Vec<u8> {
    let bytes = fs::read(repository("fixtures/digits/digits.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensor("test_images").unwrap().data()[..64 * count].to_vec()
}

/// What the exported program prints; `None`, said past the captured output, where there is no make or compiler.
fn printed(folder: &Path, inputs: &[u8]) -> Option<Vec<i32>> {
    let there =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|it| it.status.success());
    if !there("make") || !there("cc") {
        let _ = std::io::stderr().write_all(b"NOT TESTED: exported C; there is no make or no cc\n");
        return None;
    }
    let made = Command::new("make").current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let program = Command::new(folder.join("model")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut program = program.unwrap();
    program.stdin.take().unwrap().write_all(inputs).unwrap();
    let output = program.wait_with_output().unwrap();
    Some(String::from_utf8(output.stdout).unwrap().split_whitespace().map(|it| it.parse().unwrap()).collect())
}

fn logits(model: &PackedModel, inputs: &[u8]) -> Vec<i32> {
    Session::new(model).unwrap().run(inputs).unwrap().data
}

#[test]
fn digits_in_c_yield_the_runtimes_logits() {
    let digits = Digits::new();
    digits.convert("net.fgq", &["--group", "64", "--samples", "16"]);
    let json = digits.run(&["export", "net.fgq", "--c", "c", "--json"]).json();
    assert_eq!(keys(&json), ["c"]);
    assert_eq!(keys(&json["c"]), ["arena", "flash", "folder", "layers", "products"]);
    let model = read_model(&digits.join("net.fgq")).unwrap();
    assert_eq!(json["c"]["layers"].as_array().unwrap().len(), model.nodes.len());
    assert_eq!(names(&digits.join("c")), ["Makefile", "README.md", "main.c", "model.c", "model.h"]);
    let inputs = pixels(100);
    if let Some(found) = printed(&digits.join("c"), &inputs) {
        assert_eq!(found, logits(&model, &inputs));
    }
}

#[test]
fn a_setting_of_a_model_that_switches_is_exported() {
    let digits = Digits::new();
    let run = digits.convert_towards("net.fgq", &["--nested", "64*2", "--samples", "16"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let refused = digits.run(&["export", "net.fgq", "--c", "c", "--onnx", "net.onnx"]);
    refused.fails_with(&["net.fgq", "the model switches", "--bits"]);
    assert!(!digits.join("c").exists() && !digits.join("net.onnx").exists());
    let run = digits.run(&["export", "net.fgq", "--bits", "1", "--c", "c", "--onnx", "net.onnx"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let model = read_model(&digits.join("net.fgq")).unwrap();
    let model = model.at(&model.widths_of("1").unwrap()).unwrap();
    let inputs = pixels(10);
    if let Some(found) = printed(&digits.join("c"), &inputs) {
        assert_eq!(found, logits(&model, &inputs));
    }
}

#[test]
fn onnx_files_are_written_whole_or_refused() {
    let digits = Digits::new();
    digits.convert("net.fgq", &["--samples", "8"]);
    let json = digits.run(&["export", "net.fgq", "--onnx", "net.onnx", "--json"]).json();
    let two_bits = fs::read(digits.join("net.onnx")).unwrap();
    assert_eq!(json["onnx"]["bytes"], two_bits.len());
    digits.run(&["export", "net.fgq", "--onnx", "again.onnx"]);
    assert_eq!(fs::read(digits.join("again.onnx")).unwrap(), two_bits);
    digits.run(&["export", "net.fgq", "--onnx", "plain.onnx", "--opset", "21"]);
    assert!(fs::read(digits.join("plain.onnx")).unwrap().len() > two_bits.len());
    digits
        .run(&["export", "net.fgq", "--onnx", "x.onnx", "--opset", "7"])
        .fails_with(&["--opset 7", "give 21 to 25"]);
    digits
        .run(&["export", "net.fgq", "--c", "d", "--prefix", "7"])
        .fails_with(&["--prefix 7", "no C identifier"]);
    assert!(!digits.join("x.onnx").exists() && !digits.join("d").exists());
    digits.run(&["export", "none.fgq", "--c", "d"]).fails_with(&["none.fgq"]);
    let none = digits.run(&["export", "net.fgq"]);
    assert!(none.code == 2 && none.stderr.contains("--c <DIR>"), "{}", none.stderr);
}
