#![no_main]

use fgq::{PackedModel, Session};

/// Largest sum of all activations that is run.
const RUNNABLE: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = PackedModel::from_bytes(bytes) else { return };
    let shapes = model.shapes().expect("what was read is valid");
    assert_eq!(PackedModel::from_bytes(&model.to_bytes().expect("valid")).expect("written"), model);
    if shapes.iter().map(|shape| shape.len()).sum::<usize>() <= RUNNABLE {
        let session = Session::new(&model).expect("valid");
        session.run(&vec![255; model.input.len()]).expect("one image");
    }
});
