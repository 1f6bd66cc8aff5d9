//! Files that are read and written: what is replaced, standard input and output, archives.

use crate::support::{DIGITS, Digits, names, repository};
use assert_cmd::Command;
use std::fs;
use std::process::{Command as Process, Stdio};

/// Few images and no fitting.
const QUICK: [&str; 6] = ["--samples", "16", "--method", "closed-form", "--group", "4"];

#[test]
fn what_is_no_model_of_this_network_is_kept() {
    let digits = Digits::new();
    let convert = |more: &[&str]| digits.convert("net.fgq", &[&QUICK, more].concat());
    fs::write(digits.join("net.fgq"), "a letter").unwrap();
    convert(&[]).fails_with(&["net.fgq: is there and no model of this network", "--force"]);
    assert_eq!(fs::read(digits.join("net.fgq")).unwrap(), b"a letter");
    assert_eq!(convert(&["--force"]).code, 0);
    // Another conversion of the same network takes its place.
    assert_eq!(convert(&["--act-bits", "4"]).code, 0);
    fs::copy(repository("fixtures/runtime/bits.fgq"), digits.join("net.fgq")).unwrap();
    convert(&[]).fails_with(&["no model of this network"]);
}

#[test]
fn a_model_goes_to_stdout_and_comes_from_stdin() {
    let digits = Digits::new();
    let run = digits.convert("net.fgq", &QUICK);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let network = fs::read(repository(DIGITS)).unwrap();
    let fgq = |input: &[u8], arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fgq"));
        command.args(arguments).current_dir(digits.path()).write_stdin(input).output().unwrap()
    };
    let images = ["--calib", "train", "-o", "-", "--mean", "0.3053", "--std", "0.3758"];
    let piped = fgq(&network, &[&["convert", "-"], &images[..], &QUICK].concat());
    let stderr = String::from_utf8(piped.stderr).unwrap();
    assert!(piped.status.success() && stderr.contains("output           -"), "{stderr}");
    let (ours, file) = (piped.stdout, fs::read(digits.join("net.fgq")).unwrap());
    let [ours, file] = [&ours, &file].map(|bytes| fgq::PackedModel::from_bytes(bytes).unwrap());
    assert_eq!((&ours.nodes, &ours.provenance.source_sha256), (&file.nodes, &file.provenance.source_sha256));

    let model = fs::read(digits.join("net.fgq")).unwrap();
    let image = fs::read_dir(digits.join("test/0")).unwrap().next().unwrap().unwrap().path();
    let image = image.to_str().unwrap();
    let usual = digits.run(&["classify", "net.fgq", image]).stdout;
    let classified = |input: &[u8], arguments: &[&str]| {
        let output = fgq(input, &[&["classify"], arguments].concat());
        String::from_utf8(output.stdout).unwrap().lines().skip(1).collect::<Vec<_>>().join("\n")
    };
    let answers = usual.lines().skip(1).collect::<Vec<_>>().join("\n");
    assert!(answers.contains('%'));
    assert_eq!(classified(&model, &["-", image]), answers);
    assert_eq!(classified(&fs::read(image).unwrap(), &["net.fgq", "-"]), answers);
    let twice = fgq(b"", &["classify", "-", "-"]);
    assert!(String::from_utf8_lossy(&twice.stderr).contains("stdin can be read only once"));
}

#[test]
fn a_model_that_nobody_takes_is_an_error() {
    let digits = Digits::new();
    let mut command = Process::new(env!("CARGO_BIN_EXE_fgq"));
    let network = repository(DIGITS);
    command.args(["convert", &network, "--calib", "train", "-o", "-"]).args(QUICK);
    let mut child =
        command.current_dir(digits.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the model cannot be written"));
}

#[test]
#[cfg(unix)]
fn a_closed_stdout_is_an_error_before_the_work_begins() {
    let digits = Digits::new();
    let run = |redirected: &str| {
        let line = format!("exec \"$0\" inspect \"$1\" --json {redirected}");
        let shell = Process::new("sh")
            .args(["-c", &line, env!("CARGO_BIN_EXE_fgq"), &repository(DIGITS)])
            .current_dir(digits.path())
            .output()
            .unwrap();
        (shell.status.code().unwrap(), String::from_utf8(shell.stderr).unwrap())
    };
    let (code, message) = run(">&-");
    assert_eq!((code, message.contains("error: stdout is closed")), (2, true), "{message}");
    for open in ["", "> /dev/null", "1<> /dev/null", "> file", "<&-"] {
        let (code, message) = run(open);
        assert_eq!(code, 0, "{open}: {message}");
    }
}

#[test]
fn errors_are_json_where_results_would_be() {
    let digits = Digits::new();
    let failed = |arguments: &[&str]| {
        let run = digits.run(arguments);
        assert_eq!(run.code, 2);
        assert!(run.stderr.contains("error: "), "{}", run.stderr);
        serde_json::from_str::<serde_json::Value>(&run.stdout).unwrap()["error"].clone()
    };
    let missing = failed(&["inspect", "none.fgq", "--json"]);
    assert_eq!((&missing["kind"], &missing["path"]), (&"io".into(), &"none.fgq".into()));
    assert!(missing["message"].as_str().unwrap().contains("No such file"));
    let option = failed(&["inspect", "--frobnicate", "--json"]);
    assert!(option["message"].as_str().unwrap().contains("--frobnicate") && option["kind"].is_null());
    let pattern = failed(&["convert", &repository(DIGITS), "--calib", "train", "--set", "x=int8", "--json"]);
    assert_eq!(pattern["kind"], "argument");
    assert!(pattern["message"].as_str().unwrap().contains("--set 'x' matches no layer"));
}

#[test]
fn a_cause_that_the_message_tells_is_not_told_twice() {
    let digits = Digits::new();
    let run = digits.convert("net.fgq", &["--set", "conv(=int8"]);
    assert_eq!(run.stderr.matches("open group").count(), 1, "{}", run.stderr);
}

#[test]
fn verbose_tells_of_stages_and_quiet_of_none() {
    let digits = Digits::new();
    let told = |flag: &str| digits.convert("net.fgq", &[&QUICK[..], &[flag]].concat()).stderr;
    let verbose = told("-v");
    assert!(verbose.lines().filter(|line| line.contains(" s  ")).count() > 1, "{verbose}");
    assert!(!told("-q").contains(" s  "));
    digits.run(&["demo", "-q", "-v"]).fails_with(&["cannot be used with"]);
}

#[test]
fn group_sizes_that_make_no_sense_are_noted() {
    let digits = Digits::new();
    let stderr = |group: &str| {
        digits.convert("net.fgq", &["--samples", "16", "--method", "closed-form", "--group", group]).stderr
    };
    assert!(stderr("1").contains("a scale for every weight") && stderr("1").contains("--set '.*=int4'"));
    assert!(stderr("1000").contains("groups of 1000 are larger than the"));
    assert!(!stderr("4").contains("groups of"));
}

#[test]
fn archives_of_images_are_images() {
    let digits = Digits::new();
    let packed = Process::new("tar").args(["-cf", "train.tar", "train"]).current_dir(digits.path()).status();
    assert!(packed.is_ok_and(|status| status.success()), "tar is needed");
    let convert = |images: &str, output: &str| {
        let network = repository(DIGITS);
        let arguments =
            [&["convert", &network, "--calib", images, "-o", output, "--json"], &QUICK[..]].concat();
        digits.run(&arguments).json()["sha256"].clone()
    };
    assert_eq!(convert("train", "a.fgq"), convert("train.tar", "b.fgq"));
    let eval =
        |images: &str| digits.run(&["eval", "a.fgq", "--images", images, "--json"]).json()["top1"].clone();
    assert_eq!(eval("train"), eval("train.tar"));
}

/// A signal ends the command as if it had no handler, and nothing of it is left.
#[cfg(unix)]
#[test]
fn a_signal_leaves_nothing_behind() {
    use std::os::unix::process::ExitStatusExt;
    let digits = Digits::new();
    fs::create_dir(digits.join("temporary")).unwrap();
    for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        let mut command = Process::new(env!("CARGO_BIN_EXE_fgq"));
        command.args(["classify", "-", "train"]).env("TMPDIR", digits.join("temporary"));
        let mut child = command.current_dir(digits.path()).stdin(Stdio::piped()).spawn().unwrap();
        // Waiting for the child would close it, and the child go on.
        let _stdin = child.stdin.take();
        while names(&digits.join("temporary")).is_empty() {
            std::thread::yield_now();
        }
        let signal = format!("-{name}");
        assert!(Process::new("kill").args([&signal, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().signal(), Some(number));
        assert_eq!(names(&digits.join("temporary")), [""; 0]);
    }
}
