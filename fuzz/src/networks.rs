//! Networks in full precision.

use super::files::{split, with_files};
use fgq::{Interpreter, LoadOptions, Loaded};
use std::path::Path;

/// Most bytes of tensors that are added to a header.
const MOST_DATA: usize = 4 << 20;

fn is_loaded(loaded: fgq::Result<Loaded>) -> bool {
    loaded.is_ok_and(|loaded| {
        Interpreter::new(&loaded.graph).expect("what was loaded is valid");
        true
    })
}

fn is_loaded_as(path: &Path, architecture: Option<&str>) -> bool {
    let options = LoadOptions { architecture: architecture.map(str::to_owned), ..LoadOptions::default() };
    fgq::load(path, &options).is_ok_and(|loaded| {
        drop(fgq::usual_preprocess(&loaded.graph, path));
        is_loaded(Ok(loaded))
    })
}

/// An ONNX file.
pub fn onnx(bytes: &[u8]) -> bool {
    is_loaded(fgq::load_onnx(bytes.to_vec(), "fuzz.onnx", &LoadOptions::default()))
}

/// A file of external data, then the ONNX file beside it.
pub fn onnx_external(bytes: &[u8]) -> bool {
    let (data, model) = split(bytes);
    let files: [(&str, &[u8]); 2] = [("weights/external.bin", data), ("model.onnx", model)];
    with_files(&files, |folder| is_loaded_as(&folder.join("model.onnx"), None))
}

/// `config.json`, an index of safetensors files, and two of those; one of those is read alone if there is no index.
pub fn safetensors(bytes: &[u8]) -> bool {
    let (config, rest) = split(bytes);
    let (index, rest) = split(rest);
    let (first, second) = split(rest);
    let [first, second] = [first, second].map(completed);
    let files: [(&str, &[u8]); 4] = [
        ("config.json", config),
        ("model.safetensors.index.json", index),
        ("first.safetensors", &first),
        ("second.safetensors", &second),
    ];
    let name = if index.is_empty() { "first.safetensors" } else { "model.safetensors.index.json" };
    with_files(&files, |folder| is_loaded_as(&folder.join(name), None))
}

/// A whole safetensors file if `bytes` are only the JSON of its header: mutations seldom keep its lengths right.
fn completed(bytes: &[u8]) -> Vec<u8> {
    if !bytes.starts_with(b"{") {
        return bytes.to_vec();
    }
    let data = serde_json::from_slice(bytes).map_or(0, |header| data_len(&header));
    let zeros = vec![0; data.min(MOST_DATA)];
    [&bytes.len().to_le_bytes(), bytes, &zeros].concat()
}

/// Bytes of all tensors, as the header says.
fn data_len(header: &serde_json::Value) -> usize {
    let tensors = header.as_object().into_iter().flat_map(|tensors| tensors.values());
    let ends = tensors.filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    ends.max().and_then(|end| usize::try_from(end).ok()).unwrap_or(0)
}

/// A file of `torch.save`.
pub fn torch(bytes: &[u8]) -> bool {
    with_files(&[("model.pth", bytes)], |folder| is_loaded_as(&folder.join("model.pth"), Some("resnet20")))
}
