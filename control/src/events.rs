//! What happened, for people: kept in memory, written to the store behind the reader's back.
//!
//! Events are told again by nobody, but losing the last of them in a crash harms nobody either: they are not flushed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use prost_types::Timestamp;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use warren_model::name::{Name, WorkloadId};
use warren_proto::v1::{self, event::Type};

use crate::{
    clock,
    state::{State, Transaction, decode, keys},
    store::{Durability, StoreError},
};

/// Events that are kept of each namespace, the newest.
const KEPT: usize = 1000;
/// The same thing happening again within this time counts up the event that is there.
const REPEATS_WITHIN: Duration = Duration::from_secs(600);
/// The reason of what a guest was not allowed to do.
const REFUSED: &str = "Refused";
/// Events that one follower may be behind before it is told to start again.
const FOLLOW_BUFFER: usize = 1024;
/// How long the writer waits after a failed write.
const RETRY: Duration = Duration::from_secs(1);

/// Takes and gives events. Recording never waits and never fails.
pub struct Events {
    inner: Mutex<Inner>,
    unwritten: Notify,
    live: broadcast::Sender<Arc<v1::Event>>,
}

#[derive(Default)]
struct Inner {
    namespaces: BTreeMap<String, Namespace>,
    /// Keys of the store that differ from what is here. Bounded by what is kept and what was dropped since the last write.
    unwritten: BTreeMap<String, Option<Arc<v1::Event>>>,
}

#[derive(Default)]
struct Namespace {
    /// By sequence number: the order of their last occurrence.
    events: BTreeMap<u64, Arc<v1::Event>>,
    by_content: HashMap<Content, u64>,
    next: u64,
}

/// What makes two events the same.
type Content = (String, i32, String, String);

/// What an event is about.
#[derive(Clone, Debug)]
pub enum Subject<'a> {
    Workload(&'a WorkloadId),
    Replica {
        workload: &'a WorkloadId,
        id: &'a str,
    },
    Worker(&'a Name),
}

// === impl Events ===

impl Events {
    /// Reads what was kept.
    pub async fn load(state: &State) -> Result<Self, StoreError> {
        let mut inner = Inner::default();
        for (key, held) in state.list(keys::EVENTS).await?.entries {
            let Some((namespace, sequence)) = keys::parse_event(&key) else {
                continue;
            };
            let event = decode::<v1::Event>(&key, &held.value, held.revision)?.value;
            let namespace = inner.namespaces.entry(namespace).or_default();
            namespace.by_content.insert(content(&event), sequence);
            namespace.events.insert(sequence, Arc::new(event));
            namespace.next = namespace.next.max(sequence + 1);
        }
        Ok(Self::with(inner))
    }

    fn with(inner: Inner) -> Self {
        Self {
            inner: Mutex::new(inner),
            unwritten: Notify::new(),
            live: broadcast::Sender::new(FOLLOW_BUFFER),
        }
    }

    /// Notes that something happened just now.
    pub fn record(
        &self,
        subject: Subject<'_>,
        kind: Type,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.put(subject.event(kind, reason, message.into()), clock::now());
    }

    /// Notes what a caller's request did, at the time when that was decided: what follows from it comes after it.
    pub fn record_by(
        &self,
        caller: &str,
        time: Timestamp,
        subject: Subject<'_>,
        reason: &str,
        message: impl Into<String>,
    ) {
        let mut event = subject.event(Type::Normal, reason, message.into());
        caller.clone_into(&mut event.caller);
        self.put(event, time);
    }

    /// Notes what happened, so many times, the last time when somebody else tells.
    pub fn record_at(
        &self,
        time: Timestamp,
        count: u32,
        subject: Subject<'_>,
        kind: Type,
        reason: &str,
        message: impl Into<String>,
    ) {
        let mut event = subject.event(kind, reason, message.into());
        event.count = count.max(1);
        self.put(event, time);
    }

    /// What is kept, oldest first, that `keep` keeps; and what happens from now on.
    pub fn follow(
        &self,
        keep: impl Fn(&v1::Event) -> bool,
    ) -> (Vec<Arc<v1::Event>>, broadcast::Receiver<Arc<v1::Event>>) {
        let inner = self.inner.lock();
        let mut kept: Vec<_> = inner
            .namespaces
            .values()
            .flat_map(|namespace| namespace.events.values())
            .filter(|event| keep(event))
            .cloned()
            .collect();
        kept.sort_by_key(|event| event.time.as_ref().map(|time| (time.seconds, time.nanos)));
        (kept, self.live.subscribe())
    }

    /// Writes events to the store until cancelled, and once more then.
    pub async fn write_behind(&self, state: State, shutdown: CancellationToken) {
        loop {
            let ending = tokio::select! {
                () = self.unwritten.notified() => false,
                () = shutdown.cancelled() => true,
            };
            let batch = std::mem::take(&mut self.inner.lock().unwritten);
            if let Err(error) = write(&state, &batch).await {
                tracing::warn!(%error, "events were not stored");
                self.put_back(batch);
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => {}
                    () = shutdown.cancelled() => {}
                }
            }
            if ending {
                return;
            }
        }
    }

    fn put(&self, mut event: v1::Event, time: Timestamp) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let namespace = inner.namespaces.entry(event.namespace.clone()).or_default();
        let content = content(&event);
        let repeated = namespace.by_content.get(&content).and_then(|sequence| {
            let held = namespace.events.get(sequence)?;
            clock::is_within(held.time.as_ref()?, REPEATS_WITHIN, &time).then_some(*sequence)
        });
        event.time = Some(time);
        if let Some(sequence) = repeated
            && let Some(held) = namespace.events.remove(&sequence)
        {
            event.count = event.count.saturating_add(held.count);
            erase(
                &mut inner.unwritten,
                keys::event(&event.namespace, sequence),
            );
        }
        let event = Arc::new(event);
        namespace.by_content.insert(content, namespace.next);
        namespace.events.insert(namespace.next, event.clone());
        inner.unwritten.insert(
            keys::event(&event.namespace, namespace.next),
            Some(event.clone()),
        );
        namespace.next += 1;
        while namespace.events.len() > KEPT
            && let Some((sequence, dropped)) = namespace.events.pop_first()
        {
            let content = self::content(&dropped);
            if namespace.by_content.get(&content) == Some(&sequence) {
                namespace.by_content.remove(&content);
            }
            erase(
                &mut inner.unwritten,
                keys::event(&dropped.namespace, sequence),
            );
        }
        // Under the lock, so that a follower's kept and live events meet without gap or repetition.
        let _ = self.live.send(event);
        self.unwritten.notify_one();
    }

    /// What was not written is still to be written, unless something newer is.
    fn put_back(&self, batch: BTreeMap<String, Option<Arc<v1::Event>>>) {
        let mut inner = self.inner.lock();
        for (key, event) in batch {
            inner.unwritten.entry(key).or_insert(event);
        }
        self.unwritten.notify_one();
    }
}

// === impl Subject ===

impl Subject<'_> {
    fn event(&self, kind: Type, reason: &str, message: String) -> v1::Event {
        let (workload, object) = match self {
            Self::Workload(id) => (Some(*id), format!("workload/{}", id.name)),
            Self::Replica { workload, id } => (Some(*workload), format!("replica/{id}")),
            Self::Worker(name) => (None, format!("worker/{name}")),
        };
        v1::Event {
            namespace: workload
                .map(|id| id.namespace.to_string())
                .unwrap_or_default(),
            workload: workload.map(|id| id.name.to_string()).unwrap_or_default(),
            object,
            r#type: kind.into(),
            reason: reason.to_owned(),
            message,
            count: 1,
            ..v1::Event::default()
        }
    }
}

async fn write(
    state: &State,
    batch: &BTreeMap<String, Option<Arc<v1::Event>>>,
) -> Result<(), StoreError> {
    if batch.is_empty() {
        return Ok(());
    }
    let mut transaction = Transaction::default();
    for (key, event) in batch {
        match event {
            Some(event) => transaction.put(key.clone(), event.as_ref()),
            None => transaction.clear(key.clone()),
        };
    }
    state
        .commit(transaction, Durability::Relaxed)
        .await
        .map(drop)
}

/// Notes that a key should not be in the store; nothing is to be done where it has not got there yet.
fn erase(unwritten: &mut BTreeMap<String, Option<Arc<v1::Event>>>, key: String) {
    if let Some(Some(_)) = unwritten.get(&key) {
        unwritten.remove(&key);
    } else {
        unwritten.insert(key, None);
    }
}

/// A replica that fails again and again does so a little differently each time: its message does not count. What its guests
/// were refused is another thing each time, of which its worker tells so many and no more.
fn content(event: &v1::Event) -> Content {
    let is_alike = event.object.starts_with("replica/") && event.reason != REFUSED;
    let message = match is_alike {
        true => String::new(),
        false => event.message.clone(),
    };
    (
        event.object.clone(),
        event.r#type,
        event.reason.clone(),
        message,
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    fn seen(events: &Events) -> Vec<(String, u32, i64)> {
        let (kept, _) = events.follow(|_| true);
        kept.iter()
            .map(|event| {
                (
                    event.reason.clone(),
                    event.count,
                    event.time.unwrap().seconds,
                )
            })
            .collect()
    }

    #[test]
    fn repetitions_are_counted_for_a_while_and_come_again_with_their_count() {
        let id = keys::parse_id("default/w").unwrap();
        let events = Events::with(Inner::default());
        let (_, mut live) = events.follow(|_| true);
        let happens = |seconds, count, reason| {
            events.record_at(
                at(seconds),
                count,
                Subject::Workload(&id),
                Type::Normal,
                reason,
                "m",
            );
        };
        // Who does not say how often means once.
        happens(0, 0, "A");
        happens(1, 1, "B");
        happens(2, 1, "A");
        assert_eq!(
            seen(&events),
            [("B".to_owned(), 1, 1), ("A".to_owned(), 2, 2)]
        );
        let counts: Vec<_> = std::iter::from_fn(|| live.try_recv().ok())
            .map(|event| event.count)
            .collect();
        assert_eq!(counts, [1, 1, 2]);
        happens(2 + 601, 1, "A");
        assert_eq!(seen(&events).last().unwrap(), &("A".to_owned(), 1, 603));
        happens(604, 7, "A");
        assert_eq!(seen(&events).last().unwrap(), &("A".to_owned(), 8, 604));
    }

    #[test]
    fn what_a_replica_was_refused_is_told_apart_and_its_failures_are_not() {
        let workload = keys::parse_id("default/w").unwrap();
        let events = Events::with(Inner::default());
        for (reason, message) in [
            ("Trapped", "at 0x10"),
            ("Trapped", "at 0x20"),
            ("Refused", "port 80"),
            ("Refused", "port 81"),
            ("Refused", "port 80"),
        ] {
            let subject = Subject::Replica {
                workload: &workload,
                id: "w-1",
            };
            events.record(subject, Type::Warning, reason, message);
        }
        let (kept, _) = events.follow(|_| true);
        let kept: Vec<_> = kept
            .iter()
            .map(|event| (event.message.as_str(), event.count))
            .collect();
        assert_eq!(kept, [("at 0x20", 2), ("port 81", 1), ("port 80", 2)]);
    }

    #[test]
    fn the_oldest_go_and_what_is_to_be_written_stays_bounded() {
        let id = keys::parse_id("default/w").unwrap();
        let events = Events::with(Inner::default());
        for number in 0..3 * KEPT {
            let time = at(i64::try_from(number).unwrap());
            let reason = number.to_string();
            events.record_at(time, 1, Subject::Workload(&id), Type::Normal, &reason, "");
        }
        let kept = seen(&events);
        assert_eq!((kept.len(), kept[0].0.as_str()), (KEPT, "2000"));
        let inner = events.inner.lock();
        assert_eq!(inner.unwritten.len(), KEPT);
        assert_eq!(inner.namespaces["default"].by_content.len(), KEPT);
    }
}
