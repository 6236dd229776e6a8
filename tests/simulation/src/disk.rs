//! A worker's disk.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::sleep;
use warren_worker::agent::state::{Files, Work};

use crate::{chance::Chance, world::Perils};

/// A disk, which outlives the worker's process. Clones share it.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Medium>>);

#[derive(Default)]
struct Medium {
    files: BTreeMap<String, Vec<u8>>,
    /// Files that were removed since the last sync. A crash may bring them back.
    removed: BTreeMap<String, Vec<u8>>,
}

/// A disk as one process of the worker sees it.
pub struct Mounted {
    disk: Disk,
    chance: Chance,
    perils: Perils,
    alive: Arc<AtomicBool>,
    /// Called when the process dies during a step.
    dies: Box<dyn Fn() + Send + Sync>,
}

// === impl Disk ===

impl Disk {
    pub fn mount(
        &self,
        chance: Chance,
        perils: &Perils,
        dies: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Mounted> {
        Arc::new(Mounted {
            disk: self.clone(),
            chance,
            perils: perils.clone(),
            alive: Arc::new(AtomicBool::new(true)),
            dies: Box::new(dies),
        })
    }
}

// === impl Mounted ===

impl Mounted {
    /// Records the death of the process: nothing that it still does reaches the disk, and what was
    /// not synced may be lost.
    pub fn unmount(&self) {
        if self.alive.swap(false, Relaxed) {
            let mut medium = self.disk.0.lock();
            for (name, bytes) in std::mem::take(&mut medium.removed) {
                if self.chance.of_thousand(500) {
                    medium.files.entry(name).or_insert(bytes);
                }
            }
        }
    }

    fn step(&self) -> io::Result<()> {
        let alive = self.alive.load(Relaxed);
        if alive && self.chance.of_thousand(self.perils.files.load(Relaxed)) {
            self.unmount();
            (self.dies)();
        }
        match self.alive.load(Relaxed) {
            true => Ok(()),
            false => Err(io::Error::other("the process has died")),
        }
    }
}

impl Files for Mounted {
    fn names(&self) -> io::Result<Vec<String>> {
        self.step()?;
        Ok(self.disk.0.lock().files.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let medium = self.disk.0.lock();
        let file = medium.files.get(name).cloned();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        let mut medium = self.disk.0.lock();
        medium.files.insert(name.to_owned(), bytes.to_vec());
        medium.removed.clear();
        drop(medium);
        self.step()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.step()?;
        let mut medium = self.disk.0.lock();
        let bytes = medium.files.remove(name).ok_or(io::ErrorKind::NotFound)?;
        medium.removed.insert(name.to_owned(), bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.step()?;
        self.disk.0.lock().removed.clear();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/data/replicas").join(name)
    }

    fn run(&self, work: Work) -> BoxFuture<'static, io::Result<()>> {
        let chance = self.chance.clone();
        let (slow, alive) = (self.perils.disk.clone(), self.alive.clone());
        Box::pin(async move {
            sleep(chance.millis(0..=slow.load(Relaxed).into())).await;
            let done = work();
            if !alive.load(Relaxed) {
                return std::future::pending().await;
            }
            sleep(chance.millis(0..=slow.load(Relaxed).into())).await;
            done
        })
    }
}
