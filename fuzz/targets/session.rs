//! What a worker says in its session: it is admitted or refused, and no report undoes what the
//! control plane decided.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| warren_control::fuzzing::session(bytes));
