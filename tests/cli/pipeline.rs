//! convert → inspect → eval → classify.

use crate::support::{DIGITS, Digits, keys, names, repository};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;

fn sum(values: &Value, key: &str) -> u64 {
    values.as_array().unwrap().iter().map(|value| value[key].as_u64().unwrap()).sum()
}

#[test]
fn a_network_goes_all_the_way() {
    let digits = Digits::new();
    let conversion = digits.convert("net.fgq", &["--json"]).json();
    check_conversion(&digits, &conversion);
    check_inspection(&digits, &conversion);
    check_evaluation(&digits);
    check_classification(&digits);
    assert_eq!(names(digits.path()), ["net.fgq", "test", "train"]);
}

fn check_conversion(digits: &Digits, conversion: &Value) {
    assert_eq!(
        keys(conversion),
        [
            "agreement",
            "agreement_ci95",
            "bits_per_ternary_weight",
            "bits_per_weight",
            "bytes",
            "divergence",
            "divergence_ci95",
            "fitted_images",
            "held_back",
            "images",
            "judged_images",
            "layers",
            "logits_sqnr",
            "loss",
            "notes",
            "output",
            "preprocess",
            "preprocess_origin",
            "seconds",
            "sha256",
            "unreadable",
            "unreadable_names"
        ]
    );
    let bytes = fs::read(digits.join("net.fgq")).unwrap();
    let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(conversion["bytes"], bytes.len());
    assert_eq!(conversion["sha256"], hash);
    assert_eq!(conversion["output"], "net.fgq");
    assert_eq!((&conversion["images"], &conversion["unreadable"]), (&json!(60), &json!(0)));
    assert_eq!((&conversion["fitted_images"], &conversion["judged_images"]), (&json!(52), &json!(8)));
    assert_eq!((&conversion["held_back"], &conversion["agreement"]), (&json!(true), &json!(100.0)));
    let [low, high] = [0, 1].map(|end| conversion["agreement_ci95"][end].as_f64().unwrap());
    assert!((60.0..75.0).contains(&low) && high == 100.0, "{low} {high}");
    let layers = conversion["layers"].as_array().unwrap();
    for layer in layers {
        assert_eq!(
            keys(layer),
            [
                "bytes",
                "cumulative_sqnr",
                "input_bits",
                "kind",
                "local_sqnr",
                "name",
                "precision",
                "reason",
                "rounding_sqnr",
                "saturation",
                "seconds",
                "shape",
                "weight_sqnr",
                "weights",
                "zeros"
            ]
        );
        let ratio = |key: &str| layer[key].as_f64().unwrap();
        assert!(ratio("local_sqnr") > 5.0 && ratio("cumulative_sqnr") > 5.0 && ratio("weight_sqnr") > 3.0);
        assert!(layer["rounding_sqnr"].is_null() == (layer["name"] == layers[0]["name"]));
    }
    let described =
        |layer: &Value| ["kind", "precision", "reason"].map(|key| layer[key].as_str().unwrap().to_owned());
    assert_eq!(described(&layers[0]), ["conv", "int8", "first convolution"]);
    assert_eq!(described(&layers[1]), ["conv", "ternary:4/4", "default"]);
    assert_eq!(described(&layers[layers.len() - 1]), ["linear", "int8", "classifier"]);
    let bits = 8.0 * bytes.len() as f64 / sum(&conversion["layers"], "weights") as f64;
    assert!((conversion["bits_per_weight"].as_f64().unwrap() - bits).abs() < 1e-9);
}

fn check_inspection(digits: &Digits, conversion: &Value) {
    let inspection = digits.run(&["inspect", "net.fgq", "--json"]).json();
    let what_the_file_holds = |layers: &Value| {
        let mut layers = layers.clone();
        for layer in layers.as_array_mut().unwrap() {
            layer.as_object_mut().unwrap().remove("reason");
            layer.as_object_mut().unwrap().remove("seconds");
        }
        layers
    };
    assert_eq!(inspection["layers"], what_the_file_holds(&conversion["layers"]));
    for key in
        ["logits_sqnr", "judged_images", "held_back", "agreement", "agreement_ci95", "divergence", "loss"]
    {
        assert_eq!(inspection[key], conversion[key]);
    }
    assert_eq!((&inspection["judged_images"], &inspection["loss"]["from"]), (&json!(8), &json!("weights")));
    assert_eq!(inspection["preprocess"], conversion["preprocess"]);
    let bytes = inspection["bytes"].as_object().unwrap();
    let parts: u64 = bytes.iter().filter(|(key, _)| *key != "total").map(|(_, v)| v.as_u64().unwrap()).sum();
    assert_eq!(conversion["bytes"], parts);
    assert_eq!(bytes["total"], parts);
    assert_eq!(inspection["input"], json!([1, 8, 8]));
    assert_eq!(inspection["classes"], json!(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]));
    assert_eq!(inspection["provenance"]["source"], "digits-resnet.onnx");
    // fixtures/SHA256SUMS
    let sums = fs::read_to_string(repository("fixtures/SHA256SUMS")).unwrap();
    let line = format!(
        "{}  ./digits/digits-resnet.onnx",
        inspection["provenance"]["source_sha256"].as_str().unwrap()
    );
    assert!(sums.contains(&line));
    let text = digits.run(&["inspect", "net.fgq"]).stdout;
    for part in [
        "ternary:4",
        "linear",
        "metadata",
        "bits per weight",
        "mean 0.3053",
        "0, 1, 2, 3",
        "weight dB  local dB  rounding dB  cumulative dB  saturated",
        "100.0% of 8 held-back images (95% interval",
        "dB on 8 images",
        "most loss comes from     weights (",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

fn check_evaluation(digits: &Digits) {
    let arguments = ["eval", "net.fgq", "--images", "test", "--json"];
    let alone = digits.run(&arguments).json();
    let expected =
        ["images", "images_per_second", "top1", "top1_ci95", "top5", "unreadable", "unreadable_names"];
    assert_eq!(keys(&alone), expected);
    let compared = digits.run(&[&arguments[..], &["--reference", &repository(DIGITS)]].concat()).json();
    let more = [
        "agreement",
        "agreement_ci95",
        "divergence",
        "divergence_ci95",
        "drop",
        "drop_ci95",
        "only_model",
        "only_reference",
        "p_value",
        "reference",
    ];
    let mut all = [&expected[..], &more].concat();
    all.sort_unstable();
    assert_eq!(keys(&compared), all);
    assert_eq!(keys(&compared["reference"]), ["top1", "top5"]);
    let number = |value: &Value| value.as_f64().unwrap();
    assert_eq!((&compared["images"], &compared["unreadable"]), (&json!(100), &json!(0)));
    assert_eq!(alone["top1"], compared["top1"]);
    assert!(number(&compared["reference"]["top1"]) >= 95.0);
    let drop = number(&compared["reference"]["top1"]) - number(&compared["top1"]);
    assert!((drop - number(&compared["drop"])).abs() < 1e-9 && drop <= 3.0);
    let bounds: Vec<f64> = compared["top1_ci95"].as_array().unwrap().iter().map(number).collect();
    assert!(bounds[0] < number(&alone["top1"]) && number(&alone["top1"]) <= bounds[1] && bounds[1] <= 100.0);
}

fn check_classification(digits: &Digits) {
    let seven = names(&digits.join("test/7"));
    let image = format!("test/7/{}", seven[0]);
    let answer = digits.run(&["classify", "net.fgq", &image, "--json"]).json();
    let answer = &answer["images"][0];
    assert_eq!(answer["image"], image);
    let top = answer["top"].as_array().unwrap();
    assert_eq!((top.len(), &top[0]["class"], &top[0]["name"]), (5, &json!(7), &json!("7")));
    let probability = |guess: &Value| guess["probability"].as_f64().unwrap();
    assert!(top.is_sorted_by(|a, b| probability(a) >= probability(b)));
    assert!((50.0..=100.0).contains(&probability(&top[0])));
    let text = digits.run(&["classify", "net.fgq", "test/7", &image]).stdout;
    assert_eq!(text.lines().count(), 6 * (seven.len() + 1));
    assert_eq!(text.lines().next(), Some(image.as_str()));
}

#[test]
fn text_tells_what_each_layer_got() {
    let digits = Digits::new();
    let run = digits.convert("net.fgq", &["--samples", "20", "--group", "3"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for part in [
        "first convolution",
        "ternary:3",
        "classifier",
        "sha256",
        "20: 15 fitted, 5 held back to judge; 0 unr",
    ] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    assert!(
        run.stderr.contains("preprocessing (default, with options): images of 8x8 as they are"),
        "{}",
        run.stderr
    );
    let text =
        digits.run(&["eval", "net.fgq", "--images", "test", "--reference", &repository(DIGITS)]).stdout;
    let eval =
        ["full precision", "packed model", "of 100", "agreement", "95% interval", "within noise", "McNemar"];
    for part in eval {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_useless_conversion_comes_with_a_warning() {
    let digits = Digits::new();
    let narrow = ["--act", ".*=0..0.01", "--method", "closed-form"];
    let run = digits.convert("net.fgq", &[&narrow[..], &["--json"]].concat());
    assert!(run.stderr.contains("of 8 held-back images get full precision's class"), "{}", run.stderr);
    let json = run.json();
    let notes: Vec<&str> = json["notes"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    assert_eq!(notes.len(), 1);
    let parts = [
        "signal-to-noise ratio is",
        "use --method compensated, a smaller --group",
        "more images",
        "--set '",
        "=int8'",
    ];
    for part in parts {
        assert!(notes[0].contains(part), "{}", notes[0]);
    }
    let good = digits.convert("net.fgq", &["--json"]);
    assert!(!good.stderr.contains("warning") && good.json()["notes"] == json!([]), "{}", good.stderr);
}

#[test]
fn the_dumped_input_is_what_the_network_sees() {
    let digits = Digits::new();
    assert_eq!(digits.convert("net.fgq", &["--samples", "10"]).code, 0);
    let image = format!("test/3/{}", names(&digits.join("test/3"))[0]);
    let run = digits.run(&["classify", "net.fgq", &image, "--dump-input", "input.npy"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let pixels = image::open(digits.join(&image)).unwrap().into_luma8();
    let npy = fs::read(digits.join("input.npy")).unwrap();
    let values: Vec<f32> =
        npy[npy.len() - 256..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    for (value, pixel) in values.iter().zip(pixels.as_raw()) {
        assert!((value - (f32::from(*pixel) / 255.0 - 0.3053) / 0.3758).abs() < 1e-6);
    }
}

#[test]
fn unreadable_images_are_counted_and_named() {
    let digits = Digits::new();
    fs::write(digits.join("train/0/broken.png"), b"\x89PNG\r\n\x1a\nnothing").unwrap();
    let run = digits.convert("net.fgq", &["--json"]);
    assert!(
        run.stderr.contains("warning: unreadable image") && run.stderr.contains("broken.png"),
        "{}",
        run.stderr
    );
    let json = run.json();
    assert_eq!((&json["images"], &json["unreadable"]), (&json!(60), &json!(1)));
    assert_eq!(json["unreadable_names"], json!(["0/broken.png"]));
    fs::write(digits.join("test/1/empty.png"), b"").unwrap();
    let run = digits.run(&["eval", "net.fgq", "--images", "test", "--json"]);
    assert!(run.stderr.contains("empty.png"), "{}", run.stderr);
    assert_eq!((&run.json()["images"], &run.json()["unreadable"]), (&json!(100), &json!(1)));
    let run = digits.run(&["classify", "net.fgq", "test/1"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("error: ") && run.stderr.contains("empty.png"), "{}", run.stderr);
    assert!(run.stdout.contains("test/1/"), "readable ones are classified all the same");
}

#[test]
fn a_network_learns_its_precision() {
    let digits = Digits::new();
    let model = repository(DIGITS);
    let learn = |more: &[&str]| {
        let base =
            ["learn", &model, "--data", "train", "-o", "learned.fgq", "--batch", "8", "--rate", "0.01"];
        digits.run(&[&base[..], &crate::support::DIGITS_VALUES[..], more].concat())
    };
    let run = learn(&["--max-weights", "1KB", "--epochs", "1", "--json"]);
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, &found["is_within_budgets"]), (1, &json!(false)));
    assert!(run.stderr.contains("nothing is written"), "{}", run.stderr);
    assert_eq!(names(digits.path()), ["test", "train"]);
    let json = learn(&["--fixed", "2,4", "--epochs", "1", "--json"]).json();
    assert_eq!(json["learning"]["uses"]["largest_activation"], json!(512));
    assert_eq!(
        (&json["layers"][3]["precision"], &json["layers"][3]["input_bits"]),
        (&json!("int2"), &json!(4))
    );
    assert_eq!(names(digits.path()), ["learned.fgq", "test", "train"]);
    let text = digits.run(&["inspect", "learned.fgq"]).stdout;
    let words: Vec<&str> = text.split_whitespace().collect();
    let words = words.join(" ");
    assert!(words.contains("int2 4 bits") && words.contains("learned_fixed 2,4"), "{text}");
    let text = learn(&["--max-activations", "9KB", "--epochs", "1", "--no-labels"]).stdout;
    assert!(text.contains("the budget is 9 000"), "{text}");
    for (option, value) in
        [("--fixed", "1,4"), ("--fixed", "2"), ("--smoothing", "1"), ("--parametrization", "U4")]
    {
        learn(&[&format!("{option}={value}")]).fails_with(&[option]);
    }
}

#[test]
fn a_network_is_tuned() {
    let digits = Digits::new();
    let model = repository(DIGITS);
    let tune = |more: &[&str]| {
        let base = ["tune", &model, "--calib", "train", "-o", "tuned.fgq", "--group", "64"];
        digits.run(&[&base[..], &crate::support::DIGITS_VALUES[..], more].concat())
    };
    let json = tune(&["--epochs", "2", "--batch", "8", "--json"]).json();
    let curve = json["tuning"]["curve"].as_array().unwrap();
    assert_eq!(curve.len(), 3);
    assert!(curve[0]["loss"].is_null() && curve[1]["loss"].as_f64().unwrap() > 0.0);
    assert!(curve.iter().all(|epoch| epoch["divergence"].as_f64().unwrap() >= 0.0));
    assert_eq!(names(digits.path()), ["test", "train", "tuned.fgq"]);
    let text = tune(&["--epochs", "1", "--minutes", "5"]).stdout;
    assert!(text.contains("\ntuning "), "{text}");
    for (option, value) in
        [("--epochs", "0"), ("--batch", "0"), ("--rate", "-1"), ("--mix", "2"), ("--temperature", "0.5")]
    {
        tune(&[&format!("{option}={value}")]).fails_with(&[option]);
    }
}
