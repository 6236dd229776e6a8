//! Tests of guests that make the worker hold memory for them.

use std::collections::BTreeSet;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::{super::ServiceEnd, Bench, doors::packages};
use crate::volumes::Mount;

/// A function that a core module imports: its interface, its name and its type.
type Import = (&'static str, &'static str, &'static str);

/// Returns a service of this generation with these imports in its core module, and `run`. At
/// address 16 of its memory is a list of one field with a value of 120,000 bytes.
fn service(version: &str, imports: &[Import], run: &str) -> Vec<u8> {
    let interfaces: BTreeSet<_> = imports.iter().map(|(interface, ..)| interface).collect();
    let interfaces: String = interfaces
        .iter()
        .map(|interface| format!("import {interface};"))
        .collect();
    let wit = format!(
        "package root:test; world test {{ {interfaces} export wasi:cli/run@{version}; }}\n{}",
        packages()
    );
    let imports: String = imports
        .iter()
        .map(|(interface, name, ty)| {
            format!(
                r#"(import "{interface}" "{name}" (func ${} {ty}))"#,
                plain(name)
            )
        })
        .collect();
    let text = format!(
        r#"(module
            {imports}
            (memory (export "memory") 8)
            (global $heap (mut i32) (i32.const 400000))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                global.get $heap
                (global.set $heap (i32.add (global.get $heap)
                    (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8)))))
            (func $init
                (i32.store (i32.const 16) (i32.const 1024))
                (i32.store (i32.const 20) (i32.const 1))
                (i32.store (i32.const 24) (i32.const 2048))
                (i32.store (i32.const 28) (i32.const 120000))
                (memory.fill (i32.const 1024) (i32.const 120) (i32.const 200000)))
            (func (export "wasi:cli/run@{version}#run") (result i32)
                (local $n i32) (local $handle i32)
                (call $init)
                {run}))"#
    );
    let mut module = wat::parse_str(&text).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", &wit).unwrap();
    let world = resolve.select_world(&[package], Some("test")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let encoder = ComponentEncoder::default().module(&module).unwrap();
    encoder.validate(true).encode().unwrap()
}

/// Returns a name such as `[static]fields.from-list` in the form that the text format allows.
fn plain(name: &str) -> String {
    name.replace(['[', ']'], "")
}

/// Returns code that runs `body` this many times.
fn repeat(times: u32, body: &str) -> String {
    format!(
        r#"(loop $again
            {body}
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const {times}))))"#
    )
}

async fn end_of(service: &[u8]) -> ServiceEnd {
    end_in(&Bench::new(), service).await
}

async fn end_in(bench: &Bench, service: &[u8]) -> ServiceEnd {
    let prepared = bench.prepare(Some(service), &[]).await.unwrap();
    let service = prepared.service.unwrap();
    let end = service.run(None, || {}).await;
    assert_eq!(service.host_budget().used(), 0, "all of it comes back");
    end
}

fn assert_out_of_memory(end: &ServiceEnd, what: &str) {
    assert_out_of_memory_by(end, &[what]);
}

/// Asserts that the last bytes were needed by one of `kinds`.
fn assert_out_of_memory_by(end: &ServiceEnd, kinds: &[&str]) {
    let ServiceEnd::OutOfMemory(told) = end else {
        panic!("it is out of memory: {end:?}");
    };
    let is_by = |what: &&&str| {
        let words =
            format!("the worker holds at most 64MiB for this guest, and its {what} need more");
        told.matches(&words).count() == 1
    };
    assert_eq!(kinds.iter().filter(is_by).count(), 1, "{told}");
}

fn assert_too_many_handles(end: &ServiceEnd, limit: u32) {
    let ServiceEnd::OutOfMemory(told) = end else {
        panic!("it has too many handles: {end:?}");
    };
    let words = format!("out of memory: it may have {limit} handles at once");
    assert!(told.contains(&words), "{told}");
}

const P2: &str = "wasi:http/types@0.2.12";
const P3: &str = "wasi:http/types@0.3.0";

const fn from_list(types: &'static str) -> Import {
    (types, "[static]fields.from-list", "(param i32 i32 i32)")
}

/// Creates a list of fields at 64, or ends with `unreachable`.
const MAKE: &str = r#"(call $staticfields.from-list (i32.const 16) (i32.const 1) (i32.const 64))
    (if (i32.load8_u (i32.const 64)) (then unreachable))"#;

#[tokio::test]
async fn field_lists_of_0_2_end_the_guest() {
    let run = repeat(10_000, MAKE) + "i32.const 0";
    let beast = service("0.2.12", &[from_list(P2)], &run);
    assert_out_of_memory(&end_of(&beast).await, "HTTP fields");
}

#[tokio::test]
async fn field_lists_of_0_3_are_refused_by_the_error_of_their_own() {
    // Ends with failure at the first error, which is `size-exceeded`.
    let run = repeat(
        10_000,
        r#"(call $staticfields.from-list (i32.const 16) (i32.const 1) (i32.const 64))
        (if (i32.load8_u (i32.const 64)) (then
            (if (i32.lt_u (local.get $n) (i32.const 400)) (then unreachable))
            (if (i32.ne (i32.load8_u (i32.const 68)) (i32.const 3)) (then unreachable))
            (return (i32.const 1))))"#,
    ) + "i32.const 0";
    let beast = service("0.3.0", &[from_list(P3)], &run);
    assert_eq!(end_of(&beast).await, ServiceEnd::Exited(1));
}

#[tokio::test]
async fn copies_of_fields_count_before_they_are_changed() {
    for (version, types) in [("0.2.12", P2), ("0.3.0", P3)] {
        let each = r#"(local.set $handle (call $methodfields.clone (i32.load (i32.const 68))))
            (call $methodfields.append (local.get $handle) (i32.const 1024) (i32.const 2)
                (i32.const 2048) (i32.const 10) (i32.const 96))
            (if (i32.load8_u (i32.const 96)) (then unreachable))"#;
        let run = format!("{MAKE} {} i32.const 0", repeat(9_000, each));
        let imports = [
            from_list(types),
            (types, "[method]fields.clone", "(param i32) (result i32)"),
            (
                types,
                "[method]fields.append",
                "(param i32 i32 i32 i32 i32 i32)",
            ),
        ];
        let beast = service(version, &imports, &run);
        assert_out_of_memory(&end_of(&beast).await, "HTTP fields");
    }
}

#[tokio::test]
async fn fields_that_are_dropped_again_never_end_a_guest() {
    let each = format!("{MAKE} (call $resource-dropfields (i32.load (i32.const 68)))");
    // This is twice the budget.
    let run = repeat(1_200, &each) + "i32.const 0";
    for (version, types) in [("0.2.12", P2), ("0.3.0", P3)] {
        let dropped = (types, "[resource-drop]fields", "(param i32)");
        let honest = service(version, &[from_list(types), dropped], &run);
        assert_eq!(end_of(&honest).await, ServiceEnd::Exited(0), "{version}");
    }
}

#[tokio::test]
async fn strings_of_requests_count() {
    const IMPORTS: [Import; 3] = [
        (P2, "[constructor]fields", "(result i32)"),
        (
            P2,
            "[constructor]outgoing-request",
            "(param i32) (result i32)",
        ),
        (
            P2,
            "[method]outgoing-request.set-authority",
            "(param i32 i32 i32 i32) (result i32)",
        ),
    ];
    let each = r#"(local.set $handle (call $constructoroutgoing-request (call $constructorfields)))
        (if (call $methodoutgoing-request.set-authority (local.get $handle)
                (i32.const 1) (i32.const 2048) (i32.const 60000)) (then unreachable))"#;
    let run = repeat(9_000, each) + "i32.const 0";
    let beast = service("0.2.12", &IMPORTS, &run);
    // The strings fill the budget. The handle of the next request may be what needs the last bytes.
    assert_out_of_memory_by(&end_of(&beast).await, &["HTTP fields", "handles"]);
}

#[tokio::test]
async fn arguments_that_multiply_on_their_way_end_the_guest() {
    // Each entry of a long list is the same large value.
    let run = r#"(local.set $n (i32.const 250000))
        (loop $again
            (memory.copy (local.get $n) (i32.const 16) (i32.const 16))
            (local.set $n (i32.add (local.get $n) (i32.const 16)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 400000))))
        (call $staticfields.from-list (i32.const 250000) (i32.const 9000) (i32.const 64))
        i32.const 0"#;
    for (version, types) in [("0.2.12", P2), ("0.3.0", P3)] {
        let beast = service(version, &[from_list(types)], run);
        let end = end_of(&beast).await;
        assert_out_of_memory(&end, "arguments and results of calls");
    }
}

#[tokio::test]
async fn pollables_end_the_guest_when_there_are_too_many() {
    let clock = "wasi:clocks/monotonic-clock@0.2.12";
    let subscribe = (clock, "subscribe-duration", "(param i64) (result i32)");
    let run = repeat(20_000, "(drop (call $subscribe-duration (i64.const 1)))") + "i32.const 0";
    let beast = service("0.2.12", &[subscribe], &run);
    assert_too_many_handles(&end_of(&beast).await, 10_000);
}

#[tokio::test]
async fn listings_of_directories_count_until_they_are_dropped() {
    const TYPES: &str = "wasi:filesystem/types@0.2.12";
    const IMPORTS: [Import; 3] = [
        (
            "wasi:filesystem/preopens@0.2.12",
            "get-directories",
            "(param i32)",
        ),
        (
            TYPES,
            "[method]descriptor.read-directory",
            "(param i32 i32)",
        ),
        (
            TYPES,
            "[resource-drop]directory-entry-stream",
            "(param i32)",
        ),
    ];
    let mut bench = Bench::new();
    let directory = tempfile::TempDir::new().unwrap();
    for number in 0..3_000 {
        let name = format!("{number:0>250}");
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    bench.context.mounts = [Mount::of(directory.path(), "/data")].into();
    // Ends with `insufficient-memory`, after fewer listings than there is memory for.
    let read = r#"(call $methoddescriptor.read-directory (local.get $handle) (i32.const 96))
        (if (i32.load8_u (i32.const 96)) (then
            (if (i32.ne (i32.load8_u (i32.const 100)) (i32.const 22)) (then unreachable))
            (return (i32.const 1))))"#;
    let dropped = "(call $resource-dropdirectory-entry-stream (i32.load (i32.const 100)))";
    for (each, expected) in [(read.to_owned(), 1), (format!("{read} {dropped}"), 0)] {
        let run = format!(
            r#"(call $get-directories (i32.const 64))
            (local.set $handle (i32.load (i32.load (i32.const 64))))
            {} i32.const 0"#,
            repeat(70, &each)
        );
        let guest = service("0.2.12", &IMPORTS, &run);
        assert_eq!(end_in(&bench, &guest).await, ServiceEnd::Exited(expected));
    }
}

/// Returns a service of a component whose core module gets these intrinsics as imports of "".
fn intrinsics(defined: &str, exports: &str, imports: &str, run: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            {defined}
            (core module $m
                {imports}
                (func (export "run") (result i32) (local $n i32) {run}))
            (core instance $i (instantiate $m (with "" (instance {exports}))))
            (func $run async (result (result)) (canon lift (core func $i "run")))
            (instance $e (export "run" (func $run)))
            (export "wasi:cli/run@0.3.0" (instance $e)))"#
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn handles_of_a_guests_own_resources_end_it_when_there_are_too_many() {
    let run = repeat(1_000_000, "(drop (call $new (i32.const 1)))") + "i32.const 0";
    let beast = intrinsics(
        "(type $r (resource (rep i32))) (core func $new (canon resource.new $r))",
        r#"(export "new" (func $new))"#,
        r#"(import "" "new" (func $new (param i32) (result i32)))"#,
        &run,
    );
    assert_too_many_handles(&end_of(&beast).await, 16_384);
}

#[tokio::test]
async fn streams_and_futures_of_0_3_end_the_guest_when_there_are_too_many() {
    for kind in ["stream", "future"] {
        let run = repeat(1_000_000, "(drop (call $new))") + "i32.const 0";
        let beast = intrinsics(
            &format!("(type $s ({kind} u8)) (core func $new (canon {kind}.new $s))"),
            r#"(export "new" (func $new))"#,
            r#"(import "" "new" (func $new (result i64)))"#,
            &run,
        );
        assert_too_many_handles(&end_of(&beast).await, 16_384);
    }
}
