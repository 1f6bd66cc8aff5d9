//! The names that the pickle of a state dict refers to.

use safetensors::Dtype;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    /// A dictionary, empty or of a list of pairs.
    Dictionary,
    /// A tensor of storage, offset, extents and strides.
    Tensor,
    /// What its first argument is.
    Wrapper,
    /// A type of storage.
    Storage(Dtype),
    /// Something whose value does not matter here.
    Opaque,
}

/// Modules, names, meanings.
const KNOWN: [(&str, &str, Global); 15] = [
    ("collections", "OrderedDict", Global::Dictionary),
    ("torch._utils", "_rebuild_tensor", Global::Tensor),
    ("torch._utils", "_rebuild_tensor_v2", Global::Tensor),
    ("torch._utils", "_rebuild_parameter", Global::Wrapper),
    ("torch._utils", "_rebuild_parameter_with_state", Global::Wrapper),
    ("torch", "Size", Global::Wrapper),
    ("torch", "device", Global::Opaque),
    ("torch.serialization", "_get_layout", Global::Opaque),
    ("_codecs", "encode", Global::Opaque),
    ("numpy", "dtype", Global::Opaque),
    ("numpy", "ndarray", Global::Opaque),
    ("numpy.core.multiarray", "scalar", Global::Opaque),
    ("numpy.core.multiarray", "_reconstruct", Global::Opaque),
    ("numpy._core.multiarray", "scalar", Global::Opaque),
    ("numpy._core.multiarray", "_reconstruct", Global::Opaque),
];

/// Storage types of PyTorch, and the element types that it calls by name.
const STORAGES: [(&str, &[&str], Dtype); 10] = [
    ("FloatStorage", &["float32", "float"], Dtype::F32),
    ("HalfStorage", &["float16", "half"], Dtype::F16),
    ("BFloat16Storage", &["bfloat16"], Dtype::BF16),
    ("DoubleStorage", &["float64", "double"], Dtype::F64),
    ("LongStorage", &["int64", "long"], Dtype::I64),
    ("IntStorage", &["int32", "int"], Dtype::I32),
    ("ShortStorage", &["int16", "short"], Dtype::I16),
    ("CharStorage", &["int8"], Dtype::I8),
    ("ByteStorage", &["uint8"], Dtype::U8),
    ("BoolStorage", &["bool"], Dtype::BOOL),
];

/// What `module.name` stands for; `None` for everything that no state dict needs.
pub(super) fn global(module: &str, name: &str) -> Option<Global> {
    let known = KNOWN.iter().find(|known| (known.0, known.1) == (module, name)).map(|known| known.2);
    known.or_else(|| torch_type(module, name))
}

fn torch_type(module: &str, name: &str) -> Option<Global> {
    let storage = STORAGES.iter().find(|storage| storage.0 == name);
    match (module, storage) {
        ("torch" | "torch.cuda", Some((_, _, dtype))) => Some(Global::Storage(*dtype)),
        ("torch", None) => STORAGES.iter().any(|storage| storage.1.contains(&name)).then_some(Global::Opaque),
        _ => None,
    }
}
