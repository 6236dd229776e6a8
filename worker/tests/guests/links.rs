//! Calls from the service to components through WIT interfaces.

use warren_worker::runtime::ServiceEnd;

use super::bench::{Bench, Running, component, service};

#[tokio::test(flavor = "multi_thread")]
async fn every_value_type_passes_both_ways_and_each_call_is_a_fresh_instance() {
    let bench = Bench::new();
    let prepared = bench
        .prepare(
            service("types-caller", &[]),
            vec![component("types", "types")],
        )
        .await;
    let running = Running::of(prepared.service.unwrap());
    bench.saw("types: all ok").await;
    bench.listens(9000).await;
    running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_that_the_function_cannot_return_traps_the_caller_and_names_the_call() {
    let bench = Bench::new();
    let mut service = service("types-caller", &[]);
    service.env.insert("CALL".into(), "trap-plain".into());
    let prepared = bench
        .prepare(service, vec![component("kitchen", "types")])
        .await;
    let end = Running::of(prepared.service.unwrap()).end().await;
    let ServiceEnd::Trapped(cause) = end else {
        panic!("{end:?}");
    };
    for part in ["`kitchen`", "warren:kitchen/values#trap-plain", "trapped"] {
        assert!(cause.contains(part), "{part} is missing: {cause}");
    }
}
