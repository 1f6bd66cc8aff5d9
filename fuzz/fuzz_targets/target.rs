#![no_main]

/// Every binary is made of this file and attacks what has its name.
const ATTACKED: fgq_fuzz::Target = fgq_fuzz::target(env!("CARGO_BIN_NAME"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ATTACKED(bytes);
});
