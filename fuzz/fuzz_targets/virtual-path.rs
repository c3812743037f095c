//! See crates/testkit/src/fuzz.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (distbackup_testkit::fuzz::target("virtual-path").run)(input);
});
