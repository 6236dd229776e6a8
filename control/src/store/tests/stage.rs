//! Disks that count, wait, fail and stop as a test wants.

use std::{fs, io};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::*;
use crate::store::{
    sim::{Stage, Staged, Step},
    sled::SledDisk,
};

/// What the disk does wrong from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fail {
    #[default]
    Nothing,
    /// The step fails and does nothing.
    Before(Step),
    /// The step fails though all of it was done.
    After(Step),
}

/// The test's hand on a disk.
#[derive(Default)]
pub struct Controls {
    fail: Mutex<Fail>,
    opens: Mutex<u32>,
    flushes: Mutex<u32>,
    /// Points before and after steps until everything stops; `None`: it goes on.
    stops_in: Mutex<Option<usize>>,
    stopped: watch::Sender<bool>,
    /// Flushes wait as long as this holds.
    gate_closed: watch::Sender<bool>,
    waiting: watch::Sender<bool>,
}

impl Controls {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Comes to a stop, for good, at this point.
    pub fn stopping_at(point: usize) -> Arc<Self> {
        Arc::new(Self {
            stops_in: Mutex::new(Some(point)),
            ..Self::default()
        })
    }

    pub fn fail(&self, fail: Fail) {
        *self.fail.lock() = fail;
    }

    pub fn opens(&self) -> u32 {
        *self.opens.lock()
    }

    pub fn flushes(&self) -> u32 {
        *self.flushes.lock()
    }

    pub fn close_gate(&self) {
        self.gate_closed.send_replace(true);
    }

    pub fn open_gate(&self) {
        self.gate_closed.send_replace(false);
    }

    /// Until a flush waits at the gate.
    pub async fn flush_waits(&self) {
        self.waiting.subscribe().wait_for(|it| *it).await.unwrap();
    }

    /// Until it has stopped.
    pub async fn stop(&self) {
        self.stopped.subscribe().wait_for(|it| *it).await.unwrap();
    }

    pub fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    async fn point(&self, fail: Fail) -> Result<(), StoreError> {
        let stops = match &mut *self.stops_in.lock() {
            Some(0) => true,
            Some(points) => {
                *points -= 1;
                false
            }
            None => false,
        };
        if stops {
            self.stopped.send_replace(true);
            std::future::pending::<()>().await;
        }
        if *self.fail.lock() == fail {
            return Err(StoreError::Unavailable("no space left".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Stage for Controls {
    async fn before(&self, step: Step) -> Result<(), StoreError> {
        match step {
            Step::Open => *self.opens.lock() += 1,
            Step::Flush => {
                *self.flushes.lock() += 1;
                let mut gate = self.gate_closed.subscribe();
                self.waiting.send_replace(*gate.borrow());
                gate.wait_for(|closed| !closed).await.unwrap();
                self.waiting.send_replace(false);
            }
            Step::Write | Step::Seal => {}
        }
        self.point(Fail::Before(step)).await
    }

    async fn after(&self, step: Step) -> Result<(), StoreError> {
        self.point(Fail::After(step)).await
    }
}

/// A disk that can be opened under control, and be looked at as a killed process leaves it.
#[async_trait]
pub trait Place: Send + Sync {
    async fn open(&self, controls: &Arc<Controls>) -> Result<SimStore, StoreError>;

    /// Other places, each as one that a process which is killed now may leave.
    fn after_kill(&self) -> Vec<Box<dyn Place>>;
}

#[async_trait]
impl Place for SimDisk {
    async fn open(&self, controls: &Arc<Controls>) -> Result<SimStore, StoreError> {
        let disk = Staged::new(self.clone(), controls.clone());
        SimStore::open(disk, OnLoss::Refuse).await
    }

    fn after_kill(&self) -> Vec<Box<dyn Place>> {
        let kept = 0..=self.unflushed();
        kept.map(|kept| -> Box<dyn Place> { Box::new(self.after_crash(kept)) })
            .collect()
    }
}

#[async_trait]
impl Place for TempDir {
    async fn open(&self, controls: &Arc<Controls>) -> Result<SimStore, StoreError> {
        let disk = Staged::new(SledDisk::lock(self.path())?, controls.clone());
        SimStore::open(disk, OnLoss::Refuse).await
    }

    fn after_kill(&self) -> Vec<Box<dyn Place>> {
        // What the kernel has, a killed process has written.
        let copy = tempfile::tempdir().unwrap();
        copy_all(self.path(), copy.path()).unwrap();
        vec![Box::new(copy)]
    }
}

/// A directory and everything below it.
pub fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_all(&entry.path(), &to)?,
            false => fs::copy(entry.path(), to).map(drop)?,
        }
    }
    Ok(())
}

/// A case on every kind of place.
macro_rules! on_every_disk {
    ($($case:ident),+ $(,)?) => {
        mod sled {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&tempfile::tempdir().unwrap()).await;
            })+
        }
        mod sim {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&crate::store::sim::SimDisk::default()).await;
            })+
        }
    };
}
pub(super) use on_every_disk;
