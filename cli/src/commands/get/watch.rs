//! `warren get -w`: the current state and then every change, across broken connections.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use tonic::{Response, Status, Streaming};
use warren_proto::v1::{self, watch_response::Type};

use super::tables::Listed;
use crate::{
    output,
    wait::watch::{Change, Target, Watched, changes},
};

/// An object that is shown to the user.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight<T> {
    Now(T),
    /// The object has been deleted; this is its last state.
    Gone(T),
}

/// Namespace and name.
pub type Key = (String, String);

/// What has been seen so far. Pure: it turns changes into sights.
#[derive(Debug)]
struct Seen<T> {
    items: BTreeMap<Key, T>,
    /// The current state while it is being received.
    arriving: Option<BTreeMap<Key, T>>,
}

/// Shows the watched objects that are wanted: first all current ones at once, then every change.
/// Continues until `show` fails or the server refuses.
pub async fn follow<T: Watched + Listed>(
    target: Target,
    wanted: impl Fn(&T) -> bool,
    mut show: impl FnMut(Vec<Sight<T>>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut changes = changes::<T>(target);
    let mut seen = Seen::default();
    while let Some(change) = changes.next().await {
        let change = change?;
        if let Change::Broken(why) = &change {
            output::note(format_args!("{why}; trying again"));
        }
        let mut sights = seen.take(change);
        sights.retain(|sight| wanted(sight.item()));
        show(sights)?;
    }
    Ok(())
}

pub fn key<T: Listed>(item: &T) -> Key {
    (item.namespace().to_owned(), item.name().to_owned())
}

// === impl Sight ===

impl<T> Sight<T> {
    pub fn item(&self) -> &T {
        match self {
            Self::Now(item) | Self::Gone(item) => item,
        }
    }
}

// === impl Seen ===

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self {
            items: BTreeMap::new(),
            arriving: Some(BTreeMap::new()),
        }
    }
}

impl<T: Listed> Seen<T> {
    fn take(&mut self, change: Change<T>) -> Vec<Sight<T>> {
        match (change, &mut self.arriving) {
            (Change::Broken(_), _) => Vec::new(),
            (Change::Resync, arriving) => {
                *arriving = Some(BTreeMap::new());
                Vec::new()
            }
            (Change::Complete, arriving) => {
                let now = arriving.take();
                now.map_or_else(Vec::new, |now| self.turn_to(now))
            }
            (Change::Is(item), Some(arriving)) => {
                arriving.insert(key(&item), item);
                Vec::new()
            }
            (Change::Gone(item), Some(arriving)) => {
                arriving.remove(&key(&item));
                Vec::new()
            }
            (Change::Is(item), None) => {
                self.items.insert(key(&item), item.clone());
                vec![Sight::Now(item)]
            }
            (Change::Gone(item), None) => {
                self.items.remove(&key(&item));
                vec![Sight::Gone(item)]
            }
        }
    }

    /// Returns the differences from what was seen before.
    fn turn_to(&mut self, now: BTreeMap<Key, T>) -> Vec<Sight<T>> {
        let before = std::mem::replace(&mut self.items, now);
        let gone = before
            .iter()
            .filter(|(key, _)| !self.items.contains_key(*key))
            .map(|(_, item)| Sight::Gone(item.clone()));
        let changed = self
            .items
            .iter()
            .filter(|(key, item)| before.get(*key) != Some(*item))
            .map(|(_, item)| Sight::Now(item.clone()));
        gone.chain(changed).collect()
    }
}

// === impl Watched for Worker ===

impl Watched for v1::Worker {
    type Message = v1::WorkerServiceWatchResponse;

    async fn watch(
        target: &Target,
        resource_version: String,
    ) -> Result<Response<Streaming<Self::Message>>, Status> {
        let request = v1::WorkerServiceWatchRequest {
            name: target.name.clone(),
            resource_version,
            labels: target.labels.clone(),
        };
        target.server.workers().watch(request).await
    }

    fn parts(message: Self::Message) -> (Type, Option<Self>, String) {
        (message.r#type(), message.worker, message.resource_version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(name: &str, ready: bool) -> v1::Worker {
        v1::Worker {
            name: name.into(),
            ready,
            ..Default::default()
        }
    }

    #[test]
    fn the_present_state_comes_at_once_then_each_change() {
        let mut seen = Seen::default();
        for name in ["w2", "w1"] {
            assert_eq!(seen.take(Change::Is(worker(name, true))), []);
        }
        assert_eq!(
            seen.take(Change::Complete),
            ["w1", "w2"].map(|name| Sight::Now(worker(name, true)))
        );
        assert_eq!(
            seen.take(Change::Is(worker("w1", false))),
            [Sight::Now(worker("w1", false))]
        );
        assert_eq!(
            seen.take(Change::Gone(worker("w2", true))),
            [Sight::Gone(worker("w2", true))]
        );
        assert_eq!(seen.take(Change::Broken("gone".into())), []);
    }

    #[test]
    fn after_a_gap_only_differences_are_shown() {
        let mut seen = Seen::default();
        for name in ["w1", "w2", "w3"] {
            seen.take(Change::Is(worker(name, true)));
        }
        seen.take(Change::Complete);
        assert_eq!(seen.take(Change::Resync), []);
        for worker in [worker("w1", true), worker("w2", false), worker("w4", true)] {
            assert_eq!(seen.take(Change::Is(worker)), []);
        }
        assert_eq!(
            seen.take(Change::Complete),
            [
                Sight::Gone(worker("w3", true)),
                Sight::Now(worker("w2", false)),
                Sight::Now(worker("w4", true)),
            ]
        );
    }
}
