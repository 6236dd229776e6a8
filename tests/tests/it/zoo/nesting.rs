//! Guests that fill their volumes, and what they leave behind.

use std::{fs, path::Path};

use warren_tests::{Neighbour, Worker, eventually};

use super::{BEAST, ENDS_ONCE, EVERY, Zoo, service};
use crate::cluster;

/// Far more than a stack, a path or a table of descriptors allows for.
const DEEP: u32 = 20_000;

fn beast(limits: &str) -> String {
    let more = format!(
        "  volumes: [ {{ name: scratch, mountPath: /scratch }} ]\n{ENDS_ONCE}\
         volumes: [ {{ name: scratch, emptyDir: {limits} }} ]\n"
    );
    service("nest, /scratch", &more)
}

#[tokio::test]
async fn of_directories_files_and_bytes_ends_at_the_volumes_limits() {
    let zoo = Zoo::open().await;
    zoo.admit(&beast("{ sizeLimit: 4MiB, inodes: 300 }")).await;
    zoo.log_has("nested 128 deep: QuotaExceeded").await;
    // Beside the directories, what is written to, and the one that could not be moved.
    zoo.log_has("made 170 files: QuotaExceeded").await;
    zoo.log_has("wrote again").await;
    // What the directories leave, but for the end of a write that was refused. Which error that is,
    // is wasi-libc's word: it does not ask a stream for more than that it failed.
    let logs = zoo.cluster.warren(&["logs", BEAST]).await.ok();
    let (_, wrote) = logs.split_once("wrote ").unwrap();
    let bytes: u64 = wrote.split(' ').next().unwrap().parse().unwrap();
    let room = (4 << 20) - 129 * 4096;
    assert!((room - 65_536..=room).contains(&bytes), "{bytes} of {room}");
    zoo.goes_on().await;
    zoo.put_down().await;
    let volumes = zoo.cluster.lab.path("w1").join("volumes");
    is_empty(&volumes).await;
    zoo.close().await;
}

#[tokio::test]
async fn that_an_earlier_worker_let_pass_keeps_no_worker_from_starting() {
    let mut cluster = cluster(1).await;
    let worker = &mut cluster.workers[0];
    worker.process.kill().await;
    let volumes = cluster.lab.path("w1").join("volumes");
    nest(&volumes.join("beast-0/scratch"), DEEP);

    let again = Worker::start(&cluster.lab, &cluster.control.url, "w1", &[]).await;
    cluster.workers[0] = again;
    cluster.apply(&Neighbour::manifest()).await;
    let zoo = Zoo {
        neighbour: Neighbour::ask(cluster.http(), EVERY),
        process: cluster.workers[0].process.id(),
        cluster,
    };
    is_empty(&volumes).await;
    zoo.goes_on().await;
    zoo.close().await;
}

async fn is_empty(volumes: &Path) {
    eventually("nothing is left of it", async || {
        let left: Vec<_> = fs::read_dir(volumes)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

/// Each step puts all that is nested into one more directory, as a guest does it.
fn nest(path: &Path, depth: u32) {
    let (inner, outer) = (path.join("inner"), path.join("outer"));
    fs::create_dir_all(&inner).unwrap();
    for _ in 0..depth {
        fs::create_dir(&outer).unwrap();
        fs::rename(&inner, outer.join("inner")).unwrap();
        fs::rename(&outer, &inner).unwrap();
    }
}
