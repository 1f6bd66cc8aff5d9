//! What is expected of any tool.

use crate::support::{DIGITS, Digits, fgq_in, names, repository};
use std::fs;
use tempfile::TempDir;

#[test]
fn the_version_has_a_commit_where_one_is_known() {
    let digits = TempDir::new().unwrap();
    let version = fgq_in(digits.path(), &["--version"]).stdout;
    let short = fgq_in(digits.path(), &["-V"]).stdout;
    assert_eq!(short.trim(), concat!("fgq ", env!("CARGO_PKG_VERSION")));
    assert_eq!(version.trim(), concat!("fgq ", env!("FGQ_VERSION")));
    let rest = version.trim().strip_prefix(short.trim()).unwrap();
    if !rest.is_empty() {
        let commit = rest.strip_prefix(" (").unwrap().strip_suffix(')').unwrap();
        let (commit, _) = commit.split_once(", with changes").unwrap_or((commit, ""));
        assert!(commit.len() == 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{version}");
    }
}

#[test]
fn every_command_has_a_man_page() {
    let folder = TempDir::new().unwrap();
    fgq_in(folder.path(), &["man", "none"]).fails_with(&["none: is no folder"]);
    let run = fgq_in(folder.path(), &["man", "."]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let pages = names(folder.path());
    for page in ["fgq.1", "fgq-convert.1", "fgq-eval.1", "fgq-man.1", "fgq-plan.1"] {
        assert!(pages.contains(&page.to_owned()), "{pages:?}");
    }
    let convert = fs::read_to_string(folder.path().join("fgq-convert.1")).unwrap();
    for part in [".TH", "\\-\\-keep", "\\-\\-calib", "\\-\\-quiet"] {
        assert!(convert.contains(part), "{part}: {convert}");
    }
}

#[test]
fn quiet_leaves_out_notes_but_not_warnings() {
    let digits = Digits::new();
    let loud = digits.convert("net.fgq", &["--set", ".*=int8", "--samples", "16"]);
    let quiet = digits.convert("net.fgq", &["--set", ".*=int8", "--samples", "16", "-q"]);
    assert!(loud.stderr.contains("note: ") && loud.stderr.contains("warning: no layer is ternary"));
    assert!(!quiet.stderr.contains("note: ") && quiet.stderr.contains("warning: no layer is ternary"));
    assert!(!loud.stderr.contains('\x1b') && quiet.stdout.contains("output           net.fgq"));
}

#[test]
fn a_dry_run_foretells_and_writes_nothing() {
    let digits = Digits::new();
    let run =
        digits.convert("net.fgq", &["--dry-run", "--json", "--write-config", "--report", "page.html"]).json();
    assert_eq!(names(digits.path()), ["test", "train"]);
    assert_eq!(
        (&run["dry_run"], &run["output"], &run["images"]),
        (&true.into(), &"net.fgq".into(), &60.into())
    );
    assert!(run["seconds"].as_f64().unwrap() > 0.0 && run["memory"].as_f64().unwrap() > 1e7);
    let made = digits.convert("net.fgq", &["--json"]).json();
    let precisions = |json: &serde_json::Value| -> Vec<String> {
        json["layers"].as_array().unwrap().iter().map(|layer| layer["precision"].to_string()).collect()
    };
    assert_eq!(precisions(&run), precisions(&made));
    let (foretold, bytes) = (run["bytes"]["total"].as_f64().unwrap(), made["bytes"].as_f64().unwrap());
    assert!((foretold / bytes - 1.0).abs() < 0.05, "{foretold} {bytes}");
    // Without a goal and without a precision the images choose.
    let goal = digits.convert_towards("net.fgq", &["--dry-run", "--keep", "95"]);
    assert!(goal.code == 0 && goal.stderr.contains("note: precisions would be chosen"), "{}", goal.stderr);
    for part in ["images                60", "memory                about", "time                  about"] {
        assert!(goal.stdout.contains(part), "{part}: {}", goal.stdout);
    }
}

#[test]
fn a_dry_run_refuses_what_a_conversion_would() {
    let digits = Digits::new();
    let network = repository(DIGITS);
    digits
        .convert("net.fgq", &["--dry-run", "--set", "none=int8"])
        .fails_with(&["--set 'none' matches no layer"]);
    digits.run(&["convert", &network, "--calib", "none", "--dry-run"]).fails_with(&["none"]);
}
