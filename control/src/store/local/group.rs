//! Commits that are written together: each sees the effects of those before it, and all share one
//! batch and one flush.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{Change, Op, Precondition, Revision, StoreError, Versioned, Write},
    Batch, Seal,
};

/// The combined effect of the commits so far on top of the committed state. Pure: nothing is
/// written yet.
pub(super) struct Group<'a> {
    committed: &'a BTreeMap<String, Versioned>,
    entries: BTreeMap<String, Option<Versioned>>,
    revision: Revision,
    changes: Vec<Change>,
}

impl<'a> Group<'a> {
    pub fn new(committed: &'a BTreeMap<String, Versioned>, revision: Revision) -> Self {
        Self {
            committed,
            entries: BTreeMap::new(),
            revision,
            changes: Vec::new(),
        }
    }

    /// Adds one transaction completely or, on error, not at all.
    pub fn add(&mut self, writes: Vec<Write>) -> Result<Revision, StoreError> {
        self.check(&writes)?;
        let revision = self.revision + 1;
        for Write { key, op, .. } in writes {
            let value = match op {
                Op::Put(value) => Some(value),
                Op::Delete if self.current(&key).is_some() => None,
                Op::Delete | Op::Check => continue,
            };
            let versioned = value.clone().map(|value| Versioned { value, revision });
            self.entries.insert(key.clone(), versioned);
            self.revision = revision;
            self.changes.push(Change {
                key,
                value,
                revision,
                // Depends on what a watch sees: set for each.
                last: false,
            });
        }
        Ok(self.revision)
    }

    fn check(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut keys = BTreeSet::new();
        for Write { key, .. } in writes {
            if key.is_empty() {
                return Err(StoreError::Invalid("a key is empty".to_owned()));
            }
            if !keys.insert(key) {
                return Err(StoreError::Invalid(format!("`{key}` occurs twice")));
            }
        }
        for write in writes {
            let current = self.current(&write.key).map(|versioned| versioned.revision);
            let holds = match write.precondition {
                None => true,
                Some(Precondition::Absent) => current.is_none(),
                Some(Precondition::Exists) => current.is_some(),
                Some(Precondition::Revision(expected)) => current == Some(expected),
            };
            if !holds {
                let key = write.key.clone();
                return Err(StoreError::Conflict { key });
            }
        }
        Ok(())
    }

    fn current(&self, key: &str) -> Option<&Versioned> {
        match self.entries.get(key) {
            Some(pending) => pending.as_ref(),
            None => self.committed.get(key),
        }
    }

    /// What is to be written over a state of this seal, and what watches will see. The seal's
    /// sequence and time are those of the write, and not known here.
    pub fn finish(self, before: Seal) -> (Batch, Vec<Change>) {
        let seal = Seal {
            revision: self.revision,
            digest: before.digest.changed(self.committed, &self.entries),
            ..before
        };
        let batch = Batch {
            entries: self.entries,
            seal,
        };
        (batch, self.changes)
    }
}
