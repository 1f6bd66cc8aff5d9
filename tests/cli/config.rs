//! Files of options.

use crate::support::{DIGITS, Digits, names, repository};
use std::fs;

#[test]
fn the_same_options_make_the_same_bytes() {
    let digits = Digits::new();
    let options = [
        "--set",
        ".*conv1.*=int4",
        "--set",
        ".*layer3.*=ternary:8",
        "--act",
        ".*=minmax",
        "--keep-order",
        "--write-config",
    ];
    assert_eq!(digits.convert("net.fgq", &options).code, 0);
    assert_eq!(names(digits.path()), ["net.fgq", "net.toml", "test", "train"]);
    let written = fs::read_to_string(digits.join("net.toml")).unwrap();
    for line in ["calib = \"train\"", "mean = 0.3053", "keep-order = true", "output = \"net.fgq\""] {
        assert!(written.lines().any(|found| found == line), "{line}: {written}");
    }
    let first = fs::read(digits.join("net.fgq")).unwrap();
    fs::remove_file(digits.join("net.fgq")).unwrap();
    let again = digits.run(&["convert", "--config", "net.toml", "--write-config=again/net.toml"]);
    again.fails_with(&["again: no file can be written there", "--write-config"]);
    fs::create_dir(digits.join("again")).unwrap();
    assert_eq!(digits.run(&["convert", "--config", "net.toml", "--write-config=again/net.toml"]).code, 0);
    assert_eq!(fs::read(digits.join("net.fgq")).unwrap(), first);
    // Paths hold from the folder of the file.
    fs::remove_file(digits.join("net.fgq")).unwrap();
    let run = digits.run(&["--threads", "1", "convert", "--config=again/net.toml"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(fs::read(digits.join("net.fgq")).unwrap(), first);
}

#[test]
fn paths_are_taken_from_the_folder_of_the_file() {
    let digits = Digits::new();
    let model = repository(DIGITS);
    let text = format!(
        "model = \"{model}\"\ncalib = \"train\"\noutput = \"net.fgq\"\ngroup = 64\nsamples = 16\nmean = 0.3\nstd = [0.4]\n"
    );
    fs::write(digits.join("net.toml"), text).unwrap();
    let run = crate::support::fgq_in(&digits.join("test"), &["convert", "--config", "../net.toml"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(digits.join("net.fgq").is_file());
}

#[test]
fn the_command_line_replaces_what_the_file_says() {
    let digits = Digits::new();
    assert_eq!(digits.convert("net.fgq", &["--samples", "16", "--set", ".*=int8", "--write-config"]).code, 0);
    let more = ["--config", "net.toml", "--set", ".*layer1.*=int4", "-o", "other.fgq", "--json"];
    let conversion = digits.run(&[&["convert"], &more[..]].concat()).json();
    assert_eq!((&conversion["output"], &conversion["images"]), (&"other.fgq".into(), &16.into()));
    let precisions: Vec<_> =
        conversion["layers"].as_array().unwrap().iter().map(|it| &it["precision"]).collect();
    assert!(
        precisions.contains(&&"int4".into())
            && precisions.iter().any(|it| it.as_str().unwrap().starts_with("ternary"))
    );
}

#[test]
fn what_is_wrong_with_a_file_is_named() {
    let digits = Digits::new();
    for (text, parts) in [
        ("grup = 4\nsamlpes = 3\n", &["net.toml", "unknown keys: 'grup', 'samlpes'", "group"][..]),
        ("group = 4\nconfig = \"x\"\n", &["net.toml", "unknown key: 'config'"]),
        ("group = [\n", &["net.toml", "TOML parse error at line 1"]),
        ("keep-order = 3\n", &["net.toml", "'keep-order': give true or false"]),
        ("range = true\n", &["net.toml", "'range': give text, a number or a list of them"]),
        ("[precision]\ngroup = 4\n", &["net.toml", "unknown key: 'precision'"]),
    ] {
        fs::write(digits.join("net.toml"), text).unwrap();
        digits.convert("net.fgq", &["--config", "net.toml"]).fails_with(parts);
    }
    digits.convert("net.fgq", &["--config", "none.toml"]).fails_with(&["none.toml"]);
    // Not an error of the file: what an option takes is said as on the command line.
    fs::write(digits.join("net.toml"), "samples = \"many\"\n").unwrap();
    let run = digits.convert("net.fgq", &["--config", "net.toml"]);
    assert!(
        run.code == 2 && run.stderr.contains("'many'") && run.stderr.contains("--samples"),
        "{}",
        run.stderr
    );
    assert_eq!(names(digits.path()), ["net.toml", "test", "train"]);
}
