//! What every backend must do (`conformance`, `random`), and what the one on sled does besides.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;

use super::{
    Change, Durability, Precondition, Revision, Store, StoreError, Watch, Write, history::Bounds,
    local::LocalStore, sled::SledStore,
};

mod conformance;
mod crash;
mod disk;
mod faults;
#[cfg(target_os = "linux")]
mod full;
mod memory;
mod random;
mod watching;

/// One place for data, empty at first, that can be opened again and again.
#[async_trait]
trait Backend: Send + Sync {
    /// The store before is closed by then.
    async fn open(&self) -> Arc<dyn Store>;
}

struct SledBackend(TempDir);

impl SledBackend {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Backend for SledBackend {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(SledStore::open(self.0.path()).unwrap())
    }
}

/// Over a disk in memory: as fast as a test of the logic alone can be.
struct MemoryBackend(memory::MemoryDisk);

impl MemoryBackend {
    fn new() -> Self {
        Self(memory::MemoryDisk::default())
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(LocalStore::open(self.0.clone(), Bounds::default()).unwrap())
    }
}

/// A case of the suite on every backend.
macro_rules! on_every_backend {
    ($($case:ident),+ $(,)?) => {
        mod sled {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&crate::store::tests::SledBackend::new()).await;
            })+
        }
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&crate::store::tests::MemoryBackend::new()).await;
            })+
        }
    };
}
use on_every_backend;

async fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
    let writes = vec![Write::put(key, value.to_owned())];
    store.commit(writes, Durability::Flushed).await.unwrap()
}

async fn value(store: &dyn Store, key: &str) -> Option<String> {
    let versioned = store.get(key).await.unwrap()?;
    Some(String::from_utf8(versioned.value.to_vec()).unwrap())
}

async fn next(watch: &mut Watch) -> Change {
    watch.next().await.expect("the watch goes on").unwrap()
}

/// As the test harness names it: without the crate.
fn test_name(module: &str, test: &str) -> String {
    let module = module.split_once("::").map_or(module, |(_, path)| path);
    format!("{module}::{test}")
}
