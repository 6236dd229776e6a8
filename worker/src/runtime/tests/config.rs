//! `wasi:config`: the values of a guest's spec.

use std::collections::BTreeMap;

use super::{
    super::ServiceEnd,
    logging::{Logged, P2, P3},
};

const VERSIONS: [&str; 2] = ["0.2.0-rc.1", "0.2.0-draft-2024-09-27"];

/// A component that exports one function without parameters, `(interface, name, type)`. It logs
/// the value of the key `greeting`, then that of a key that is absent, and then every pair as
/// `key: value`.
fn reading(version: &str, (interface, name, ty): (&str, &str, &str)) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "wasi:config/store@{version}" (instance $config
                (type $cases (variant (case "upstream" string) (case "io" string)))
                (export "error" (type $error (eq $cases)))
                (export "get" (func
                    (param "key" string) (result (result (option string) (error $error)))))
                (export "get-all" (func
                    (result (result (list (tuple string string)) (error $error)))))))
            (import "wasi:logging/logging@0.1.0-draft" (instance $logging
                (type $cases (enum "trace" "debug" "info" "warn" "error" "critical"))
                (export "level" (type $level (eq $cases)))
                (export "log" (func
                    (param "level" $level) (param "context" string) (param "message" string)))))
            (core module $memory
                (memory (export "memory") 2)
                (data (i32.const 0) "greetingabsent")
                (global $free (mut i32) (i32.const 1024))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
                    (local.set $at (i32.and
                        (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                    (global.set $free (i32.add (local.get $at) (local.get 3)))
                    (local.get $at)))
            (core instance $memory (instantiate $memory))
            (core func $get (canon lower (func $config "get")
                (memory $memory "memory") (realloc (func $memory "realloc"))))
            (core func $get-all (canon lower (func $config "get-all")
                (memory $memory "memory") (realloc (func $memory "realloc"))))
            (core func $log (canon lower (func $logging "log") (memory $memory "memory")))
            (core module $m
                (import "memory" "memory" (memory 1))
                (import "host" "get" (func $get (param i32 i32 i32)))
                (import "host" "get-all" (func $get-all (param i32)))
                (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
                ;; Traps if the result at 512 is an error.
                (func $check
                    (if (i32.load8_u (i32.const 512)) (then unreachable)))
                ;; Logs the value of a key, or else the key as an error.
                (func $show (param $key i32) (param $length i32)
                    (call $get (local.get $key) (local.get $length) (i32.const 512))
                    (call $check)
                    (if (i32.load8_u (i32.const 516))
                        (then (call $log (i32.const 2) (i32.const 0) (i32.const 0)
                            (i32.load (i32.const 520)) (i32.load (i32.const 524))))
                        (else (call $log (i32.const 4) (i32.const 0) (i32.const 0)
                            (local.get $key) (local.get $length)))))
                (func (export "f") (result i32) (local $at i32) (local $left i32)
                    (call $show (i32.const 0) (i32.const 8))
                    (call $show (i32.const 8) (i32.const 6))
                    (call $get-all (i32.const 512))
                    (call $check)
                    (local.set $at (i32.load (i32.const 516)))
                    (local.set $left (i32.load (i32.const 520)))
                    (block $done (loop $next
                        (br_if $done (i32.eqz (local.get $left)))
                        (call $log (i32.const 2)
                            (i32.load (local.get $at))
                            (i32.load offset=4 (local.get $at))
                            (i32.load offset=8 (local.get $at))
                            (i32.load offset=12 (local.get $at)))
                        (local.set $at (i32.add (local.get $at) (i32.const 16)))
                        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                        (br $next)))
                    i32.const 0))
            (core instance $i (instantiate $m
                (with "memory" (instance $memory))
                (with "host" (instance
                    (export "get" (func $get))
                    (export "get-all" (func $get-all))
                    (export "log" (func $log))))))
            (func $f {ty} (canon lift (core func $i "f")))
            (instance $e (export "{name}" (func $f)))
            (export "{interface}" (instance $e)))"#
    );
    wat::parse_str(text).unwrap()
}

fn logged(values: &[(&str, &str)]) -> Logged {
    let mut logged = Logged::default();
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    logged.bench.config = BTreeMap::from_iter(values.iter().map(owned));
    logged
}

#[tokio::test]
async fn a_service_reads_its_values_in_both_versions_and_generations() {
    for version in VERSIONS {
        for export in [P2, P3] {
            let logged = logged(&[("greeting", "hello"), ("empty", "")]);
            let service = reading(version, export);
            assert_eq!(logged.run(&service, &[]).await, ServiceEnd::Exited(0));
            assert_eq!(
                logged.texts().await,
                [
                    "INFO hello",
                    "ERROR absent",
                    "INFO empty: ",
                    "INFO greeting: hello",
                ],
                "{version} in {export:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_component_reads_its_values_and_none_without_config() {
    let library = ("a:b/c@1.0.0", "f", "(result u32)");
    let service = super::links::caller(library.0, library.1, 0);
    for version in VERSIONS {
        let library = reading(version, library);
        let run = async |logged: Logged| {
            let end = logged.run(&service, &[("library", &library)]).await;
            assert_eq!(end, ServiceEnd::Exited(0), "{version}");
            logged.texts().await
        };
        let texts = run(logged(&[("greeting", "hello")])).await;
        assert_eq!(
            texts,
            ["INFO hello", "ERROR absent", "INFO greeting: hello"]
        );
        let texts = run(logged(&[])).await;
        assert_eq!(texts, ["ERROR greeting", "ERROR absent"]);
    }
}
