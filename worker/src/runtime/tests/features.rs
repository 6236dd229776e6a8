//! Workers can compile every component that Apply accepts.

use warren_model::component::{WasiGeneration, border, inspect};
use wasmtime::component::Component;

use super::{
    super::{ServiceEnd, engine::Generation},
    Bench, RUNTIME,
};

/// A core module for each proposal whose support may be in doubt.
const MODULES: [(&str, &str); 10] = [
    ("plain", "(func (export \"f\"))"),
    ("tail calls", "(func $f (return_call $f))"),
    ("memory64", "(memory i64 1)"),
    (
        "extended constants",
        "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
    ),
    (
        "function references",
        "(type $t (func)) (func (param (ref $t)) (call_ref $t (local.get 0)))",
    ),
    (
        "garbage collection",
        "(type $s (struct (field i32))) (func (result (ref $s)) (struct.new $s (i32.const 1)))",
    ),
    (
        "exceptions",
        "(tag $e) (func (block $l (try_table (catch $e $l) (throw $e))))",
    ),
    (
        "relaxed SIMD",
        "(func (param v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 0)))",
    ),
    (
        "wide arithmetic",
        "(func (result i64 i64) (i64.mul_wide_u (i64.const 1) (i64.const 2)))",
    ),
    ("custom page sizes", "(memory 1 (pagesize 1))"),
];

#[tokio::test]
async fn components_that_inspection_accepts_compile() {
    let mut refused = 0;
    for (name, module) in MODULES {
        let bytes = wat::parse_str(format!("(component (core module {module}))")).unwrap();
        let is_accepted = inspect(&bytes).is_ok();
        refused += usize::from(!is_accepted);
        for generation in [Generation::P2, Generation::P3] {
            let half = RUNTIME.start(generation).await.unwrap();
            let compiled = Component::new(&half.engine, &bytes);
            if is_accepted {
                assert!(
                    compiled.is_ok(),
                    "{name}, {generation:?}: {:?}",
                    compiled.err()
                );
            }
        }
    }
    assert!(refused < MODULES.len());
}

#[tokio::test]
async fn asynchronous_functions_are_compiled_whatever_wasi_a_component_names() {
    let bytes = wat::parse_str(
        r#"(component
            (core module $m
                (func (export "run") (result i32) i32.const 0)
                (func (export "wait") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (func $wait async (result u32) (canon lift (core func $i "wait")))
            (instance $later (export "wait" (func $wait)))
            (export "a:b/later" (instance $later))
            (instance $cli (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $cli)))"#,
    );
    let bytes = bytes.unwrap();
    assert_eq!(border(&bytes).unwrap().1, WasiGeneration::P3);
    let end = Bench::new().run(&bytes, &[]).await;
    assert_eq!(end, ServiceEnd::Exited(0));
}
