//! A full disk, from a user's request to the worker's replicas: the limit on the size of a file
//! stands in for it.

use std::{env, path::PathBuf, process::Command, time::Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use warren_proto::v1::{self, replica::Phase};

use crate::{
    components,
    harness::{Control, SOON, WORKER_TIMEOUT, within, workload_with},
    worker::Machine,
};

const DIRECTORY: &str = "WARREN_TEST_FULL_DIRECTORY";
/// In units of 1024 bytes: some of sled's segments.
const LIMIT: &str = "4096";

/// Not a test of its own: the limit would hold for all tests of a process.
#[test]
#[ignore = "the child process of `a_full_disk_refuses_writes_and_nothing_else`"]
fn child() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(fill(PathBuf::from(directory)));
}

async fn fill(directory: PathBuf) {
    let data = TempDir::new_in(directory).unwrap();
    let mut control = Control::start_in(data, WORKER_TIMEOUT).await;
    let service = components::service("a");
    let worker = Machine::new("w1").connect(&control).await;
    control.run("runs", 1, &service).await;
    let settled = control.until_settled("runs").await;
    let before = control.replicas("runs").await.remove(0);

    let mut acknowledged = 0;
    let refused = loop {
        match grow(&mut control, acknowledged).await {
            Ok(()) => acknowledged += 1,
            Err(refused) => break refused,
        }
    };
    assert!(acknowledged > 3, "{refused}");
    says_to_try_again(&refused);

    // Nor does a component fit that is larger than what is left.
    let refused = push(&mut control, 6 << 20).await;
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let details = refused.get_error_details();
    assert!(details.retry_info().is_some(), "{refused}");

    // Reads go on, and so does the worker's session with its replica.
    assert_eq!(control.workload("runs").await, settled);
    let kept = v1::GetRequest {
        name: "large-0".to_owned(),
        ..Default::default()
    };
    control.workloads.get(kept).await.unwrap();
    worker.heartbeats(3).await;
    assert!(control.worker("w1").await.ready);
    assert_eq!(
        control.replicas("runs").await,
        std::slice::from_ref(&before)
    );
    let info = v1::GetInfoRequest {};
    let mut system = v1::system_service_client::SystemServiceClient::new(control.channel.clone());
    system.get_info(info).await.unwrap();

    let maximum = getrlimit(Resource::Fsize).maximum;
    let unlimited = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Fsize, unlimited).unwrap();
    let started = Instant::now();
    while let Err(refused) = grow(&mut control, acknowledged).await {
        says_to_try_again(&refused);
        assert!(started.elapsed() < SOON, "{refused}");
    }
    // The same session, the same replica, and new ones are placed.
    worker.heartbeats(1).await;
    let scaled = v1::ScaleRequest {
        name: "runs".to_owned(),
        replicas: 2,
        ..Default::default()
    };
    control.workloads.scale(scaled).await.unwrap();
    control
        .until("runs", |w| {
            w.status.as_ref().is_some_and(|s| s.ready_replicas == 2)
        })
        .await;
    let after = control.replicas("runs").await;
    let same = after.iter().find(|held| held.id == before.id).unwrap();
    assert_eq!((same.phase(), same.restarts), (Phase::Running, 0));
    drop(worker);

    let data = control.stop().await;
    let mut control = Control::start_in(data, WORKER_TIMEOUT).await;
    for number in 0..=acknowledged {
        control.workload(&format!("large-{number}")).await;
    }
}

/// One workload more, with as much text as a spec takes.
async fn grow(control: &mut Control, number: u32) -> Result<(), Status> {
    let text = "x".repeat(20_000);
    let service = components::service("a");
    let mut workload = workload_with(&format!("large-{number}"), &service, &text);
    workload.spec.as_mut().unwrap().replicas = Some(0);
    control.apply(workload).await.map(drop)
}

/// Returns the error of a push of this many bytes.
async fn push(control: &mut Control, bytes: usize) -> Status {
    use v1::push_request::Message;
    let header = Message::Header(v1::PushHeader::default());
    let chunks = std::iter::repeat_n(vec![0; 1 << 20], bytes >> 20);
    let messages = chunks.map(|chunk| Message::Chunk(chunk.into()));
    let messages: Vec<_> = std::iter::once(header)
        .chain(messages)
        .map(|message| v1::PushRequest {
            message: Some(message),
        })
        .collect();
    let pushed = control.artifacts.push(tokio_stream::iter(messages));
    within(pushed).await.unwrap_err()
}

fn says_to_try_again(refused: &Status) {
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let details = refused.get_error_details();
    assert!(details.retry_info().is_some(), "{refused}");
    assert_eq!(details.error_info().unwrap().reason, "STORE_UNAVAILABLE");
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    let script = format!("trap '' XFSZ; ulimit -S -f {LIMIT}; exec \"$@\"");
    // Ignored, the signal becomes an error of the write.
    let output = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "full::child", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}"
    );
}
