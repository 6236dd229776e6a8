//! The present state of one kind of object, with which a watch begins.

use std::sync::Arc;

use super::watched::Watched;
use crate::store::Revision;

/// All objects in the order of their names. Watches that begin at once share it, so that thousands
/// of unread watches hold one copy.
pub struct Present<T> {
    objects: Vec<(Arc<T>, Revision)>,
}

// === impl Present ===

impl<T: Watched> Present<T> {
    /// Orders positions so that a watch that resumes in the middle misses nothing: the position of
    /// each object is older than every object that follows.
    pub(super) fn new(objects: Vec<Arc<T>>) -> Self {
        let mut before = Revision::MAX;
        let mut objects: Vec<_> = objects
            .into_iter()
            .rev()
            .map(|object| {
                let version: Revision = object.resource_version().parse().unwrap_or_default();
                let position = version.min(before);
                before = before.min(version.saturating_sub(1));
                (object, position)
            })
            .collect();
        objects.reverse();
        Self { objects }
    }

    /// Returns an object, and the position after it.
    pub fn get(&self, at: usize) -> Option<(&Arc<T>, Revision)> {
        let (object, position) = self.objects.get(at)?;
        Some((object, *position))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use warren_proto::v1;

    use super::*;

    #[test]
    fn resuming_amid_the_present_state_misses_nothing() {
        let worker = |version: &str| {
            Arc::new(v1::Worker {
                resource_version: version.to_owned(),
                ..v1::Worker::default()
            })
        };
        let present = Present::new(["5", "3", "9"].map(worker).to_vec());
        let positions = (0..).map_while(|at| present.get(at)).map(|held| held.1);
        assert_eq!(positions.collect::<Vec<_>>(), [2, 3, 9]);
    }
}
