use super::*;
use crate::graph::arbitrary::node_id;
use crate::graph::{Interpreter, Op};
use crate::tensor::Window;
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Tensors that follow the rule of `fixtures/architectures/make_architectures.py`.
struct Ruled(BTreeMap<String, Vec<usize>>);

impl Tensors for Ruled {
    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.0.get(name).map(Vec::as_slice)
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        Ok(ruled(name, &self.0[name]))
    }
}

fn uniform(name: &str, index: usize) -> f64 {
    let seed =
        name.bytes().fold(0x811C_9DC5, |seed: u32, byte| (seed ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let x = (index as u32).wrapping_mul(0x9E37_79B1).wrapping_add(seed);
    let x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
    f64::from((x ^ (x >> 16)) >> 8) / f64::from(1 << 24)
}

fn ruled(name: &str, shape: &[usize]) -> Vec<f32> {
    let scale = (4.8 / shape[1..].iter().product::<usize>() as f64).sqrt();
    let value = |u: f64| match shape.len() {
        1 if name.ends_with("weight") || name.ends_with("running_var") => 0.5 + u,
        1 => 0.2 * (2.0 * u - 1.0),
        _ => (2.0 * u - 1.0) * scale,
    };
    (0..shape.iter().product()).map(|index| value(uniform(name, index)) as f32).collect()
}

/// All tensors of an architecture with ten classes; `given` are those it could do without.
fn tensors_of(name: &str, given: &[(&str, &[usize])]) -> BTreeMap<String, Vec<usize>> {
    let given = given.iter().map(|(name, shape)| (name.to_string(), shape.to_vec()));
    let mut tensors = Ruled(given.collect());
    let architecture = find(name).unwrap();
    let misfits = compare(architecture, &tensors, Some(10), architecture.default_size()).unwrap();
    tensors.0.extend(misfits.missing.iter().map(|entry| {
        let (name, shape) = entry.split_once(' ').unwrap();
        (name.to_owned(), serde_json::from_str(shape).unwrap())
    }));
    tensors.0
}

#[derive(Deserialize)]
struct Expected {
    size: [usize; 2],
    tensors: String,
    logits: Vec<f32>,
}

fn expected() -> BTreeMap<String, Expected> {
    let json = include_str!("../../../fixtures/architectures/architectures.json");
    serde_json::from_str(json).unwrap()
}

fn load(path: &std::path::Path, options: &LoadOptions) -> Result<Graph> {
    load_safetensors(path, options).map(|loaded| loaded.graph)
}

fn options(architecture: &str) -> LoadOptions {
    LoadOptions { architecture: Some(architecture.into()), ..LoadOptions::default() }
}

/// All tensors of an entry of the expectations.
fn tensors_expected(name: &str) -> BTreeMap<String, Vec<usize>> {
    match name.starts_with("timm/vgg") {
        true => tensors_of(name, &[("pre_logits.fc1.weight", &[4096, 512, 7, 7])]),
        false => tensors_of(name, &[]),
    }
}

fn agrees_with_pytorch(name: &str, expected: &Expected) {
    let options = LoadOptions { input_size: Some(expected.size), ..options(name) };
    let graph = build(&Ruled(tensors_expected(name)), &TimmConfig::default(), &options).unwrap();
    let image = (0..graph.input.len()).map(|i| (2.0 * uniform("input", i) - 1.0) as f32).collect::<Vec<_>>();
    let logits = Interpreter::new(&graph).unwrap().run(&image).unwrap();
    let largest = expected.logits.iter().fold(0f32, |largest, logit| largest.max(logit.abs()));
    let difference = logits.iter().zip(&expected.logits).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert_eq!(logits.len(), 10);
    assert!(difference <= 1e-4 * largest, "{name}: {logits:?} instead of {:?}", expected.logits);
}

#[test]
fn every_architecture_has_the_tensors_of_pytorch() {
    let known = expected();
    for architecture in ARCHITECTURES {
        assert!(known.contains_key(architecture.name), "{} has no expectation", architecture.name);
    }
    for (name, expected) in &known {
        let lines = tensors_expected(name)
            .iter()
            .map(|(name, shape)| format!("{name} {shape:?}\n"))
            .collect::<String>();
        let hash = Sha256::digest(lines).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hash, expected.tensors, "{name}");
    }
}

#[test]
fn small_architectures_agree_with_pytorch() {
    let known = expected();
    for name in
        ["resnet18", "resnet50", "resnext50_32x4d", "resnet20", "resnet110", "squeezenet1_0", "squeezenet1_1"]
    {
        agrees_with_pytorch(name, &known[name]);
    }
}

#[test]
#[ignore = "takes a minute and 2 GB; for changes to an architecture"]
fn all_architectures_agree_with_pytorch() {
    expected().iter().for_each(|(name, expected)| agrees_with_pytorch(name, expected));
}

/// A folder with files that a test writes.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// Writes the tensors with values by rule.
    fn tensors(&self, file: &str, tensors: &BTreeMap<String, Vec<usize>>) -> PathBuf {
        let values = tensors.iter().map(|(name, shape)| (name.clone(), shape.clone(), ruled(name, shape)));
        let values = values
            .map(|(name, shape, values)| (name, Dtype::F32, shape, bytes_of(&values)))
            .collect::<Vec<_>>();
        self.write(file, serialized(&values))
    }
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn serialized(tensors: &[(String, Dtype, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// The tensors of resnet20, a kilobyte-sized network.
fn resnet20() -> BTreeMap<String, Vec<usize>> {
    tensors_of("resnet20", &[])
}

fn message(result: Result<Graph>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn files_shards_and_wrapped_names_give_the_same_network() {
    let folder = Folder::new();
    let tensors = resnet20();
    let plain = load(&folder.tensors("plain.safetensors", &tensors), &options("resnet20")).unwrap();
    assert_eq!(plain.shapes().unwrap()[plain.output], Shape::flat(10));
    assert_eq!(plain.input, Shape::new(3, 32, 32));

    let (first, second): (BTreeMap<_, _>, BTreeMap<_, _>) =
        tensors.clone().into_iter().partition(|(name, _)| name < &"layer2".to_owned());
    folder.tensors("a.safetensors", &first);
    folder.tensors("b.safetensors", &second);
    let file_of = |name: &String| if first.contains_key(name) { "a.safetensors" } else { "b.safetensors" };
    let map: BTreeMap<_, _> = tensors.keys().map(|name| (name, file_of(name))).collect();
    let index =
        folder.write("model.safetensors.index.json", serde_json::json!({ "weight_map": map }).to_string());
    assert_eq!(load(&index, &options("resnet20")).unwrap(), plain);

    let wrapped = tensors.iter().map(|(name, shape)| {
        (format!("module.model.{name}"), Dtype::F32, shape.clone(), bytes_of(&ruled(name, shape)))
    });
    let counter = ("module.model.bn1.num_batches_tracked".to_owned(), Dtype::I64, vec![], vec![0; 8]);
    let file = folder.write("wrapped.safetensors", serialized(&wrapped.chain([counter]).collect::<Vec<_>>()));
    assert_eq!(load(&file, &options("resnet20")).unwrap(), plain);
}

#[test]
fn an_index_cannot_reach_outside_its_folder() {
    let folder = Folder::new();
    let index = folder.write("x.index.json", r#"{"weight_map": {"a": "../secret.safetensors"}}"#);
    assert!(message(load(&index, &options("resnet20"))).contains("beside the index"));
    let index = folder.write("y.index.json", r#"{"weights": {}}"#);
    assert!(message(load(&index, &options("resnet20"))).contains("weight_map"));
}

#[test]
fn every_float_type_is_read() {
    let values = [0.5f32, -2.0, 0.0, 1.5];
    let half = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect::<Vec<_>>();
    let brain = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect::<Vec<_>>();
    let double = values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect::<Vec<_>>();
    let types =
        [(Dtype::F32, bytes_of(&values)), (Dtype::F16, half), (Dtype::BF16, brain), (Dtype::F64, double)];
    for (dtype, bytes) in types {
        let folder = Folder::new();
        let file = folder.write("x.safetensors", serialized(&[("a".into(), dtype, vec![4], bytes)]));
        assert_eq!(Safetensors::open(&file).unwrap().read("a").unwrap(), values, "{dtype:?}");
    }
    let folder = Folder::new();
    let file = folder.write("x.safetensors", serialized(&[("a".into(), Dtype::I8, vec![4], vec![0; 4])]));
    assert_eq!(Safetensors::open(&file).unwrap().read("a").unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn one_error_lists_all_that_does_not_fit() {
    let folder = Folder::new();
    let mut tensors = resnet20();
    tensors.remove("layer2.0.bn1.running_mean");
    tensors.insert("layer1.0.conv1.weight".into(), vec![16, 16, 1, 1]);
    tensors.insert("extra.weight".into(), vec![1]);
    let error = message(load(&folder.tensors("x.safetensors", &tensors), &options("resnet20")));
    for part in [
        "x.safetensors: ",
        "missing: layer2.0.bn1.running_mean [32]",
        "misshapen: layer1.0.conv1.weight is [16, 16, 1, 1] instead of [16, 16, 3, 3]",
        "unexpected: extra.weight",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_wrong_architecture_is_corrected() {
    let folder = Folder::new();
    let file = folder.tensors("x.safetensors", &resnet20());
    let error = message(load(&file, &options("resnet32")));
    assert!(error.contains("and 48 more") && error.contains("they fit resnet20"), "{error}");
    let error = message(load(&file, &options("resnet21")));
    assert!(error.contains("'resnet21' is not known; they fit resnet20"), "{error}");
    let error = message(load(&file, &LoadOptions::default()));
    assert!(error.contains("name the architecture; they fit resnet20"), "{error}");
}

#[test]
fn config_json_names_the_architecture() {
    let folder = Folder::new();
    let file = folder.tensors("model.safetensors", &resnet20());
    let config =
        r#"{"architecture": "resnet20", "num_classes": 10, "pretrained_cfg": {"input_size": [3, 24, 28]}}"#;
    folder.write("config.json", config);
    assert_eq!(load(&file, &LoadOptions::default()).unwrap().input, Shape::new(3, 24, 28));
    let larger = LoadOptions { input_size: Some([40, 40]), ..LoadOptions::default() };
    assert_eq!(load(&file, &larger).unwrap().input, Shape::new(3, 40, 40));
    folder.write("config.json", config.replace("\"num_classes\": 10", "\"num_classes\": 7"));
    let error = message(load(&file, &LoadOptions::default()));
    assert!(error.contains("linear.weight is [10, 64] instead of [7, 64]"), "{error}");
    folder.write("config.json", "{");
    assert!(message(load(&file, &LoadOptions::default())).contains("config.json: not valid JSON"));
}

#[test]
fn fused_batch_norm_leaves_convolutions_with_bias() {
    let folder = Folder::new();
    let mut tensors = resnet20();
    tensors.retain(|name, _| !name.contains("bn"));
    for (name, shape) in tensors.clone() {
        if let Some(conv) = name.strip_suffix(".weight").filter(|conv| conv.contains("conv")) {
            tensors.insert(format!("{conv}.bias"), vec![shape[0]]);
        }
    }
    let graph = load(&folder.tensors("x.safetensors", &tensors), &options("resnet20")).unwrap();
    assert!(!graph.nodes.iter().any(|node| matches!(node.op, Op::BatchNorm(_))));
    let Op::Conv(conv) = &graph.nodes[node_id(1)].op else { unreachable!() };
    assert_eq!(conv.bias, ruled("conv1.bias", &[16]));
    assert_eq!(conv.window, Window::new([3, 3]).with_pads([1; 4]));
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    let folder = Folder::new();
    let tensors = resnet20();
    let values = tensors.iter().map(|(name, shape)| {
        let mut values = ruled(name, shape);
        if name == "layer1.0.conv1.weight" {
            values[5] = f32::INFINITY;
        }
        (name.clone(), Dtype::F32, shape.clone(), bytes_of(&values))
    });
    let file = folder.write("x.safetensors", serialized(&values.collect::<Vec<_>>()));
    let error = load(&file, &options("resnet20")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NonFinite);
    assert!(error.to_string().contains("layer1.0.conv1.weight[5] is inf"), "{error}");
}

#[test]
fn damaged_files_are_errors() {
    let folder = Folder::new();
    let whole = std::fs::read(folder.tensors("x.safetensors", &resnet20())).unwrap();
    let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    let garbage = [&2u64.to_le_bytes()[..], b"{["].concat();
    let overlap = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let overlap = [&(overlap.len() as u64).to_le_bytes()[..], overlap, &[0; 4]].concat();
    let overflow = br#"{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,4]}}"#;
    let overflow = [&(overflow.len() as u64).to_le_bytes()[..], overflow, &[0; 4]].concat();
    for bytes in
        [&whole[..whole.len() - 1], &whole[..100], &whole[..7], &[], &huge, &garbage, &overlap, &overflow]
    {
        let error = load(&folder.write("bad.safetensors", bytes), &options("resnet20")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format, "{error}");
        assert_eq!(error.path(), Some(folder.path("bad.safetensors").as_path()));
    }
    assert_eq!(
        load(&folder.path("none.safetensors"), &options("resnet20")).unwrap_err().kind(),
        ErrorKind::Io
    );
}

#[test]
fn an_input_size_that_does_not_fit_the_classifier_is_refused() {
    let tensors = Ruled(tensors_of("vgg11", &[]));
    let size = LoadOptions { input_size: Some([256, 256]), ..options("vgg11") };
    let error = message(build(&tensors, &TimmConfig::default(), &size));
    assert!(error.contains("8x8") && error.contains("multiples of 7"), "{error}");
}
