//! What a C compiler makes of exported models, against the runtime.

use super::*;
use crate::choices::Choices;
use crate::format::arbitrary::{extreme, ladder, model, packed_id, switching_model};
use crate::format::{PackedOp, read_model};
use crate::runtime::{Kernels, Session};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const WARNINGS: [&str; 5] = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"];
const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
/// Plain C, the DSP extension and Helium, with instructions in plain C (`tests/c_export/emulated`), of which those of
/// Helium take a compiler long to optimise.
const WAYS: [&[&str]; 3] = [&["-DFGQ_DSP=0"], &["-DFGQ_DSP=1"], &["-DFGQ_HELIUM=1", "-O0"]];
/// More random models than are usually tried.
const SEEDS: &str = "FGQ_C_MODELS";

/// The compiler of this machine. Without one what cannot be tested is said past the test's captured output.
fn compiler() -> Option<String> {
    let named = std::env::var("CC").ok();
    let works =
        |name: &String| Command::new(name).arg("--version").output().is_ok_and(|it| it.status.success());
    let found = named.into_iter().chain(["cc", "gcc", "clang"].map(str::to_owned)).find(works);
    if found.is_none() {
        let _ = std::io::stderr()
            .write_all(b"NOT TESTED: exported C; there is no C compiler (cc, gcc, clang, CC)\n");
    }
    found
}

/// The sanitizers, if their libraries are there.
fn sanitizers(compiler: &str) -> &'static [&'static str] {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("empty.c");
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let built = Command::new(compiler)
        .args(SANITIZERS)
        .arg(source)
        .arg("-o")
        .arg(folder.path().join("empty"))
        .output();
    if built.is_ok_and(|it| it.status.success()) {
        return &SANITIZERS;
    }
    let _ = std::io::stderr()
        .write_all(b"NOT TESTED: exported C with sanitizers; their libraries are not there\n");
    &[]
}

/// The logits that the exported model yields, compiled with more options.
fn logits(compiler: &str, options: &[&str], export: &CExport, inputs: &[u8]) -> Vec<i32> {
    let folder = tempfile::tempdir().unwrap();
    export.write(folder.path()).unwrap();
    let program = folder.path().join("model");
    let sources = ["main.c", "model.c"].map(|name| folder.path().join(name));
    let emulated = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/tests/c_export/emulated");
    let mut build = Command::new(compiler);
    let built =
        build.args(WARNINGS).arg(emulated).args(options).args(sources).arg("-o").arg(&program).output();
    let built = built.unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let mut run = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    run.stdin.take().unwrap().write_all(inputs).unwrap();
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(|logit| logit.parse().unwrap()).collect()
}

fn pixels(seed: u64, model: &PackedModel, images: usize) -> Vec<u8> {
    let mut choices = Choices(seed);
    (0..images * model.input.len()).map(|_| choices.next() as u8).collect()
}

#[track_caller]
fn agrees(compiler: &str, options: &[&str], model: &PackedModel, seed: u64, ways: &[&[&str]]) {
    let inputs = pixels(seed, model, 3);
    let expected = Session::with_kernels(model, Kernels::Reference).unwrap().run(&inputs).unwrap().data;
    let export = export_c(model, &COptions::default()).unwrap();
    for &way in ways {
        let options = [options, way].concat();
        assert_eq!(logits(compiler, &options, &export, &inputs), expected, "{seed} {way:?}");
    }
}

/// What occurs in a model: operators, and forms of convolutions.
fn parts(model: &PackedModel) -> BTreeSet<String> {
    let part = |node: &crate::format::PackedNode| match &node.op {
        PackedOp::Conv(conv) => {
            let depthwise = conv.group_inputs == 1 && conv.groups > 1;
            format!("conv {} {} {depthwise}", conv.weights.precision.is_ternary(), node.inputs.len())
        }
        op => op.name().to_owned(),
    };
    model.nodes.iter().map(part).collect()
}

/// Seeds of models in which every operator and form occurs, and some more.
fn seeds() -> Vec<u64> {
    let more = std::env::var(SEEDS).ok().and_then(|count| count.parse().ok()).unwrap_or(10);
    let mut seen = BTreeSet::new();
    let mut adds = |seed: &u64| {
        let before = seen.len();
        seen.extend(parts(&model(*seed)));
        seen.len() > before
    };
    let mut seeds: Vec<u64> = (0..400).filter(|seed| adds(seed)).collect();
    assert!(seen.len() >= 15 + 6, "{seen:?}");
    seeds.extend(1000..1000 + more);
    seeds
}

#[test]
fn random_models_yield_the_runtimes_logits() {
    let Some(compiler) = compiler() else { return };
    let options = [sanitizers(&compiler), &["-O1"]].concat();
    // Plain C, and one of the others by turns.
    seeds().into_par_iter().enumerate().for_each(|(turn, seed)| {
        agrees(&compiler, &options, &model(seed), seed, &[WAYS[0], WAYS[1 + turn % 2]]);
    });
}

#[test]
fn groups_of_every_size_yield_the_runtimes_logits() {
    let Some(compiler) = compiler() else { return };
    let options = [sanitizers(&compiler), &["-O1"]].concat();
    [1, 2].into_par_iter().for_each(|seed| agrees(&compiler, &options, &ladder(seed), seed, &WAYS));
}

#[test]
fn the_largest_sums_yield_the_runtimes_logits() {
    let Some(compiler) = compiler() else { return };
    let options = [sanitizers(&compiler), &["-O1"]].concat();
    let models =
        [(4, "ternary:4/8"), (8, "ternary:8/8"), (64, "ternary:64/8"), (128, "ternary:128*2"), (128, "int8")];
    models.into_par_iter().for_each(|(channels, precision)| {
        agrees(&compiler, &options, &extreme(channels, precision), 1, &WAYS);
    });
}

/// Models of the NumPy implementation, with what that makes of them.
#[test]
fn the_vectors_of_the_runtime_return() {
    let Some(compiler) = compiler() else { return };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/runtime");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|it| it == "fgq")).collect();
    assert!(files.len() > 3);
    files.par_iter().for_each(|path| {
        let mut model = read_model(path).unwrap();
        if let Some(full) = model.switching.as_ref().map(|it| it.widths[0]) {
            let layers = model.switching_layers().count();
            model = model.at(&vec![full; layers]).unwrap();
        }
        agrees(&compiler, &["-O2"], &model, 7, &WAYS);
    });
}

#[test]
fn what_cannot_be_exported_is_refused_by_name() {
    let message = |model: &PackedModel, prefix: &str| {
        export_c(model, &COptions { prefix: prefix.to_owned() }).unwrap_err().to_string()
    };
    assert!(message(&switching_model(3), "model").contains("the model switches"));
    for prefix in ["", "3d", "a-b", "_x"] {
        assert!(message(&model(1), prefix).contains("no C identifier"), "{prefix}");
    }
    let mut wide = model(1);
    wide.input = Shape::new(wide.input.channels, 1, 40_000);
    wide.preprocess = crate::format::arbitrary::preprocess(wide.input);
    let kept: Vec<_> = [packed_id(0)].iter().map(|&id| wide.nodes[id].clone()).collect();
    let sum = crate::format::PackedNode {
        name: "table".into(),
        op: PackedOp::Table { entries: vec![0; 256] },
        inputs: vec![packed_id(0)],
        quantizer: crate::format::Quantizer { scale: 1.0, zero_point: 0, max: 255 },
    };
    let last = crate::format::PackedNode {
        name: "sum".into(),
        op: PackedOp::GlobalSum,
        inputs: vec![packed_id(1)],
        ..sum.clone()
    };
    wide.nodes = Per::from([kept, vec![sum, last]].concat());
    (wide.classes, wide.fidelity) = (Vec::new(), None);
    let message = message(&wide, "model");
    assert!(message.contains("'pixels'") && message.contains("extent above 32767"), "{message}");
}

#[test]
fn the_arena_holds_every_value_apart() {
    for seed in 0..300 {
        let model = model(seed);
        let shapes = model.shapes().unwrap();
        let emissions: Per<PackedId, Emission> =
            model.nodes.ids().map(|id| Emission::of(&model, &shapes, id)).collect();
        let arena = Arena::new(&model, &shapes, &emissions);
        for id in model.nodes.ids() {
            let end = arena.value(id).map_or(0, |start| start + shapes[id].len());
            assert!(end <= arena.bytes() && arena.scratch(id) + emissions[id].scratch <= arena.bytes());
            assert!(arena.in_use(id) <= arena.bytes());
        }
    }
}
