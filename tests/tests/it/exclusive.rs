//! Services that never run twice: workers that hang, connections that break, control planes and
//! machines that start again.
//!
//! Each instance appends its fence and the time since boot to one file, every 50 ms. Whatever
//! happens, what one wrote is over before the next begins, and fences grow. `.ci/without` has the
//! builds without the check of the lease, and without what makes fences grow, in which these tests
//! fail.

mod link;

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use serde_json::Value;
use tokio::time::sleep;
use warren_tests::{Cluster, Worker, eventually, guest};

use self::link::Link;
use crate::lab;

/// Short, so that the tests are; long enough for a busy machine's heartbeats.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Of it, how long a worker may go on by itself.
const LEASE: Duration = Duration::from_millis(2100);

/// What one instance wrote: from when to when, in seconds since boot, and how many lines.
#[derive(Clone, Copy, Debug)]
struct Life {
    first: f64,
    last: f64,
    lines: usize,
}

/// Where the workload's instances write.
struct Scene {
    cluster: Cluster,
    file: PathBuf,
    flags: Vec<String>,
}

/// It counts where it is asked to stop, and nowhere else.
fn manifest(grace: &str) -> String {
    let component = guest("files");
    format!(
        "name: one\n\
         service:\n  \
           component: {component}\n  \
           args: [ \"beat=/shared/beats\" ]\n  \
           exclusive: true\n  \
           stopGrace: {grace}\n  \
           restart: {{ policy: never, onLost: replace }}\n  \
           volumes: [ {{ name: shared, mountPath: /shared }}, {{ name: machine, mountPath: /machine, readOnly: true }} ]\n\
         volumes: [ {{ name: shared, host: shared }}, {{ name: machine, host: machine }} ]\n"
    )
}

// === impl Scene ===

impl Scene {
    /// A control plane, without workers.
    async fn start() -> Self {
        let lab = lab();
        let shared = lab.path("shared");
        fs::create_dir_all(&shared).unwrap();
        let flags = ["--volume", "machine=/proc:ro", "--volume"].map(str::to_owned);
        let shared_flag = format!("shared={}", shared.display());
        let control = ["--worker-timeout", "3s"];
        Self {
            cluster: Cluster::start_with(lab, 0, &control, &[]).await,
            file: shared.join("beats"),
            flags: flags.into_iter().chain([shared_flag]).collect(),
        }
    }

    /// Another worker, which reaches the control plane at this URL.
    async fn join(&mut self, name: &str, control: &str) {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let worker = Worker::start(&self.cluster.lab, control, name, &flags).await;
        self.cluster.workers.push(worker);
    }

    fn worker(&self, name: &str) -> &Worker {
        let mut workers = self.cluster.workers.iter();
        workers.find(|worker| worker.name == name).unwrap()
    }

    /// Every instance by its fence. The last line may be half there.
    fn lives(&self) -> BTreeMap<u64, Life> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let mut lives = BTreeMap::new();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let (fence, time) = line.split_once(' ').unwrap();
            let (fence, time): (u64, f64) = (fence.parse().unwrap(), time.parse().unwrap());
            let life = lives.entry(fence).or_insert(Life {
                first: time,
                last: time,
                lines: 0,
            });
            life.first = life.first.min(time);
            life.last = life.last.max(time);
            life.lines += 1;
        }
        lives
    }

    /// Waits until an instance later than all of these has written for a while, and returns its
    /// fence.
    async fn another_than(&self, before: u64) -> u64 {
        eventually("another instance writes", async || {
            let lives = self.lives();
            let mut later = lives.range(before + 1..);
            let found = later.find(|(_, life)| life.lines >= 10);
            found.map(|(fence, _)| *fence).ok_or(lives)
        })
        .await
    }

    /// Waits until an instance has written on, since `before`.
    async fn writes(&self, fence: u64, before: usize) {
        eventually("it writes", async || {
            let lives = self.lives();
            match lives.get(&fence) {
                Some(life) if life.lines >= before + 10 => Ok(()),
                _ => Err(lives),
            }
        })
        .await;
    }

    /// What must hold whatever happened: one after the other, in the order of their fences.
    #[track_caller]
    fn check(&self) {
        let lives: Vec<_> = self.lives().into_iter().collect();
        for pair in lives.windows(2) {
            let ((before, one), (after, other)) = (pair[0], pair[1]);
            assert!(
                one.last <= other.first,
                "{before} and {after} ran at once: {lives:#?}"
            );
        }
    }

    /// The worker of the workload's replica that runs, once there is one.
    async fn holder(&self) -> (String, String) {
        eventually("it runs somewhere", async || {
            let replicas = self.cluster.replicas("one").await;
            let mut running = replicas.iter().filter(|it| it["phase"] == "RUNNING");
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            match running.next() {
                Some(replica) => Ok((text(&replica["id"]), text(&replica["worker"]))),
                None => Err(replicas),
            }
        })
        .await
    }

    async fn is_ready(&self, name: &str) {
        eventually("the worker is back", async || {
            let args = ["get", "workers", name, "-o", "json"];
            let worker = self.cluster.warren(&args).await.json();
            if worker["ready"] == true {
                Ok(())
            } else {
                Err(worker)
            }
        })
        .await;
    }

    async fn events(&self) -> String {
        self.cluster.warren(&["events", "one"]).await.ok()
    }
}

#[tokio::test]
async fn a_worker_that_hangs_has_nothing_running_when_it_goes_on() {
    let mut scene = Scene::start().await;
    let control = scene.cluster.control.url.clone();
    for name in ["w1", "w2"] {
        scene.join(name, &control).await;
    }
    scene.cluster.apply(&manifest("1m")).await;
    let mut fence = scene.another_than(0).await;
    // There and back again.
    for _ in 0..2 {
        let (_, worker) = scene.holder().await;
        let hung = scene.worker(&worker);
        hung.process.pause();
        fence = scene.another_than(fence).await;
        hung.process.resume();
        // It would write at once, and go on until it was told what it missed.
        scene.is_ready(&worker).await;
        let lines = scene.lives()[&fence].lines;
        scene.writes(fence, lines).await;
        scene.check();
    }
    // Not long enough for the control plane to give up on it: the same worker starts it again, and
    // it is told as it was.
    let (replica, worker) = scene.holder().await;
    let hung = scene.worker(&worker);
    hung.process.pause();
    // Its last heartbeat may be a fifth of the timeout older than that.
    sleep(LEASE + TIMEOUT / 30).await;
    hung.process.resume();
    scene.another_than(fence).await;
    scene.check();
    eventually("the reason for its end is reported", async || {
        let events = scene.events().await;
        let told = |word| events.lines().any(|it| it.contains(word));
        if told("LeaseExpired") && told("Killed") {
            Ok(())
        } else {
            Err(events)
        }
    })
    .await;
    let replicas = scene.cluster.replicas("one").await;
    let found = replicas.iter().find(|it| it["id"] == replica.as_str());
    let last = &found.unwrap()["lastExits"][0];
    assert_eq!(last["reason"], "LOST", "{last:#}");
}

#[tokio::test]
async fn a_worker_that_is_cut_off_ends_it_before_another_starts_it() {
    let mut scene = Scene::start().await;
    let control = scene.cluster.control.url.clone();
    let links = [Link::start(&control).await, Link::start(&control).await];
    for (name, link) in ["w1", "w2"].into_iter().zip(&links) {
        scene.join(name, &link.url).await;
    }
    scene.cluster.apply(&manifest("1m")).await;
    let mut fence = scene.another_than(0).await;
    for silent in [true, false] {
        let (_, worker) = scene.holder().await;
        let link = &links[usize::from(worker == "w2")];
        match silent {
            true => link.hold(),
            false => link.cut(),
        }
        fence = scene.another_than(fence).await;
        // It is alive all the while.
        let lines = scene.lives()[&fence].lines;
        scene.writes(fence, lines).await;
        scene.check();
        link.mend();
        scene.is_ready(&worker).await;
        let lines = scene.lives()[&fence].lines;
        scene.writes(fence, lines).await;
        scene.check();
    }
}

/// Its worker kept it, and its first fence, all the while.
#[tokio::test]
async fn one_that_comes_back_is_later_than_who_stood_in_for_it() {
    let mut scene = Scene::start().await;
    let control = scene.cluster.control.url.clone();
    scene.join("w1", &control).await;
    scene.cluster.apply(&manifest("1s")).await;
    let first = scene.another_than(0).await;
    let (replica, _) = scene.holder().await;
    scene.join("w2", &control).await;
    scene.worker("w1").process.pause();
    let second = scene.another_than(first).await;
    // Its place is empty then, and nobody else can take it.
    for command in [&["cordon", "w2"] as &[&str], &["scale", "one", "0"]] {
        scene.cluster.warren(command).await.ok();
    }
    eventually("its substitute is gone", async || {
        let replicas = scene.cluster.replicas("one").await;
        match replicas.iter().all(|it| it["phase"] == "LOST") {
            true => Ok(()),
            false => Err(replicas),
        }
    })
    .await;
    scene.cluster.warren(&["scale", "one", "1"]).await.ok();
    scene.worker("w1").process.resume();
    scene.another_than(second).await;
    scene.check();
    assert_eq!(scene.holder().await, (replica, "w1".to_owned()));
}

/// Neither a worker that starts alone nor a control plane that has just started knows that nobody
/// else runs it.
#[tokio::test]
async fn a_worker_that_has_just_started_does_not_start_it() {
    let mut scene = Scene::start().await;
    let control = scene.cluster.control.url.clone();
    scene.join("w1", &control).await;
    let plain = guest("files");
    let plain = format!(
        "name: plain\nservice:\n  component: {plain}\n  args: [ \"count=/shared/plain\", stay ]\n  \
         volumes: [ {{ name: shared, mountPath: /shared }} ]\nvolumes: [ {{ name: shared, host: shared }} ]\n"
    );
    scene
        .cluster
        .apply(&format!("{}---\n{plain}", manifest("1m")))
        .await;
    let first = scene.another_than(0).await;

    // The worker starts again, alone.
    scene.cluster.control.process.kill().await;
    let mut gone = scene.cluster.workers.remove(0);
    gone.process.kill().await;
    scene.join("w1", &control).await;
    let starts = scene.file.with_file_name("plain");
    eventually("it continues with the rest", async || {
        let starts = fs::read_to_string(&starts).unwrap();
        if starts.lines().count() == 2 {
            Ok(())
        } else {
            Err(starts)
        }
    })
    .await;
    sleep(LEASE).await;
    assert_eq!(scene.lives().len(), 1, "{:?}", scene.lives());
    let Scene { cluster, .. } = &mut scene;
    cluster.control.start_again(&cluster.lab).await;
    let second = scene.another_than(first).await;
    scene.check();

    // The control plane starts again, and the worker is gone; another one is there at once.
    scene.cluster.control.process.kill().await;
    let mut gone = scene.cluster.workers.remove(0);
    gone.process.kill().await;
    let Scene { cluster, .. } = &mut scene;
    let started = uptime();
    cluster.control.start_again(&cluster.lab).await;
    scene.join("w2", &control).await;
    let third = scene.another_than(second).await;
    scene.check();
    let begun = scene.lives()[&third].first;
    // The last line but one that a control plane could have acknowledged a heartbeat for was before
    // its start.
    assert!(
        begun >= started + TIMEOUT.as_secs_f64(),
        "started at {started}, given away at {begun}"
    );
}

fn uptime() -> f64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    uptime.split(' ').next().unwrap().parse().unwrap()
}
