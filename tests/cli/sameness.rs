//! Same inputs, same bytes; and nothing half-written.

use crate::support::{DIGITS, DIGITS_VALUES, Digits, names, repository};
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn threads_and_repetition_change_nothing() {
    let digits = Digits::new();
    for (output, threads) in [("a.fgq", "1"), ("b.fgq", "2"), ("c.fgq", "2")] {
        assert_eq!(digits.convert(output, &["--threads", threads]).code, 0);
    }
    let bytes = |name: &str| fs::read(digits.join(name)).unwrap();
    assert!(bytes("a.fgq") == bytes("b.fgq") && bytes("b.fgq") == bytes("c.fgq"));
    let eval = |threads: &str| -> Value {
        let mut json =
            digits.run(&["eval", "a.fgq", "--images", "test", "--json", "--threads", threads]).json();
        json.as_object_mut().unwrap().remove("images_per_second");
        json
    };
    assert_eq!(eval("1"), eval("3"));
}

#[test]
fn reference_kernels_agree() {
    let digits = Digits::new();
    assert_eq!(digits.convert("net.fgq", &[]).code, 0);
    let classify = |kernels: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fgq"));
        command.args(["classify", "net.fgq", "test", "--json"]).env("FGQ_KERNELS", kernels);
        command.current_dir(digits.path()).output().unwrap()
    };
    let reference = classify("reference");
    assert!(reference.status.success());
    for kernels in ["portable", ""] {
        assert_eq!(reference.stdout, classify(kernels).stdout, "kernels {kernels:?}");
    }
    let unknown = classify("magic");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("available are: reference"));
}

#[test]
fn a_failed_conversion_keeps_the_old_file() {
    let digits = Digits::new();
    assert_eq!(digits.convert("net.fgq", &["--set", ".*=int8"]).code, 0);
    let old = fs::read(digits.join("net.fgq")).unwrap();
    digits.convert("net.fgq", &["--set", "nothing=int8"]).fails_with(&["matches no layer"]);
    assert_eq!(fs::read(digits.join("net.fgq")).unwrap(), old);
    assert_eq!(names(digits.path()), ["net.fgq", "test", "train"]);
    assert_eq!(digits.convert("net.fgq", &[]).code, 0);
    assert!(fs::read(digits.join("net.fgq")).unwrap().len() < old.len());
}

#[test]
fn an_interrupted_conversion_leaves_nothing() {
    let digits = Digits::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fgq"));
    command.args(["convert", &repository(DIGITS), "--calib", "train", "-o", "net.fgq"]).args(DIGITS_VALUES);
    let mut child = command.current_dir(digits.path()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(30));
    child.kill().unwrap();
    child.wait().unwrap();
    if digits.join("net.fgq").exists() {
        assert_eq!(digits.run(&["inspect", "net.fgq"]).code, 0, "it was faster, so the file must be whole");
    }
}
