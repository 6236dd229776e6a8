//! Manifests: whatever the text, it is read or refused with positions that are in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_model::manifest;

fuzz_target!(|text: &str| {
    match manifest::parse("fuzz.yaml", text) {
        // What a client accepts, the server takes.
        Ok(manifests) => {
            for manifest in manifests.iter().filter(|one| one.files.is_empty()) {
                warren_model::feature::admit(&manifest.workload).expect("it was admitted before");
            }
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            for error in &errors.0 {
                assert!(error.line > 0 && error.column > 0, "{error}");
            }
        }
    }
});
