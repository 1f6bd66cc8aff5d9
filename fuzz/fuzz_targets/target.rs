#![no_main]

// Every binary is made of this file and attacks what has its name.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fgq_fuzz::target(env!("CARGO_BIN_NAME"))(bytes);
});
