//! Tests of instances and the pools that all workloads share.

use std::{fmt::Write as _, pin::pin, sync::Arc, time::Duration};

use futures::poll;
use tokio::time::Instant;
use warren_model::{
    digest::Digest,
    name::{Name, WorkloadId},
};

use super::{
    super::{
        CompileSettings, ComponentRuntime, PrepareError, Runtime, ServiceEnd,
        component::{Caller, Invocation},
        engine::Generation,
        failure::Failure,
        host_memory::HostBudget,
        memory::InstanceMemory,
    },
    Bench,
};
use crate::policy::Role;

/// Returns a library whose core module has these fields. It is instantiated this many times beside
/// other modules that are not used.
fn library(instances: usize, fields: &str) -> Vec<u8> {
    let mut more = String::new();
    for _ in 1..instances {
        write!(more, "(core instance (instantiate $m))").unwrap();
    }
    let text = format!(
        r#"(component
            (core module $m {fields} (func (export "call") (result i32) i32.const 1))
            (core instance $i (instantiate $m))
            {more}
            (func $f (result u32) (canon lift (core func $i "call")))
            (instance $e (export "call" (func $f)))
            (export "test:pools/library@1.0.0" (instance $e)))"#
    );
    wat::parse_str(text).unwrap()
}

fn named(name: &str) -> Bench {
    let mut bench = Bench::new();
    bench.context.workload = WorkloadId {
        namespace: Name::parse("default").unwrap(),
        name: Name::parse(name).unwrap(),
    };
    bench
}

/// Returns the component of a workload that has no other.
async fn component(bench: &Bench, code: &[u8]) -> Arc<ComponentRuntime> {
    let prepared = bench.prepare(None, &[("library", code)]).await.unwrap();
    Arc::clone(&prepared.components[0])
}

/// Creates instances and keeps them, until one is refused.
async fn take_all(component: &ComponentRuntime) -> (Vec<Invocation>, Failure) {
    let mut held = Vec::new();
    loop {
        match begin(component, Role::Component).await {
            Ok(instance) => held.push(instance),
            Err(failure) => return (held, failure),
        }
    }
}

async fn begin(component: &ComponentRuntime, role: Role) -> Result<Invocation, Failure> {
    let memory: Arc<InstanceMemory> = component.instance_memory();
    let deadline = Instant::now() + Duration::from_secs(60);
    let caller = Caller {
        role,
        depth: 0,
        host_budget: HostBudget::new(1 << 20),
    };
    component.begin(caller, deadline, &memory).await
}

fn tables(count: usize) -> String {
    "(table 1 funcref)".repeat(count)
}

#[tokio::test]
async fn a_workload_that_exhausts_any_pool_leaves_others_and_a_new_service_what_they_need() {
    let heap = r#"(type $s (struct (field i32))) (global (ref $s) (struct.new $s (i32.const 1)))"#;
    for (what, code) in [
        ("tables", library(4, &tables(30))),
        ("linear memories", library(10, "(memory 1)")),
        (
            "linear memories",
            library(15, &format!("(memory 1) {heap}")),
        ),
        ("instances of WASI 0.2", library(1, heap)),
        ("instances of WASI 0.2", library(150, "")),
    ] {
        let (hog, neighbour) = (named("hog"), named("neighbour"));
        let good = component(&neighbour, &library(1, "(memory 1) (table 1 funcref)")).await;
        let bad = component(&hog, &code).await;
        let (held, failure) = take_all(&bad).await;
        let told = failure.to_string();
        assert!(matches!(failure, Failure::NoPlace(_)), "{told}");
        assert!(told.contains(&format!("pool of {what} ")), "{told}");
        assert!(held.len() > 5, "{} and {told}", held.len());
        let mut own = Vec::new();
        for _ in 0..50 {
            own.push(begin(&good, Role::Component).await.unwrap());
        }
        let service = wat::parse_str(
            r#"(component
                (core module $m (memory 1) (table 1 funcref)
                    (func (export "run") (result i32) i32.const 0))
                (core instance $i (instantiate $m))
                (func $run (result (result)) (canon lift (core func $i "run")))
                (instance $e (export "run" (func $run)))
                (export "wasi:cli/run@0.2.6" (instance $e)))"#,
        );
        let end = named("newcomer").run(&service.unwrap(), &[]).await;
        assert_eq!(end, ServiceEnd::Exited(0), "beside {what}");
    }
}

#[tokio::test]
async fn a_call_of_the_service_waits_for_a_place_and_one_of_a_component_does_not() {
    let bench = named("hog");
    let hog = component(&bench, &library(4, &tables(30))).await;
    let (mut held, _) = take_all(&hog).await;
    let mut waiting = pin!(begin(&hog, Role::Service));
    assert!(poll!(&mut waiting).is_pending());
    held.pop();
    assert!(waiting.await.is_ok());

    let mut stopped = pin!(begin(&hog, Role::Service));
    let (more, _) = take_all(&hog).await;
    assert!(poll!(&mut stopped).is_pending());
    hog.stop();
    assert!(matches!(stopped.await, Err(Failure::Stopped)));
    drop(more);
}

#[tokio::test]
async fn a_component_that_can_never_fit_is_refused_with_its_limit() {
    let bench = named("large");
    for (code, words) in [
        (library(3, &tables(67)), "201 tables, and may take 200"),
        (
            library(21, "(memory 1)"),
            "21 linear memories, and may take 20",
        ),
        (library(201, ""), "201 core instances, and may take 200"),
    ] {
        let refused = bench.prepare(None, &[("library", &code)]).await;
        let error = refused.err().unwrap();
        assert!(matches!(error, PrepareError::Component(..)));
        assert_eq!(error.reason(), "TooLarge");
        let told = error.to_string();
        assert!(told.contains(words), "{told}");
    }
    for code in [
        library(2, &tables(100)),
        library(20, "(memory 1)"),
        library(200, ""),
    ] {
        let fits = component(&bench, &code).await;
        assert!(begin(&fits, Role::Component).await.is_ok());
    }
}

/// Pools of thousands of stacks take a while and as many mappings.
#[tokio::test]
async fn the_engine_of_a_generation_starts_with_its_first_component() {
    let bytes = wat::parse_str("(component)").unwrap();
    let cache = tempfile::tempdir().unwrap();
    let (digest, artifact) = (Digest::of(&bytes), cache.path().join("artifact"));
    std::fs::write(&artifact, &bytes).unwrap();
    let compile = CompileSettings::in_process();
    let runtime = Runtime::new(&cache.path().join("code"), u64::MAX, 1 << 30, compile).unwrap();
    let started = |generation| runtime.components.of(generation).get().is_some();
    let workload = Bench::new().context.workload;
    for (role, expected) in [(Role::Service, false), (Role::Component, true)] {
        let loaded = runtime.load(role, &workload, digest, &artifact).await;
        let generation = loaded.unwrap().generation();
        assert_eq!(generation, Generation::P2);
        assert_eq!(started(generation), expected, "{role:?}");
        assert!(!started(Generation::P3));
    }
    assert!(runtime.is_compiled(digest));
}
