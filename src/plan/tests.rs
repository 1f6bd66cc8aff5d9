use super::*;
use crate::error::ErrorKind;
use crate::graph::arbitrary::node_id;
use crate::graph::{Conv, Graph, Node, Op};
use crate::precision::Precision;
use crate::tensor::{Shape, Window};
use ndarray::Array4;
use proptest::prelude::*;
use serde_json::{Value, json};

const STORED: &str = include_str!("../../fixtures/plan/indicators.json");

fn stored() -> Indicators {
    Indicators::from_json(STORED).unwrap()
}

fn plans() -> Vec<Value> {
    serde_json::from_str(include_str!("../../fixtures/plan/plans.json")).unwrap()
}

fn budgets_of(plan: &Value) -> Budgets {
    let number = |key: &str| plan[key].as_f64().unwrap();
    Budgets {
        levels: Some(UniformBits { weight: number("weight_level"), activation: number("activation_level") }),
        compression_ratio: Some(number("compression_ratio")),
        ..Budgets::default()
    }
}

#[test]
fn plans_of_another_solver_are_found() {
    for expected in plans().iter().filter(|plan| !plan["objective"].is_null()) {
        let options = PlanOptions { alpha: expected["alpha"].as_f64(), ..PlanOptions::default() };
        let plan = plan(&stored(), &budgets_of(expected), &options).unwrap();
        assert!((plan.objective - expected["objective"].as_f64().unwrap()).abs() < 1e-9);
        assert!(plan.is_proven());
        let bits = |bits: fn(&PlannedLayer) -> f64| -> Vec<f64> { plan.layers.iter().map(bits).collect() };
        let expected = |key: &str| -> Vec<f64> { serde_json::from_value(expected[key].clone()).unwrap() };
        assert_eq!(bits(|layer| layer.weight_bits), expected("weight_bits"));
        assert_eq!(bits(|layer| f64::from(layer.activation_bits)), expected("activation_bits"));
    }
}

#[test]
fn a_budget_out_of_reach_names_the_nearest() {
    let impossible = plans().into_iter().find(|plan| plan["objective"].is_null()).unwrap();
    let (indicators, mut budgets) = (stored(), budgets_of(&impossible));
    let error = plan(&indicators, &budgets, &PlanOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    let text = error.to_string();
    let ratio = text
        .strip_prefix(
            "no plan reaches `compression_ratio = 20`; the nearest feasible is `compression_ratio = ",
        )
        .and_then(|rest| rest.strip_suffix('`'));
    let ratio: f64 = ratio.unwrap_or_else(|| panic!("{text}")).parse().unwrap();
    budgets.compression_ratio = Some(ratio);
    assert!(plan(&indicators, &budgets, &PlanOptions::default()).is_ok());
    budgets.compression_ratio = Some(ratio + 0.0002);
    assert!(plan(&indicators, &budgets, &PlanOptions::default()).is_err());
}

/// Two layers, each with two ways.
fn small() -> Value {
    json!({
        "fixed": {"parameters": 10, "bits": 80, "multiplications": 5},
        "layers": [
            {"name": "a", "parameters": 64, "macs": 640, "inputs": 8, "activations": 100,
             "weight": {"ternary:4": 0.1, "int8": 0.0}, "activation": {"8": 0.0, "4": 0.5}},
            {"name": "b", "parameters": 64, "macs": 64, "inputs": 8, "activations": 10,
             "weight": {"ternary:64": 0.4, "int4": 0.2, "int8": 0.0}, "activation": {"8": 0.0}},
        ],
    })
}

fn small_plan(budgets: Budgets) -> crate::error::Result<Plan> {
    plan(&Indicators::from_json(&small().to_string()).unwrap(), &budgets, &PlanOptions::default())
}

fn weights(plan: &Plan) -> Vec<&str> {
    plan.layers.iter().map(|layer| layer.weights.as_str()).collect()
}

#[test]
fn every_budget_counts_what_it_says() {
    let free = small_plan(Budgets::default()).unwrap();
    assert_eq!((weights(&free), free.objective), (vec!["int8", "int8"], 0.0));
    assert_eq!((free.uses.bytes, free.uses.mean_bits), ((80 + 2 * 64 * 8) / 8, 8.0));
    assert_eq!((free.uses.bit_ops, free.uses.multiplications), (704 * 64, 5 + 704));
    assert_eq!((free.uses.largest_activation, free.uses.total_activation), (Some(100), Some(110)));
    let by = |budgets: Budgets| small_plan(budgets).unwrap();
    let none = Budgets::default;
    // Layer a at 4 bits saves 32 bytes for 0.1, layer b at 4 bits as much for 0.2.
    assert_eq!(weights(&by(Budgets { max_size: Some(137), ..none() })), ["ternary:4", "int8"]);
    assert_eq!(weights(&by(Budgets { max_size: Some(103), ..none() })), ["ternary:4", "int8"]);
    assert_eq!(weights(&by(Budgets { max_size: Some(102), ..none() })), ["ternary:4", "int4"]);
    assert_eq!(weights(&by(Budgets { mean_bits: Some(4.0), ..none() })), ["ternary:4", "int4"]);
    // 138 weights at 32 bits are 552 bytes.
    assert_eq!(
        weights(&by(Budgets { compression_ratio: Some(552.0 / 103.0), ..none() })),
        ["ternary:4", "int8"]
    );
    assert_eq!(
        weights(&by(Budgets { max_multiplications: Some(5 + 160 + 64), ..none() })),
        ["ternary:4", "int8"]
    );
    assert_eq!(
        weights(&by(Budgets { max_multiplications: Some(5 + 160 + 8), ..none() })),
        ["ternary:4", "ternary:64"]
    );
    // What describes scales counts in the file, not in the bits per weight.
    let described = |budgets| {
        let mut value = small();
        value["layers"][0]["description"] = json!(9);
        plan(&Indicators::from_json(&value.to_string()).unwrap(), &budgets, &PlanOptions::default()).unwrap()
    };
    assert_eq!(weights(&described(Budgets { max_size: Some(112), ..none() })), ["ternary:4", "int8"]);
    assert_eq!(weights(&described(Budgets { max_size: Some(111), ..none() })), ["int8", "int4"]);
    assert_eq!(weights(&described(Budgets { mean_bits: Some(6.0), ..none() })), ["ternary:4", "int8"]);
    // Layers kept at 8 bits otherwise count in the file, not in the bits per weight.
    let kept = |budgets| {
        let mut value = small();
        value["layers"][1]["kept"] = json!(true);
        plan(&Indicators::from_json(&value.to_string()).unwrap(), &budgets, &PlanOptions::default())
    };
    let mean = kept(Budgets { mean_bits: Some(4.0), ..none() }).unwrap();
    assert_eq!((weights(&mean), mean.uses.mean_bits), (vec!["ternary:4", "int8"], 3.625));
    let message = kept(Budgets { mean_bits: Some(3.6), ..none() }).unwrap_err().to_string();
    assert!(message.ends_with("is `mean_bits = 3.625`"), "{message}");
    assert_eq!(weights(&kept(Budgets { max_size: Some(102), ..none() }).unwrap()), ["ternary:4", "int4"]);
    // A model of fgq's own records its plan: 20 bytes, and 12 digits, 10 marks and the name of each budget.
    let recorded = |max_size: u64| {
        let mut value = small();
        value["fixed"]["record"] = json!(20);
        let indicators = Indicators::from_json(&value.to_string()).unwrap();
        plan(&indicators, &Budgets { max_size: Some(max_size), ..none() }, &PlanOptions::default()).unwrap()
    };
    assert_eq!(weights(&recorded(138 + 50)), ["int8", "int8"]);
    assert_eq!(weights(&recorded(138 + 49)), ["ternary:4", "int8"]);
    let narrow = by(Budgets { max_largest_activation: Some(99), ..none() });
    assert_eq!((narrow.layers[0].activation_bits, narrow.objective), (4, 0.5));
    assert_eq!(by(Budgets { max_total_activation: Some(60), ..none() }).layers[0].activation_bits, 4);
    let levels = Some(UniformBits { weight: 4.0, activation: 8.0 });
    assert_eq!(weights(&by(Budgets { levels, ..none() })), ["ternary:4", "int4"]);
    assert_eq!(weights(&by(Budgets { bit_ops: Some(640 * 32 + 64 * 64), ..none() })), ["ternary:4", "int8"]);
}

#[test]
fn budgets_out_of_reach_are_told_with_what_would_do() {
    let text = |budgets| small_plan(budgets).unwrap_err().to_string();
    let both = Budgets { mean_bits: Some(3.1), max_multiplications: Some(12), ..Budgets::default() };
    assert_eq!(
        text(both),
        "no plan reaches `mean_bits = 3.1` and `max_multiplications = 12`; \
         the nearest feasible are `mean_bits = 3.125` and `max_multiplications = 173`"
    );
    let size = Budgets { max_size: Some(7), ..Budgets::default() };
    assert_eq!(text(size), "no plan reaches `max_size = 7`; the nearest feasible is `max_size = 60`");
    let activation = Budgets { max_largest_activation: Some(49), ..Budgets::default() };
    assert_eq!(
        text(activation),
        "no plan reaches `max_largest_activation = 49`; the nearest feasible is `max_largest_activation = 50`"
    );
}

#[test]
fn budgets_that_only_together_cannot_be_kept() {
    // 400 bits and 1000 multiplications, or 560 and 500.
    let text = r#"{"layers": [{"name": "a", "parameters": 100, "macs": 1000, "inputs": 10,
        "weight": {"int4": 0, "ternary:2": 1}, "activation": {"8": 0}}]}"#;
    let budgets = Budgets { max_size: Some(50), max_multiplications: Some(500), ..Budgets::default() };
    let error = plan(&Indicators::from_json(text).unwrap(), &budgets, &PlanOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no plan keeps these budgets together: `max_size = 50`, `max_multiplications = 500`; \
         the nearest feasible, the others kept: `max_size = 70` or `max_multiplications = 1000`"
    );
}

#[test]
fn outliers_are_forbidden_among_learned_indicators_only() {
    let learned = |outliers| {
        let text = r#"{"layers": [{"name": "a", "params": 8, "macs": 8,
            "weight": {"4": 0.3, "3": 0.1, "2": 0.2}, "activation": {"8": 0.0}}]}"#;
        let options = PlanOptions { outliers, ..PlanOptions::default() };
        plan(&Indicators::from_json(text).unwrap(), &Budgets::default(), &options).unwrap().layers[0]
            .weights
            .clone()
    };
    // 3 bits do less than 4; 2 bits are compared with 3, as in LIMPQ's program.
    assert_eq!(learned(Outliers::Auto), "2");
    assert_eq!(learned(Outliers::Forbid), "2");
    assert_eq!(learned(Outliers::Keep), "3");
    let measured = r#"{"layers": [{"name": "a", "parameters": 8, "macs": 8,
        "weight": {"int4": 0.3, "ternary:64": 0.1}, "activation": {"8": 0.0}}]}"#;
    let plan = plan(&Indicators::from_json(measured).unwrap(), &Budgets::default(), &PlanOptions::default());
    assert_eq!(weights(&plan.unwrap()), ["ternary:64"]);
}

#[test]
fn the_frontier_falls_and_ends_at_the_least_damage() {
    let free = plan(&stored(), &Budgets::default(), &PlanOptions::default()).unwrap();
    let points = frontier(&stored(), &Budgets::default(), &PlanOptions::default(), 9).unwrap();
    assert_eq!(points.len(), 9);
    assert_eq!(points.last(), Some(&FrontierPoint::from(&free)));
    for pair in points.windows(2) {
        assert!(pair[0].bytes < pair[1].bytes && pair[0].objective > pair[1].objective);
    }
    let least: u64 = stored().layers.iter().map(|layer| 2 * layer.parameters).sum::<u64>() / 8;
    let outlier = stored().layers[7].parameters;
    assert!((least + 2_057_408..=least + 2_057_408 + outlier).contains(&points[0].bytes), "{points:?}");
}

#[test]
fn indicators_survive_writing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("indicators.json");
    for indicators in [stored(), Indicators::from_json(&small().to_string()).unwrap()] {
        indicators.write(&path).unwrap();
        assert_eq!(read_indicators(&path).unwrap(), indicators);
    }
}

#[test]
fn plans_survive_writing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.json");
    let plan = small_plan(Budgets { max_size: Some(103), ..Budgets::default() }).unwrap();
    plan.write(&path).unwrap();
    assert_eq!(read_plan(&path).unwrap(), plan);
    assert_eq!(plan.layers[0].precision().unwrap(), crate::precision::Precision::ternary(4));
    assert!(read_plan(&folder.path().join("none.json")).is_err());
    std::fs::write(&path, "{}").unwrap();
    assert!(read_plan(&path).unwrap_err().to_string().contains("no plan"));
}

#[test]
fn the_uniform_model_nearest_in_size() {
    let layer = |name: &str, bits| PlannedLayer { name: name.into(), bits, ..PlannedLayer::default() };
    let plan = Plan { layers: vec![layer("a", 640 * 3), layer("b", 640 * 2)], ..Plan::default() };
    // 2.5 bits per weight on average.
    let layers = [("a", 640, 64), ("first", 9999, 3), ("b", 640, 64)];
    assert_eq!(plan.nearest_uniform(layers.into_iter()), 4);
    // What is kept at 8 bits in uniform models leaves less for the other.
    let kept = PlannedLayer { kept: true, ..layer("a", 640 * 3) };
    let plan = Plan { layers: vec![kept, layer("b", 640 * 7 + 80)], ..Plan::default() };
    assert_eq!(plan.nearest_uniform(layers.into_iter()), 8);
}

#[test]
fn bad_indicators_are_refused() {
    let changed = |change: fn(&mut Value)| {
        let mut value = small();
        change(&mut value);
        Indicators::from_json(&value.to_string()).map_err(|error| error.to_string())
    };
    assert!(changed(|_| ()).is_ok());
    type Change = fn(&mut Value);
    let wrong: [(Change, &str); 10] = [
        (|v| v["layers"][0]["weight"] = json!({}), "node 'a': no candidates"),
        (|v| v["layers"][0]["weight"] = json!({"int9": 1.0}), "unknown precision 'int9'"),
        (|v| v["layers"][1]["activation"] = json!({"eight": 1.0}), "'eight' activation bits"),
        (|v| v["layers"][1]["activation"] = json!({"0": 1.0}), "'0' activation bits"),
        (|v| v["layers"][0]["parameters"] = json!(1u64 << 60), "too large"),
        (|v| v["layers"][0]["macs"] = json!(u64::MAX), "too large"),
        (|v| v["layers"][0]["parameters"] = json!(0), "without weights"),
        (|v| v["layers"][0]["inputs"] = json!(65), "number of inputs"),
        (|v| v["alpha"] = json!(-1.0), "alpha -1"),
        (|v| v["fixed_8bit"] = json!({"total_params": 5}), "total_params"),
    ];
    for (change, text) in wrong {
        let error = changed(change).unwrap_err();
        assert!(error.contains(text), "{error}");
    }
    assert!(Indicators::from_json("[").is_err());
    let missing = STORED.replacen("\"6\"", "\"7\"", 1);
    assert!(Indicators::from_json(&missing).unwrap_err().to_string().contains("no indicator for 6 bits"));
}

#[test]
fn unusable_budgets_are_arguments() {
    for budgets in [
        Budgets { compression_ratio: Some(0.0), ..Budgets::default() },
        Budgets { mean_bits: Some(f64::NAN), ..Budgets::default() },
        Budgets { levels: Some(UniformBits { weight: -1.0, activation: 4.0 }), ..Budgets::default() },
    ] {
        assert_eq!(small_plan(budgets).unwrap_err().kind(), ErrorKind::Argument);
    }
    let unknown = Budgets { max_total_activation: Some(1000), ..Budgets::default() };
    let error = plan(&stored(), &unknown, &PlanOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("node 'layer1.0.conv1': `max_total_activation = 1000` needs"), "{error}");
}

proptest! {
    #[test]
    fn a_plan_keeps_its_budgets(size in 60u64..150, operations in 5_000u64..50_000, count in 170u64..800) {
        let budgets = Budgets {
            max_size: Some(size), bit_ops: Some(operations), max_multiplications: Some(count), ..Budgets::default()
        };
        match small_plan(budgets) {
            Ok(plan) => prop_assert!(
                plan.uses.bytes <= size && plan.uses.bit_ops <= operations && plan.uses.multiplications <= count
            ),
            Err(error) => prop_assert!(error.to_string().contains("the nearest feasible"), "{error}"),
        }
    }
}

/// Of kernels on few channels only those of one position keep 8 bits.
#[test]
fn narrow_pointwise_layers_keep_eight_bits() {
    let conv = |outputs: usize, inputs: usize, size: usize| {
        Op::Conv(Conv {
            weight: Array4::zeros((outputs, inputs, size, size)),
            gain: vec![1.0; outputs],
            bias: vec![0.0; outputs],
            window: Window::new([size, size]),
            groups: 1,
        })
    };
    for (channels, reason) in [(64, Reason::Narrow), (65, Reason::Default)] {
        let ops = [Op::Input, conv(channels, 3, 1), conv(8, channels, 1), conv(8, 8, 3), conv(2, 8, 1)];
        let node = |(id, op): (usize, Op)| Node {
            name: format!("node{id}"),
            op,
            inputs: id.checked_sub(1).map(node_id).into_iter().collect(),
        };
        let nodes = ops.into_iter().enumerate().map(node).collect();
        let graph = Graph { name: "narrow".into(), input: Shape::new(3, 8, 8), nodes, output: node_id(4) };
        let choices = choose(&graph, [Precision::ternary(4); 2], None, &[]).unwrap();
        let reasons: Vec<Option<Reason>> =
            choices.iter().map(|choice| choice.map(|choice| choice.reason)).collect();
        let expected =
            [None, Some(Reason::First), Some(reason), Some(Reason::Default), Some(Reason::Classifier)];
        assert_eq!(reasons, expected);
        assert_eq!(choices[node_id(2)].unwrap().precision == Precision::int8(), reason == Reason::Narrow);
    }
}

/// Against all plans one by one: the least damage within the budget, and the most that uses it up.
#[test]
fn reversed_plans_are_the_worst_that_use_as_much() {
    let layer = |name: &str, size: f64| {
        let figures = json!({ "int5": 0.1 * size, "int4": 0.2 * size, "int3": size });
        json!({
            "name": name, "parameters": 64, "macs": 640, "weight": figures, "activation": { "4": size },
        })
    };
    let value = json!({ "learned": true, "layers": [layer("a", 1.0), layer("b", 3.0), layer("c", 9.0)] });
    let indicators = Indicators::from_json(&value.to_string()).unwrap();
    assert!(indicators.are_learned());
    let damage = |bits: u32, size: f64| size * [1.0, 0.2, 0.1][bits as usize - 3] + size;
    for mean_bits in [3.0, 3.5, 4.0, 4.7, 5.0] {
        let all = (0..27).map(|n| [n / 9, n / 3 % 3, n % 3].map(|place| place + 3));
        let sums = all.map(|bits| {
            let damages = bits.iter().zip([1.0, 3.0, 9.0]).map(|(&bits, size)| damage(bits, size));
            (f64::from(bits.iter().sum::<u32>()) / 3.0, damages.sum::<f64>())
        });
        let sums: Vec<(f64, f64)> = sums.collect();
        let within = sums.iter().filter(|(mean, _)| *mean <= mean_bits).map(|(_, damage)| *damage);
        let beyond = sums.iter().filter(|(mean, _)| *mean >= mean_bits).map(|(_, damage)| *damage);
        let budgets = Budgets { mean_bits: Some(mean_bits), ..Budgets::default() };
        let planned = |reversed: bool| {
            let options = PlanOptions { reversed, ..PlanOptions::default() };
            plan(&indicators, &budgets, &options).unwrap()
        };
        assert!((planned(false).objective - within.fold(f64::INFINITY, f64::min)).abs() < 1e-9);
        let worst = planned(true);
        assert!((worst.objective - beyond.fold(0.0, f64::max)).abs() < 1e-9 && worst.is_proven());
        assert!(worst.uses.mean_bits >= mean_bits && worst.method.ends_with("reversed"));
    }
}

/// A plan for one layer, with one number changed.
fn changed(key: &str, value: serde_json::Value) -> crate::error::Result<super::Plan> {
    let layer = super::PlannedLayer {
        name: "conv".into(),
        weights: "int4".into(),
        weight_bits: 4.0,
        activation_bits: 8,
        parameters: 100,
        bits: 400,
        ..super::PlannedLayer::default()
    };
    let plan = super::Plan { layers: vec![layer], ..super::Plan::default() };
    let mut json = serde_json::to_value(plan).unwrap();
    json["layers"][0][key] = value;
    super::Plan::from_json(&json.to_string())
}

#[test]
fn plans_with_numbers_that_nothing_has_are_refused() {
    assert_eq!(changed("damage", 0.5.into()).unwrap().layers[0].damage, 0.5);
    let message = |key: &str, value: serde_json::Value| changed(key, value).unwrap_err().to_string();
    assert_eq!(message("weight_bits", 4_294_967_296_u64.into()), "node 'conv': 4294967296 bits per weight");
    assert!(message("weight_bits", (-1).into()).contains("-1 bits per weight"));
    assert!(message("activation_bits", 0.into()).contains("0 activation bits"));
    assert!(message("activation_bits", 99.into()).contains("99 activation bits"));
    assert!(message("parameters", u64::MAX.into()).contains("more weights than any network has"));
    assert!(message("weights", "int99".into()).contains("unknown precision 'int99'"));
    assert!(super::Plan::from_json("[]").unwrap_err().to_string().contains("this is no plan"));
}
