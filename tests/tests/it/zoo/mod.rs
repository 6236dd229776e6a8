//! A zoo of hostile guests, each beside a workload that behaves well.
//!
//! Every test here shows what the beast's owner is told, and through [`Zoo::close`] that the
//! neighbour's every request was answered meanwhile by the same life of its service, and that the
//! worker is still the same process.
//!
//! | beast | what its owner is told | where |
//! |---|---|---|
//! | endless loop in start | `STARTING`, and it can be deleted | [`spinning`] |
//! | ... in `run` | nothing: it may; it can be deleted | [`spinning`] |
//! | ... in a handler | 504, and a line in its log | [`spinning`] |
//! | ... in a WIT export, or in its start | the call's error names component, function and time | [`spinning`] |
//! | memory bomb | `OUT_OF_MEMORY` with its limit; 500 | [`memory`] |
//! | table bomb, grown and declared | `OUT_OF_MEMORY`; `START_FAILED` | [`memory`] |
//! | HTTP fields, bodies and handles without end | `OUT_OF_MEMORY` naming them and the budget; 500 | [`held`] |
//! | stack overflow | `TRAPPED` with the functions' names; 500 | [`memory`] |
//! | deep chain of WIT calls | 16 deep it works, 17 deep is `TRAPPED` and says so | [`calls`] |
//! | flood of concurrent WIT calls | each call's error says why; then calls work again | [`calls`] |
//! | a WIT export that traps | the error of its `result`; without one, `TRAPPED` or 500 | [`calls`] |
//! | log flood, a line without end | how many lines were not kept | [`output`] |
//! | 1 GiB response | to a reader all of it; to one who does not read, the timeout in its log | [`output`] |
//! | clients that only ping, more than there are places | the longest idle ones leave | [`clients`] |
//! | slow-loris client | its connection ends | [`output`] |
//! | slow-loris guest | 504 from a service, a broken body from a component | [`output`] |
//! | 20,000 nested directories, files and bytes without end | `quota`, a failed write; room again once they are gone | [`nesting`] |
//! | what an earlier worker's guest left on the disk | nothing: the worker starts, and it is removed | [`nesting`] |
//! | socket flood | the guest an error; a component 504 | [`sockets`] |
//! | `exit(0)`, `exit-with-code(3)` | `COMPLETED` with code 0; `EXITED` with code 3 | [`ends`] |
//! | sixty services that crash at once | `BACKOFF`, exact counts, and waits that grow | [`crashes`] |
//! | panic, trap in `drop` | `TRAPPED`, its last words | [`ends`] |
//! | never listens | `Ready` is `FALSE`, `NotListening`; 503 | [`listening`] |
//! | listens late | the same until it does, then 200 | [`listening`] |
//! | 300 slow requests with many tables and heaps | 503 names the pool and its share | [`pools`] |
//! | more tables than an instance may have | `FAILED`, `TooLarge` with the limit | [`pools`] |
//! | a function that takes the compiler gigabytes, or minutes | `FAILED`, `CompileFailed` with the limit and the remedy | [`compiling`] |
//! | stops answering its probe | `UNHEALTHY` with what the probe found | [`listening`] |
//!
//! All of them at once, for longer, and how long the neighbour's answers take: `tests/soak.rs`.

mod calls;
mod clients;
mod compiling;
mod crashes;
mod ends;
mod held;
mod listening;
mod memory;
mod nesting;
mod output;
mod pools;
mod sockets;
mod spinning;
mod text;

use std::time::Duration;

use serde_json::Value;
use warren_tests::{Cluster, Neighbour, Reply, eventually, get, guest};

use crate::lab;

/// How the hostile workload is called, and its host.
const BEAST: &str = "beast";
const HOST: &str = "beast.localhost";

/// Between two requests to the neighbour.
const EVERY: Duration = Duration::from_millis(50);

/// So that a service that has ended stays so until it was looked at.
const ENDS_ONCE: &str = "  restart: { initialBackoff: 1h, maxBackoff: 1h }\n";

struct Zoo {
    cluster: Cluster,
    neighbour: Neighbour,
    /// The worker's.
    process: u32,
}

// === impl Zoo ===

impl Zoo {
    /// With the neighbour, whose client has begun to ask.
    async fn open() -> Self {
        Self::open_with(&[], &[]).await
    }

    /// The same, with further flags for the control plane and for the worker.
    async fn open_with(control_flags: &[&str], worker_flags: &[&str]) -> Self {
        let cluster = Cluster::start_with(lab(), 1, control_flags, worker_flags).await;
        cluster.apply(&Neighbour::manifest()).await;
        let neighbour = Neighbour::ask(cluster.http(), EVERY);
        neighbour.is_answered(1).await;
        Self {
            process: cluster.workers[0].process.id(),
            cluster,
            neighbour,
        }
    }

    /// Applies a manifest that may never be ready.
    async fn admit(&self, manifest: &str) {
        let file = self.cluster.lab.write("beast.yaml", manifest);
        self.cluster.warren(&["apply", "-f", &file]).await.ok();
    }

    /// The beast's replica, once it is as it should be.
    async fn beast(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || {
            let replicas = self.cluster.replicas(BEAST).await;
            match replicas.iter().find(|replica| is_so(replica)) {
                Some(replica) => Ok(replica.clone()),
                None => Err(replicas),
            }
        })
        .await
    }

    /// What is told of how the beast's service ended, by a manifest with [`ENDS_ONCE`].
    async fn last_exit(&self, reason: &str, words: &[&str]) -> Value {
        let replica = self.beast("it has ended", |replica| replica["phase"] == "BACKOFF");
        let exit = replica.await["lastExit"].clone();
        assert_eq!(exit["reason"], reason, "{exit:#}");
        let message = exit["message"].as_str().unwrap();
        for word in words {
            assert!(message.contains(word), "`{word}` is missing in {message}");
        }
        exit
    }

    async fn ask(&self, path: &str) -> Reply {
        get(self.cluster.http(), HOST, path).await
    }

    /// Waits until the beast's log has a line with these words.
    async fn log_has(&self, words: &str) {
        eventually(&format!("a line with `{words}`"), async || {
            let log = self.cluster.warren(&["logs", BEAST]).await.ok();
            let found = log.contains(words);
            if found { Ok(()) } else { Err(tail(&log)) }
        })
        .await;
    }

    /// The neighbour's client is answered for a while, as the beast does what it does.
    async fn goes_on(&self) {
        self.neighbour.is_answered(20).await;
    }

    /// Ends the beast, by its owner's order.
    async fn put_down(&self) {
        let delete = ["delete", "workload", BEAST, "--wait"];
        self.cluster.warren(&delete).await.ok();
    }

    /// The neighbour has missed nothing, and the worker neither ended nor lost its control plane.
    async fn close(mut self) {
        self.neighbour.is_answered(1).await;
        self.neighbour.leave().assert_served();
        let process = &mut self.cluster.workers[0].process;
        assert!(process.is_alive(), "the worker has died");
        assert_eq!(process.id(), self.process);
        let workers = self.cluster.warren(&["get", "workers", "-o", "json"]).await;
        assert_eq!(workers.json()[0]["ready"], true, "the worker was lost");
    }
}

/// What the end of a long text says.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// The service that does what `args` say; `more` are further fields of it.
fn service(args: &str, more: &str) -> String {
    let hostile = guest("hostile");
    format!(
        "name: {BEAST}\nreplicas: 1\nservice:\n  component: {hostile}\n  args: [ {args} ]\n  stopGrace: 0s\n{more}"
    )
}

/// A service of a component that was written by hand.
fn made_service(zoo: &Zoo, text: &str) -> String {
    let file = text::component(zoo, "made", text);
    format!(
        "name: {BEAST}\nreplicas: 1\nservice:\n  component: {file}\n  stopGrace: 0s\n{ENDS_ONCE}"
    )
}

/// The component that does what a request's path says, at [`HOST`], and one that it calls by WIT.
/// `front` and `callee` are further fields of each.
fn component(front: &str, callee: &str) -> String {
    let (http, types) = (guest("hostile-http"), guest("types"));
    format!(
        "name: {BEAST}\nreplicas: 1\ncomponents:\n\
         - name: front\n  component: {http}\n  routes: [ {{ host: {HOST}, path: / }} ]\n{front}\
         - name: kitchen\n  component: {types}\n{callee}"
    )
}
