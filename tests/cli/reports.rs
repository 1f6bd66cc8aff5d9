//! Pages that `--report` writes.

use crate::support::{DIGITS, DIGITS_VALUES, Digits, names, repository};
use std::fs;

/// A name that is markup, breaks out of attributes, and would run.
const HOSTILE: &str = "9\"><script>alert(1)<&script><img src=x onerror=alert(2)>'";

fn page(digits: &Digits, name: &str) -> String {
    let page = fs::read_to_string(digits.join(name)).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    for absent in ["http:", "https:", "NaN%", "<script>alert", "<img src=x"] {
        assert!(!page.contains(absent), "{name}: {absent}");
    }
    page
}

#[test]
fn every_command_that_finds_something_shows_it() {
    let digits = Digits::new();
    let network = repository(DIGITS);
    let page = |name| page(&digits, name);
    // So crude a model gives a few answers that differ.
    let crude = ["--samples", "16", "--method", "closed-form", "--set", ".*=ternary:64", "--act-bits", "2"];
    assert_eq!(digits.convert("net.fgq", &[&crude[..], &["--report", "convert.html"]].concat()).code, 0);
    let converted = page("convert.html");
    for part in
        ["Agreement with full precision", "Noise", "Activations", "ternary:64", "/layer1/layer1.0/conv1/Conv"]
    {
        assert!(converted.contains(part), "{part}");
    }
    let eval =
        ["eval", "net.fgq", "--images", "test", "--reference", &network, "--report", "eval.html", "--json"];
    let evaluation = digits.run(&eval).json();
    let evaluated = page("eval.html");
    let differing =
        evaluation["images"].as_f64().unwrap() * (1.0 - evaluation["agreement"].as_f64().unwrap() / 100.0);
    assert!(differing > 0.5, "{evaluation}");
    assert_eq!(evaluated.matches("<img src=\"data:image/jpeg").count(), differing.round() as usize);
    assert!(evaluated.contains("Top-1 of full precision") && evaluated.contains("Rows: right class"));
    assert_eq!(digits.run(&["inspect", "net.fgq", "--report", "inspect.html"]).code, 0);
    assert!(page("inspect.html").contains("Origin"));
    assert_eq!(digits.run(&["inspect", &network, "--report", "network.html"]).code, 0);
    assert!(page("network.html").contains("full precision"));
    assert_eq!(digits.run(&["bench", "net.fgq", "--runs", "1", "--report", "bench.html"]).code, 0);
    assert!(page("bench.html").contains("Products per second"));
}

#[test]
fn the_same_options_give_the_same_page() {
    let digits = Digits::new();
    for name in ["a.html", "b.html"] {
        assert_eq!(digits.convert("net.fgq", &["--samples", "20"]).code, 0);
        assert_eq!(digits.run(&["inspect", "net.fgq", "--report", name]).code, 0);
    }
    assert_eq!(page(&digits, "a.html"), page(&digits, "b.html"));
}

#[test]
fn names_of_classes_images_and_models_do_no_harm() {
    let digits = Digits::new();
    for part in ["train", "test"] {
        fs::rename(digits.join(part).join("9"), digits.join(part).join(HOSTILE)).unwrap();
        let folder = digits.join(part).join(HOSTILE);
        for name in names(&folder) {
            fs::rename(folder.join(&name), folder.join(format!("<script>alert(3)<&script>{name}"))).unwrap();
        }
    }
    let options = ["--group", "64", "--act-bits", "2", "--report", "convert.html"];
    assert_eq!(digits.convert("<script>alert(4).fgq", &options).code, 0);
    let network = repository(DIGITS);
    let model = "<script>alert(4).fgq";
    let eval = ["eval", model, "--images", "test", "--reference", &network, "--report", "eval.html"];
    assert_eq!(digits.run(&eval).code, 0);
    for name in ["convert.html", "eval.html"] {
        let page = page(&digits, name);
        assert!(page.contains("9&quot;&gt;&lt;script&gt;alert(1)"), "{name}");
        assert_eq!(page.matches("<script").count(), 1, "{name}");
    }
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_the_work() {
    let digits = Digits::new();
    let run = digits.convert("net.fgq", &["--report", "none/page.html"]);
    run.fails_with(&["none: no file can be written there", "--report"]);
    assert_eq!(names(digits.path()), ["test", "train"]);
    let network = repository(DIGITS);
    for command in [
        &["inspect", network.as_str(), "--report", "test"][..],
        &["eval", &network, "--images", "test", DIGITS_VALUES[0], DIGITS_VALUES[1], "--report", "test"],
    ] {
        digits.run(command).fails_with(&["test: is a folder"]);
    }
}
