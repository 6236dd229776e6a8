#![allow(clippy::unwrap_used)]

mod signatures;

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use super::*;

/// A component with the imports and exports of `world`, whose functions trap.
pub(crate) fn build(packages: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let wit = format!("package root:test;\nworld test {{\n{world}\n}}\n{packages}");
    let package = resolve.push_str("test.wit", &wit).unwrap();
    let world = resolve.select_world(&[package], Some("test")).unwrap();
    let abi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let mut module = dummy_module(&resolve, world, abi);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .validate(true)
        .encode()
        .unwrap()
}

fn inspected(packages: &str, world: &str) -> ComponentInfo {
    inspect(&build(packages, world)).unwrap()
}

fn function(name: &str, signature: &str) -> Function {
    Function {
        name: name.to_owned(),
        signature: signature.to_owned(),
        unlinkable: None,
    }
}

/// The signatures of one exported interface's functions.
fn signatures(interface: &str) -> Vec<Function> {
    let packages = format!("package a:b@1.0.0 {{ interface c {{ {interface} }} }}");
    let mut info = inspected(&packages, "export a:b/c@1.0.0;");
    assert_eq!(info.exports.len(), 1);
    info.exports.remove(0).functions
}

const WASI: &str = "
package wasi:cli@0.2.6 { interface run { run: func() -> result; } interface environment { f: func(); get-arguments: func() -> list<string>; } }
package wasi:cli@0.3.0 { interface run { run: func() -> result; } }
package wasi:cli@0.3.0-rc-1 { interface run { run: func() -> result; } }
package wasi:http@0.2.10 { interface incoming-handler { handle: func(); } }
package wasi:http@0.3.0 { interface handler { handle: func(); } }
";

#[test]
fn uses_follow_from_exports_by_track() {
    let uses = |world: &str| inspected(WASI, world).uses.into_iter().collect::<Vec<_>>();
    assert_eq!(uses("export wasi:cli/run@0.2.6;"), [Use::Service]);
    assert_eq!(uses("export wasi:cli/run@0.3.0;"), [Use::Service]);
    assert_eq!(
        uses("export wasi:http/incoming-handler@0.2.10;"),
        [Use::Http]
    );
    assert_eq!(uses("export wasi:http/handler@0.3.0;"), [Use::Http]);
    assert_eq!(
        uses("export wasi:http/handler@0.3.0; export wasi:cli/run@0.2.6;"),
        [Use::Service, Use::Http]
    );
    assert_eq!(uses("export wasi:cli/run@0.3.0-rc-1;"), []);
    assert_eq!(uses("import wasi:cli/run@0.2.6;"), []);
    assert_eq!(uses("export wasi:cli/environment@0.2.6;"), []);
}

#[test]
fn guests_import_nothing_that_workers_do_not_provide() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut count = 0;
    for folder in ["examples/components", "tests/guests/components"] {
        for file in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "wasm") {
                continue;
            }
            count += 1;
            let info = inspect(&std::fs::read(&path).unwrap()).unwrap();
            for import in info
                .imports
                .iter()
                .filter(|one| one.name.starts_with("wasi:"))
            {
                assert_eq!(import.functions, [], "{}: {}", path.display(), import.name);
            }
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn resources_of_wasi_belong_to_the_interface_that_defines_them() {
    let packages = "
        package wasi:io@0.2.0 {
            interface poll { resource pollable { ready: func() -> bool; } resource herd; }
            interface streams { use poll.{pollable}; resource input-stream { subscribe: func() -> pollable; } }
        }
    ";
    let world = "import wasi:io/streams@0.2.0; export f: func();";
    let imports = inspected(packages, world).imports;
    let missing = |name: &str| {
        let import = imports.iter().find(|import| import.name == name).unwrap();
        let names = import
            .functions
            .iter()
            .map(|function| function.name.as_str());
        names.collect::<Vec<_>>()
    };
    assert_eq!(missing("wasi:io/streams@0.2.0"), [""; 0]);
    let world = "import wasi:io/poll@0.2.0; export f: func();";
    let imports = inspected(packages, world).imports;
    let names: Vec<_> = imports[0]
        .functions
        .iter()
        .map(|f| f.name.as_str())
        .collect();
    assert_eq!(names, ["herd"]);
}

#[test]
fn the_newer_of_two_entry_points_is_used() {
    use WasiGeneration::{P2, P3};
    let doors = |world: &str| {
        let info = inspected(WASI, world);
        (info.run_by(), info.answers_by())
    };
    let (run2, run3) = ("export wasi:cli/run@0.2.6;", "export wasi:cli/run@0.3.0;");
    let http2 = "export wasi:http/incoming-handler@0.2.10;";
    let http3 = "export wasi:http/handler@0.3.0;";
    for (world, expected) in [
        (run2.to_owned(), (Some(P2), None)),
        (run3.to_owned(), (Some(P3), None)),
        (format!("{run2}{run3}"), (Some(P3), None)),
        (format!("{run3}{run2}"), (Some(P3), None)),
        (http2.to_owned(), (None, Some(P2))),
        (format!("{http2}{http3}"), (None, Some(P3))),
        (format!("{http3}{http2}{run2}"), (Some(P2), Some(P3))),
        ("export wasi:cli/run@0.3.0-rc-1;".to_owned(), (None, None)),
        (String::new(), (None, None)),
    ] {
        assert_eq!(doors(&world), expected, "{world}");
    }
    let both = inspected(WASI, &format!("{http2}{http3}"));
    assert!(both.can_be_reused());
    assert!(!inspected(WASI, http2).can_be_reused());
}

#[test]
fn a_border_is_what_inspection_found() {
    let packages = format!(
        "{WASI} package a:b@1.0.0 {{ interface c {{ f: func(); }} interface later {{ wait: async func(); }} }}"
    );
    for (world, generation) in [
        (
            "import wasi:cli/environment@0.2.6; export a:b/c@1.0.0;",
            WasiGeneration::P2,
        ),
        (
            "import a:b/c@1.0.0; export wasi:cli/run@0.3.0;",
            WasiGeneration::P3,
        ),
        // Nothing of WASI 0.3, and yet only its engine has asynchronous functions.
        (
            "export a:b/later@1.0.0; export wasi:cli/run@0.2.6;",
            WasiGeneration::P3,
        ),
    ] {
        let bytes = build(&packages, world);
        let expected = (inspect(&bytes).unwrap(), generation);
        assert_eq!(border(&bytes), Ok(expected), "{world}");
    }
    assert!(border(b"\0asm\x0d\0\x01\0\x07").is_err());
}

#[test]
fn what_workers_provide_is_listed_once() {
    let mut seen = BTreeSet::new();
    for one in provided() {
        assert!(seen.insert((one.interface, one.track)), "{one:?}");
        let functions: BTreeSet<_> = one.functions.iter().collect();
        assert_eq!(functions.len(), one.functions.len(), "{one:?}");
        let name: InterfaceName = one.versioned_name().parse().unwrap();
        assert_eq!(name.track().as_deref(), Some(one.track), "{name}");
        assert_eq!(provides(&name), Some(one), "{name}");
        // A pre-release is compatible with itself alone.
        if one.track != one.version {
            let earlier = format!("{}@{}.0", one.interface, one.track);
            assert_eq!(provides(&earlier.parse().unwrap()), Some(one), "{name}");
        }
    }
}

#[test]
fn libraries_export_functions_of_a_package() {
    let packages = "
        package a:b@1.0.0 { interface types { type t = u8; } interface api { f: func(); } }
    ";
    let uses = |world: &str| {
        inspected(packages, world)
            .uses
            .into_iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(uses("export a:b/api@1.0.0;"), [Use::Library]);
    assert_eq!(uses("export a:b/types@1.0.0;"), []);
    // As componentize-py leaves behind: it belongs to no package.
    assert_eq!(uses("export exports: interface { f: func(); }"), []);
    assert_eq!(uses("export f: func();"), []);
}

#[test]
fn generation_follows_from_any_wasi_name() {
    let generation = |world: &str| wasi_generation(&inspected(WASI, world));
    assert_eq!(generation("export wasi:cli/run@0.2.6;"), WasiGeneration::P2);
    assert_eq!(generation("export wasi:cli/run@0.3.0;"), WasiGeneration::P3);
    assert_eq!(
        generation("import wasi:http/handler@0.3.0; export wasi:cli/run@0.2.6;"),
        WasiGeneration::P3
    );
    assert_eq!(generation(""), WasiGeneration::P2);
}

#[test]
fn lists_imports_and_exports_with_functions_that_are_not_the_workers() {
    let packages = format!(
        "{WASI} package a:b@1.2.0 {{ interface store {{ get: func(key: string) -> option<list<u8>>; }} }}"
    );
    let info = inspected(
        &packages,
        "import wasi:cli/environment@0.2.6;
         import a:b/store@1.2.0;
         import log: func(line: string);
         export wasi:cli/run@0.2.6;
         export local: interface { f: func() -> u32; }",
    );
    let item = |name: &str, functions: Vec<Function>| ExternItem {
        name: name.to_owned(),
        functions,
    };
    let mut imports = info.imports;
    imports.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(
        imports,
        [
            item(
                "a:b/store@1.2.0",
                vec![function("get", "func(key: string) -> option<list<u8>>")]
            ),
            item("log", vec![function("log", "func(line: string)")]),
            // `get-arguments` is every worker's.
            item("wasi:cli/environment@0.2.6", vec![function("f", "func()")]),
        ]
    );
    let mut exports = info.exports;
    exports.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(
        exports,
        [
            item("local", vec![function("f", "func() -> u32")]),
            item("wasi:cli/run@0.2.6", vec![]),
        ]
    );
}

#[test]
fn descriptions_beyond_a_mebibyte_are_refused() {
    let param = "p".repeat(1000);
    let functions: String = (0..1100)
        .map(|i| format!("g{i}: func({param}: u8);"))
        .collect();
    let packages = format!("package a:b {{ interface c {{ {functions} }} }}");
    assert_eq!(
        inspect(&build(&packages, "import a:b/c;")),
        Err(InspectError::TooLarge)
    );
}

#[test]
fn imported_modules_are_seen_and_types_are_not() {
    let bytes = wat::parse_str(
        r#"(component
            (import "m" (core module))
            (type $u8 u8)
            (import "t" (type (eq $u8)))
            (import "r" (type (sub resource))))"#,
    )
    .unwrap();
    let names: Vec<_> = inspect(&bytes)
        .unwrap()
        .imports
        .into_iter()
        .map(|i| (i.name, i.functions[0].signature.clone()))
        .collect();
    assert_eq!(
        names,
        [
            ("m".into(), "core module".into()),
            ("r".into(), "resource".to_owned())
        ]
    );
}

#[test]
fn says_what_a_wrong_file_is() {
    for (bytes, what) in [
        (&b""[..], "it is empty"),
        (b"\x7fELF\x02\x01", "ELF"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PK\x03\x04", "ZIP"),
        (b"#!/bin/sh\n", "a script"),
        (b"(module)", "wasm-tools parse"),
        (b"(component)", "wasm-tools parse"),
        (
            b"<!doctype html>\n<html>",
            "the text \"<!doctype html>\\n\"",
        ),
        (
            "123456789012345ü".as_bytes(),
            "the text \"123456789012345\"",
        ),
        (b"\xca\xfe\xba\xbe", "the bytes cafebabe"),
        (b"\0as", "the bytes 006173"),
    ] {
        let message = inspect(bytes).unwrap_err().to_string();
        assert!(message.starts_with("it is not WebAssembly: "), "{message}");
        assert!(message.contains(what), "{what}: {message}");
    }
}

#[test]
fn says_how_to_make_a_component_of_a_module() {
    let module = wat::parse_str("(module)").unwrap();
    let message = inspect(&module).unwrap_err().to_string();
    assert!(
        message.contains("wasm32-wasip2") && message.contains("component new"),
        "{message}"
    );
}

#[test]
fn says_where_a_component_is_invalid() {
    let mut bytes = build(WASI, "export wasi:cli/run@0.2.6;");
    bytes.truncate(bytes.len() - 3);
    assert!(matches!(inspect(&bytes), Err(InspectError::Invalid { offset, .. }) if offset > 8));
    let unknown_version = b"\0asm\xff\xff\x01\x00";
    assert!(matches!(
        inspect(unknown_version),
        Err(InspectError::Invalid { .. })
    ));
}

#[test]
fn what_is_stored_is_read_back() {
    let info = inspected(
        &format!("{WASI} package a:b {{ interface c {{ resource r; f: func(); }} }}"),
        "import wasi:cli/environment@0.2.6; export a:b/c; export wasi:cli/run@0.2.6;",
    );
    let (imports, exports, uses) = info.to_proto_parts();
    let artifact = v1::Artifact {
        imports,
        exports,
        uses,
        ..Default::default()
    };
    assert_eq!(ComponentInfo::from_proto(&artifact), info);
}

#[test]
fn interface_names_are_read_and_written() {
    for text in [
        "a:b/c",
        "wasi:http/types@0.2.6",
        "a:b/c@1.0.0-rc.1",
        "a:b/c@0.3.0-rc-2025-09-16",
    ] {
        assert_eq!(text.parse::<InterfaceName>().unwrap().to_string(), text);
    }
    for text in [
        "", "c", "a:b", "b/c", "a:b/c@", "a:b/c@1", "a:b/c/d", "a:b:c/d", ":/", "a:b/c d",
    ] {
        assert!(text.parse::<InterfaceName>().is_err(), "{text}");
    }
}

#[test]
fn tracks_are_those_of_the_component_model() {
    for (version, track) in [
        ("", None),
        ("@0.0.3", Some("0.0.3")),
        ("@0.2.12", Some("0.2")),
        ("@0.3.0-rc-1", Some("0.3.0-rc-1")),
        ("@1.2.3", Some("1")),
        ("@2.0.0-beta", Some("2.0.0-beta")),
        ("@1.2.3+build", Some("1")),
    ] {
        let name: InterfaceName = format!("a:b/c{version}").parse().unwrap();
        assert_eq!(name.track().as_deref(), track, "{version}");
    }
}
