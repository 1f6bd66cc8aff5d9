#![no_main]

use fgq::LoadOptions;
use std::io::Write;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::Builder::new().suffix(".pth").tempfile().expect("temporary file");
    file.write_all(bytes).expect("temporary file");
    let options = LoadOptions { architecture: Some("resnet20".into()), ..LoadOptions::default() };
    if let Ok(loaded) = fgq::load(file.path(), &options) {
        fgq::Interpreter::new(&loaded.graph).expect("what was loaded is valid");
    }
});
