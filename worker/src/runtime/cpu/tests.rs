#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicBool;

use tokio::{
    runtime::Builder,
    task::{JoinSet, yield_now},
    time::sleep,
};
use warren_net::{NetLimits, Network};

use crate::runtime::memory::MemoryBudget;

use super::*;

struct Bench {
    scheduler: Arc<CpuScheduler>,
    runtime: tokio::runtime::Runtime,
}

/// Computes without end, one slice at a time, as a guest in wasmtime does.
async fn spin(stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        while begun.elapsed() < SLICE {
            std::hint::spin_loop();
        }
        // A guest sets this when it yields at its epoch.
        YIELDED.set(true);
        let mut yielded = false;
        poll_fn(|context| {
            context.waker().wake_by_ref();
            match std::mem::replace(&mut yielded, true) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

impl Bench {
    fn new() -> Self {
        Self {
            scheduler: Arc::new(CpuScheduler::start(Vec::new()).unwrap()),
            runtime: Builder::new_multi_thread()
                .worker_threads(threads())
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    fn share(&self, weight: u32) -> Arc<CpuShare> {
        let network = Network::new(NetLimits::default());
        let usage = ReplicaUsage::new(network, MemoryBudget::new(u64::MAX).replica());
        Arc::new(CpuShare::new(&self.scheduler, weight, &Arc::new(usage)))
    }

    /// Returns the CPU time of each share, spinning with this many tasks, once one share has used
    /// `until`. Counting starts when all shares have exhausted the allowance for which they need
    /// not ask.
    fn race(&self, shares: &[(u32, usize)], until: Duration) -> Vec<Duration> {
        let stop = Arc::new(AtomicBool::new(false));
        let shares: Vec<_> = shares
            .iter()
            .map(|(weight, tasks)| (self.share(*weight), *tasks))
            .collect();
        let used = || shares.iter().map(|(share, _)| share.usage.cpu_time());
        self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for (share, count) in &shares {
                for _ in 0..*count {
                    let (share, stop) = (Arc::clone(share), Arc::clone(&stop));
                    tasks.spawn(async move { share.run(spin(stop)).await });
                }
            }
            while used().any(|used| used < until / 2) {
                sleep(SLICE).await;
            }
            let before: Vec<_> = used().collect();
            let since = || used().zip(&before).map(|(used, before)| used - *before);
            while since().all(|used| used < until) {
                sleep(SLICE).await;
            }
            let since = since().collect();
            stop.store(true, Ordering::Relaxed);
            while tasks.join_next().await.is_some() {}
            since
        })
    }
}

/// Asserts that the second share gets this many times as much as the first. It is enough if one of
/// several attempts is within bounds, because other work on the machine affects the two shares at
/// random.
fn assert_ratio(shares: [(u32, usize); 2], expected: std::ops::Range<f64>) {
    let ratios: Vec<_> = (0..5)
        .map(|_| Bench::new().race(&shares, Duration::from_secs(1)))
        .map(|used| used[1].as_secs_f64() / used[0].as_secs_f64())
        .take_while(|ratio| !expected.contains(ratio))
        .collect();
    assert!(ratios.len() < 5, "{ratios:?} are not in {expected:?}");
}

#[test]
fn the_number_of_tasks_does_not_change_a_share() {
    // If tasks counted, the ratio would be 5.
    assert_ratio([(100, 8), (100, 40)], 0.8..1.6);
}

#[test]
fn a_share_gets_time_by_its_weight() {
    assert_ratio([(100, 20), (400, 20)], 2.8..5.2);
}

#[test]
fn a_share_that_computes_little_does_not_ask_for_turns() {
    let bench = Bench::new();
    let share = bench.share(100);
    bench.runtime.block_on(share.run(async {
        for _ in 0..1_000 {
            yield_now().await;
            assert_eq!(bench.scheduler.asking.load(Ordering::Relaxed), 0);
        }
    }));
}

#[test]
fn a_turn_is_released_however_the_work_ends() {
    let bench = Bench::new();
    let stop = Arc::new(AtomicBool::new(false));
    bench.runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..50 {
            let (share, stop) = (bench.share(100), Arc::clone(&stop));
            tasks.spawn(async move { share.run(spin(stop)).await });
        }
        while bench.scheduler.asking.load(Ordering::Relaxed) < 40 {
            sleep(SLICE).await;
        }
        tasks.shutdown().await;
    });
    let mut queue = bench.scheduler.queue.lock();
    assert_eq!(queue.shares(), 0);
    // All places are free.
    let mut share = Progress::new(100);
    for _ in 0..bench.scheduler.places {
        assert_eq!(queue.ask(&mut share, || Waker::noop().clone()), None);
    }
}
