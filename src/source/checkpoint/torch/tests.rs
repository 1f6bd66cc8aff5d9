use super::super::{Tensors, load_torch};
use super::file::Torch;
use super::globals::Global;
use super::objects::Object;
use super::state::StateDict;
use super::unpickle::{Pickle, unpickle};
use crate::archive::Archive;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, Op};
use crate::source::LoadOptions;
use proptest::prelude::*;
use safetensors::Dtype;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/torch").join(name)
}

fn resnet20() -> LoadOptions {
    LoadOptions { architecture: Some("resnet20".into()), ..LoadOptions::default() }
}

#[derive(Deserialize)]
struct Expected {
    shape: Vec<usize>,
    values: Vec<f32>,
}

#[test]
fn every_type_and_layout_is_read_as_pytorch_wrote_it() {
    let expected: BTreeMap<String, Expected> =
        serde_json::from_str(&std::fs::read_to_string(fixture("kinds.json")).unwrap()).unwrap();
    for file in ["kinds.pth", "kinds-legacy.pth"] {
        let torch = Torch::open(&fixture(file)).unwrap();
        let names: Vec<&str> = expected.keys().map(String::as_str).chain(["count"]).collect();
        assert_eq!(torch.names().len(), names.len(), "{file}");
        for (name, expected) in &expected {
            assert_eq!(torch.shape(name), Some(expected.shape.as_slice()), "{file} {name}");
            assert_eq!(torch.read(name).unwrap(), expected.values, "{file} {name}");
        }
        assert_eq!(torch.shape("count"), Some(&[][..]));
        assert!(torch.read("count").unwrap_err().to_string().contains("is of type I64"));
        assert_eq!(torch.notes(), ["the weights are those under 'state_dict' in the file"]);
    }
}

/// The number that `make_torch.py` puts at a place of the storage.
fn number(index: usize) -> f32 {
    ((index * 37 % 64) as f32 - 32.0) / 256.0
}

fn conv<'g>(graph: &'g Graph, name: &str) -> &'g crate::graph::Conv {
    let node = graph.nodes.iter().find(|node| node.name == name).unwrap();
    let Op::Conv(conv) = &node.op else { unreachable!() };
    conv
}

#[test]
fn tensors_that_share_a_storage_make_a_network() {
    let loaded = load_torch(&fixture("resnet20.pth"), &resnet20()).unwrap();
    let first = conv(&loaded.graph, "conv1");
    let offset = 40000 - 16 * 3 * 9;
    let expected: Vec<f32> = (0..16 * 3 * 9).map(|index| number(offset + index)).collect();
    assert_eq!(first.weight.iter().copied().collect::<Vec<_>>(), expected);
    assert_eq!(conv(&loaded.graph, "linear").weight.dim(), (10, 64, 1, 1));
    assert!(loaded.notes.is_empty());
}

#[test]
fn programs_are_refused_with_the_command_that_exports_them() {
    for (file, parts) in [
        ("whole.pth", ["a whole network", "torch.onnx.export", "state_dict"]),
        ("whole-legacy.pth", ["a whole network", "torch.onnx.export", "state_dict"]),
        ("script.pt", ["a TorchScript archive", "torch.jit.load", "torch.onnx.export"]),
    ] {
        let error = load_torch(&fixture(file), &resnet20()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        for part in parts {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}

fn refused(bytes: &[u8]) -> Error {
    unpickle(bytes).unwrap_err()
}

#[test]
fn names_that_no_state_dict_needs_are_refused() {
    for (pickle, name) in [
        (&b"\x80\x02cposix\nsystem\nX\x02\0\0\0ls\x85R."[..], "posix.system"),
        (b"\x80\x02c__builtin__\neval\nX\x01\0\0\x001\x85R.", "__builtin__.eval"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.", "os.system"),
        (b"\x80\x02ctorch.storage\n_load_from_bytes\nC\x00\x85R.", "torch.storage._load_from_bytes"),
    ] {
        let error = refused(pickle);
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(&format!("'{name}'")), "{error}");
    }
}

#[test]
fn instructions_that_no_state_dict_needs_are_refused() {
    // INST, OBJ, NEWOBJ, EXT1, and text forms.
    for pickle in [&b"(ios\nsystem\n."[..], b"(cos\nsystem\no.", b"\x80\x02N)\x81.", b"\x82\x01.", b"I1\n."] {
        assert_eq!(refused(pickle).kind(), ErrorKind::Unsupported, "{pickle:?}");
    }
}

#[test]
fn unbalanced_and_truncated_pickles_are_errors() {
    let broken: [&[u8]; 16] = [
        b"",
        b".",
        b"\x80",
        b"K",
        b"X\xff\xff\xff\xff",
        b"t.",
        b"(.",
        b"\x85.",
        b"R.",
        b"b.",
        b"Q.",
        b"a.",
        b"u.",
        b"h\x00.",
        b"ctorch\n",
        b"\x95\0\0.",
    ];
    for pickle in broken {
        assert_eq!(refused(pickle).kind(), ErrorKind::Format, "{pickle:?}");
    }
    // A list cannot take what was pushed before it was opened.
    assert_eq!(refused(b"NN(\x86.").kind(), ErrorKind::Format);
    assert_eq!(refused(b"N)R.").kind(), ErrorKind::Format);
}

#[test]
fn what_contains_itself_does_no_harm() {
    let Pickle { objects, root, length } = unpickle(b"]q\x00h\x00a.").unwrap();
    assert_eq!((objects.sequence(root), length), (Some(&[root][..]), 7));
    let model = unpickle(b"}q\x00X\x05\0\0\0modelh\x00s.").unwrap();
    assert!(StateDict::of(&model).unwrap_err().to_string().contains("its keys are model"));
}

#[test]
fn numbers_and_texts_mean_what_python_means() {
    let integer = |bytes: &[u8]| {
        let Pickle { objects, root, .. } = unpickle(bytes).unwrap();
        objects.get(root).clone()
    };
    assert_eq!(integer(b"J\xfe\xff\xff\xff."), Object::Integer(-2));
    assert_eq!(integer(b"\x8a\x02\x00\xff."), Object::Integer(-256));
    assert_eq!(integer(b"\x8a\x00."), Object::Integer(0));
    assert_eq!(integer(b"\x8a\x09\0\0\0\0\0\0\0\0\x01."), Object::Opaque);
    assert_eq!(integer(b"U\x02ab."), Object::Text("ab".into()));
    assert_eq!(integer(b"C\x02ab."), Object::Opaque);
    assert_eq!(integer(b"ctorch.cuda\nHalfStorage\n."), Object::Global(Global::Storage(Dtype::F16)));
}

#[test]
fn there_are_limits() {
    let deep = [vec![b'('; 2000], b".".to_vec()].concat();
    assert!(refused(&deep).to_string().contains("deep"));
    let long = vec![b'N'; (1 << 22) + 1];
    assert!(refused(&long).to_string().contains("instructions"));
    let remembered: Vec<u8> =
        (0..=1u32 << 20).flat_map(|index| [&b"Nr"[..], &index.to_le_bytes()].concat()).collect();
    assert!(refused(&remembered).to_string().contains("remembers"));
    // The place of a note does not matter.
    assert!(unpickle(b"Nr\xff\xff\xff\xff.").is_ok());
    // A dictionary made of the same long list again and again.
    let list = [&b"]q\x00("[..], &b"NN\x86".repeat(5000), b"e0"].concat();
    let list = [&b"ccollections\nOrderedDict\nq\x01"[..], &list[..list.len() - 1]].concat();
    let copies = [list, b"h\x01h\x00\x85R".repeat(1000), b".".to_vec()].concat();
    assert!(refused(&copies).to_string().contains("more entries"));
}

/// The pickle of one tensor called `a` with 24 stored numbers.
fn tensor(offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let storage = b"((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x18tQ";
    let start = b"}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n";
    [&start[..], storage, offset, shape, strides, b"\x89}tRs."].concat()
}

#[test]
fn tensors_lie_within_their_storage() {
    let state = |offset: &[u8], shape: &[u8], strides: &[u8]| -> Result<StateDict> {
        StateDict::of(&unpickle(&tensor(offset, shape, strides))?)
    };
    assert!(state(b"K\x00", b"K\x04K\x06\x86", b"K\x06K\x01\x86").is_ok());
    assert!(state(b"K\x14", b"K\x04\x85", b"K\x01\x85").is_ok());
    assert!(state(b"K\xff", b"K\x00\x85", b"K\x01\x85").is_ok(), "an empty tensor is nowhere");
    let huge = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    let wrong: [(&[u8], &[u8], &[u8]); 8] = [
        (b"K\x15", b"K\x04\x85", b"K\x01\x85"),
        (b"K\x00", b"K\x04K\x06\x86", b"K\x06K\x02\x86"),
        (b"K\x00", b"K\x19\x85", b"K\x00\x85"),
        (b"K\x00", b"K\x04\x85", b"K\x06K\x01\x86"),
        (b"J\xff\xff\xff\xff", b"K\x04\x85", b"K\x01\x85"),
        (b"K\x00", b"K\x04\x85", b"J\xff\xff\xff\xff\x85"),
        (b"K\x00", &[&huge[..], huge, b"\x86"].concat(), b"K\x00K\x00\x86"),
        (b"K\x00", b"K\x02K\x02\x86", &[&huge[..], huge, b"\x86"].concat()),
    ];
    for (offset, shape, strides) in wrong {
        assert_eq!(
            state(offset, shape, strides).unwrap_err().kind(),
            ErrorKind::Format,
            "{shape:?} {strides:?}"
        );
    }
}

/// An archive with these entries, stored as they are.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let (length, name_length) = ((bytes.len() as u32).to_le_bytes(), (name.len() as u16).to_le_bytes());
        let sizes = [&[0; 4][..], &length, &length, &name_length].concat();
        let start = (file.len() as u32).to_le_bytes();
        directory.extend([&b"PK\x01\x02"[..], &[0; 12], &sizes, &[0; 12], &start, name.as_bytes()].concat());
        file.extend([&b"PK\x03\x04"[..], &[0; 10], &sizes, &[0; 2], name.as_bytes(), bytes].concat());
    }
    let numbers = [directory.len() as u32, file.len() as u32].map(u32::to_le_bytes).concat();
    [file, directory, b"PK\x05\x06".to_vec(), vec![0; 8], numbers, vec![0; 2]].concat()
}

fn opened(bytes: &[u8]) -> Result<Torch> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pth");
    std::fs::write(&path, bytes).unwrap();
    Torch::open(&path)
}

#[test]
fn storages_must_be_there_in_full() {
    let pickle = tensor(b"K\x00", b"K\x18\x85", b"K\x01\x85");
    let with = |numbers: &[u8]| opened(&archive(&[("x/data.pkl", &pickle), ("x/data/0", numbers)]));
    assert_eq!(with(&[0; 96]).unwrap().shape("a"), Some(&[24][..]));
    assert!(with(&[0; 95]).unwrap_err().to_string().contains("'a' is not there in full"));
    let without = opened(&archive(&[("x/data.pkl", &pickle)]));
    assert!(without.unwrap_err().to_string().contains("numbers of 'a' are missing"));
    let big = [("x/data.pkl", &pickle[..]), ("x/data/0", &[0; 96]), ("x/byteorder", b"big")];
    assert_eq!(opened(&archive(&big)).unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(opened(&archive(&[("data.bin", b"")])).unwrap_err().to_string().contains("no data.pkl"));
}

#[test]
fn compressed_entries_are_refused() {
    let mut bytes = archive(&[("x/data.pkl", b"}.")]);
    let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    bytes[directory + 10] = 8;
    assert!(opened(&bytes).unwrap_err().to_string().contains("compressed"));
}

#[test]
fn damaged_archives_are_errors() {
    let whole = std::fs::read(fixture("kinds.pth")).unwrap();
    let twice = archive(&[("a", b""), ("a", b"")]);
    for bytes in [&whole[..whole.len() - 1], &whole[..100], &whole[..4], b"", b"PK\x05\x06", &twice] {
        assert_eq!(opened(bytes).unwrap_err().kind(), ErrorKind::Format);
    }
    assert_eq!(Torch::open(&fixture("none.pth")).unwrap_err().kind(), ErrorKind::Io);
    let names = Archive::open(&fixture("kinds.pth")).unwrap();
    assert!(names.names().any(|name| name == "kinds/data.pkl"));
}

#[test]
fn other_objects_are_named() {
    let holds = |pickle: &[u8]| StateDict::of(&unpickle(pickle).unwrap()).unwrap_err().to_string();
    assert!(holds(b"].").contains("a list"));
    assert!(holds(b"K\x01.").contains("something else"));
    assert!(holds(b"}X\x05\0\0\0epochK\x01s.").contains("its keys are epoch"));
}

proptest! {
    #[test]
    fn random_pickles_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = unpickle(&bytes).map(|pickle| StateDict::of(&pickle).map(|state| state.keys));
    }

    /// Instructions that are known, in any order.
    #[test]
    fn random_instructions_do_no_harm(
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..60)
    ) {
        const PARTS: [&[u8]; 22] = [
            b"(", b"N", b"K\x02", b"K\x18", b"X\x01\0\0\0a", b")", b"]", b"}", b"t", b"\x85", b"\x86", b"\x87", b"a",
            b"e", b"s", b"u", b"R", b"b", b"Q", b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
            b"((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x18tQ",
        ];
        let noted = |note: u8| match note % 6 { 0 => vec![b'q', note % 4], 1 => vec![b'h', note % 4], _ => vec![] };
        let mut bytes: Vec<u8> =
            picks.iter().flat_map(|(part, note)| [part.get(&PARTS).to_vec(), noted(*note)].concat()).collect();
        bytes.push(b'.');
        let _ = unpickle(&bytes).map(|pickle| StateDict::of(&pickle).map(|state| state.keys));
    }

    #[test]
    fn damaged_files_do_no_harm(
        legacy in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        end in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut bytes = std::fs::read(fixture(if legacy { "kinds-legacy.pth" } else { "kinds.pth" })).unwrap();
        changes.iter().for_each(|(place, value)| *place.get_mut(&mut bytes) = *value);
        bytes.truncate(end.map_or(bytes.len(), |end| end.index(bytes.len())));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pth");
        std::fs::write(&path, bytes).unwrap();
        if let Ok(torch) = Torch::open(&path) {
            for name in torch.names() {
                let count: usize = torch.shape(name).unwrap().iter().product();
                prop_assert!(torch.read(name).map_or(true, |values| values.len() == count));
            }
        }
    }
}
