//! How services end, and what is reported about it.

use std::time::Duration;

use tokio::time::timeout;
use warren_net::Counts;
use warren_worker::runtime::ServiceEnd;

use super::bench::{Bench, PATIENCE, component, service};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_returns_or_exits_has_an_exit_code() {
    let bench = Bench::new();
    assert_eq!(
        bench.run("std-net", &["exit", "ok"]).await,
        ServiceEnd::Exited(0)
    );
    assert_eq!(
        bench.run("std-net", &["exit", "err"]).await,
        ServiceEnd::Exited(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_trap_with_a_backtrace_and_the_last_lines() {
    let bench = Bench::new();
    let ServiceEnd::Trapped(cause) = bench.run("std-net", &["exit", "panic"]).await else {
        panic!("a panic is a trap");
    };
    assert!(
        cause.contains("std_net"),
        "function names are missing: {cause}"
    );
    let last = bench.context.log.last_stderr("service", 20).join("\n");
    assert!(last.contains("panicked at"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn running_out_of_memory_is_reported_with_the_limit() {
    let bench = Bench::new();
    let end = bench.run("std-net", &["exit", "alloc"]).await;
    let ServiceEnd::OutOfMemory(cause) = end else {
        panic!("{end:?}");
    };
    assert!(cause.contains("67108864"), "the limit is missing: {cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_endless_loop_yields_and_can_be_killed() {
    let bench = Bench::new();
    let spinner = bench.start("std-net", &["exit", "spin"]).await;
    // With a single worker thread, this guest runs only because the other one yields.
    let echo = bench.start("tokio-echo", &["7070"]).await;
    bench.listens(7070).await;
    let lines = bench.stdout("std-net", &["ping", "7070", "3", "100"]).await;
    assert!(lines.iter().any(|line| line == "ok 3"), "{lines:?}");
    timeout(PATIENCE, spinner.kill()).await.unwrap();
    echo.kill().await;
    assert_eq!(bench.context.network.counts(), Counts::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_and_environment_arrive() {
    let mut service = service("std-net", &["env"]);
    service.env.insert("GREETING".into(), "hello, world".into());
    let lines = Bench::new().stdout_of(service).await.join("\n");
    assert!(
        lines.contains("GREETING") && lines.contains("hello, world"),
        "{lines}"
    );
    // The first argument is the program's name, which is the workload's.
    assert!(lines.contains("arg 0: bench\narg 1: env\n"), "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn output_arrives_by_line_in_order() {
    let lines = Bench::new().stdout("std-net", &["print", "50"]).await;
    assert_eq!(lines.len(), 100, "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trapped_service_restarts_from_scratch() {
    let bench = Bench::new();
    let prepared = bench.prepare(service("trapper", &[]), Vec::new()).await;
    let service = prepared.service.unwrap();
    for life in 1..=3 {
        let running = super::bench::Running::of(service.clone());
        bench.listens(8080).await;
        let host = bench.context.network.scope();
        let connecting = host.connect(None, "127.0.0.1:8080".parse().unwrap());
        let mut stream = connecting.unwrap().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"hi\n")
            .await
            .unwrap();
        let end = running.end().await;
        let ServiceEnd::Trapped(cause) = end else {
            panic!("life {life}: {end:?}");
        };
        assert!(cause.contains("fall_over"), "{cause}");
        let last = bench.context.log.last_stderr("service", 20).join("\n");
        assert!(last.contains("about to fall over"), "{last}");
        drop(stream);
        assert_eq!(bench.context.network.counts(), Counts::default());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_spins_only_loses_its_own_call() {
    let bench = Bench::new();
    let mut service = service("types-caller", &[]);
    service.env.insert("CALL".into(), "spin".into());
    let mut types = component("types", "types");
    types.timeout = Duration::from_millis(300);
    let prepared = bench.prepare(service, vec![types]).await;
    let running = super::bench::Running::of(prepared.service.unwrap());
    bench.saw("did not answer within 300ms").await;
    running.kill().await;
}

/// Services of WASI 0.3 run in a separate engine.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_wasi_0_3_runs_and_cannot_leave_its_network() {
    let bench = Bench::new();
    let lines = bench.stdout("p3-hello", &[]).await;
    assert_eq!(lines, ["p3-hello: up", "p3-hello: done"]);
    assert_eq!(
        bench.run("p3-hello", &["fail"]).await,
        ServiceEnd::Exited(1)
    );

    let machine = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    machine.set_nonblocking(true).unwrap();
    let address = machine.local_addr().unwrap().to_string();
    let lines = bench.stdout("p3-hello", &["connect", &address]).await;
    assert_eq!(lines, ["error connection-refused"]);
    assert!(machine.accept().is_err(), "the guest left its network");

    let ServiceEnd::Trapped(cause) = bench.run("p3-hello", &["trap"]).await else {
        panic!("a panic is a trap");
    };
    assert!(
        cause.contains("p3_hello"),
        "function names are missing: {cause}"
    );

    let spinner = bench.start("p3-hello", &["spin"]).await;
    timeout(PATIENCE, spinner.kill()).await.unwrap();
}
