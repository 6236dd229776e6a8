//! A control plane whose disk is full: it reads on, and writes again when there is space, without
//! losing a replica.
//!
//! The disk is a small tmpfs in a mount namespace of the control plane's own, which ends with it.
//! Where nothing can be mounted, a limit on the size of files stands in for it.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;
use tokio::process::Command;
use warren_tests::{Answer, Lab, Process, Worker, eventually, guest, within};

use crate::{
    counter::{count, manifest},
    lab,
};

const DISK: &str = "16m";

/// 2 MiB, in the unit of `ulimit`: far below what the store wants to write in this test, beyond
/// what it starts with.
const FILE_BLOCKS: &str = "4096";

const WORKER_TIMEOUT: Duration = Duration::from_secs(2);

/// What stands for a small disk.
enum Disk {
    /// The way into the control plane's mount namespace.
    Mounted(PathBuf),
    Limited(Pid),
}

/// The shell's program that gives its first argument a small disk and becomes the rest.
const MOUNT: &str =
    "mkdir -p \"$1\" && mount -t tmpfs -o size=\"$2\" tmpfs \"$1\" && shift 2 && exec \"$@\"";

/// Ignored, the signal becomes an error of the write.
const LIMIT: &str = "trap '' XFSZ; ulimit -S -f \"$1\"; shift; exec \"$@\"";

/// The command, started by another program.
fn wrapped(command: &Command, program: &str, arguments: &[&str]) -> Command {
    let inner = command.as_std();
    let mut outer = Command::new(program);
    outer
        .args(arguments)
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer.stdin(Stdio::null()).kill_on_drop(true);
    outer
}

async fn can_mount(lab: &Lab) -> bool {
    let probe = lab.path("probe").display().to_string();
    let script = ["--mount", "sh", "-c", MOUNT, "sh", &probe, "64k", "true"];
    let status = Command::new("unshare")
        .args(script)
        .stderr(Stdio::null())
        .status();
    within("a mount", status)
        .await
        .is_ok_and(|status| status.success())
}

struct Full<'a> {
    lab: &'a Lab,
    control: Process,
    url: String,
    disk: Disk,
}

impl Full<'_> {
    async fn start(lab: &Lab) -> Full<'_> {
        let data = lab.path("small");
        let (path, timeout) = (
            data.display().to_string(),
            format!("{}s", WORKER_TIMEOUT.as_secs()),
        );
        let control = [
            "control",
            "--listen",
            "127.0.0.1:0",
            "--worker-timeout",
            &timeout,
            "--data",
            &path,
        ];
        let control = lab.command(&control);
        let mounts = can_mount(lab).await;
        let command = if mounts {
            let script = ["--mount", "sh", "-c", MOUNT, "sh", &path, DISK];
            wrapped(&control, "unshare", &script)
        } else {
            eprintln!(
                "no tmpfs can be mounted here: a limit on the size of files replaces the full disk"
            );
            wrapped(&control, "sh", &["-c", LIMIT, "sh", FILE_BLOCKS])
        };
        let control = lab.start("control", command);
        let line = control.said_line("listening on ").await;
        let url = line
            .trim_start_matches("warren control listening on ")
            .to_owned();
        // The shell became it.
        let pid = control.id();
        let disk = if mounts {
            let root = Path::new("/proc").join(pid.to_string()).join("root");
            Disk::Mounted(root.join(data.strip_prefix("/").unwrap()))
        } else {
            Disk::Limited(Pid::from_raw(pid.cast_signed()).unwrap())
        };
        Full {
            lab,
            control,
            url,
            disk,
        }
    }

    async fn warren(&self, arguments: &[&str]) -> Answer {
        let arguments = [arguments, &["--server", &self.url]].concat();
        self.lab.warren(&arguments).await
    }

    async fn replica(&self) -> Value {
        let list = ["get", "replicas", "counter", "-o", "json"];
        let mut list = self.warren(&list).await.json();
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{list:#}");
        list[0].take()
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        if let Disk::Mounted(root) = &self.disk {
            let mut filler = File::create(root.join("filler")).unwrap();
            for size in [1 << 16, 1 << 10, 1] {
                while filler.write_all(&vec![7; size]).is_ok() {}
            }
        }
    }

    fn make_room(&self) {
        match &self.disk {
            Disk::Mounted(root) => fs::remove_file(root.join("filler")).unwrap(),
            Disk::Limited(pid) => {
                let none = Rlimit {
                    current: None,
                    maximum: None,
                };
                prlimit(Some(*pid), Resource::Fsize, none).unwrap();
            }
        }
    }
}

/// A service whose manifest takes much room, and not so much that the store gives it a file of its
/// own.
fn large(number: usize) -> String {
    let (echo, text) = (guest("wstd-echo"), "x".repeat(10_000));
    format!(
        "name: large-{number}\nreplicas: 0\nservice: {{ component: {echo}, args: [ \"7070\" ], env: {{ A: {text} }} }}\n"
    )
}

#[tokio::test]
async fn a_full_disk_stops_only_writes_and_only_until_there_is_room() {
    let lab = lab();
    let full = Full::start(&lab).await;
    let worker = Worker::start(&lab, &full.url, "w1", &[]).await;
    let file = lab.write("counter.yaml", manifest("counter"));
    full.warren(&["apply", "-f", &file, "--wait"]).await.ok();
    let first = count(worker.http, "counter").await;
    let before = full.replica().await;

    full.fill();
    // There may be room in what the store has taken already.
    let mut stored = Vec::new();
    let refused = loop {
        let number = stored.len() + 1;
        assert!(number <= 1000, "it is never full");
        let file = lab.write("large.yaml", large(number));
        let answer = full.warren(&["apply", "-f", &file]).await;
        if answer.code != Some(0) {
            break answer;
        }
        stored.push(format!("large-{number}"));
    };
    let told = refused.refused(1, &["again"]);
    assert!(
        told.contains("space") || told.contains("File too large"),
        "{told}"
    );

    // For longer than a worker may be silent: it is not, whatever can be written.
    let since = Instant::now();
    let mut counted = first.number;
    while since.elapsed() < WORKER_TIMEOUT * 2 {
        let next = count(worker.http, "counter").await;
        counted += 1;
        assert_eq!((next.number, &next.service), (counted, &first.service));
        let workload = ["get", "workloads", "counter", "-o", "json"];
        assert_eq!(full.warren(&workload).await.json()["name"], "counter");
    }

    full.make_room();
    let file = lab.write("room.yaml", large(0));
    let apply = ["apply", "-f", &file];
    eventually("writes are stored again", async || {
        let answer = full.warren(&apply).await;
        if answer.code == Some(0) {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    let list = full
        .warren(&["get", "workloads", "-o", "json"])
        .await
        .json();
    let mut names: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    stored.extend(["counter".to_owned(), "large-0".to_owned()]);
    stored.sort();
    assert_eq!(
        names, stored,
        "refused writes must be absent and accepted ones present"
    );

    let after = full.replica().await;
    for field in ["id", "worker", "phase", "ready", "restarts"] {
        assert_eq!(after[field], before[field], "{field} of {after:#}");
    }
    let next = count(worker.http, "counter").await;
    assert_eq!((next.number, &next.service), (counted + 1, &first.service));
    let mut control = full.control;
    assert_eq!(control.terminate().await.code(), Some(0));
}
