//! Records which of the given paths a workload belongs to: two paths that describe the same
//! workload would replace it for ever.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::source::Document;

/// Cheap to clone; all clones share one map.
#[derive(Clone, Debug, Default)]
pub struct Claims(Arc<Mutex<BTreeMap<Key, String>>>);

/// Namespace and name.
pub type Key = (String, String);

// === impl Claims ===

impl Claims {
    /// Claims a workload for a path, or returns the path that has it. A path may claim it again.
    pub fn take(&self, document: &Document, path: &str) -> Result<(), String> {
        let (namespace, name) = document.key();
        let mut holders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holder = holders
            .entry((namespace.to_owned(), name.to_owned()))
            .or_insert_with(|| path.to_owned());
        if holder == path {
            return Ok(());
        }
        Err(format!(
            "{} is also in {holder}: names are unique in a namespace",
            document.title()
        ))
    }

    pub fn give_back(&self, key: &Key) {
        let mut holders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        holders.remove(key);
    }
}
