//! `fgq bench`: what it counts; never how fast anything is.

use crate::support::{DIGITS, Digits, fgq_in, keys, repository};
use serde_json::Value;
use std::process::Command;

const KEYS: [&str; 14] = [
    "bytes",
    "gmacs",
    "kernels",
    "layers",
    "macs",
    "median_ms",
    "min_ms",
    "model",
    "peak_gmacs",
    "peak_share",
    "runs",
    "threads",
    "weight_bytes",
    "reference",
];

fn converted() -> Digits {
    let digits = Digits::new();
    let run = digits.convert("net.fgq", &["--samples", "5", "--method", "closed-form"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    digits
}

fn sum(json: &Value, key: &str) -> u64 {
    json["layers"].as_array().unwrap().iter().map(|layer| layer[key].as_u64().unwrap()).sum()
}

fn check(json: &Value) {
    for key in ["macs", "weight_bytes", "bytes"] {
        assert_eq!(json[key].as_u64().unwrap(), sum(json, key), "{key}");
    }
    assert!(json["min_ms"].as_f64().unwrap() <= json["median_ms"].as_f64().unwrap());
    assert!(json["peak_gmacs"].as_f64().unwrap() > 0.0);
    for layer in json["layers"].as_array().unwrap() {
        let bytes = |key: &str| layer[key].as_u64().unwrap();
        assert_eq!(bytes("bytes"), bytes("weight_bytes") + bytes("input_bytes") + bytes("output_bytes"));
        assert_eq!(bytes("macs") > 0, layer["operator"] == "conv", "{layer}");
        let shape: u64 =
            layer["shape"].as_array().unwrap().iter().map(|extent| extent.as_u64().unwrap()).product();
        assert!(bytes("output_bytes") == shape || bytes("output_bytes") == 4 * shape, "{layer}");
    }
}

#[test]
fn layers_are_counted() {
    let digits = converted();
    let model = repository(DIGITS);
    let base = ["bench", "net.fgq", "--runs", "2", "--json", "--threads"];
    let one = digits.run(&[&base[..], &["1"]].concat()).json();
    let two = digits.run(&[&base[..], &["2", "--reference", &model]].concat()).json();
    assert_eq!(
        keys(&one),
        &{
            let mut keys = KEYS[..13].to_vec();
            keys.sort_unstable();
            keys
        }[..]
    );
    assert_eq!(two["reference"]["runs"], 2);
    assert!(two["reference"]["speedup"].as_f64().unwrap() > 0.0);
    for (json, threads) in [(&one, 1), (&two, 2)] {
        check(json);
        assert_eq!((&json["threads"], &json["runs"]), (&threads.into(), &2.into()));
    }
    assert_eq!(one["macs"], two["macs"]);
    let model = fgq::read_model(&digits.join("net.fgq")).unwrap();
    let products: usize =
        fgq::Summary::new(&model, 0).unwrap().layers.iter().map(|layer| layer.products).sum();
    assert_eq!(one["macs"], products);
}

#[test]
fn all_kernels_count_the_same() {
    let digits = converted();
    for kernels in fgq::Kernels::available() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fgq"));
        command.args(["bench", "net.fgq", "--runs", "1", "--json"]).current_dir(digits.path());
        let output = command.env("FGQ_KERNELS", kernels.name()).output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["kernels"], kernels.name());
        check(&json);
    }
}

#[test]
fn the_table_names_layers_and_kernels() {
    let digits = converted();
    let run = digits.run(&["bench", "net.fgq", "--runs", "1", "--threads", "1"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for part in
        ["layer ", "GMAC/s", "of peak", "/conv1/Conv", "median of 1", ", 1 thread\n", "of them weights"]
    {
        assert!(run.stdout.contains(part), "'{part}' is not in: {}", run.stdout);
    }
}

#[test]
fn errors_name_what_is_wrong() {
    let digits = Digits::new();
    digits.run(&["bench", "none.fgq"]).fails_with(&["none.fgq", "No such file"]);
    let zero = fgq_in(digits.path(), &["bench", "net.fgq", "--runs", "0"]);
    assert_eq!(zero.code, 2);
    assert!(zero.stderr.contains("--runs"), "{}", zero.stderr);
}
