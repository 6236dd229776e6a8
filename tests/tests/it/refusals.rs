//! Processes that do not start, and commands that do not reach anybody, say why and what to do.

use warren_tests::{Worker, eventually, own_loopback};

use crate::{cluster, lab};

#[tokio::test]
async fn a_listener_for_other_machines_must_be_asked_for() {
    let lab = lab();
    let data = lab.path("data").display().to_string();
    for role in ["control", "worker"] {
        let open = [role, "--listen", "0.0.0.0:0", "--data", &data];
        let mut open = open.to_vec();
        if role == "worker" {
            open.extend(["--http", "127.0.0.1:0", "--advertise", "http://127.0.0.1:1"]);
        }
        let answer = lab.warren(&open).await;
        answer.refused(1, &["0.0.0.0:0", "--insecure"]);
        assert!(!lab.path("data").exists(), "it began before it refused");
    }
    let dev = lab
        .warren(&["dev", "--listen", "0.0.0.0:0", "--http", "127.0.0.1:0"])
        .await;
    dev.refused(1, &["loopback", "--listen"]);

    // Asked for, it starts.
    let open = [
        "control",
        "--listen",
        "0.0.0.0:0",
        "--insecure",
        "--data",
        &data,
    ];
    let mut control = lab.start("open", lab.command(&open));
    control
        .said_line("warren control listening on http://0.0.0.0:")
        .await;
    assert_eq!(control.terminate().await.code(), Some(0));
    let nowhere = [
        "worker",
        "--listen",
        "0.0.0.0:0",
        "--insecure",
        "--http",
        "127.0.0.1:0",
    ];
    lab.warren(&nowhere).await.refused(2, &["--advertise"]);
}

#[tokio::test]
async fn names_and_directories_have_one_holder() {
    let mut cluster = cluster(1).await;
    let control = cluster.control.url.clone();
    let other = Worker::command(&cluster.lab, &control, "w1", "other", &[]);
    let mut other = cluster.lab.start("other", other);
    assert_eq!(other.ended().await.code(), Some(1));
    assert!(
        other.stderr().contains("another worker is called `w1`"),
        "{}",
        other.stderr()
    );
    assert!(other.stderr().contains("--name"), "{}", other.stderr());

    let same = Worker::command(&cluster.lab, &control, "w2", "w1", &[]);
    let mut same = cluster.lab.start("same", same);
    assert_eq!(same.ended().await.code(), Some(1));
    assert!(
        same.stderr().contains("in use by another worker"),
        "{}",
        same.stderr()
    );

    let data = cluster.lab.path("control").display().to_string();
    let second = ["control", "--listen", "127.0.0.1:0", "--data", &data];
    let second = cluster.lab.warren(&second).await;
    let pid = format!("process {}", cluster.control.process.id());
    second.refused(1, &["in use", &pid, &data]);

    // The first ones were not disturbed, and one that ends makes room.
    let workers = cluster
        .warren(&["get", "workers", "-o", "json"])
        .await
        .json();
    assert_eq!(
        (&workers[0]["name"], &workers[0]["ready"]),
        (&"w1".into(), &true.into())
    );
    assert_eq!(cluster.workers[0].stop().await.code(), Some(0));
    let back = Worker::start(&cluster.lab, &control, "w1", &[]).await;
    eventually("the worker is back under its name", async || {
        let workers = cluster
            .warren(&["get", "workers", "-o", "json"])
            .await
            .json();
        let ready = workers[0]["ready"] == true;
        let here = workers[0]["address"] == format!("http://{}", back.listen);
        if ready && here { Ok(()) } else { Err(workers) }
    })
    .await;
}

#[tokio::test]
async fn ports_that_are_taken_name_their_flag() {
    let lab = lab();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let data = lab.path("data").display().to_string();
    let any = "127.0.0.1:0";
    for (words, flag) in [
        (vec!["control", "--listen", &taken], "--listen"),
        (vec!["worker", "--http", &taken, "--listen", any], "--http"),
        (
            vec!["worker", "--http", any, "--listen", &taken],
            "--listen",
        ),
        (vec!["dev", "--http", &taken, "--listen", any], "--http"),
    ] {
        let words = [words, vec!["--data", &data]].concat();
        lab.warren(&words)
            .await
            .refused(1, &["taken", &taken, flag]);
    }
}

#[tokio::test]
async fn unreachable_servers_are_named() {
    let lab = lab();
    // A port that was just free, of an address that nobody connects from: nobody listens there.
    let free = std::net::TcpListener::bind((own_loopback(), 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{free}");
    let words = ["cannot reach a control plane", &url, "--server"];
    for command in [
        &["get", "workloads"][..],
        &["health"],
        &["events"],
        &["logs", "a"],
    ] {
        let asked = [command, &["--server", &url]].concat();
        lab.warren(&asked).await.refused(1, &words);
    }
    let cluster = cluster(0).await;
    let both = format!("{url},{}", cluster.control.url);
    lab.warren(&["get", "workloads", "--server", &both])
        .await
        .ok();
}

#[tokio::test]
async fn usage_errors_have_an_exit_code_of_their_own() {
    let lab = lab();
    for (command, words) in [
        (&["get", "workload", "--nonsense"][..], "--nonsense"),
        (&["apply"], "--file"),
        (
            &["get", "workloads", "--server", "localhost:7700"],
            "http://localhost:7700",
        ),
        (&["get", "workers", "-o", "manifest"], "manifest"),
        (&["apply", "-f", "a.yaml", "--timeout", "5s"], "--wait"),
        (&["frobnicate"], "frobnicate"),
    ] {
        lab.warren(command).await.refused(2, &[words]);
    }
    let help = lab.warren(&["--help"]).await.ok();
    for command in [
        "dev", "control", "worker", "apply", "get", "logs", "events", "health",
    ] {
        assert!(help.contains(command), "{help}");
    }
}
