//! Components written by hand, as no compiler would make them.

use super::Zoo;

/// Writes a component that was written as text into the lab.
pub(super) fn component(zoo: &Zoo, name: &str, text: &str) -> String {
    let bytes = wat::parse_str(text).expect("the component is well-formed");
    zoo.cluster.lab.write(&format!("{name}.wasm"), bytes)
}

/// A service whose core module has these fields, a function `run` among them: 0 is `ok`.
pub(super) fn service(fields: &str) -> String {
    exporting("wasi:cli/run@0.2.6", "run", "(result (result))", "", fields)
}

/// Exports one function of one interface, from a core module with these fields and imports.
fn exporting(interface: &str, function: &str, ty: &str, imports: &str, fields: &str) -> String {
    let (imported, with) = match imports {
        "" => (String::new(), ""),
        from => (
            format!(
                r#"(import "{from}" (instance $next (export "call" (func (result u32)))))
                (core func $lowered (canon lower (func $next "call")))"#
            ),
            r#"(with "next" (instance (export "call" (func $lowered))))"#,
        ),
    };
    format!(
        r#"(component
            {imported}
            (core module $m {fields})
            (core instance $i (instantiate $m {with}))
            (func $f {ty} (canon lift (core func $i "{function}")))
            (instance $e (export "{function}" (func $f)))
            (export "{interface}" (instance $e))
        )"#
    )
}

/// A service whose core module may call `$new`, which makes a handle of a resource of its own;
/// `run` is the body of its function.
pub(super) fn with_resource(run: &str) -> String {
    format!(
        r#"(component
            (type $resource (resource (rep i32)))
            (core func $new (canon resource.new $resource))
            (core module $m
                (import "" "new" (func $new (param i32) (result i32)))
                (func (export "run") (result i32) {run}))
            (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $e (export "run" (func $run)))
            (export "wasi:cli/run@0.2.6" (instance $e)))"#
    )
}

/// A chain: `link(n, Some(n + 1))` calls the next one and adds 1 to what it says.
pub(super) fn link(number: usize, next: Option<usize>) -> String {
    let (imports, fields) = match next {
        None => (
            String::new(),
            r#"(func (export "call") (result i32) i32.const 1)"#,
        ),
        Some(next) => (
            interface(next),
            r#"(import "next" "call" (func $next (result i32)))
            (func (export "call") (result i32) (i32.add (call $next) (i32.const 1)))"#,
        ),
    };
    let ty = "(result u32)";
    exporting(&interface(number), "call", ty, &imports, fields)
}

/// A service that calls the chain's first link and succeeds where `length` links have answered.
pub(super) fn chain_service(length: usize) -> String {
    let fields = format!(
        r#"(import "next" "call" (func $next (result i32)))
        (func (export "run") (result i32) (i32.ne (call $next) (i32.const {length})))"#
    );
    exporting(
        "wasi:cli/run@0.2.6",
        "run",
        "(result (result))",
        &interface(1),
        &fields,
    )
}

/// A link whose instance is never made: its start function does not end.
pub(super) fn link_that_never_starts(number: usize) -> String {
    let fields = r#"(func $start (loop (br 0))) (start $start)
        (func (export "call") (result i32) i32.const 1)"#;
    exporting(&interface(number), "call", "(result u32)", "", fields)
}

fn interface(number: usize) -> String {
    format!("zoo:chain/link{number}@1.0.0")
}
