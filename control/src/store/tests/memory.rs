//! A disk in memory that counts, waits and fails as a test wants.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::store::{
    StoreError,
    local::{Batch, Contents, Disk},
};

/// Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<(Mutex<Inner>, Condvar)>);

#[derive(Default)]
struct Inner {
    /// What would survive.
    contents: Contents,
    flushes: u32,
    /// Flushes wait as long as this holds.
    gate_closed: bool,
    waiting: bool,
    fail: Fail,
    /// After an error, until the next open, as with sled.
    broken: bool,
    opens: u32,
}

/// What the disk does wrong from now on.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Fail {
    #[default]
    Nothing,
    /// The write fails and leaves nothing.
    Write,
    /// The write fails though all of it arrived.
    AfterWrite,
    Open,
}

impl MemoryDisk {
    pub fn flushes(&self) -> u32 {
        self.0.0.lock().flushes
    }

    pub fn opens(&self) -> u32 {
        self.0.0.lock().opens
    }

    pub fn contents(&self) -> Contents {
        self.0.0.lock().contents.clone()
    }

    pub fn replace(&self, contents: Contents) {
        self.0.0.lock().contents = contents;
    }

    pub fn fail(&self, fail: Fail) {
        self.0.0.lock().fail = fail;
    }

    pub fn close_gate(&self) {
        self.0.0.lock().gate_closed = true;
    }

    pub fn open_gate(&self) {
        self.0.0.lock().gate_closed = false;
        self.0.1.notify_all();
    }

    /// Blocks until a flush waits at the gate.
    pub fn wait_for_flush(&self) {
        let (inner, changed) = &*self.0;
        changed.wait_while(&mut inner.lock(), |inner| !inner.waiting);
    }
}

fn failure() -> StoreError {
    StoreError::Unavailable("no space left".to_owned())
}

impl Disk for MemoryDisk {
    fn open(&mut self) -> Result<Contents, StoreError> {
        let mut inner = self.0.0.lock();
        inner.opens += 1;
        if inner.fail == Fail::Open {
            return Err(failure());
        }
        inner.broken = false;
        Ok(inner.contents.clone())
    }

    fn write(&mut self, batch: &Batch, flush: bool) -> Result<(), StoreError> {
        let (inner, changed) = &*self.0;
        let mut inner = inner.lock();
        if flush {
            inner.waiting = inner.gate_closed;
            changed.notify_all();
            changed.wait_while(&mut inner, |inner| inner.gate_closed);
            inner.waiting = false;
            inner.flushes += 1;
        }
        if inner.broken || inner.fail == Fail::Write {
            inner.broken = true;
            return Err(failure());
        }
        for (key, versioned) in &batch.entries {
            match versioned {
                Some(versioned) => {
                    inner
                        .contents
                        .entries
                        .insert(key.clone(), versioned.clone());
                }
                None => {
                    inner.contents.entries.remove(key);
                }
            }
        }
        inner.contents.revision = batch.revision;
        if inner.fail == Fail::AfterWrite {
            inner.broken = true;
            return Err(failure());
        }
        Ok(())
    }

    fn close(&mut self) {}
}
