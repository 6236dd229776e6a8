//! `warren dev` leaves nothing behind, however it is ended.

use warren_tests::{Cluster, Dev, eventually};

use super::{examples, temporary};
use crate::lab;

const WORDS: [&str; 5] = ["dev", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];

#[tokio::test]
async fn a_closed_terminal_ends_dev_as_ctrl_c_does() {
    let lab = lab();
    let mut dev = Dev::start(&lab, &[&examples("counter")]).await;
    dev.process.said_line("workload/counter is ready").await;
    assert_eq!(temporary(&lab).len(), 1);
    dev.process.hang_up();
    let status = dev.process.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(temporary(&lab).len(), 0, "its data was left behind");
    assert!(tokio::net::TcpStream::connect(dev.http).await.is_err());
}

#[tokio::test]
async fn a_terminal_that_fails_every_write_leaves_nothing_behind() {
    let lab = lab();
    let counter = examples("counter");
    let words = [WORDS.as_slice(), &[&counter]].concat();
    // Calls are in flight after the first line, and the end of each is logged.
    for line in ["control plane at ", " service |", "is ready"] {
        let mut command = lab.on_terminal(80, &words);
        command.env("WARREN_LOG", "info");
        let mut terminal = lab.start("terminal", command);
        terminal.said_line(line).await;
        assert_eq!(temporary(&lab).len(), 1);
        terminal.kill().await;
        eventually(
            &format!("its data is removed after {line}"),
            async || match temporary(&lab).len() {
                0 => Ok(()),
                left => Err(left),
            },
        )
        .await;
    }
}

#[tokio::test]
async fn an_interrupted_start_leaves_nothing_behind() {
    let lab = lab();
    for part in ["", "control", "control/artifacts", "worker"] {
        let mut process = lab.start("dev", lab.command(&WORDS));
        // So far it has come.
        eventually(&format!("{part} is there"), async || {
            let entries = std::fs::read_dir(lab.path("")).unwrap();
            let mut entries = entries.map(|entry| entry.unwrap().path());
            let of_dev = |path: &std::path::PathBuf| {
                let name = path.file_name().unwrap_or_default();
                name.to_string_lossy().starts_with("warren-dev-")
            };
            let found = entries.find(|path| of_dev(path) && path.join(part).exists());
            found.map(drop).ok_or(())
        })
        .await;
        let status = process.terminate().await;
        assert_eq!(status.code(), Some(0), "{part}: {status}");
        assert_eq!(temporary(&lab).len(), 0, "its data stays behind: {part}");
    }
}

#[tokio::test]
async fn a_second_signal_leaves_nothing_behind_either() {
    let lab = lab();
    let mut dev = Dev::start(&lab, &[&examples("counter")]).await;
    dev.process.said_line("workload/counter is ready").await;
    dev.process.hang_up();
    let status = dev.process.interrupt().await;
    // It may be done before the second signal comes.
    assert!(matches!(status.code(), Some(0 | 130)), "{status}");
    assert_eq!(temporary(&lab).len(), 0, "its data was left behind");
}

#[tokio::test]
async fn nohup_keeps_dev_running() {
    let lab = lab();
    let mut command = tokio::process::Command::new("sh");
    let program = lab.command(&WORDS);
    let program = program.as_std();
    command
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .kill_on_drop(true);
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut process = lab.start("dev", command);
    process.said_line("control plane at ").await;
    process.hang_up();
    // It takes signals in their order, and this one is its first.
    let status = process.terminate().await;
    assert_eq!(status.code(), Some(0), "{status}");
    let stops = process.stderr().matches("stopping").count();
    assert_eq!(stops, 1, "{}", process.stderr());
}

#[tokio::test]
async fn servers_end_in_order_when_their_terminal_is_closed() {
    let mut cluster = Cluster::start(lab(), 1).await;
    let worker = &mut cluster.workers[0];
    worker.process.hang_up();
    let status = worker.process.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
    cluster.control.process.hang_up();
    let status = cluster.control.process.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
}
