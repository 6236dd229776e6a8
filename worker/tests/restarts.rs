//! A service that listens, traps and is restarted endlessly leaves nothing behind: no memory, no
//! task, no file descriptor, and no port once its replica has stopped.
//!
//! `WARREN_RESTARTS` sets the number of restarts. There is only one test in this process, because
//! it measures what the whole process holds.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::watch,
    time::timeout,
};
use warren_model::digest::Digest;
use warren_proto::v1::{self, replica::Phase};
use warren_worker::{
    artifacts::Artifacts,
    ingress::Router,
    lease::SharedLease,
    logs::{LogHub, LogLimits},
    policy::HostAccess,
    publish::PublishPolicy,
    replica::{Assignment, Replicas as _, reports::ReportBook},
    runtime::{Runtime, compile::CompileSettings},
    supervisor::{Supervisor, SupervisorParts},
    volumes::Volumes,
};

const REPLICA: &str = "beast-1";
const PATIENCE: Duration = Duration::from_secs(60);
/// One in `WARM_UP` restarts happens before the measurement, so that logs and reports are full and
/// the allocator's busiest moment has passed.
const WARM_UP: u32 = 2;
/// How many bytes resident memory may grow by: a tenth of a page for each of 10,000 restarts.
const SLACK: u64 = 4 << 20;

/// The resources that the process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    tasks: usize,
    descriptors: usize,
    threads: usize,
}

struct Worker {
    supervisor: Arc<Supervisor>,
    reports: ReportBook,
    runtime: Arc<Runtime>,
    digest: Digest,
    _source: watch::Sender<Option<warren_worker::remote::Channel>>,
}

fn restarts() -> u32 {
    let restarts = std::env::var("WARREN_RESTARTS");
    restarts.map_or(400, |restarts| restarts.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_services_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::open(dir.path());
    let empty = Held::now();
    worker.assign();
    let port = worker.port().await;

    let mut done = restarts() / WARM_UP;
    worker.restart_to(done, port).await;
    let ready = Held::settled_as(None).await;
    // The allocator keeps what its busiest moment took, which may come late, but a leak shows every
    // time.
    let mut growth = Vec::new();
    for _ in 0..3 {
        let (before, began) = (resident(), Instant::now());
        let goal = done + restarts();
        worker.restart_to(goal, port).await;
        Held::settled_as(Some(ready)).await;
        let (took, after) = (began.elapsed(), resident());
        eprintln!(
            "{} restarts in {took:?}: resident {before}, then {after}; {ready:?}",
            goal - done
        );
        done = goal;
        growth.push(after.saturating_sub(before));
        if after < before + SLACK {
            growth.clear();
            break;
        }
    }
    assert!(
        growth.is_empty(),
        "resident memory grew by {growth:?} bytes"
    );

    // The port is taken while the replica runs, and free afterwards.
    assert!(TcpListener::bind(port).await.is_err());
    worker.supervisor.stop(REPLICA);
    worker
        .reports_that(|report| report.phase() == Phase::Stopped)
        .await;
    Held::settled_as(Some(empty)).await;
    assert_eq!(worker.runtime.memory_used(), 0);
    TcpListener::bind(port).await.unwrap();
}

// === impl Worker ===

impl Worker {
    fn open(dir: &Path) -> Self {
        let artifacts = dir.join("artifacts");
        let source = watch::Sender::new(None);
        let held = Artifacts::open(artifacts.clone(), u64::MAX, source.subscribe()).unwrap();
        let bytes = fs::read(component()).unwrap();
        let digest = Digest::of(&bytes);
        fs::write(artifacts.join(format!("{}.wasm", digest.hex())), bytes).unwrap();
        // Compiled code survives from test to test.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
        let runtime = Arc::new(
            Runtime::new(&cache, u64::MAX, u64::MAX, CompileSettings::in_process()).unwrap(),
        );
        let reports = ReportBook::new();
        let supervisor = Supervisor::new(SupervisorParts {
            runtime: Arc::clone(&runtime),
            artifacts: Arc::new(held),
            router: Router::new(),
            logs: LogHub::new(LogLimits::default()),
            reports: reports.clone(),
            lease: SharedLease::new(),
            host: HostAccess::default(),
            publish: PublishPolicy::default(),
            volumes: Arc::new(Volumes::open(dir, Vec::new()).unwrap()),
            longest_grace: Duration::ZERO,
            short_run: Duration::ZERO,
        });
        Self {
            supervisor,
            reports,
            runtime,
            digest,
            _source: source,
        }
    }

    fn assign(&self) {
        let soon = prost_types::Duration {
            seconds: 0,
            nanos: 1_000_000,
        };
        let service = v1::Service {
            component: self.digest.to_string(),
            args: vec!["trap-on-connect".to_owned()],
            restart: Some(v1::RestartPolicy {
                initial_backoff: Some(soon),
                max_backoff: Some(soon),
                max_restarts: Some(u32::MAX),
                ..Default::default()
            }),
            publish: vec![v1::Publish {
                port: 8080,
                listen: "127.0.0.1:0".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let assignment = v1::Assignment {
            replica: REPLICA.to_owned(),
            namespace: "default".to_owned(),
            workload: "beast".to_owned(),
            workload_uid: "1".to_owned(),
            revision: 1,
            spec: Some(v1::WorkloadSpec {
                service: Some(service),
                ..Default::default()
            }),
            restarts: 0,
            fence: 0,
            link_plan: None,
        };
        self.supervisor
            .assign(Assignment::from_proto(assignment).unwrap());
    }

    /// Waits until the replica's report satisfies `is_so`, and returns it.
    async fn reports_that(&self, is_so: impl Fn(&v1::ReplicaReport) -> bool) -> v1::ReplicaReport {
        let wait = async {
            loop {
                let batch = self.reports.all();
                // As a session that keeps up does.
                self.reports.confirm(batch.version);
                if let Some(report) = batch.reports.into_iter().find(&is_so) {
                    return report;
                }
                self.reports.changed(batch.version).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap()
    }

    async fn port(&self) -> SocketAddr {
        let report = self.reports_that(|report| report.ready).await;
        report.endpoints[0].address.parse().unwrap()
    }

    /// Connects whenever the service is ready, until it was restarted this many times.
    async fn restart_to(&self, goal: u32, port: SocketAddr) {
        loop {
            let report = self.reports_that(|report| report.ready).await;
            if report.restarts >= goal {
                return;
            }
            // This makes the service trap, which resets the connection before or after it was
            // accepted.
            if let Ok(mut stream) = TcpStream::connect(port).await {
                let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new()))
                    .await
                    .unwrap();
            }
            let next = report.restarts + 1;
            self.reports_that(|report| report.restarts >= next).await;
        }
    }
}

fn component() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("tests/guests/components/hostile.wasm")
}

// === impl Held ===

impl Held {
    fn now() -> Self {
        let entries = |path: &str| fs::read_dir(path).unwrap().count();
        Self {
            tasks: Handle::current().metrics().num_alive_tasks(),
            descriptors: entries("/proc/self/fd"),
            threads: entries("/proc/self/task"),
        }
    }

    /// Waits until the process holds what is `wanted`, or no longer changes. What has ended counts
    /// until it has been removed.
    async fn settled_as(wanted: Option<Self>) -> Self {
        let mut last = Self::now();
        let began = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = Self::now();
            // Threads for blocking work end by themselves, some seconds after their last job.
            let is_back =
                |wanted: Self| now.tasks == wanted.tasks && now.descriptors == wanted.descriptors;
            match wanted {
                Some(wanted) if is_back(wanted) => return now,
                None if now == last => return now,
                _ => last = now,
            }
            assert!(began.elapsed() < PATIENCE, "{now:?}, not {wanted:?}");
        }
    }
}

/// Returns the resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages = statm.split_whitespace().nth(1).unwrap();
    pages.parse::<u64>().unwrap() * rustix::param::page_size() as u64
}
