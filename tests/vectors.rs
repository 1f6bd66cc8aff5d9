//! Logits of an independent implementation of the runtime (`tests/python/reference_runtime.py`), bit for bit.

use fgq::{Kernels, Session, read_model};
use safetensors::SafeTensors;
use std::path::Path;

#[test]
fn logits_equal_those_of_the_numpy_runtime() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/runtime");
    for name in ["every_operator", "global_sum", "codes", "int4", "precisions", "normalization"] {
        let model = read_model(&folder.join(format!("{name}.fgq"))).unwrap();
        let bytes = std::fs::read(folder.join(format!("{name}.expected.safetensors"))).unwrap();
        let stored = SafeTensors::deserialize(&bytes).unwrap();
        let (words, _) = stored.tensor("logits").unwrap().data().as_chunks::<4>();
        let wanted: Vec<i32> = words.iter().map(|&word| i32::from_le_bytes(word)).collect();
        for kernels in Kernels::available() {
            let session = Session::with_kernels(&model, kernels).unwrap();
            let logits = session.run(stored.tensor("pixels").unwrap().data()).unwrap();
            assert_eq!(logits.data, wanted, "{name} {kernels:?}");
        }
    }
}
