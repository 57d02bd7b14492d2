#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| federated::fuzz::peer_message(data));
