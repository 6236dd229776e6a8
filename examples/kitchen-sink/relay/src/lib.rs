//! Exports to the service what it does with another component's export.

// In what `export!` writes.
#![allow(unsafe_code)]

use exports::example::kitchen_sink::checks::Guest;

// `values` is imported by the crate that makes the checks.
wit_bindgen::generate!({ path: "../wit", world: "relaying" });

struct Relay;

export!(Relay);

impl Guest for Relay {
    fn run() -> Result<Vec<String>, String> {
        kitchen_sink_checks::run()
    }
}
