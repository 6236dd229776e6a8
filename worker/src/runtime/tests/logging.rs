//! `wasi:logging`: lines in a replica's log.

use std::time::Instant;

use super::{super::ServiceEnd, Bench};
use crate::logs::{LogHub, LogLimits, LogQuery};
use warren_proto::v1::{LogLine, log_line::Stream};

const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "critical"];

/// A component that exports one function without parameters, `(interface, name, type)`, whose body
/// calls `$log` with the number of a level and two strings.
///
/// Its memory of 18 pages holds `data`, and then zeros.
fn logging(export: (&str, &str, &str), data: &str, body: &str) -> Vec<u8> {
    let (interface, name, ty) = export;
    let levels: String = LEVELS
        .iter()
        .map(|level| format!(r#""{level}" "#))
        .collect();
    let text = format!(
        r#"(component
            (import "wasi:logging/logging@0.1.0-draft" (instance $logging
                (type $cases (enum {levels}))
                (export "level" (type $level (eq $cases)))
                (export "log" (func
                    (param "level" $level) (param "context" string) (param "message" string)))))
            (core module $memory
                (memory (export "memory") 18)
                (data (i32.const 0) "{data}"))
            (core instance $memory (instantiate $memory))
            (core func $log (canon lower (func $logging "log") (memory $memory "memory")))
            (core module $m
                (import "memory" "memory" (memory 1))
                (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
                (func (export "f") (result i32) (local $n i32)
                    {body}
                    i32.const 0))
            (core instance $i (instantiate $m
                (with "memory" (instance $memory))
                (with "host" (instance (export "log" (func $log))))))
            (func $f {ty} (canon lift (core func $i "f")))
            (instance $e (export "{name}" (func $f)))
            (export "{interface}" (instance $e)))"#
    );
    wat::parse_str(text).unwrap()
}

pub(super) const P2: (&str, &str, &str) = ("wasi:cli/run@0.2.0", "run", "(result (result))");
pub(super) const P3: (&str, &str, &str) = ("wasi:cli/run@0.3.0", "run", "async (result (result))");

/// Calls `$log` with these bytes of the memory.
fn call(level: usize, context: (u32, u32), message: (u32, u32)) -> String {
    let numbers = [context.0, context.1, message.0, message.1];
    let numbers = numbers
        .map(|number| format!("(i32.const {number})"))
        .join(" ");
    format!("(call $log (i32.const {level}) {numbers})")
}

/// A workload whose log has these limits.
pub(super) struct Logged {
    pub bench: Bench,
    hub: LogHub,
}

impl Default for Logged {
    fn default() -> Self {
        Self::new(LogLimits::default())
    }
}

impl Logged {
    fn new(limits: LogLimits) -> Self {
        let hub = LogHub::new(limits);
        let mut bench = Bench::new();
        bench.context.log = hub.open("bench");
        Self { bench, hub }
    }

    pub async fn run(&self, service: &[u8], components: &[(&str, &[u8])]) -> ServiceEnd {
        self.bench.run(service, components).await
    }

    pub async fn texts(&self) -> Vec<String> {
        let lines = self.lines().await.into_iter();
        lines.map(|line| line.line).collect()
    }

    async fn lines(&self) -> Vec<LogLine> {
        let mut stream = self.hub.subscribe("bench", LogQuery::default()).unwrap();
        let mut lines = Vec::new();
        while let Some(more) = stream.next().await {
            lines.extend(more);
        }
        lines
    }
}

#[tokio::test]
async fn each_call_is_a_line_with_its_level_in_both_generations() {
    // A context of 3 bytes and a message of 7.
    let each: String = (0..LEVELS.len())
        .map(|level| call(level, (0, 3), (3, 7)))
        .collect();
    let each = each + &call(2, (0, 0), (3, 7));
    for export in [P2, P3] {
        let logged = Logged::default();
        let service = logging(export, "webstarted", &each);
        assert_eq!(logged.run(&service, &[]).await, ServiceEnd::Exited(0));
        let lines = logged.lines().await;
        let is_stderr =
            |line: &LogLine| line.source == "service" && line.stream() == Stream::Stderr;
        assert!(lines.iter().all(is_stderr), "{lines:?}");
        assert_eq!(
            logged.texts().await,
            [
                "TRACE web: started",
                "DEBUG web: started",
                "INFO web: started",
                "WARN web: started",
                "ERROR web: started",
                "CRITICAL web: started",
                "INFO started",
            ]
        );
    }
}

#[tokio::test]
async fn a_component_logs_by_its_name() {
    let logged = Logged::default();
    let library = logging(
        ("a:b/c@1.0.0", "f", "(result u32)"),
        "hi",
        &call(4, (0, 0), (0, 2)),
    );
    let service = super::links::caller("a:b/c@1.0.0", "f", 0);
    let end = logged.run(&service, &[("library", &library)]).await;
    assert_eq!(end, ServiceEnd::Exited(0));
    let lines = logged.lines().await;
    let [line] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    assert_eq!((&*line.source, &*line.line), ("library", "ERROR hi"));
}

#[tokio::test]
async fn a_message_cannot_pass_for_several_lines_nor_for_a_long_one() {
    let limits = LogLimits::default();
    let logged = Logged::new(limits);
    let body = call(2, (0, 3), (3, 8)) + &call(2, (0, 0), (65536, 1 << 20));
    let service = logging(P2, r"a\0abone\0atwo\0a", &body);
    assert_eq!(logged.run(&service, &[]).await, ServiceEnd::Exited(0));
    let lines = logged.lines().await;
    let [broken, long] = lines.as_slice() else {
        panic!("{} lines", lines.len());
    };
    assert_eq!(
        (&*broken.line, broken.truncated),
        ("INFO a b: one two", false)
    );
    assert_eq!((long.line.len(), long.truncated), (limits.line_bytes, true));
}

#[tokio::test]
async fn a_flood_of_calls_is_bounded_as_output_is() {
    let logged = Logged::new(LogLimits {
        lines_per_second: 1,
        burst: 10,
        ..LogLimits::default()
    });
    let body = format!(
        r#"(loop $again
            {}
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 10000))))"#,
        call(2, (0, 0), (0, 1))
    );
    let begun = Instant::now();
    let service = logging(P2, "x", &body);
    assert_eq!(logged.run(&service, &[]).await, ServiceEnd::Exited(0));
    let most = 11 + begun.elapsed().as_secs();
    let lines = logged.lines().await.len() as u64;
    assert!(
        (10..=most).contains(&lines),
        "{lines} lines, at most {most}"
    );
}

#[tokio::test]
async fn a_message_larger_than_the_host_budget_ends_the_guest() {
    let logged = Logged::default();
    // The guest has 33 MiB. The two strings share them, and have one byte more than the budget of
    // 64 MiB.
    let half = 32 << 20;
    let grow = "(drop (memory.grow (i32.const 510)))".to_owned();
    let service = logging(P2, "", &(grow + &call(2, (0, half), (0, half + 1))));
    let end = logged.run(&service, &[]).await;
    let ServiceEnd::OutOfMemory(message) = &end else {
        panic!("{end:?}");
    };
    let expected = "its arguments and results of calls need more";
    assert!(message.contains(expected), "{message}");
    assert!(logged.lines().await.is_empty());
}
