//! Files from an enemy: damaged bytes and files that lie.

use super::sample::sample;
use crate::format::*;
use crate::runtime::Session;
use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// Most activation elements of a damaged model that is run.
const RUNNABLE: usize = 200_000;

/// Whatever is accepted must be valid and run.
fn survives(bytes: &[u8]) -> bool {
    let Ok(model) = PackedModel::from_bytes(bytes) else { return false };
    let shapes = model.shapes().unwrap();
    if shapes.iter().map(|shape| shape.len()).sum::<usize>() <= RUNNABLE {
        let session = Session::new(&model).unwrap();
        session.run(&vec![200; model.input.len()]).unwrap();
    }
    true
}

/// The same with the checksum that fits, so that damage comes through to other checks.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let _ = checksum::seal(&mut bytes);
    bytes
}

fn header_len(bytes: &[u8]) -> usize {
    8 + usize::from_le_bytes(bytes[..8].try_into().unwrap())
}

#[test]
fn every_truncation_is_refused() {
    let bytes = sample().to_bytes().unwrap();
    assert!(survives(&bytes));
    for len in 0..bytes.len() {
        assert!(!survives(&bytes[..len]), "{len}");
    }
    assert!(!survives(&[&bytes[..], &[0]].concat()));
}

#[test]
fn every_flipped_bit_is_refused() {
    let bytes = sample().to_bytes().unwrap();
    for place in 0..8 * bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place / 8] ^= 1 << (place % 8);
        assert!(PackedModel::from_bytes(&damaged).is_err(), "bit {place}");
    }
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_has(&PackedModel::from_bytes(&damaged).unwrap_err().to_string(), &["checksum", "damaged"]);
}

#[test]
fn no_damage_to_the_header_panics() {
    let bytes = sample().to_bytes().unwrap();
    for place in 0..header_len(&bytes) {
        for mask in [0x01, 0x04, 0x80] {
            let mut damaged = bytes.clone();
            damaged[place] ^= mask;
            survives(&sealed(damaged));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_damage_anywhere_panics(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        let mut bytes = sample().to_bytes().unwrap();
        for (place, value) in places {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        survives(&sealed(bytes));
    }

    #[test]
    fn no_damage_to_the_data_panics(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..9)) {
        let mut bytes = sample().to_bytes().unwrap();
        let header = header_len(&bytes);
        for (place, value) in places {
            let place = header + place.index(bytes.len() - header);
            bytes[place] = value;
        }
        survives(&sealed(bytes));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), len in 0u64..300) {
        survives(&bytes);
        survives(&[&len.to_le_bytes(), &bytes[..]].concat());
        survives(&[&len.to_le_bytes(), &b"{\"__metadata__\":{\"fgq\":\""[..], &bytes].concat());
    }

    #[test]
    fn no_number_in_the_metadata_panics(seed: u64) {
        let mut choices = crate::choices::Choices(seed);
        let mut file = Parts::of_sample();
        let numbers = count_numbers(&file.record);
        for _ in 0..1 + choices.below(2) {
            let value = choices.pick(&[0, 1, 2, 3, 5, 7, 255, 256, 1 << 16, 1 << 24, 1 << 31, 1 << 40, u64::MAX]);
            replace_number(&mut file.record, &mut choices.below(numbers), &json!(value));
        }
        survives(&file.bytes());
    }
}

fn children(value: &mut Value) -> Vec<&mut Value> {
    match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(items) => items.values_mut().collect(),
        _ => Vec::new(),
    }
}

fn count_numbers(value: &Value) -> usize {
    let nested: usize = children(&mut value.clone()).into_iter().map(|child| count_numbers(child)).sum();
    nested + usize::from(value.is_number())
}

/// Replaces number `index` of those in `value`.
fn replace_number(value: &mut Value, index: &mut usize, by: &Value) -> bool {
    if value.is_number() {
        if *index == 0 {
            *value = by.clone();
            return true;
        }
        *index -= 1;
    }
    children(value).into_iter().any(|child| replace_number(child, index, by))
}

/// A file taken apart, to be put together wrongly.
struct Parts {
    record: Value,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Parts {
    fn of_sample() -> Self {
        Self::of(&sample().to_bytes().unwrap())
    }

    fn of(bytes: &[u8]) -> Self {
        let (_, metadata) = SafeTensors::read_metadata(bytes).unwrap();
        let record = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["fgq"]).unwrap();
        let file = SafeTensors::deserialize(bytes).unwrap();
        let owned = |t: TensorView| (t.dtype(), t.shape().to_vec(), t.data().to_vec());
        Self { record, tensors: file.iter().map(|(name, t)| (name.to_owned(), owned(t))).collect() }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut record = self.record.clone();
        if let Some(checksum) = record.get_mut("checksum") {
            *checksum = json!(checksum::UNKNOWN);
        }
        let metadata = HashMap::from([("fgq".to_owned(), record.to_string())]);
        let views = self.tensors.iter().map(|(name, (dtype, shape, data))| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        sealed(safetensors::serialize(views, Some(metadata)).unwrap())
    }

    fn op(&mut self, node: usize, kind: &str) -> &mut Value {
        &mut self.record["nodes"][node]["op"][kind]
    }
}

/// The error of the sample after `change`.
#[track_caller]
fn error(change: impl FnOnce(&mut Parts)) -> String {
    let mut parts = Parts::of_sample();
    change(&mut parts);
    PackedModel::from_bytes(&parts.bytes()).unwrap_err().to_string()
}

#[track_caller]
fn assert_has(message: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn other_versions_are_named() {
    for (version, part) in
        [(json!(0), "version 0"), (json!(5), "version 5"), (json!("1"), "version"), (json!(-1), "version")]
    {
        assert_has(&error(|file| file.record["version"] = version), &[part]);
    }
    // Whatever else a later version changes.
    let later = error(|file| file.record = json!({ "version": 5, "layers": [] }));
    assert_has(&later, &["version 5", "reads versions 1 to 4"]);
    assert_has(&error(|file| file.record = json!({})), &["no format version"]);
    assert_has(&error(|file| file.record = json!("fgq")), &["metadata", "version"]);
}

/// Readers of an older version do not know what came later, so no file of that version has it.
#[test]
fn the_version_is_at_least_what_the_parts_need() {
    let mut old = Parts::of(include_bytes!("../../../fixtures/runtime/int4.fgq"));
    assert_eq!(old.record["version"], 2);
    let read = PackedModel::from_bytes(&old.bytes()).unwrap();
    assert_eq!(PackedModel::from_bytes(&read.to_bytes().unwrap()).unwrap(), read);
    let message = |file: &Parts| PackedModel::from_bytes(&file.bytes()).unwrap_err().to_string();
    old.record["version"] = json!(1);
    assert_has(&message(&old), &["node 'conv'", "version 1 has no such operator or weights"]);
    old.record["version"] = json!(3);
    assert_has(&message(&old), &["does not begin with its checksum"]);
    let mut older = Parts::of(include_bytes!("../../../fixtures/runtime/codes.fgq"));
    older.record["provenance"]["plan"] = json!({ "budgets": {}, "objective": "0", "layers": "- i4" });
    assert_has(&message(&older), &["version 1 has no plans"]);
    let mut judged = Parts::of(include_bytes!("../../../fixtures/runtime/int4.fgq"));
    judged.record["fidelity"] = json!({ "images": 8, "held_back": true });
    assert_has(&message(&judged), &["version 2 has no judgements"]);
    older.record["version"] = json!(2);
    assert!(PackedModel::from_bytes(&older.bytes()).unwrap().provenance.plan.is_some());
    for version in [1, 2] {
        let message = error(|file| file.record["version"] = json!(version));
        assert_has(&message, &[&format!("a checksum in format version {version}")]);
        let message = error(|file| {
            file.record["version"] = json!(version);
            file.record.as_object_mut().unwrap().remove("checksum");
        });
        assert_has(&message, &["node 'conv'", "has no such operator or weights"]);
    }
}

#[test]
fn unknown_and_missing_keys_are_named() {
    assert_has(&error(|file| file.record["colour"] = json!(1)), &["colour"]);
    assert_has(&error(|file| file.record["nodes"][3]["colour"] = json!(1)), &["colour"]);
    assert_has(&error(|file| file.op(1, "conv")["window"]["colour"] = json!(1)), &["colour"]);
    assert_has(&error(|file| file.record["nodes"][1]["op"] = json!("softmax")), &["softmax"]);
    assert_has(&error(|file| file.op(1, "conv")["store"]["codes"]["low"] = json!(256)), &["256"]);
    assert_has(&error(|file| file.op(1, "conv")["outputs"] = json!(-1)), &["-1"]);
    let remove = |file: &mut Parts| file.record.as_object_mut().unwrap().remove("logit_scale");
    assert_has(&error(|file| drop(remove(file))), &["logit_scale"]);
}

#[test]
fn tensors_must_be_there_once_and_right() {
    let message = error(|file| drop(file.tensors.remove("conv.scales")));
    assert_has(&message, &["node 'conv'", "'conv.scales' is missing"]);
    let message = error(|file| drop(file.tensors.insert("x".into(), (Dtype::U8, vec![1], vec![0]))));
    assert_has(&message, &["'x' belongs to no node"]);
    let message = error(|file| file.tensors.get_mut("conv.scales").unwrap().0 = Dtype::I8);
    assert_has(&message, &["node 'conv'", "I8", "not U8 [n]"]);
    let message = error(|file| file.tensors.get_mut("conv.scales").unwrap().1 = vec![4, 18]);
    assert_has(&message, &["[4, 18]", "not U8 [n]"]);
    let message = error(|file| file.tensors.get_mut("table.table").unwrap().1 = vec![256, 1]);
    assert_has(&message, &["node 'table'", "[256, 1]", "[n, 256]"]);
    let message = error(|file| file.tensors.get_mut("logits.codes").unwrap().0 = Dtype::I8);
    assert_has(&message, &["node 'logits'", "not U8"]);
}

#[test]
fn figures_that_cannot_be_are_refused() {
    let message = error(|file| drop(file.tensors.remove("fidelity")));
    assert_has(&message, &["'fidelity' is missing"]);
    let message = error(|file| file.record["fidelity"] = Value::Null);
    assert_has(&message, &["'fidelity' belongs to no node"]);
    let message = error(|file| file.tensors.get_mut("fidelity").unwrap().1 = vec![5, 3]);
    assert_has(&message, &["[5, 3]", "not I16 [3, 5]"]);
    for (place, value) in [(0, 12_001i16), (5, -12_001), (4, -1), (9, 10_001), (14, i16::MIN)] {
        let bytes = value.to_le_bytes();
        let message = error(|file| {
            file.tensors.get_mut("fidelity").unwrap().2[2 * place..][..2].copy_from_slice(&bytes)
        });
        assert_has(&message, &["figures of fidelity are out of range"]);
    }
    assert_has(&error(|file| file.record["fidelity"]["images"] = json!(0)), &["out of range"]);
    assert_has(&error(|file| file.record["fidelity"]["logits"] = json!(1e9)), &["out of range"]);
    let judged = |agreeing: i64, divergence: f64, divergence_error: f64| json!({ "agreeing": agreeing, "divergence": divergence, "divergence_error": divergence_error });
    for wrong in [judged(9, 0.1, 0.1), judged(8, -0.1, 0.1), judged(8, 0.1, -0.1)] {
        assert_has(&error(|file| file.record["fidelity"]["judgement"] = wrong.clone()), &["out of range"]);
    }
    let partly = json!({ "agreeing": 8 });
    assert_has(&error(|file| file.record["fidelity"]["judgement"] = partly.clone()), &["divergence"]);
}

#[test]
fn weights_out_of_range_are_refused() {
    let set = |name: &'static str, place: usize, value: u8| {
        error(move |file| file.tensors.get_mut(name).unwrap().2[place] = value)
    };
    assert_has(&set("conv.codes", 0, 1), &["node 'conv'", "invalid codes"]);
    for scale in [128, 255] {
        assert_has(&set("conv.scales", 71, scale), &["node 'conv'", "at most 127"]);
    }
    assert_has(&set("logits.codes", 4, 255), &["node 'logits'", "invalid codes"]);
    // Shift 31, a negative word, and the one multiplier that cannot be negated.
    assert_has(&set("conv.requant", 6, 31), &["node 'conv'", "shift: 31"]);
    assert_has(&set("conv.requant", 7, 0x80), &["node 'conv'", "requantization word"]);
    let lowest =
        error(|file| file.tensors.get_mut("conv.requant").unwrap().2[4..6].copy_from_slice(&[0, 0x80]));
    assert_has(&lowest, &["node 'conv'", "-32768"]);
    // A bias of 2^31 − 2^16 leaves no room.
    let large =
        error(|file| file.tensors.get_mut("conv.requant").unwrap().2[2..4].copy_from_slice(&[0xff, 0x7f]));
    assert_has(&large, &["node 'conv'", "overflow 32 bits"]);
}

/// 108 ternary codes leave two digits of the last byte.
#[test]
fn digits_after_the_last_code_must_be_zero() {
    let last =
        |value: u8| error(|file| *file.tensors.get_mut("conv.codes").unwrap().2.last_mut().unwrap() = value);
    assert_has(&last(1), &["node 'conv'", "invalid codes for 108"]);
    let twice = error(|file| {
        let codes = file.tensors.get_mut("conv.codes").unwrap();
        codes.1 = vec![23];
        codes.2.push(0);
    });
    assert_has(&twice, &["node 'conv'", "invalid codes for 108"]);
}

#[test]
fn weights_are_stored_in_one_way() {
    let with =
        |key: &'static str, value: Value| error(move |file| file.op(1, "conv")["weights"][key] = value);
    let refused =
        |key, value: Value| assert_has(&with(key, value), &["node 'conv'", "no such way to store weights"]);
    refused("packing", json!({ "bits": 2 }));
    refused("packing", json!({ "digits": 4 }));
    refused("levels", json!([-1, 0, 1]));
    refused("levels", json!([1, 0, -1]));
    refused("levels", json!([]));
    refused("levels", json!(0));
    refused("levels", json!(128));
    refused("group", json!(0));
    refused("group", json!(null));
    refused("scale_bits", json!(0));
    refused("scale_bits", json!(9));
    refused("scale_bits", json!(null));
    refused("planes", json!(0));
    refused("planes", json!(4));
    assert_has(&with("colour", json!(1)), &["metadata"]);
    let planes = error(|file| file.op(3, "conv")["weights"]["planes"] = json!(2));
    assert_has(&planes, &["node 'residual'", "no such way"]);
}

#[test]
fn extents_are_checked_before_memory_is_taken() {
    let huge = [1u64 << 24, 1 << 40, u64::MAX];
    for extent in huge {
        for key in ["outputs", "group_inputs", "groups"] {
            assert_has(&error(|file| file.op(1, "conv")[key] = json!(extent)), &["node 'conv'"]);
        }
        assert_has(
            &error(|file| file.op(1, "conv")["window"]["kernel"][0] = json!(extent)),
            &["node 'conv'"],
        );
        assert_has(&error(|file| file.op(1, "conv")["window"]["pads"][3] = json!(extent)), &["node 'conv'"]);
        assert_has(&error(|file| file.op(10, "pad")["before"][1] = json!(extent)), &["node 'pad'"]);
        assert_has(
            &error(|file| file.op(11, "max_pool")["kernel"] = json!([extent, extent])),
            &["node 'max'"],
        );
        assert_has(
            &error(|file| file.op(11, "max_pool")["pads"] = json!([extent, 0, extent, 0])),
            &["node 'max'"],
        );
        assert_has(
            &error(|file| file.op(8, "channel_shuffle")["groups"] = json!(extent)),
            &["node 'shuffle'"],
        );
        assert_has(&error(|file| file.op(9, "slice")["end"][0] = json!(extent)), &["node 'slice'"]);
        assert_has(&error(|file| file.record["input"]["width"] = json!(extent)), &["input"]);
        assert_has(&error(|file| file.record["nodes"][1]["inputs"][0] = json!(extent)), &["node 'conv'"]);
    }
    // One short group for the whole run: the size of a group may be anything.
    let message = error(|file| file.op(1, "conv")["weights"]["group"] = json!(u64::MAX));
    assert_has(&message, &["72 bytes of scales, not 36"]);
}

#[test]
fn numbers_that_json_cannot_hold_are_refused() {
    for number in ["NaN", "1e999", "-1e999", "null", "\"1\""] {
        let json = Parts::of_sample()
            .record
            .to_string()
            .replace("\"logit_scale\":0.01", &format!("\"logit_scale\":{number}"));
        let bytes = safetensors::serialize(
            Vec::<(String, TensorView)>::new(),
            Some(HashMap::from([("fgq".to_owned(), json)])),
        );
        let message = PackedModel::from_bytes(&sealed(bytes.unwrap())).unwrap_err().to_string();
        assert!(message.contains("metadata"), "{message}");
    }
}

/// The sample's bytes with another header text; offsets are relative, so that its length may change.
fn with_header(change: impl FnOnce(String) -> String) -> Vec<u8> {
    let bytes = sample().to_bytes().unwrap();
    let (header, data) = bytes.split_at(header_len(&bytes));
    let header = change(String::from_utf8(header[8..].to_vec()).unwrap());
    sealed([&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat())
}

#[test]
fn names_occur_once() {
    assert!(survives(&with_header(|header| header)));
    let twice = |header: String| {
        let start = header.find("\"table.table\"").unwrap();
        let end =
            start + header[start..].find("},").unwrap_or_else(|| header.rfind("}}").unwrap() - start) + 1;
        let entry = header[start..end].to_owned();
        header.replacen('{', &format!("{{{entry},"), 1)
    };
    let message = PackedModel::from_bytes(&with_header(twice)).unwrap_err().to_string();
    assert_has(&message, &["twice"]);
    let twice = |header: String| header.replacen("{\"fgq\"", "{\"fgq\":\"{}\",\"fgq\"", 1);
    let message = PackedModel::from_bytes(&with_header(twice)).unwrap_err().to_string();
    assert_has(&message, &["twice"]);
}

#[test]
fn other_safetensors_files_are_told_apart() {
    let other = [("weight", TensorView::new(Dtype::U8, vec![1], &[0]).unwrap())];
    let two = HashMap::from([("fgq".to_owned(), "{}".to_owned()), ("format".into(), "pt".into())]);
    for metadata in [None, Some(HashMap::new()), Some(two)] {
        let bytes = safetensors::serialize(other.clone(), metadata).unwrap();
        assert_has(&PackedModel::from_bytes(&bytes).unwrap_err().to_string(), &["one key 'fgq'"]);
    }
    let message = PackedModel::from_bytes(b"\x08\x07onnx").unwrap_err().to_string();
    assert_has(&message, &["not a packed model", "fgq convert"]);
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.fgq");
    std::fs::write(&path, b"x").unwrap();
    for path in [path, folder.path().join("missing.fgq"), folder.path().to_owned()] {
        assert_eq!(read_model(&path).unwrap_err().path(), Some(path.as_path()));
    }
}
