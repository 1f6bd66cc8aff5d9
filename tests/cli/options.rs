//! Options that change what is made.

use crate::support::{DIGITS, Digits, fgq_in, keys, repository};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn precisions(conversion: &Value) -> Vec<&str> {
    let layers = conversion["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["precision"].as_str().unwrap()).collect()
}

#[test]
fn patterns_set_precisions() {
    let digits = Digits::new();
    let all = digits.convert("net.fgq", &["--json", "--set", ".*=int8"]);
    assert!(all.stderr.contains("warning: no layer is ternary"), "{}", all.stderr);
    let all = all.json();
    assert!(precisions(&all).iter().all(|&precision| precision == "int8"));
    assert_eq!(all["layers"][1]["reason"], "--set");
    assert_eq!(all["bits_per_ternary_weight"], Value::Null);
    let last = ["--json", "--set", ".*=int8", "--set", ".*layer[23].*=ternary:16", "--group", "64"];
    let some = digits.convert("net.fgq", &last).json();
    let sixteen = precisions(&some).iter().filter(|&&precision| precision == "ternary:16").count();
    assert!(sixteen > 0 && sixteen < precisions(&some).len());
    assert!(!precisions(&some).contains(&"ternary:64"));
}

#[test]
fn activations_have_bits_and_ranges() {
    let digits = Digits::new();
    let options =
        ["--act-bits", "4", "--range", "percentile:99.9", "--act", ".*layer2.*=8", "--act", ".*=minmax"];
    let run = digits.convert("net.fgq", &options);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let provenance = digits.run(&["inspect", "net.fgq", "--json"]).json()["provenance"].clone();
    let recorded = &provenance["options"];
    assert_eq!((&recorded["activation_bits"], &recorded["range"]), (&json!("4"), &json!("percentile:99.9")));
    assert_eq!(recorded["act"], ".*layer2.*=8 .*=minmax");
    let top1 = &digits.run(&["eval", "net.fgq", "--images", "test", "--json"]).json()["top1"];
    assert!(top1.as_f64().unwrap() > 80.0);
}

#[test]
fn activations_have_two_to_eight_bits() {
    let digits = Digits::new();
    let found = ["2", "3", "4", "5", "6", "7", "8"].map(|bits| {
        let options = ["--act-bits", bits, "--samples", "100", "--set", ".*=int8", "--json"];
        let divergence = digits.convert("net.fgq", &options).json()["divergence"].as_f64().unwrap();
        let run = digits.run(&["eval", "net.fgq", "--images", "test", "--json"]);
        (run.json()["top1"].as_f64().unwrap(), divergence)
    });
    assert!(found[2..].iter().all(|&(top1, _)| top1 > 90.0) && found[0].1 > found[6].1, "{found:?}");
}

#[test]
fn channels_can_have_their_own_ranges() {
    let digits = Digits::new();
    let sha256 = |name: &str, more: &[&str]| {
        let json = digits.convert(name, &[&["--json", "--samples", "100"], more].concat()).json();
        json["sha256"].as_str().unwrap().to_owned()
    };
    let narrow = sha256("tensor.fgq", &["--act-bits", "4"]);
    let channels = sha256("net.fgq", &["--act-bits", "4", "--channel-ranges"]);
    assert_ne!(narrow, channels);
    assert_eq!(sha256("again.fgq", &["--act-bits", "4", "--channel-ranges", "--threads", "1"]), channels);
    let provenance = digits.run(&["inspect", "net.fgq", "--json"]).json()["provenance"].clone();
    assert_eq!(provenance["options"]["channel_ranges"], "true");
    // Whoever says which activations have 4 bits, these and no others change.
    let weights = |name: &str, more: &[&str]| {
        sha256(name, more);
        let bytes = fs::read(digits.join(name)).unwrap();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + header..].to_vec()
    };
    let without = weights("a.fgq", &["--act", ".*=4"]);
    assert_ne!(weights("b.fgq", &["--act", ".*=4", "--channel-ranges"]), without);
    let eight = ["--act-bits", "4", "--act", ".*=8"];
    let with = [&eight[..], &["--channel-ranges"]].concat();
    assert_eq!(weights("d.fgq", &with), weights("c.fgq", &eight));
    let model = repository(DIGITS);
    let evaluation = digits.run(&["eval", "net.fgq", "--images", "test", "--reference", &model, "--json"]);
    assert!(evaluation.json()["agreement"].as_f64().unwrap() > 95.0, "{}", evaluation.stdout);
}

#[test]
fn preprocessing_is_resolved_in_order_and_stored() {
    let digits = Digits::new();
    fs::write(digits.join("p.json"), r#"{"mean": 0.25, "std": 0.5, "resize": 9}"#).unwrap();
    let model = repository(DIGITS);
    let convert = |more: &[&str]| {
        let base = ["convert", &model, "--calib", "train", "-o", "net.fgq", "--samples", "5", "--json"];
        let json = digits.run(&[&base[..], more].concat()).json();
        let stored = digits.run(&["inspect", "net.fgq", "--json"]).json();
        assert_eq!(stored["preprocess"], json["preprocess"]);
        (json["preprocess"].clone(), json["preprocess_origin"].clone())
    };
    let (default, origin) = convert(&[]);
    assert_eq!(
        (&default["mean"], &default["as_is"], origin),
        (&json!([0.449]), &json!(true), json!("default"))
    );
    let (file, origin) = convert(&["--preprocess", "p.json"]);
    assert_eq!((&file["mean"], &file["resize"], origin), (&json!([0.25]), &json!(9), json!("p.json")));
    let (single, origin) = convert(&["--preprocess", "p.json", "--mean", "-0.5", "--resize", "10x12"]);
    assert_eq!(
        (&single["mean"], &single["std"], &single["resize"]),
        (&json!([-0.5]), &json!([0.5]), &json!([10, 12]))
    );
    assert_eq!(origin, "p.json, with options");
}

#[test]
fn classes_come_from_a_file() {
    let digits = Digits::new();
    let words = "zero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n";
    fs::write(digits.join("names.txt"), words).unwrap();
    assert_eq!(digits.convert("net.fgq", &["--classes", "names.txt"]).code, 0);
    let classes = digits.run(&["inspect", "net.fgq", "--json"]).json()["classes"].clone();
    assert_eq!(classes.as_array().unwrap().len(), 10);
    assert_eq!(classes[7], "seven");
    fs::write(digits.join("names.txt"), "zero\n").unwrap();
    digits.convert("net.fgq", &["--classes", "names.txt"]).fails_with(&[
        "names.txt",
        "1 class names",
        "10 outputs",
    ]);
}

#[test]
fn limits_and_checks() {
    let digits = Digits::new();
    assert_eq!(digits.convert("net.fgq", &[]).code, 0);
    let eval = |more: &[&str]| digits.run(&[&["eval", "net.fgq", "--images", "test"], more].concat());
    assert_eq!(eval(&["--limit", "20", "--json"]).json()["images"], 20);
    let reference = repository(DIGITS);
    assert_eq!(eval(&["--min-top1", "50", "--reference", &reference, "--max-drop", "20"]).code, 0);
    let failed = eval(&["--min-top1", "100.5"]);
    assert_eq!(failed.code, 1);
    assert!(failed.stdout.contains("packed model"), "the result is printed all the same");
    assert!(failed.stderr.contains("check failed: top-1"), "{}", failed.stderr);
    let failed = eval(&["--reference", &reference, "--max-drop=-50"]);
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("check failed: the drop"), "{}", failed.stderr);
    eval(&["--max-drop", "1"]).fails_with(&["--reference"]);
    eval(&["--min-top1", "NaN"]).fails_with(&["give a number"]);
    eval(&["--limit", "0"]).fails_with(&["--limit 0"]);
}

#[test]
fn depthwise_layers_keep_8_bits() {
    let digits = Digits::new();
    let run = digits.run(&[
        "convert",
        &repository("fixtures/families/mobilenet_v2.onnx"),
        "--calib",
        "train",
        "--input-size",
        "32",
        "--samples",
        "4",
        "--group",
        "4",
        "--json",
    ]);
    let json = run.json();
    assert_eq!(json["output"], "mobilenet_v2.fgq", "named after the model, in the current folder");
    let layers = json["layers"].as_array().unwrap();
    let depthwise: Vec<&Value> = layers.iter().filter(|layer| layer["kind"] == "depthwise").collect();
    assert!(!depthwise.is_empty());
    assert!(depthwise.iter().all(|layer| layer["precision"] == "int8"));
    assert!(precisions(&json).contains(&"ternary:4/4"));
}

#[test]
fn info_and_completions() {
    let here = Path::new(".");
    let info = fgq_in(here, &["info", "--json"]).json();
    let expected = ["architectures", "cpu_features", "kernels", "presets", "target", "threads", "version"];
    assert_eq!(keys(&info), expected);
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert!(info["architectures"].as_array().unwrap().contains(&json!("resnet50")));
    assert_eq!(fgq_in(here, &["info", "--json", "--threads", "3"]).json()["threads"], 3);
    assert!(fgq_in(here, &["info"]).stdout.contains("kernels"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = fgq_in(here, &["completions", shell]);
        assert!(run.code == 0 && run.stdout.contains("classify"), "{shell}");
    }
    assert_eq!(fgq_in(here, &["--version"]).stdout, format!("fgq {}\n", env!("FGQ_VERSION")));
    for command in ["demo", "check", "convert", "eval", "classify", "inspect", "info", "completions"] {
        assert_eq!(fgq_in(here, &[command, "--help"]).code, 0);
    }
}
