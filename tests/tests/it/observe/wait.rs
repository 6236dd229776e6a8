//! The progress that commands with `--wait` print, and the reasons they give for a failure.

use warren_tests::{Cluster, Process, Worker, eventually, guest};

use crate::{cluster, http_echo, lab};

/// A service that writes to stderr and ends.
fn crasher(how: &str) -> String {
    let guest = guest("std-net");
    format!(
        "name: crasher\n\
         service: {{ component: {guest}, args: [ exit, {how} ], restart: {{ policy: never }} }}\n"
    )
}

#[tokio::test]
async fn waiting_resumes_when_the_control_plane_returns() {
    let mut cluster = cluster(0).await;
    let file = cluster.lab.write("echo.yaml", http_echo(""));
    let words = ["apply", "-f", &file, "--wait", "--timeout", "50s"];
    let mut apply = cluster.follow("apply", &words);
    apply.said_line("workload/echo created").await;
    said(&apply, "0 of 1 ready").await;
    cluster.control.process.kill().await;
    cluster.control.start_again(&cluster.lab).await;
    let worker = Worker::start(&cluster.lab, &cluster.control.url, "w1", &[]).await;
    cluster.workers.push(worker);
    assert_eq!(apply.ended().await.code(), Some(0));
    apply.said_line("workload/echo ready").await;
    assert_eq!(cluster.get("echo.localhost", "/").await.text(), "hello\n");
}

/// Waits for a line on stderr.
async fn said(process: &Process, words: &str) {
    eventually(&format!("it says `{words}`"), async || {
        let stderr = process.stderr();
        if stderr.contains(words) {
            Ok(())
        } else {
            Err(stderr)
        }
    })
    .await;
}

#[tokio::test]
async fn a_failure_says_why_with_the_last_lines_of_stderr() {
    let cluster = Cluster::start_with(lab(), 1, &[], &["--memory", "128MiB"]).await;
    let told = cluster.try_apply(&crasher("panic")).await;
    let told = told.refused(
        1,
        &[
            "workload/crasher did not become ready",
            "on worker w1: FAILED",
        ],
    );
    for words in ["TRAPPED", "last lines on stderr", "| ", "asked to panic"] {
        assert!(told.contains(words), "`{words}` is missing in {told}");
    }
    // Off a terminal, progress is a line when something changed, and never the same one twice.
    let progress: Vec<&str> = told
        .lines()
        .filter(|line| line.starts_with("workload/crasher: "))
        .collect();
    let mut once = progress.clone();
    once.dedup();
    assert!(!progress.is_empty() && progress == once, "{told}");

    // Nowhere to run: the scheduler's words.
    let huge = crasher("spin")
        .replace("name: crasher", "name: huge")
        .replace("args:", "limits: { memory: 1GiB }, args:");
    let file = cluster.lab.write("huge.yaml", huge);
    let words = ["apply", "-f", &file, "--wait", "--timeout", "2s"];
    let told = cluster.warren(&words).await;
    told.refused(
        1,
        &["workload/huge was not ready within 2s", "lacks memory"],
    );

    let gone = cluster
        .warren(&["delete", "workload", "crasher", "--wait"])
        .await
        .ok();
    assert!(gone.ends_with("workload/crasher deleted\n"), "{gone}");
}
