//! Components: an inspection ends soon, and a worker finds in what was accepted what the control
//! plane found.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warren_model::component::{border, inspect};

fuzz_target!(|bytes: &[u8]| {
    // Few inputs that a fuzzer makes are components otherwise.
    let component = [b"\0asm\x0d\0\x01\0", bytes].concat();
    for bytes in [bytes, &component] {
        if let Ok(info) = inspect(bytes) {
            let (again, _) = border(bytes).expect("it was inspected");
            assert_eq!(again, info);
        }
    }
});
