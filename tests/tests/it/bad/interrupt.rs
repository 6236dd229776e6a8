//! Ctrl-C leaves nothing half done, and reports what was done.

use rustix::process::{Pid, Signal, kill_process};
use warren_tests::{guest, within};

use super::{
    Standing,
    proxy::{Proxy, Then},
};
use crate::http_echo;

#[tokio::test]
async fn an_apply_that_is_interrupted_while_it_pushes_applies_nothing() {
    let mut standing = Standing::start().await;
    let slow = Proxy::start(&standing.cluster.control.url, 50_000, 1, Then::Stall).await;
    let lab = &standing.cluster.lab;
    let file = lab.write("echo.yaml", http_echo(""));
    let apply = ["apply", "-f", &file, "--wait", "--server", &slow.url];
    let mut applying = lab.start("applying", lab.command(&apply));
    slow.has_stopped_one().await;
    let status = within("its end", applying.interrupt()).await;
    assert_eq!(status.code(), Some(130), "{status}");
    let told = applying.stderr();
    assert!(told.contains("interrupted: nothing was applied"), "{told}");
    assert_eq!(applying.stdout(), Vec::<String>::new());
    drop(slow);
    standing.unharmed().await;
    // What was on its way is not in the way of the next one.
    let answer = standing
        .cluster
        .warren(&["apply", "-f", &file, "--wait"])
        .await;
    assert_eq!(answer.ok(), "workload/echo created\nworkload/echo ready\n");
}

#[tokio::test]
async fn an_apply_that_is_interrupted_in_the_middle_is_finished() {
    let cluster = crate::cluster(0).await;
    let pushed = cluster.warren(&["push", &guest("wstd-echo")]).await.ok();
    let one = |name: &str| {
        let (digest, text) = (pushed.trim(), "x".repeat(20_000));
        format!("name: {name}\nservice: {{ component: \"{digest}\", env: {{ A: {text} }} }}\n")
    };
    let both = cluster
        .lab
        .write("both.yaml", one("one") + "---\n" + &one("two"));
    // In the middle of the first document: what is asked before is much shorter.
    let slow = Proxy::start(&cluster.control.url, 10_000, 1, Then::Stall).await;
    let apply = ["apply", "-f", &both, "--server", &slow.url];
    let mut applying = cluster.lab.start("applying", cluster.lab.command(&apply));
    slow.has_stopped_one().await;
    let id = Pid::from_raw(applying.id().cast_signed()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    slow.release();
    let status = within("its end", applying.ended()).await;
    assert_eq!(status.code(), Some(130), "{status}");
    let told = applying.stderr();
    let words = "interrupted: all of workload/one, workload/two were applied";
    assert!(told.contains(words), "{told}");
    for name in ["one", "two"] {
        applying
            .said_line(&format!("workload/{name} created"))
            .await;
        assert_eq!(cluster.workload(name).await["revision"], 1);
    }
}

#[tokio::test]
async fn an_apply_that_is_interrupted_while_it_waits_says_that_it_was_applied() {
    let cluster = crate::cluster(1).await;
    // It never listens on the port that would make it ready.
    let never = format!(
        "name: never\nservice: {{ component: {}, args: [ \"7070\" ], publish: [ {{ port: 7071, listen: \"127.0.0.1:0\" }} ] }}\n",
        guest("wstd-echo")
    );
    let file = cluster.lab.write("never.yaml", never);
    let mut applying = cluster.follow("applying", &["apply", "-f", &file, "--wait"]);
    applying.said_line("workload/never created").await;
    let status = within("its end", applying.interrupt()).await;
    assert_eq!(status.code(), Some(130), "{status}");
    let told = applying.stderr();
    assert!(
        told.contains("interrupted: workload/never was applied"),
        "{told}"
    );
    assert_eq!(cluster.workload("never").await["revision"], 1);
}
