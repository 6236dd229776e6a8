//! Checks that every kind of value comes back as it was: from a component, and between two
//! components. A service may end: this one does, with code 0 when all is well.

use std::process::ExitCode;

use example::kitchen_sink::checks;

wit_bindgen::generate!({ path: "../wit", world: "asking" });

fn main() -> ExitCode {
    let ways = [
        ("service to component", kitchen_sink_checks::run()),
        ("component to component", checks::run()),
    ];
    for (way, outcome) in &ways {
        match outcome {
            Ok(kinds) => println!("{way}: {}", kinds.join(", ")),
            Err(error) => println!("{way}: {error}"),
        }
    }
    match ways.iter().all(|(_, outcome)| outcome.is_ok()) {
        true => {
            println!("everything came back as it was");
            ExitCode::SUCCESS
        }
        false => ExitCode::FAILURE,
    }
}
