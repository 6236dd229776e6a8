//! Events for people: kept in memory and written to the store in the background.
//!
//! Events are not flushed one by one. A worker repeats its events until they are acknowledged as
//! being on disk, see [`Events::written`]. A crash loses the last moments of all other events,
//! which is acceptable.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use prost_types::Timestamp;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use warren_model::{
    name::{Name, WorkloadId},
    reason,
};
use warren_proto::v1::{self, event::Type};

use crate::{
    clock,
    state::{
        State, Transaction, decode, keys,
        records::{Account, EventRecord},
    },
    store::{Durability, StoreError},
};

/// The number of newest events that are kept for one workload or worker, so that one that repeats
/// itself does not evict the events of others.
const KEPT_OF_ONE: usize = 250;
/// The number of events that are kept for each namespace. Beyond it, the subject with the most
/// events loses its oldest.
const KEPT: usize = 2000;
/// An event that repeats within this time increments the count of the existing one.
pub const REPEATS_WITHIN: Duration = Duration::from_secs(600);
/// The number of events that a follower may lag behind before it has to start again.
const FOLLOW_BUFFER: usize = 1024;
/// The interval between two writes; events that are recorded within it are written together.
const WRITE_EVERY: Duration = Duration::from_millis(200);
/// The delay after a failed write.
const RETRY: Duration = Duration::from_secs(1);

/// Records and returns events. Recording never waits and never fails.
pub struct Events {
    inner: Mutex<Inner>,
    unwritten: Notify,
    /// The number of recorded events that are in the store.
    written: watch::Sender<u64>,
    live: broadcast::Sender<Arc<v1::Event>>,
}

#[derive(Default)]
struct Inner {
    namespaces: BTreeMap<String, Namespace>,
    /// The keys whose value in the store is out of date. Bounded by what is kept and what was
    /// dropped since the last write.
    unwritten: Batch,
    /// The number of recorded events.
    recorded: u64,
    /// The events that were kept at this number of recorded events, for as long as a follower has
    /// not read all of them.
    kept: (u64, Weak<Vec<Arc<v1::Event>>>),
}

/// All events that were kept at one moment, oldest first.
pub type Kept = Arc<Vec<Arc<v1::Event>>>;

type Batch = BTreeMap<String, Option<Held>>;

/// An event, and whose account of it was followed how far.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    event: Arc<v1::Event>,
    account: Option<Account>,
}

#[derive(Default)]
struct Namespace {
    /// The events by sequence number: the order of their last occurrence.
    events: BTreeMap<u64, Held>,
    by_content: HashMap<Content, u64>,
    /// The same sequence numbers, by the subject of the event.
    owners: BTreeMap<String, BTreeSet<u64>>,
    next: u64,
}

/// The fields that make two events the same.
type Content = (String, i32, String, String);

/// The object that an event is about.
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
    /// Reads the stored events.
    pub async fn load(state: &State) -> Result<Self, StoreError> {
        let mut inner = Inner::default();
        for (key, held) in state.list(keys::EVENTS).await?.entries {
            let Some((namespace, sequence)) = keys::parse_event(&key) else {
                continue;
            };
            let record = decode::<EventRecord>(&key, &held.value, held.revision)?.value;
            let Some(event) = record.event else { continue };
            let namespace = inner.namespaces.entry(namespace).or_default();
            let held = Held {
                event: Arc::new(event),
                account: record.account,
            };
            namespace.insert(sequence, held);
        }
        Ok(Self::with(inner))
    }

    fn with(inner: Inner) -> Self {
        Self {
            inner: Mutex::new(inner),
            unwritten: Notify::new(),
            written: watch::Sender::new(0),
            live: broadcast::Sender::new(FOLLOW_BUFFER),
        }
    }

    /// Records an event that happened just now.
    pub fn record(
        &self,
        subject: Subject<'_>,
        kind: Type,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.record_at(clock::now(), subject, kind, reason, message);
    }

    /// Records the effect of a caller's request, at the time when it was decided, so that its
    /// consequences come after it.
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
        self.put(event, time, None);
    }

    /// Records an event that happened at this time.
    pub fn record_at(
        &self,
        time: Timestamp,
        subject: Subject<'_>,
        kind: Type,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.put(subject.event(kind, reason, message.into()), time, None);
    }

    /// Records an event that a worker reports, with the total number of its occurrences and the
    /// time of the last one. Occurrences that were reported before are not counted again.
    pub fn record_told(
        &self,
        time: Timestamp,
        account: Account,
        subject: Subject<'_>,
        kind: Type,
        reason: &str,
        message: impl Into<String>,
    ) {
        let event = subject.event(kind, reason, message.into());
        self.put(event, time, Some(account));
    }

    /// Returns how many times an event was recorded since the process started.
    pub fn recorded(&self) -> u64 {
        self.inner.lock().recorded
    }

    /// Returns once this many events are in the store, though not necessarily on its disk.
    pub async fn written(&self, recorded: u64) {
        let mut written = self.written.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = written.wait_for(|written| *written >= recorded).await;
    }

    /// What is kept, oldest first, and what happens from now on. Those who begin to follow at once
    /// share what is kept, so that thousands who do not read it take no memory for it.
    pub fn follow(&self) -> (Kept, broadcast::Receiver<Arc<v1::Event>>) {
        let mut inner = self.inner.lock();
        let recorded = inner.recorded;
        let (at, kept) = &inner.kept;
        let shared = kept.upgrade().filter(|_| *at == recorded);
        let kept = shared.unwrap_or_else(|| {
            let namespaces = inner.namespaces.values();
            let held = namespaces.flat_map(|namespace| namespace.events.values());
            let mut kept: Vec<_> = held.map(|held| held.event.clone()).collect();
            kept.sort_by_key(|event| event.time.map(|time| (time.seconds, time.nanos)));
            let kept = Arc::new(kept);
            inner.kept = (recorded, Arc::downgrade(&kept));
            kept
        });
        (kept, self.live.subscribe())
    }

    /// Writes events to the store until cancelled, and once more then.
    pub async fn write_behind(&self, state: State, shutdown: CancellationToken) {
        loop {
            let ending = tokio::select! {
                biased;
                () = shutdown.cancelled() => true,
                () = self.unwritten.notified() => false,
            };
            let (batch, recorded) = {
                let mut inner = self.inner.lock();
                (std::mem::take(&mut inner.unwritten), inner.recorded)
            };
            let written = write(&state, &batch).await;
            if written.is_ok() {
                self.written.send_replace(recorded);
            }
            if let Err(error) = written {
                tracing::warn!(%error, "cannot store events");
                self.put_back(batch);
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(RETRY) => {}
                    () = shutdown.cancelled() => {}
                }
            }
            if ending {
                return;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(WRITE_EVERY) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    fn put(&self, mut event: v1::Event, time: Timestamp, account: Option<Account>) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let namespace = inner.namespaces.entry(event.namespace.clone()).or_default();
        let content = content(&event);
        if let Some(account) = account {
            event.count = account
                .total
                .saturating_sub(namespace.told(&content, &account));
            if event.count == 0 {
                return;
            }
        }
        inner.recorded += 1;
        let repeated = namespace.by_content.get(&content).and_then(|sequence| {
            let held = namespace.events.get(sequence)?;
            let last = held.event.time.as_ref()?;
            clock::is_within(last, REPEATS_WITHIN, &time).then_some(*sequence)
        });
        event.time = Some(time);
        if let Some(sequence) = repeated
            && let Some(held) = namespace.remove(sequence)
        {
            event.count = event.count.saturating_add(held.event.count);
            erase(
                &mut inner.unwritten,
                keys::event(&event.namespace, sequence),
            );
        }
        let event = Arc::new(event);
        let held = Held {
            event: event.clone(),
            account,
        };
        let sequence = namespace.next;
        let key = keys::event(&event.namespace, sequence);
        inner.unwritten.insert(key, Some(held.clone()));
        namespace.insert(sequence, held);
        while let Some(sequence) = namespace.surplus(&event) {
            namespace.remove(sequence);
            let key = keys::event(&event.namespace, sequence);
            erase(&mut inner.unwritten, key);
        }
        // Done under the lock, so that a follower's kept and live events join without a gap or a
        // repetition.
        let _ = self.live.send(event);
        self.unwritten.notify_one();
    }

    /// Events that could not be written are still to be written, unless newer ones are.
    fn put_back(&self, batch: Batch) {
        let mut inner = self.inner.lock();
        for (key, event) in batch {
            inner.unwritten.entry(key).or_insert(event);
        }
        self.unwritten.notify_one();
    }
}

// === impl Namespace ===

impl Namespace {
    /// From now on, later events with the same content are counted in this one.
    fn insert(&mut self, sequence: u64, held: Held) {
        let event = &held.event;
        self.by_content.insert(content(event), sequence);
        let its = self.owners.entry(owner(event).to_owned()).or_default();
        its.insert(sequence);
        self.events.insert(sequence, held);
        self.next = self.next.max(sequence + 1);
    }

    fn remove(&mut self, sequence: u64) -> Option<Held> {
        let held = self.events.remove(&sequence)?;
        let content = content(&held.event);
        if self.by_content.get(&content) == Some(&sequence) {
            self.by_content.remove(&content);
        }
        let owner = owner(&held.event);
        if let Some(its) = self.owners.get_mut(owner) {
            its.remove(&sequence);
            if its.is_empty() {
                self.owners.remove(owner);
            }
        }
        Some(held)
    }

    /// The event that is to go after this one has come.
    fn surplus(&self, newest: &v1::Event) -> Option<u64> {
        let its = self.owners.get(owner(newest))?;
        if its.len() > KEPT_OF_ONE {
            return its.first().copied();
        }
        if self.events.len() <= KEPT {
            return None;
        }
        let most = self.owners.values().max_by_key(|its| its.len())?;
        most.first().copied()
    }

    /// Returns how much of a worker's count was included before.
    fn told(&self, content: &Content, account: &Account) -> u32 {
        let sequence = self.by_content.get(content);
        let held = sequence.and_then(|sequence| self.events.get(sequence)?.account);
        held.filter(|held| held.since == account.since)
            .map_or(0, |held| held.total)
    }
}

// === impl Held ===

impl Held {
    fn record(&self) -> EventRecord {
        EventRecord {
            event: Some(v1::Event::clone(&self.event)),
            account: self.account,
        }
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

async fn write(state: &State, batch: &Batch) -> Result<(), StoreError> {
    if batch.is_empty() {
        return Ok(());
    }
    let mut transaction = Transaction::default();
    for (key, event) in batch {
        match event {
            Some(held) => transaction.put(key.clone(), &held.record()),
            None => transaction.clear(key.clone()),
        };
    }
    state
        .commit(transaction, Durability::Relaxed)
        .await
        .map(drop)
}

/// Returns the key of the event's subject within its namespace.
fn owner(event: &v1::Event) -> &str {
    match event.workload.as_str() {
        "" => &event.object,
        workload => workload,
    }
}

/// Notes that a key should not be in the store. If it was not written yet, there is nothing to do.
fn erase(unwritten: &mut Batch, key: String) {
    if let Some(Some(_)) = unwritten.get(&key) {
        unwritten.remove(&key);
    } else {
        unwritten.insert(key, None);
    }
}

/// Returns the fields by which repeated events are recognised. The message of a replica's repeated
/// failure differs a little each time, so it does not count. Each refusal of a guest is a distinct
/// event; its worker caps how many it reports.
fn content(event: &v1::Event) -> Content {
    let is_alike = event.object.starts_with("replica/") && event.reason != reason::REFUSED;
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
mod tests;
