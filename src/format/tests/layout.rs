//! What a file looks like, and that writing and reading are inverse.

use super::sample::sample;
use crate::error::ErrorKind;
use crate::format::arbitrary::{models, packed_id};
use crate::format::*;
use crate::precision::Precision;
use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors};

proptest! {
    #[test]
    fn reading_is_the_inverse_of_writing(model in models()) {
        let bytes = model.to_bytes().unwrap();
        let read = PackedModel::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&read, &model);
        prop_assert_eq!(read.to_bytes().unwrap(), bytes);
    }

    #[test]
    fn real_numbers_return_to_the_bit(scale in prop::num::f64::NORMAL, mean: f32) {
        prop_assume!(mean.is_finite());
        let mut model = sample();
        (model.logit_scale, model.preprocess.mean[0]) = (scale.abs(), mean);
        let read = PackedModel::from_bytes(&model.to_bytes().unwrap()).unwrap();
        prop_assert_eq!(read.logit_scale.to_bits(), scale.abs().to_bits());
        prop_assert_eq!(read.preprocess.mean[0].to_bits(), mean.to_bits());
    }
}

#[test]
fn generated_models_have_every_operator() {
    let all = |has: fn(&PackedOp) -> bool| {
        (0..300).map(arbitrary::model).any(|model| model.nodes.iter().any(|node| has(&node.op)))
    };
    let conv = |has: fn(&PackedConv) -> bool| {
        let has = move |op: &PackedOp| matches!(op, PackedOp::Conv(conv) if has(conv));
        (0..300).map(arbitrary::model).any(|model| model.nodes.iter().any(|node| has(&node.op)))
    };
    assert!(conv(|conv| conv.weights.precision.is_ternary() && conv.weights.precision.planes() > 1));
    assert!(conv(|conv| conv.weights.precision == Precision::int8()));
    assert!(conv(|conv| conv.weights.precision.to_string().starts_with("levels")));
    assert!(conv(|conv| conv.weights.precision.grouping().is_some_and(|grouping| grouping.scale_bits == 3)));
    assert!(conv(|conv| matches!(conv.store, Store::Codes { residual: Some(_), .. })));
    assert!(conv(|conv| matches!(conv.store, Store::Logits { .. })));
    assert!(conv(|conv| conv.groups > 1 && conv.group_inputs == 1));
    let others: [fn(&PackedOp) -> bool; 15] = [
        |op| matches!(op, PackedOp::Table { entries } if entries.len() == 256),
        |op| matches!(op, PackedOp::Table { entries } if entries.len() > 256),
        |op| matches!(op, PackedOp::Add { .. }),
        |op| matches!(op, PackedOp::Mul(_)),
        |op| matches!(op, PackedOp::Narrow(_)),
        |op| matches!(op, PackedOp::Concat),
        |op| matches!(op, PackedOp::Slice(_)),
        |op| matches!(op, PackedOp::Pad { .. }),
        |op| matches!(op, PackedOp::MaxPool(_)),
        |op| matches!(op, PackedOp::AveragePool { .. }),
        |op| matches!(op, PackedOp::GroupNorm(_)),
        |op| matches!(op, PackedOp::GlobalAveragePool(_)),
        |op| matches!(op, PackedOp::GlobalSum),
        |op| matches!(op, PackedOp::Flatten),
        |op| matches!(op, PackedOp::ChannelShuffle { .. }),
    ];
    assert!(others.into_iter().all(all));
}

#[test]
fn any_safetensors_reader_opens_it() {
    let bytes = sample().to_bytes().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> =
        file.iter().map(|(name, t)| (name.to_owned(), t.dtype(), t.shape().to_vec())).collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let expected: [(&str, Dtype, &[usize]); 9] = [
        ("conv.codes", Dtype::U8, &[22]),
        ("conv.requant", Dtype::I32, &[4, 2]),
        ("conv.scales", Dtype::U8, &[72]),
        ("fidelity", Dtype::I16, &[3, 5]),
        ("logits.codes", Dtype::U8, &[48]),
        ("logits.requant", Dtype::I32, &[3, 2]),
        ("residual.codes", Dtype::U8, &[16]),
        ("residual.requant", Dtype::I32, &[4, 2]),
        ("table.table", Dtype::U8, &[1, 256]),
    ];
    let found: Vec<_> =
        tensors.iter().map(|(name, dtype, shape)| (name.as_str(), *dtype, &shape[..])).collect();
    assert_eq!(found, expected);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let keys: Vec<_> = metadata.metadata().as_ref().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["fgq"]);
}

#[test]
fn tensors_hold_what_the_specification_says() {
    let bytes = sample().to_bytes().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    // 1, 0, −1, 0, 1 are the digits 2, 1, 0, 1, 2 of 194 to the base of three; ⌈194·256/243⌉ = 205.
    assert_eq!(file.tensor("conv.codes").unwrap().data()[..2], [205, 205]);
    assert_eq!(file.tensor("conv.scales").unwrap().data()[..3], [0, 31, 62]);
    let word = |value: i32| value.to_le_bytes();
    let requant = |name: &str| file.tensor(name).unwrap().data()[..16].to_vec();
    let expected = [word(1), word(7 << 16 | 12345), word(-2), word(7 << 16 | 12345)].concat();
    assert_eq!(requant("conv.requant"), expected);
    assert_eq!(requant("logits.requant"), [word(5), word(1 << 30), word(5), word(-5)].concat());
    assert_eq!(file.tensor("logits.codes").unwrap().data()[..3], [127, 164, 201]);
    let figures = [1250i16, -325, i16::MIN, i16::MIN, 12].map(i16::to_le_bytes).concat();
    assert_eq!(file.tensor("fidelity").unwrap().data()[..10], figures);
}

#[test]
fn negative_multipliers_return() {
    let mut model = sample();
    let PackedOp::Conv(conv) = &mut model.nodes[packed_id(1)].op else { unreachable!() };
    let Store::Codes { multipliers, .. } = &mut conv.store else { unreachable!() };
    *multipliers = [(0, -1), (30, -32767), (30, 32767), (1, 0)]
        .map(|(shift, value)| Multiplier { shift, value })
        .to_vec();
    assert_eq!(PackedModel::from_bytes(&model.to_bytes().unwrap()).unwrap(), model);
}

#[test]
fn the_metadata_is_canonical_json() {
    let bytes = sample().to_bytes().unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let json = &metadata.metadata().as_ref().unwrap()["fgq"];
    assert!(
        json.starts_with(r#"{"checksum":""#)
            && json.contains(r#"","version":3,"name":"sample","input":{"channels":3,"height":6,"width":6}"#),
        "{json}"
    );
    for part in [
        r#"{"name":"pixels","inputs":[],"quantizer":{"scale":1.0,"zero_point":0,"max":255},"op":{"input":{"pad":[124,116,104]}}}"#,
        r#""op":{"conv":{"outputs":4,"group_inputs":3,"groups":1,"window":{"kernel":[3,3],"stride":[1,1],"pads":[1,1,1,1]},"weights":{"levels":1,"packing":{"digits":5},"group":2,"scale_bits":8},"store":{"codes":{"fraction":0,"low":10,"high":255}}}}"#,
        r#""weights":{"levels":127,"packing":{"bits":8}},"store":{"logits":{"shift":30}}"#,
        r#""op":"table""#,
        r#""op":{"mul":{"shift":7,"value":12345}}"#,
        r#""op":{"channel_shuffle":{"groups":2}}"#,
        r#","logit_scale":0.01,"fidelity":{"images":8,"logits":20.0},"nodes":["#,
    ] {
        assert!(json.contains(part), "{part} is not in {json}");
    }
}

#[test]
fn files_are_written_whole_and_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.fgq");
    let (one, two) = (write_model(&sample(), &path).unwrap(), write_model(&sample(), &path).unwrap());
    assert_eq!(one, two);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), one.bytes as u64);
    assert_eq!(one.sha256.len(), 64);
    assert_eq!(read_model(&path).unwrap(), sample());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_failed_write_leaves_everything_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.fgq");
    std::fs::write(&path, "old").unwrap();
    let mut invalid = sample();
    invalid.logit_scale = f64::NAN;
    assert_eq!(write_model(&invalid, &path).unwrap_err().kind(), ErrorKind::Format);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    // A folder in the file's place fails only at the very end.
    let taken = folder.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    let error = write_model(&sample(), &taken).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Io, Some(taken.as_path())));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    let error = write_model(&sample(), &folder.path().join("none/model.fgq")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}

/// Without effect where the user may write everywhere.
#[cfg(unix)]
#[test]
fn folders_that_cannot_be_written_keep_the_old_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.fgq");
    std::fs::write(&path, "old").unwrap();
    let allow =
        |mode| std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    allow(0o555);
    let free = std::fs::write(folder.path().join("probe"), "").is_ok();
    let result = write_model(&sample(), &path);
    allow(0o755);
    if !free {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[cfg(unix)]
#[test]
fn models_are_as_readable_as_other_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (model, other) = (folder.path().join("model.fgq"), folder.path().join("other"));
    write_model(&sample(), &model).unwrap();
    std::fs::write(&other, "").unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&model), mode(&other));
}
