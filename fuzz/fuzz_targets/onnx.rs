#![no_main]

use fgq::LoadOptions;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(loaded) = fgq::load_onnx(bytes.to_vec(), "fuzz.onnx", &LoadOptions::default()) {
        fgq::Interpreter::new(&loaded.graph).expect("what was loaded is valid");
    }
});
