//! What every backend must do (`conformance`, `watching`, `random`), what every disk must
//! (`faults`, `anywhere`), and what the store on sled does besides.

#![allow(clippy::unwrap_used)]

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use tempfile::TempDir;

use super::{
    Change, Durability, OnLoss, Precondition, Revision, Store, StoreError, Watch, Write,
    sim::{SimDisk, SimStore},
    sled::{SledStore, open_patiently},
    volatile::VolatileStore,
};

mod anywhere;
mod conformance;
mod crash;
mod damage;
mod disk;
mod faults;
#[cfg(target_os = "linux")]
mod full;
mod random;
mod stage;
mod watching;

/// One place for data, empty at first, that can be opened again and again.
#[async_trait]
trait Backend: Send + Sync {
    /// The store before is closed by then.
    async fn open(&self) -> Arc<dyn Store>;
}

fn open(directory: &Path) -> SledStore {
    SledStore::open(directory, OnLoss::Refuse).unwrap()
}

/// The database without the store. Waits for sled's own lock, as the store does.
fn open_database(directory: &Path) -> ::sled::Db {
    let config = ::sled::Config::new().path(directory.join("sled"));
    open_patiently(&config).unwrap()
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
        Arc::new(open(self.0.path()))
    }
}

struct SimBackend(SimDisk);

impl SimBackend {
    fn new() -> Self {
        Self(SimDisk::default())
    }
}

#[async_trait]
impl Backend for SimBackend {
    async fn open(&self) -> Arc<dyn Store> {
        let opened = SimStore::open(self.0.clone(), OnLoss::Refuse).await;
        Arc::new(opened.unwrap())
    }
}

/// Each store is another place.
struct VolatileBackend;

#[async_trait]
impl Backend for VolatileBackend {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(VolatileStore::open().await.unwrap())
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
        mod sim {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&crate::store::tests::SimBackend::new()).await;
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
