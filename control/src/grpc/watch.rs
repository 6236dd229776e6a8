//! Watches of every kind of object: the present state, a bookmark, then every change.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use tonic::Status;
use warren_proto::v1::watch_response::Type;

use super::{Responses, error};
use crate::{
    index::{Change, Cursor, Index, Position, Present, Watched},
    store::Revision,
};

/// How long a watch waits for a position that this server has not seen yet: another server, or its
/// own store, may have.
const CATCH_UP: Duration = Duration::from_secs(5);

/// One watch, before it begins.
pub(super) struct Watch<S, R> {
    /// Selects the objects that it is about.
    pub selects: S,
    /// Makes the message about one; `None` is a bookmark.
    pub respond: R,
}

/// A message: what happened, to which object, and where to resume.
struct Told<T> {
    kind: Type,
    object: Option<Arc<T>>,
    position: String,
}

struct Watching<T> {
    index: Arc<Index>,
    /// What is to be sent before live changes. `None` once it was sent.
    first: Option<First<T>>,
    /// `None` once no more follows.
    cursor: Option<Cursor>,
}

/// The present state and its bookmark.
struct First<T> {
    present: Arc<Present<T>>,
    /// The position of the next object to look at.
    at: usize,
    revision: Revision,
}

// === impl Watch ===

impl<S, R> Watch<S, R> {
    /// Begins after `resource_version`, or with the present state where that is empty.
    pub async fn begin<T, M>(
        self,
        index: &Arc<Index>,
        resource_version: &str,
    ) -> Result<Responses<M>, Status>
    where
        T: Watched,
        S: Fn(&T) -> bool + Send + Sync + 'static,
        R: Fn(Type, Option<&T>, String) -> M + Send + Sync + 'static,
    {
        let Self { selects, respond } = self;
        let watching = if resource_version.is_empty() {
            Watching::present(index.clone())
        } else {
            let after = resource_version.parse().map_err(|_| {
                error::invalid_field("resource_version", "should be one that this server gave")
            })?;
            Watching::resumed(index.clone(), after).await?
        };
        let state = (watching, selects, respond);
        let responses = stream::unfold(state, |(mut watching, selects, respond)| async move {
            let next = watching.next(&selects).await?;
            let next = next.map(|told| respond(told.kind, told.object.as_deref(), told.position));
            Some((next, (watching, selects, respond)))
        });
        Ok(responses.boxed())
    }
}

// === impl Watching ===

impl<T: Watched> Watching<T> {
    fn present(index: Arc<Index>) -> Self {
        let (present, revision, cursor) = index.watch::<T>();
        Self {
            index,
            first: Some(First {
                present,
                at: 0,
                revision,
            }),
            cursor: Some(cursor),
        }
    }

    async fn resumed(index: Arc<Index>, after: Position) -> Result<Self, Status> {
        let reached = index.reached(after.revision());
        let cursor = match tokio::time::timeout(CATCH_UP, reached).await {
            Ok(()) => T::feed(&index).cursor_after(after).ok(),
            Err(_) => None,
        };
        let cursor = cursor.ok_or_else(|| {
            error::out_of_range(format!(
                "changes since position {after} are not kept: watch again without resource_version"
            ))
        })?;
        Ok(Self {
            index,
            first: None,
            cursor: Some(cursor),
        })
    }

    async fn next(&mut self, selects: &impl Fn(&T) -> bool) -> Option<Result<Told<T>, Status>> {
        if let Some(first) = &mut self.first {
            let told = first.next(selects);
            if told.object.is_none() {
                self.first = None;
            }
            return Some(Ok(told));
        }
        let feed = T::feed(&self.index);
        loop {
            let Ok((change, position)) = feed.next(self.cursor.as_mut()?).await else {
                self.cursor = None;
                let message = "this watch fell behind, and what it missed is not kept: watch again without resource_version";
                return Some(Err(error::out_of_range(message)));
            };
            if let Some((kind, object)) = seen(&change, selects) {
                return Some(Ok(Told {
                    kind,
                    object: Some(object),
                    position: position.to_string(),
                }));
            }
        }
    }
}

// === impl First ===

impl<T: Watched> First<T> {
    /// Returns the next object, and the bookmark after the last one.
    fn next(&mut self, selects: &impl Fn(&T) -> bool) -> Told<T> {
        while let Some((object, position)) = self.present.get(self.at) {
            self.at += 1;
            if selects(object) {
                return Told {
                    kind: Type::Added,
                    object: Some(object.clone()),
                    position: position.to_string(),
                };
            }
        }
        Told {
            kind: Type::Bookmark,
            object: None,
            position: self.revision.to_string(),
        }
    }
}

/// Returns what a change is to a watch that selects some objects; `None` when it does not see it.
fn seen<T: Watched>(change: &Change<T>, selects: &impl Fn(&T) -> bool) -> Option<(Type, Arc<T>)> {
    let selected = |object: &Option<Arc<T>>| object.clone().filter(|object| selects(object));
    match (selected(&change.before), selected(&change.after)) {
        (None, None) => None,
        (None, Some(after)) => Some((Type::Added, after)),
        (Some(before), None) => Some((Type::Deleted, before)),
        // A new object of the same name, not a change of the old one.
        (Some(before), Some(after)) if before.life() != after.life() => Some((Type::Added, after)),
        (Some(before), Some(after)) => (before.resource_version() != after.resource_version())
            .then_some((Type::Modified, after)),
    }
}

#[cfg(test)]
mod tests {
    use warren_proto::v1;

    use super::*;

    fn worker(id: &str, zone: &str, version: &str) -> Arc<v1::Worker> {
        Arc::new(v1::Worker {
            id: id.to_owned(),
            labels: [("zone".to_owned(), zone.to_owned())].into(),
            resource_version: version.to_owned(),
            ..v1::Worker::default()
        })
    }

    #[test]
    fn a_watch_sees_what_its_selector_makes_of_a_change() {
        let in_a = |worker: &v1::Worker| worker.labels.get("zone").is_some_and(|zone| zone == "a");
        let (a1, a2, b) = (
            worker("1", "a", "5"),
            worker("1", "a", "6"),
            worker("1", "b", "6"),
        );
        let (other, same) = (worker("2", "a", "6"), worker("1", "a", "5"));
        let cases = [
            (None, Some(&a1), Some((Type::Added, &a1))),
            (Some(&a1), Some(&a2), Some((Type::Modified, &a2))),
            (Some(&a1), None, Some((Type::Deleted, &a1))),
            (Some(&a1), Some(&b), Some((Type::Deleted, &a1))),
            (Some(&b), Some(&a2), Some((Type::Added, &a2))),
            (Some(&a1), Some(&other), Some((Type::Added, &other))),
            (Some(&a1), Some(&same), None),
            (None, Some(&b), None),
            (Some(&b), None, None),
        ];
        for (before, after, expected) in cases {
            let change = Change {
                before: before.cloned(),
                after: after.cloned(),
                revision: 6,
            };
            let expected = expected.map(|(kind, object)| (kind, object.clone()));
            assert_eq!(seen(&change, &in_a), expected, "{change:?}");
        }
    }
}
