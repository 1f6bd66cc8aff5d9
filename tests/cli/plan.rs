//! `fgq plan` and `fgq convert --plan`.

use crate::support::{Digits, fgq_in, repository};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn plan(arguments: &[&str]) -> crate::support::Run {
    let file = repository("fixtures/plan/indicators.json");
    fgq_in(Path::new(env!("CARGO_MANIFEST_DIR")), &[&["plan", "--indicators", &file], arguments].concat())
}

#[test]
fn plans_match_those_of_another_solver() {
    let stored: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(repository("fixtures/plan/plans.json")).unwrap()).unwrap();
    let text = |plan: &Value, key: &str| plan[key].to_string();
    for expected in &stored {
        let (ratio, alpha) = (text(expected, "compression_ratio"), text(expected, "alpha"));
        let (weight, activation) = (text(expected, "weight_level"), text(expected, "activation_level"));
        let levels = ["--weight-level", &weight, "--activation-level", &activation];
        let run =
            plan(&[&levels[..], &["--compression-ratio", &ratio, "--alpha", &alpha, "--json"]].concat());
        if expected["objective"].is_null() {
            run.fails_with(&["no plan reaches --compression-ratio 20", "the nearest feasible is"]);
            continue;
        }
        let found = run.json();
        let difference = found["objective"].as_f64().unwrap() - expected["objective"].as_f64().unwrap();
        assert!(
            difference.abs() < 1e-9 && found["proven"] == true && found["seconds"].as_f64().unwrap() < 2.0
        );
        let layers = found["layers"].as_array().unwrap();
        let bits = |key: &str| layers.iter().map(|layer| layer[key].clone()).collect::<Vec<_>>();
        assert_eq!(json!(bits("weight_bits")), expected["weight_bits"]);
        assert_eq!(json!(bits("activation_bits")), expected["activation_bits"]);
        assert_eq!(layers[0]["name"], "layer1.0.conv1");
    }
}

#[test]
fn frontier_and_report() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("plan.html");
    let arguments = ["--max-size", "9.5MB", "--pareto", "--report", page.to_str().unwrap()];
    let pareto = plan(&[&arguments[..], &["--json"]].concat()).json();
    let points = pareto["pareto"].as_array().unwrap();
    let damage = |point: &Value| point["objective"].as_f64().unwrap();
    assert!(points.len() == 20 && points.windows(2).all(|pair| damage(&pair[0]) > damage(&pair[1])));
    assert!(plan(&arguments).stdout.contains("bits per weight"));
    let page = fs::read_to_string(page).unwrap();
    for part in ["<svg", "prefers-color-scheme: dark", "layer4.2.conv3", "<polyline"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("://") && !page.contains("src="), "self-contained");
}

#[test]
fn budgets_are_checked() {
    plan(&["--max-size", "2MB"]).fails_with(&["no plan reaches --max-size 2000000", "--max-size 7918784"]);
    plan(&["--weight-level", "3"]).fails_with(&["--activation-level"]);
    plan(&["--max-size", "big"]).fails_with(&["400KB"]);
    plan(&["--max-total-activation", "1MB"]).fails_with(&["needs the number of activations"]);
    plan(&["--compression-ratio", "0"]).fails_with(&["above 0"]);
    assert!(plan(&["--max-multiplications", "100%"]).code == 0);
    plan(&["--max-multiplications", "99%"]).fails_with(&["--max-multiplications"]);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    fgq_in(here, &["plan", "--indicators", "Cargo.toml"]).fails_with(&["Cargo.toml", "no indicators"]);
}

/// Indicators for the inner layers of the digits network.
fn indicators(layers: &[Value]) -> Value {
    let candidates = json!({ "ternary:4": 0.2, "ternary:16": 0.4, "int4": 0.1, "int4:8": 0.05, "int8": 0.0 });
    let inner = layers.iter().filter(|layer| layer["reason"] == "default");
    let layer = |layer: &Value| {
        json!({
            "name": layer["name"], "parameters": layer["weights"], "macs": 1000, "inputs": layer["shape"][1],
            "weight": candidates, "activation": { "8": 0.0, "4": 0.1 },
        })
    };
    json!({ "layers": inner.map(layer).collect::<Vec<_>>() })
}

#[test]
fn a_plan_is_converted_and_remembered() {
    let digits = Digits::new();
    let layers = digits.convert("uniform.fgq", &["--json"]).json()["layers"].clone();
    let indicators = indicators(layers.as_array().unwrap());
    fs::write(digits.join("indicators.json"), indicators.to_string()).unwrap();
    let arguments =
        ["plan", "--indicators", "indicators.json", "--mean-bits", "3.9", "-o", "plan.json", "--json"];
    let plan = digits.run(&arguments).json();
    let planned = plan["layers"].as_array().unwrap();
    let precision = |name: &Value| planned.iter().find(|layer| layer["name"] == *name);

    let conversion = digits.convert("net.fgq", &["--plan", "plan.json", "--json"]).json();
    for layer in conversion["layers"].as_array().unwrap() {
        match precision(&layer["name"]) {
            Some(planned) => {
                assert_eq!((&layer["precision"], &layer["reason"]), (&planned["weights"], &json!("plan")))
            }
            None => assert_eq!(layer["precision"], "int8"),
        }
    }
    let uniform = &conversion["uniform"];
    assert!(uniform["bytes"].is_u64() && uniform["group"].is_u64(), "{uniform}");
    let [ours, theirs] = [&conversion, uniform].map(|of| of["divergence"].as_f64().unwrap());
    assert_eq!(uniform["better"], if theirs < ours { "uniform" } else { "plan" });
    let mut tight: Value =
        serde_json::from_str(&fs::read_to_string(digits.join("plan.json")).unwrap()).unwrap();
    tight["budgets"] = json!({ "max_size": 1000 });
    fs::write(digits.join("tight.json"), tight.to_string()).unwrap();
    let large = digits.convert("large.fgq", &["--plan", "tight.json", "--no-uniform"]);
    assert!(large.code == 0 && large.stderr.contains("the plan's budget was 1 000"), "{}", large.stderr);
    let alone = digits.convert("alone.fgq", &["--plan", "plan.json", "--no-uniform"]);
    assert!(alone.code == 0 && !alone.stdout.contains("nearest in size"), "{}", alone.stdout);
    let precisions: Vec<&str> = planned.iter().map(|layer| layer["weights"].as_str().unwrap()).collect();
    assert!(precisions.contains(&"int4") || precisions.contains(&"int4:8"), "{precisions:?}");
    let remembered = &digits.run(&["inspect", "net.fgq", "--json"]).json()["provenance"]["plan"];
    assert_eq!(remembered["budgets"], json!({ "mean_bits": "3.9" }));
    let all: Vec<&str> = remembered["layers"].as_str().unwrap().split(' ').collect();
    assert_eq!(all.iter().filter(|planned| **planned != "-").count(), planned.len());
    assert_eq!(all[1], precisions[0].replace("ternary:", "t").replace("int", "i"));
    let text = digits.run(&["inspect", "net.fgq"]).stdout;
    assert!(text.contains("planned") && text.contains("mean_bits 3.9"), "{text}");
    let top1 = &digits.run(&["eval", "net.fgq", "--images", "test", "--json"]).json()["top1"];
    assert!(top1.as_f64().unwrap() > 90.0, "{top1}");
    // Patterns come last.
    let changed = digits.convert("net.fgq", &["--plan", "plan.json", "--set", ".*=int4", "--json"]).json();
    assert!(changed["layers"].as_array().unwrap().iter().all(|layer| layer["precision"] == "int4"));
}

#[test]
fn plans_for_other_networks_are_refused() {
    let digits = Digits::new();
    let layer = |name: &str, weights: &str, bits: u8| json!({ "name": name, "parameters": 10, "macs": 10, "weight": { weights: 0.0 }, "activation": { bits.to_string(): 0.0 } });
    let converted = |layer: Value| {
        fs::write(digits.join("indicators.json"), json!({ "layers": [layer] }).to_string()).unwrap();
        digits.run(&["plan", "--indicators", "indicators.json", "-o", "plan.json", "--json"]).json();
        digits.convert("net.fgq", &["--plan", "plan.json"])
    };
    let layers = digits.convert("uniform.fgq", &["--json"]).json()["layers"].clone();
    let name = layers[1]["name"].as_str().unwrap();
    converted(layer("nowhere", "int4", 8)).fails_with(&["nowhere", "another network"]);
    converted(layer(name, "6", 8)).fails_with(&[name, "unknown precision '6'"]);
    converted(layer(name, "int4", 9)).fails_with(&[name, "9-bit activations"]);
    digits.convert("net.fgq", &["--no-uniform"]).fails_with(&["--plan"]);
    digits.convert("net.fgq", &["--plan", "indicators.json"]).fails_with(&["indicators.json", "no plan"]);
    assert!(!digits.join("net.fgq").exists());
}

#[test]
fn indicators_are_found_saved_and_used() {
    let digits = Digits::new();
    let model = repository(crate::support::DIGITS);
    let base = ["plan", &model, "--calib", "train", "--samples", "40", "--measure", "16", "--json"];
    let base = [&base[..], &crate::support::DIGITS_VALUES].concat();
    let first = digits.run(&[&base[..], &["--mean-bits", "3", "-o", "plan.json"]].concat());
    assert!(first.stderr.contains("digits-resnet.indicators.json"), "{}", first.stderr);
    let plan = first.json();
    let saved: Value =
        serde_json::from_str(&fs::read_to_string(digits.join("digits-resnet.indicators.json")).unwrap())
            .unwrap();
    let layers = saved["layers"].as_array().unwrap();
    assert_eq!(layers.len(), plan["layers"].as_array().unwrap().len());
    // All but the first have a choice; the classifier counts in sizes only, and its input has 8 bits.
    let (classifier, inner) = layers.split_last().unwrap();
    assert!(classifier["kept"] == true && inner.iter().all(|layer| layer["kept"].is_null()));
    assert_eq!(classifier["activation"].as_object().unwrap().keys().collect::<Vec<_>>(), ["8"]);
    assert_eq!(plan["layers"].as_array().unwrap().last().unwrap()["weights"], "int8");
    for layer in layers {
        let damage = |key: &str| layer["weight"][key].as_f64();
        assert!(damage("int8").unwrap() < damage("ternary:4/4").unwrap(), "{layer}");
    }
    for layer in inner {
        assert!(layer["activation"]["8"].as_f64() <= layer["activation"]["4"].as_f64(), "{layer}");
    }
    // The predicted size is an upper bound, and not far off.
    let conversion = digits.convert("net.fgq", &["--plan", "plan.json", "--json"]).json();
    let (bytes, predicted) = (conversion["bytes"].as_u64().unwrap(), plan["uses"]["bytes"].as_u64().unwrap());
    assert!(bytes <= predicted && predicted < bytes + 150 + 12 * layers.len() as u64, "{bytes} {predicted}");

    // The nearest feasible size is feasible, and it is where the frontier begins.
    let own = |budget: &str, more: &[&str]| {
        let file = ["plan", "--indicators", "digits-resnet.indicators.json", "--max-size", budget];
        digits.run(&[&file[..], more].concat())
    };
    let message = own("9", &[]).stderr;
    let nearest = message.trim_end().rsplit(' ').next().unwrap();
    let frontier = own(nearest, &["--pareto", "--report", "plan.html", "--json"]).json();
    assert_eq!(frontier["pareto"][0]["bytes"].to_string(), nearest, "{message}");
    let least = own(nearest, &["--json"]).json();
    assert_eq!(least["uses"]["bytes"], frontier["pareto"][0]["bytes"]);

    // What is there is taken; what is missing is found; the result is the same.
    let again = digits.run(&[&base[..], &["--mean-bits", "3"]].concat()).json();
    assert_eq!(again["layers"], plan["layers"]);
    let mut partial = saved.clone();
    partial["complete"] = json!(false);
    partial["fixed"] = json!({});
    partial["layers"].as_array_mut().unwrap().truncate(2);
    fs::write(digits.join("partial.json"), partial.to_string()).unwrap();
    digits.run(&["plan", "--indicators", "partial.json"]).fails_with(&["not complete"]);
    let finished = digits.run(&[&base[..], &["--indicators", "partial.json"]].concat());
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let finished: Value =
        serde_json::from_str(&fs::read_to_string(digits.join("partial.json")).unwrap()).unwrap();
    assert_eq!(finished, saved);

    // Layers that do not fit the network.
    for (key, value) in
        [("parameters", json!(1_000_000_000)), ("name", json!("nowhere")), ("kept", json!(true))]
    {
        let mut wrong = partial.clone();
        wrong["layers"][1][key] = value;
        fs::write(digits.join("wrong.json"), wrong.to_string()).unwrap();
        let run = digits.run(&[&base[..], &["--indicators", "wrong.json"]].concat());
        run.fails_with(&["do not fit this layer"]);
    }

    // Other options, another network.
    digits.run(&[&base[..], &["--act-bits", "8"]].concat()).fails_with(&["found otherwise"]);
    partial["network_sha256"] = json!("0");
    fs::write(digits.join("partial.json"), partial.to_string()).unwrap();
    digits.run(&[&base[..], &["--indicators", "partial.json"]].concat()).fails_with(&["another network"]);
}

#[test]
fn the_cheap_indicator_ranks_alike() {
    let digits = Digits::new();
    let model = repository(crate::support::DIGITS);
    let found = |indicator: &str, file: &str| {
        let arguments = ["plan", &model, "--calib", "train", "--samples", "40", "--measure", "16", "--json"];
        let more = ["--indicator", indicator, "--indicators", file];
        let run = digits.run(&[&arguments[..], &crate::support::DIGITS_VALUES, &more].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        serde_json::from_str::<Value>(&fs::read_to_string(digits.join(file)).unwrap()).unwrap()
    };
    let (exact, cheap) = (found("divergence", "a.json"), found("output-error", "b.json"));
    let figures = |indicators: &Value| -> Vec<f64> {
        let layers = indicators["layers"].as_array().unwrap().clone();
        layers.iter().map(|layer| layer["weight"]["ternary:4/4"].as_f64().unwrap().ln()).collect()
    };
    let (a, b) = (figures(&exact), figures(&cheap));
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let product = |x: &[f64], y: &[f64]| {
        let (mx, my) = (mean(x), mean(y));
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>()
    };
    let correlation = product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt();
    assert!(correlation > 0.5, "{correlation}: {a:?} {b:?}");
}

#[test]
fn a_plan_is_learned_converted_and_turned_upside_down() {
    let digits = Digits::new();
    let model = repository(crate::support::DIGITS);
    let base = ["plan", &model, "--calib", "train", "--samples", "80", "--indicator", "learned", "--json"];
    let base = [&base[..], &crate::support::DIGITS_VALUES].concat();
    let levels = ["--weight-level", "3", "--activation-level", "3"];
    let plan = digits.run(&[&base[..], &levels, &["--epochs", "1", "-o", "plan.json"]].concat()).json();
    let layers = plan["layers"].as_array().unwrap();
    assert!(layers.iter().all(|layer| layer["weights"].as_str().unwrap().starts_with("int")), "{plan}");
    let conversion = digits.convert("net.fgq", &["--plan", "plan.json", "--json"]).json();
    assert_eq!(conversion["layers"].as_array().unwrap().len(), layers.len() + 2);
    let more = ["plan", "--indicators", "digits-resnet.indicators.json", "--reversed", "--json"];
    let reversed = digits.run(&[&more[..], &levels].concat()).json();
    assert!(reversed["method"].as_str().unwrap().ends_with("reversed"));
    assert_ne!(reversed["layers"], plan["layers"]);
    let operations = |plan: &Value| plan["uses"]["bit_ops"].as_u64().unwrap();
    let allowed = 9 * plan_products(&digits);
    assert!(operations(&plan) <= allowed && operations(&reversed) >= allowed, "{reversed}");
    let damage = |plan: &Value| plan["objective"].as_f64().unwrap();
    assert!(damage(&reversed) > damage(&plan));

    let refused = |more: &[&str]| digits.run(&[&base[..], &["--indicators", "new.json"], more].concat());
    refused(&["--precisions", "ternary:4"]).fails_with(&["--precisions ternary:4", "int2 to int8"]);
    refused(&["--epochs", "0"]).fails_with(&["--epochs 0"]);
    refused(&["--rate", "0"]).fails_with(&["--rate 0"]);
    refused(&["--minutes", "0"]).fails_with(&["--minutes"]);
    refused(&["--act-bits", "9"]).fails_with(&["2 to 8 bits"]);
    assert!(!digits.join("new.json").exists());
}

/// Products of the planned layers.
fn plan_products(digits: &Digits) -> u64 {
    let saved = fs::read_to_string(digits.join("digits-resnet.indicators.json")).unwrap();
    let saved: Value = serde_json::from_str(&saved).unwrap();
    saved["layers"].as_array().unwrap().iter().map(|layer| layer["macs"].as_u64().unwrap()).sum()
}
