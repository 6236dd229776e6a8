//! Tests of which export is used if a component has those of two generations.

use wit_parser::Resolve;

use super::{
    super::{ServiceEnd, component::Http},
    Bench,
    provided::directories,
    trapping,
};

/// Returns a service with `wasi:cli/run` of these versions. That of 0.2 traps, like the stub that a
/// toolchain leaves.
fn service(versions: &[&str]) -> Vec<u8> {
    let exports = versions.iter().map(|version| {
        let run = if version.starts_with("0.2") { "$stub" } else { "$run" };
        format!(
            r#"(instance $e{0} (export "run" (func {run}))) (export "wasi:cli/run@{version}" (instance $e{0}))"#,
            version.replace('.', "-")
        )
    });
    let text = format!(
        r#"(component
            (core module $m
                (func (export "stub") (result i32) unreachable)
                (func (export "run") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $stub (result (result)) (canon lift (core func $i "stub")))
            (func $run async (result (result)) (canon lift (core func $i "run")))
            {})"#,
        exports.collect::<String>()
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn a_service_of_both_generations_is_run_by_0_3() {
    let bench = Bench::new();
    for versions in [
        &["0.3.0"][..],
        &["0.2.0", "0.3.0"],
        &["0.3.0", "0.2.6"],
        &["0.2.6", "0.3.0", "0.2.0"],
    ] {
        let end = bench.run(&service(versions), &[]).await;
        assert_eq!(end, ServiceEnd::Exited(0), "{versions:?}");
    }
    // The stub runs if there is nothing else.
    let end = bench.run(&service(&["0.2.6"]), &[]).await;
    assert!(matches!(end, ServiceEnd::Trapped(_)), "{end:?}");
}

/// Returns the packages that the handlers of both generations need, as parts of one file.
pub(super) fn packages() -> String {
    let mut packages = String::new();
    for folder in directories().of_http {
        for file in std::fs::read_dir(folder.join("deps")).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let (name, body) = text.split_once(';').unwrap();
            packages += &format!("{name} {{ {body} }}\n");
        }
    }
    packages
}

/// Returns a component that exports these HTTP handlers. Its functions trap.
pub fn answering(exports: &[&str]) -> Vec<u8> {
    let exports: String = exports
        .iter()
        .map(|name| format!("export {name};"))
        .collect();
    let packages = packages();
    let wit = format!("package root:test; world test {{ {exports} }}\n{packages}");
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", &wit).unwrap();
    trapping(&resolve, package)
}

#[tokio::test]
async fn http_of_both_generations_is_answered_by_0_3() {
    let bench = Bench::new();
    let (older, newer) = (
        "wasi:http/incoming-handler@0.2.12",
        "wasi:http/handler@0.3.0",
    );
    for (exports, is_newer) in [
        (&[older][..], false),
        (&[newer], true),
        (&[older, newer], true),
        (&[newer, older], true),
    ] {
        let component = answering(exports);
        let prepared = bench.prepare(None, &[("api", &component)]).await.unwrap();
        let http = prepared.components[0].http().unwrap();
        assert_eq!(matches!(http, Http::P3(_)), is_newer, "{exports:?}");
    }
}

#[tokio::test]
async fn a_handler_without_its_function_is_refused_where_it_has_routes() {
    let bench = Bench::new();
    let component = wat::parse_str(
        r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $e (export "other" (func $f)))
            (export "wasi:http/incoming-handler@0.2.6" (instance $e)))"#,
    );
    let component = component.unwrap();
    assert!(bench.prepare(None, &[("api", &component)]).await.is_err());
    let library = bench.prepare(None, &[("library", &component)]).await;
    assert!(library.unwrap().components[0].http().is_none());
}
