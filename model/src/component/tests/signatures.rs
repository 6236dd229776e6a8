//! Signatures that are written out, and those that cannot be linked.

use super::*;

#[test]
fn signatures_write_every_type_out() {
    let functions = signatures(
        "record point { x: s8, y: s16 }
         record line { start: point, end: point, label: option<string> }
         variant shape { dot(point), empty }
         enum color { red, green }
         flags access { read, write }
         type alias = color;
         primitives: func(a: bool, b: u8, c: u16, d: u64, e: s32, f: s64, g: f32, h: f64, i: char);
         records: func(l: line) -> shape;
         names: func(c: alias, a: access) -> tuple<u32, list<string>>;
         results: func(a: result<u8, string>, b: result<_, u8>, c: result<u8>) -> result;",
    );
    let point = "record { x: s8, y: s16 }";
    assert_eq!(
        functions,
        [
            function(
                "primitives",
                "func(a: bool, b: u8, c: u16, d: u64, e: s32, f: s64, g: f32, h: f64, i: char)"
            ),
            function(
                "records",
                &format!(
                    "func(l: record {{ start: {point}, end: {point}, label: option<string> }}) -> variant {{ dot({point}), empty }}"
                )
            ),
            function(
                "names",
                "func(c: enum { red, green }, a: flags { read, write }) -> tuple<u32, list<string>>"
            ),
            function(
                "results",
                "func(a: result<u8, string>, b: result<_, u8>, c: result<u8>) -> result"
            ),
        ]
    );
}

#[test]
fn resources_streams_futures_and_async_cannot_be_linked() {
    let functions = signatures(
        "resource file { constructor(path: string); size: func() -> u64; }
         open: func() -> file;
         read: func(f: borrow<file>) -> u8;
         nested: func(f: list<option<stream<u8>>>);
         later: func() -> future<string>;
         empty: func(s: stream, f: future);
         wait: async func() -> u8;
         fine: func();",
    );
    let found: Vec<_> = functions
        .iter()
        .map(|f| {
            let reason = f
                .unlinkable
                .as_deref()
                .unwrap_or("fine")
                .replace("it passes ", "");
            let reason = reason.split(',').next().unwrap_or_default().to_owned();
            (f.name.as_str(), f.signature.as_str(), reason)
        })
        .collect();
    let expected = [
        ("file", "resource", "it is a resource"),
        (
            "[constructor]file",
            "func(path: string) -> file",
            "a resource",
        ),
        (
            "[method]file.size",
            "func(self: borrow<file>) -> u64",
            "a resource",
        ),
        ("open", "func() -> file", "a resource"),
        ("read", "func(f: borrow<file>) -> u8", "a resource"),
        ("nested", "func(f: list<option<stream<u8>>>)", "a stream"),
        ("later", "func() -> future<string>", "a future"),
        ("empty", "func(s: stream, f: future)", "a stream"),
        ("wait", "async func() -> u8", "it is async"),
        ("fine", "func()", "fine"),
    ];
    let mut found: Vec<_> = found.iter().map(|(n, s, r)| (*n, *s, r.as_str())).collect();
    let mut expected = expected.to_vec();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn types_too_long_to_write_out_cannot_be_linked() {
    use std::fmt::Write;

    let mut wit = String::from("type t0 = tuple<u8, u8>;");
    for i in 1..11 {
        write!(wit, "type t{i} = tuple<t{j}, t{j}>;", j = i - 1).unwrap();
    }
    let functions = signatures(&format!("{wit} big: func(x: t10);"));
    assert_eq!(functions.len(), 1);
    assert!(
        functions[0].signature.len() < 17 << 10,
        "{}",
        functions[0].signature.len()
    );
    assert!(functions[0].signature.ends_with("..."));
    assert!(
        functions[0]
            .unlinkable
            .as_deref()
            .unwrap()
            .contains("16 KiB")
    );
}
