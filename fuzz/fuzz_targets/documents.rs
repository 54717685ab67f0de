#![no_main]
#![doc = "See `properties.rs`."]
#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::document(data));
