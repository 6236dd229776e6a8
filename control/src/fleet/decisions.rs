//! Decisions of people about a worker: to cordon, drain or forget it.

use std::sync::Arc;

use warren_model::name::Name;
use warren_proto::v1;

use super::{Fleet, WorkerRefusal};
use crate::{
    clock,
    events::Subject,
    store::Durability,
    suggest::{self, Absent},
};

// === impl Fleet ===

impl Fleet {
    /// Keeps new replicas from a worker.
    pub async fn cordon(
        &self,
        caller: &str,
        name: &Name,
    ) -> Result<Arc<v1::Worker>, WorkerRefusal> {
        let event = ("Cordoned", "it takes no new replicas");
        let cordon = |worker: &mut v1::Worker| worker.cordoned = true;
        self.decide(caller, name, event, cordon).await
    }

    /// Lets a worker take replicas, and ends its drain.
    pub async fn uncordon(
        &self,
        caller: &str,
        name: &Name,
    ) -> Result<Arc<v1::Worker>, WorkerRefusal> {
        let event = ("Uncordoned", "it takes replicas again");
        let uncordon = |worker: &mut v1::Worker| {
            worker.cordoned = false;
            worker.drain = None;
        };
        self.decide(caller, name, event, uncordon).await
    }

    /// Cordons a worker and lets its replicas move to others.
    pub async fn drain(&self, caller: &str, name: &Name) -> Result<Arc<v1::Worker>, WorkerRefusal> {
        let event = ("Draining", "its replicas move to other workers");
        let drain = v1::Drain {
            start_time: Some(clock::now()),
            caller: caller.to_owned(),
            ..v1::Drain::default()
        };
        let begin = |worker: &mut v1::Worker| {
            worker.cordoned = true;
            worker.drain.get_or_insert_with(|| drain.clone());
        };
        self.decide(caller, name, event, begin).await
    }

    /// Forgets a worker that certainly runs nothing.
    pub async fn delete(&self, caller: &str, name: &Name) -> Result<(), WorkerRefusal> {
        let time = clock::now();
        self.remove_worker(name).await?;
        let message = "forgotten on request";
        let subject = Subject::Worker(name);
        self.events
            .record_by(caller, time, subject, "Removed", message);
        Ok(())
    }

    /// Says that there is no worker of this name, with the one that may be meant.
    pub fn no_worker(&self, name: &Name) -> Absent {
        let (workers, _) = self.index.shown_workers(None, usize::MAX, |_| true);
        let names = workers.iter().map(|worker| worker.name.clone());
        Absent {
            kind: "worker",
            name: name.to_string(),
            hint: suggest::did_you_mean(name.as_str(), names),
        }
    }

    /// Changes what is decided about a worker and records an event, unless that is so already.
    async fn decide(
        &self,
        caller: &str,
        name: &Name,
        (reason, message): (&'static str, &'static str),
        change: impl Fn(&mut v1::Worker) + Send + Sync,
    ) -> Result<Arc<v1::Worker>, WorkerRefusal> {
        let time = clock::now();
        let mut known = false;
        let change = |held: Option<v1::Worker>| {
            known = held.is_some();
            let before = held?;
            let mut after = before.clone();
            change(&mut after);
            (after != before).then_some(after)
        };
        let written = self
            .state
            .update_worker(name, Durability::Flushed, change)
            .await?;
        if let Some(revision) = written {
            self.index.reached(revision).await;
            let subject = Subject::Worker(name);
            self.events
                .record_by(caller, time, subject, reason, message);
        }
        let held = self.index.shown_worker(name).filter(|_| known);
        Ok(held.ok_or_else(|| self.no_worker(name))?)
    }
}
