//! Running the binary, and image folders made of the digits fixture.

use assert_cmd::Command;
use image::GrayImage;
use safetensors::SafeTensors;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What a run of the command left behind.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Its stdout as JSON; the run must have succeeded.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Checks exit code 2, nothing on stdout but the error as JSON, and that the error has all `parts`.
    #[track_caller]
    pub fn fails_with(&self, parts: &[&str]) {
        assert_eq!(self.code, 2, "{}{}", self.stdout, self.stderr);
        let json: Option<Value> = serde_json::from_str(&self.stdout).ok();
        assert!(
            self.stdout.is_empty() || json.is_some_and(|json| keys(&json) == ["error"]),
            "{}",
            self.stdout
        );
        assert!(self.stderr.contains("error: "), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "'{part}' is not in: {}", self.stderr);
        }
    }
}

/// Runs `fgq` with `arguments` in `folder`.
pub fn fgq_in<S: AsRef<OsStr>>(folder: &Path, arguments: &[S]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fgq"));
    let output = command.args(arguments).current_dir(folder).env_remove("FGQ_KERNELS").output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A file of this repository.
pub fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    path.to_str().unwrap().to_owned()
}

pub const DIGITS: &str = "fixtures/digits/digits-resnet.onnx";
/// How the digits network was trained to see its images.
pub const DIGITS_VALUES: [&str; 4] = ["--mean", "0.3053", "--std", "0.3758"];

/// A temporary folder with `train/` and `test/`, each with class folders of PNG images.
pub struct Digits {
    folder: TempDir,
}

impl Digits {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let bytes = fs::read(repository("fixtures/digits/digits.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        write_images(&file, "train", 60, folder.path());
        write_images(&file, "test", 100, folder.path());
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        fgq_in(self.path(), arguments)
    }

    /// `fgq convert` of the digits network to `output`, calibrated on `train`, with more options; in groups of 4 unless they
    /// say what layers get.
    pub fn convert(&self, output: &str, more: &[&str]) -> Run {
        let says = ["--group", "--set", "--method", "--plan"];
        let group: &[&str] =
            if more.iter().any(|option| says.contains(option)) { &[] } else { &["--group", "4"] };
        self.convert_towards(output, &[more, group].concat())
    }

    /// The same with nothing added.
    pub fn convert_towards(&self, output: &str, more: &[&str]) -> Run {
        let model = repository(DIGITS);
        let mut arguments = vec!["convert", &model, "--calib", "train", "-o", output];
        arguments.extend(DIGITS_VALUES);
        arguments.extend(more);
        self.run(&arguments)
    }
}

/// The first images of a part of the fixture, as `PART/CLASS/INDEX.png`.
fn write_images(file: &SafeTensors<'_>, part: &str, count: usize, folder: &Path) {
    let tensor = |what: &str| file.tensor(&format!("{part}_{what}")).unwrap();
    let (pixels, labels) = (tensor("images"), tensor("labels"));
    let images = pixels.data().chunks_exact(64).zip(labels.data()).take(count).enumerate();
    for (index, (pixels, label)) in images {
        let folder = folder.join(part).join(label.to_string());
        fs::create_dir_all(&folder).unwrap();
        let image = GrayImage::from_raw(8, 8, pixels.to_vec()).unwrap();
        image.save(folder.join(format!("{index:03}.png"))).unwrap();
    }
}

/// The sorted names of everything in a folder.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The sorted keys of a JSON object.
pub fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}
