//! Conversion towards a goal.

use crate::support::Digits;
use std::fs;

#[test]
fn without_a_precision_the_bytes_of_groups_of_four_are_used_best() {
    let digits = Digits::new();
    let run = digits.convert_towards("best.fgq", &["--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let json = run.json();
    let most = json["goal"]["tried"][0]["max_size"].as_u64().unwrap();
    assert!(json["bytes"].as_u64().unwrap() <= most);
    let uniform = digits.convert("uniform.fgq", &["--group", "4", "--scale-bits", "8", "--json"]).json();
    // Planned sizes count the record of the plan as if it were as long as it may get.
    assert!(most.abs_diff(uniform["bytes"].as_u64().unwrap()) < 1500, "{most} {uniform}");
    assert!(json["agreement"].as_f64().unwrap() >= 95.0, "{json}");
}

#[test]
fn the_smallest_model_that_keeps_enough_is_written() {
    let digits = Digits::new();
    let small = digits.convert_towards("small.fgq", &["--keep", "60", "--json"]).json();
    let large = digits.convert_towards("large.fgq", &["--keep", "95", "--max-drop", "5", "--json"]).json();
    for (json, keep) in [(&small, 60.0), (&large, 95.0)] {
        assert_eq!(json["goal"]["is_reached"], true);
        assert!(json["agreement"].as_f64().unwrap() >= keep, "{json}");
    }
    assert!(small["bytes"].as_u64() <= large["bytes"].as_u64());
    assert!(large["goal"]["tried"][0]["drop"].is_number());
}

#[test]
fn a_goal_that_nothing_reaches_ends_with_1_and_the_best_model() {
    let digits = Digits::new();
    let run = digits.convert_towards("best.fgq", &["--keep", "100", "--max-drop", "-50"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("no model reaches the goal"), "{}", run.stderr);
    assert!(run.stdout.contains("tried "), "{}", run.stdout);
    assert!(fs::metadata(digits.join("best.fgq")).is_ok());
    let run = digits.convert_towards("none.fgq", &["--keep", "99", "--budget", "1KB"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(fs::metadata(digits.join("none.fgq")).is_err());
}

#[test]
fn goals_and_precisions_exclude_each_other() {
    let digits = Digits::new();
    for option in [["--group", "4"], ["--set", ".*=int8"], ["--method", "closed-form"]] {
        let run = digits.convert_towards("x.fgq", &[&["--keep", "99"][..], &option[..]].concat());
        assert_eq!(run.code, 2);
        assert!(run.stderr.contains("cannot be used with"), "{}", run.stderr);
    }
    let run = digits.convert_towards("x.fgq", &["--keep", "101"]);
    assert!(run.code == 2 && run.stderr.contains("--keep"), "{}", run.stderr);
}
