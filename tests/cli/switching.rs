//! One file whose layers take more or fewer planes.

use crate::support::{DIGITS, DIGITS_VALUES, Digits, repository};
use serde_json::Value;

fn converted(digits: &Digits, options: &[&str]) -> Value {
    digits.convert_towards("s.fgq", &[&["--nested", "64*3", "--json"][..], options].concat()).json()
}

fn setting<'a>(json: &'a Value, name: &str) -> &'a Value {
    json["settings"].as_array().unwrap().iter().find(|setting| setting["name"] == name).unwrap()
}

#[test]
fn a_model_switches_between_planes() {
    let digits = Digits::new();
    let json = converted(&digits, &["--setting", "eco=1.4"]);
    let inspected = digits.run(&["inspect", "s.fgq", "--json"]).json();
    assert_eq!(json["settings"], inspected["settings"]);
    let names: Vec<&str> =
        json["settings"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["all-1", "all-2", "all-3", "eco"]);
    let number = |name: &str, key: &str| setting(&json, name)[key].as_f64().unwrap();
    assert!(number("eco", "mean_width") <= 1.4);
    for key in ["weight_bytes", "multiplications"] {
        assert!(number("all-1", key) < number("all-2", key) && number("all-2", key) < number("all-3", key));
    }
    let network = repository(DIGITS);
    let top1 = |bits: &[&str]| {
        let eval = ["eval", "s.fgq", "--images", "test", "--reference", &network, "--json"];
        digits.run(&[&eval[..], bits].concat()).json()["top1"].as_f64().unwrap()
    };
    let [full, all, two, one, eco] =
        [&[][..], &["--bits", "3"], &["--bits", "2"], &["--bits", "1"], &["--bits", "eco"]].map(top1);
    assert_eq!(full, all);
    assert!([full, two, one, eco].into_iter().all(|top1| top1 >= 90.0), "{full} {two} {one} {eco}");
    let text = digits.run(&["inspect", "s.fgq"]).stdout;
    assert!(text.contains("setting") && text.contains("eco"), "{text}");
}

#[test]
fn the_file_is_hardly_larger_than_its_highest_setting_alone() {
    let digits = Digits::new();
    let json = converted(&digits, &[]);
    let layers: Vec<&str> = json["layers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|layer| layer["precision"] == "ternary:64*3")
        .map(|layer| layer["name"].as_str().unwrap())
        .collect();
    let sets: Vec<String> = layers.iter().map(|layer| format!("{layer}=ternary:64*3")).collect();
    let options: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).chain(["--json"]).collect();
    let alone = digits.convert("alone.fgq", &options).json();
    let bytes = |json: &Value| json["bytes"].as_f64().unwrap();
    // The digits network has few weights for its channels; real ones stay within a tenth (docs/switching.md).
    assert!(bytes(&json) < 1.35 * bytes(&alone), "{} {}", bytes(&json), bytes(&alone));
}

#[test]
fn commands_know_settings() {
    let digits = Digits::new();
    let names: Vec<String> = converted(&digits, &[])["settings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|setting| setting["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["all-1", "all-2", "all-3", "balanced", "economy"]);
    let bench = digits.run(&["bench", "s.fgq", "--runs", "2", "--bits", "economy", "--json"]).json();
    assert!(bench["switching"]["first_ms"].as_f64().unwrap() > 0.0);
    assert!(bench["switching"]["back_ms"].is_number());
    let classified = digits.run(&["classify", "s.fgq", "test", "--bits", "1", "--json"]).json();
    assert!(!classified["images"].as_array().unwrap().is_empty());
    for wrong in ["4", "nothing"] {
        digits.run(&["eval", "s.fgq", "--images", "test", "--bits", wrong]).fails_with(&[wrong, "s.fgq"]);
    }
    digits.convert("plain.fgq", &["--group", "4"]);
    digits.run(&["bench", "plain.fgq", "--bits", "1"]).fails_with(&["does not switch", "--nested"]);
    let network = repository(DIGITS);
    digits.run(&["eval", &network, "--images", "test", "--bits", "1"]).fails_with(&["--bits"]);
}

#[test]
fn activations_switch_with_the_layers_that_read_them() {
    let digits = Digits::new();
    let options = ["--nested", "64*2", "--nested-act", "4,6", "--json"];
    let json = digits.convert_towards("s.fgq", &options).json();
    let network = repository(DIGITS);
    let found = |bits: &str| {
        let eval = ["eval", "s.fgq", "--images", "train", "--reference", &network, "--bits", bits, "--json"];
        digits.run(&eval).json()
    };
    let [one, two] = ["1", "2"].map(found);
    let divergence = |json: &Value| json["divergence"].as_f64().unwrap();
    assert!(
        one["agreement"].as_f64().unwrap() >= 90.0 && two["agreement"].as_f64().unwrap() >= 95.0,
        "{one} {two}"
    );
    assert!(divergence(&two) < divergence(&one));
    assert_eq!(json["settings"].as_array().unwrap().len(), 4);
    digits
        .convert_towards("x.fgq", &["--nested", "64*2", "--nested-act", "4"])
        .fails_with(&["bits of activations for 2 widths"]);
    digits.convert_towards("x.fgq", &["--nested", "64*2", "--nested-act", "4,9"]).fails_with(&["9"]);
}

#[test]
fn what_cannot_switch_is_refused() {
    let digits = Digits::new();
    let refused =
        |options: &[&str], parts: &[&str]| digits.convert_towards("x.fgq", options).fails_with(parts);
    refused(&["--nested", "64"], &["nothing to switch between"]);
    refused(&["--nested", "64*4"], &["unknown precision"]);
    refused(&["--nested", "64*2", "--setting", "low=0.5"], &["low", "0.5"]);
    refused(&["--nested", "64*2", "--set", ".*=ternary:64*2"], &["reads pixels"]);
    let conflict = digits.convert_towards("x.fgq", &["--nested", "64*2", "--group", "4"]);
    assert!(conflict.code == 2 && conflict.stderr.contains("cannot be used with"), "{}", conflict.stderr);
}

#[test]
fn threads_change_nothing() {
    let digits = Digits::new();
    let one = converted(&digits, &["--threads", "1"]);
    let two = converted(&digits, &["--threads", "3"]);
    assert_eq!(one["sha256"], two["sha256"]);
}

#[test]
fn models_that_switch_are_tuned() {
    let digits = Digits::new();
    let network = repository(DIGITS);
    let tune = |more: &[&str]| {
        let base = ["tune", &network, "--calib", "train", "-o", "t.fgq", "--nested", "64*2", "--epochs", "2"];
        digits.run(&[&base[..], &DIGITS_VALUES[..], more].concat())
    };
    let json = tune(&["--nested-act", "4,6", "--rate", "1e-3", "--stages", "0,0.5", "--json"]).json();
    assert_eq!(json["tuning"]["curve"].as_array().unwrap().len(), 3, "{json}");
    assert_eq!(json["settings"].as_array().map(Vec::len), Some(4), "{json}");
    for width in ["1", "2"] {
        let eval = digits.run(&["eval", "t.fgq", "--images", "test", "--bits", width, "--json"]).json();
        assert!(eval["top1"].as_f64().unwrap() > 80.0, "{eval}");
    }
    tune(&["--stages", "0.5"]).fails_with(&["--stages"]);
    tune(&["--stages", "0.5,0.4"]).fails_with(&["0.5,0.4", "stages"]);
    tune(&["--blocks", "1"]).fails_with(&["switches"]);
    let alone = ["tune", &network, "--calib", "train", "--stages", "0,0.5"];
    digits.run(&alone).fails_with(&["--nested"]);
}
