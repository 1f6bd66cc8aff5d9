//! Data flows one way: a module uses only modules above it, and the deployed half is integer-only and safe.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules, lowest first; those in one line may use one another.
const LAYERS: [&[&str]; 22] = [
    &["error", "clock", "index", "panics", "random", "threads", "wide"],
    &["inputs"],
    &[
        "archive",
        "files",
        "fixed",
        "judge",
        "knapsack",
        "liveness",
        "precision",
        "products",
        "progress",
        "proto",
        "tensor",
    ],
    &["format"],
    &["kernels", "pixels"],
    &["runtime"],
    &["export"],
    &["graph"],
    &["source"],
    &["data"],
    &["fold", "ternarize"],
    &["plan"],
    &["calibrate"],
    &["channels", "quantize"],
    &["pack"],
    &["prepare"],
    &["train"],
    &["layerwise"],
    &["bench", "check", "convert", "eval", "repack", "report"],
    &["indicate", "learn", "tune"],
    &["reach"],
    &["cli"],
];
/// The deployed half: what a device that only runs models needs.
const DEPLOYED: [&str; 3] = ["fixed", "kernels", "runtime"];
/// The only places with unsafe code.
const UNSAFE: [&str; 3] = ["kernels/", "wide.rs", "main.rs"];

/// A source file: its path below `src` and its lines, without comments and test-only parts.
struct Source {
    path: String,
    code: String,
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// All files of `src` but those that only tests use.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    files.sort();
    let texts: Vec<(String, String)> = files
        .iter()
        .map(|file| {
            let path = file.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            (path, fs::read_to_string(file).unwrap())
        })
        .collect();
    let test_only: BTreeSet<String> =
        texts.iter().flat_map(|(path, text)| test_modules(path, text)).collect();
    let kept = texts.into_iter().filter(|(path, _)| {
        !test_only
            .iter()
            .any(|module| path.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with(['/', '.'])))
    });
    kept.map(|(path, text)| Source { path, code: code_of(&text) }).collect()
}

/// Whether what follows a line is for tests only.
fn is_for_tests(line: &str) -> bool {
    ["#[cfg(test)]", "#[cfg(all(test, "].iter().any(|attribute| line.trim().starts_with(attribute))
}

/// Paths, without extension, of the modules that a file declares for tests only.
fn test_modules(path: &str, text: &str) -> Vec<String> {
    let stem = path.trim_end_matches(".rs");
    let folder = stem.strip_suffix("/mod").or((stem == "lib").then_some("")).unwrap_or(stem);
    let lines: Vec<&str> = text.lines().collect();
    let modules = (0..lines.len()).filter(|&at| is_for_tests(lines[at])).filter_map(|at| {
        let declaration = lines[at + 1..].iter().find(|line| !line.trim_start().starts_with("#["))?;
        let name = declaration.trim().strip_suffix(';')?.rsplit(' ').next()?;
        declaration.contains("mod ").then(|| format!("{folder}/{name}").trim_start_matches('/').to_owned())
    });
    modules.collect()
}

/// A file's code without comments and without test modules, which come last.
fn code_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(3).position(|lines| {
        is_for_tests(lines[0])
            && lines[1..].iter().any(|line| line.starts_with("mod ") && line.ends_with('{'))
    });
    let code = lines[..tests.unwrap_or(lines.len())].iter();
    code.map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect()
}

/// The first part of a path below `src`: the module it belongs to.
fn module(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap()
}

/// The modules of this crate that a file's code names.
fn uses(code: &str) -> BTreeSet<String> {
    let names = code.split("crate::").skip(1).flat_map(|rest| {
        let name =
            |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split("};").next().unwrap();
                list.split(',').map(|item| name(item.trim())).collect::<Vec<_>>()
            }
            None => vec![name(rest)],
        }
    });
    names.filter(|name| layer(name).is_some()).collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn modules_use_only_modules_above_them() {
    let mut wrong = Vec::new();
    let mut used = BTreeMap::<String, BTreeSet<String>>::new();
    for source in sources() {
        let own = module(&source.path).to_owned();
        if ["lib", "main"].contains(&own.as_str()) {
            continue;
        }
        let Some(place) = layer(&own) else { panic!("module '{own}' has no layer; add it to the list") };
        for other in uses(&source.code) {
            if layer(&other).is_some_and(|layer| layer > place) {
                wrong.push(format!("{} uses {other}", source.path));
            }
            used.entry(own.clone()).or_default().insert(other);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The search itself works.
    assert!(used["runtime"].contains("kernels") && used["kernels"].contains("format"), "{used:?}");
}

#[test]
fn every_module_has_a_layer() {
    let library = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let declared = library.lines().filter_map(|line| line.trim().strip_prefix("mod ")?.strip_suffix(';'));
    let test_only = test_modules("lib.rs", &library);
    let declared: BTreeSet<&str> = declared.filter(|name| !test_only.contains(&(*name).to_owned())).collect();
    let listed: BTreeSet<&str> = LAYERS.iter().flat_map(|layer| layer.iter().copied()).collect();
    assert!(declared.is_subset(&listed), "{declared:?} {listed:?}");
}

#[test]
fn the_deployed_half_has_no_real_numbers() {
    for module in DEPLOYED {
        let files: Vec<Source> =
            sources().into_iter().filter(|source| self::module(&source.path) == module).collect();
        let root = [format!("{module}.rs"), format!("{module}/mod.rs")];
        let root = files.iter().find(|source| root.contains(&source.path)).unwrap();
        assert!(root.code.contains("#![deny(clippy::float_arithmetic)]"), "{}", root.path);
        for source in &files {
            for word in ["f32", "f64"] {
                assert!(!source.code.contains(word), "{} contains {word}", source.path);
            }
        }
    }
}

#[test]
fn unsafe_code_stays_where_it_is_allowed() {
    for source in sources() {
        let allowed = UNSAFE.iter().any(|place| source.path.starts_with(place));
        let words: Vec<&str> = source.code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        assert!(allowed || !words.contains(&"unsafe"), "{} contains unsafe code", source.path);
    }
}

/// Only the tiles of an instruction set promise that the CPU has it; who hands them out asks the CPU.
#[test]
fn instruction_sets_are_promised_with_their_tiles_only() {
    let tiles = ["kernels/x86_64/", "kernels/aarch64/", "kernels/wasm32/", "kernels/plain.rs", "wide.rs"];
    for source in sources() {
        let promises = ["Promise::new", "Width::avx2", "Width::avx512"];
        let found = promises.iter().find(|promise| source.code.contains(**promise));
        let allowed = tiles.iter().any(|place| source.path.starts_with(place));
        assert!(allowed || found.is_none(), "{} has {found:?}", source.path);
    }
}

/// The type that a line without indentation defines.
fn defined_type(line: &str) -> Option<&str> {
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let visibility = |word: &&str| ["pub", "crate", "super", "unsafe"].contains(word);
    let kind = words.find(|word| !visibility(word))?;
    let defines = ["struct", "enum", "trait", "type", "union"].contains(&kind) && !line.starts_with(' ');
    words.next().filter(|_| defines)
}

#[test]
fn a_type_name_has_one_meaning() {
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for Source { path, code } in sources() {
        // Generated code has the names of ONNX.
        if path == "proto.rs" {
            continue;
        }
        for name in code.lines().filter_map(defined_type) {
            places.entry(name.to_owned()).or_default().push(path.clone());
        }
    }
    assert!(places["Graph"] == ["graph/mod.rs"] && places["Item"] == ["knapsack/mod.rs"], "{places:?}");
    // Every command of `cli` has its arguments.
    places.remove("Args").unwrap();
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}
