//! The memory that the worker itself holds on behalf of a guest, outside of the guest's linear
//! memory: HTTP fields and bodies, handles, and values on their way from one guest to another.
//!
//! Each guest of a replica has one budget: the service has one, and all instances of a component
//! share one, so that concurrency does not multiply it. Memory is charged before it is held. A
//! [`Charge`] returns its bytes when it is dropped, on every path. Values in the tables of a store
//! cannot carry a charge, because wasmtime moves them. For these an [`Account`] charges an upper
//! bound when a value is added, and measures the tables from time to time.

mod account;
mod body;
mod files;
mod http;
mod measure;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use warren_model::quantity::rounded_bytes;
use warren_net::Ledger;
use wasmtime::component::Linker;

pub(super) use account::{Account, exceeded_by, watch};
pub(super) use body::{HeldBody, MeteredBody};
pub(super) use files::hold_paths;
pub(super) use measure::fields_bytes;

use super::{Guest, engine::Generation};

/// The smallest and the largest budget, in bytes. Between them it equals `limits.memory`.
const SMALLEST: u64 = 16 << 20;
const LARGEST: u64 = 64 << 20;

/// One piece of a body may take 1/`PART` of the free budget.
const PART: usize = 256;
/// The smallest piece, in bytes.
const LEAST_PIECE: usize = 4 << 10;

/// The most host handles of one instance: sockets, streams, requests, pollables.
pub(super) const HOST_HANDLES: usize = 10_000;
/// The most handles of any kind in all tables of one instance, including resources that guests
/// define.
pub(super) const HANDLES: usize = 16_384;

/// The most that one guest may make the worker hold at once.
#[derive(Debug)]
pub struct HostBudget {
    /// The limit in bytes, as is `used`.
    limit: usize,
    used: AtomicUsize,
}

/// Bytes of a budget, which are returned when this is dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<HostBudget>,
    bytes: usize,
}

/// The kinds of memory that the worker holds for a guest, in terms that guest authors know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The fields of `wasi:http`, and the heads of requests and responses made of them.
    Fields,
    /// The objects behind handles, including tasks, streams and futures of 0.3.
    Handles,
    /// The pieces of HTTP bodies that have not been read yet.
    Bodies,
    /// The arguments and results of a call from guest to guest or to the host.
    Values,
    /// The listings of directories.
    Directories,
    /// The datagrams that wait to be sent.
    Datagrams,
}

/// A guest asked the worker to hold more than its budget allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// The limit is in bytes.
    #[error(
        "the worker holds at most {} for this guest, and its {held} need more: release what is not needed, or raise \
         `limits.memory` (the bound is as large, but at least {} and at most {})",
        rounded_bytes(*.limit as u64), rounded_bytes(SMALLEST), rounded_bytes(LARGEST)
    )]
    Bytes { held: Held, limit: usize },
    #[error(
        "it may have {0} handles at once, including sockets, streams and requests: drop those that are \
         not needed"
    )]
    Handles(usize),
}

/// Shadows the functions through which a guest makes the worker hold memory. `linker` must already
/// have all of WASI.
pub(super) fn add_to_linker(
    linker: &mut Linker<Guest>,
    generation: Generation,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    http::add_to_linker(linker, generation)?;
    files::add_to_linker(linker, generation)?;
    linker.allow_shadowing(false);
    Ok(())
}

// === impl HostBudget ===

impl HostBudget {
    /// Returns the budget of a guest whose instances may each have this much linear memory, in
    /// bytes.
    pub fn new(memory_limit: u64) -> Arc<Self> {
        let limit = memory_limit.clamp(SMALLEST, LARGEST);
        Arc::new(Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            used: AtomicUsize::new(0),
        })
    }

    /// Returns the limit in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the bytes that are charged now. They may exceed the limit by memory that was held
    /// before it could be checked.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Returns the bytes that can be charged at this moment.
    pub fn free(&self) -> usize {
        self.limit.saturating_sub(self.used())
    }

    /// Returns how large a piece of a body that waits to be read may be, at most `most` bytes. As
    /// more bodies wait, their pieces get smaller, long before the budget is exhausted.
    pub fn piece(&self, most: usize) -> usize {
        most.min((self.free() / PART).max(LEAST_PIECE))
    }

    /// Charges all of it or nothing.
    pub fn take(self: &Arc<Self>, held: Held, bytes: usize) -> Result<Charge, Exceeded> {
        match self.add(bytes) {
            true => Ok(Charge {
                budget: Arc::clone(self),
                bytes,
            }),
            false => Err(self.exceeded(held)),
        }
    }

    /// Charges for `bytes` until the last of their clones and slices is dropped.
    pub fn hold(self: &Arc<Self>, held: Held, bytes: Bytes) -> Result<Bytes, Exceeded> {
        struct Owner(
            Bytes,
            #[expect(dead_code, reason = "held for its drop")] Charge,
        );

        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        if bytes.is_empty() {
            return Ok(bytes);
        }
        let charge = self.take(held, bytes.len())?;
        Ok(Bytes::from_owner(Owner(bytes, charge)))
    }

    fn exceeded(&self, held: Held) -> Exceeded {
        Exceeded::Bytes {
            held,
            limit: self.limit,
        }
    }

    fn add(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.try_update(Relaxed, Relaxed, fits).is_ok()
    }

    /// Charges for memory that is already held. Returns whether the budget allows it.
    fn force(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Relaxed);
        before.saturating_add(bytes) <= self.limit
    }

    fn give(&self, bytes: usize) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Relaxed);
        }
    }
}

impl Ledger for HostBudget {
    /// Returns the most that buffers of the network may take. Peers fill these buffers, too, so at
    /// least half of the budget is left for what the guest itself does.
    fn most(&self) -> usize {
        self.limit / 2
    }

    fn free(&self) -> usize {
        self.free()
    }

    fn take(&self, bytes: usize) -> bool {
        self.add(bytes)
    }

    fn give(&self, bytes: usize) {
        self.give(bytes);
    }
}

// === impl Charge ===

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

// === impl Held ===

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fields => "HTTP fields",
            Self::Handles => "handles",
            Self::Bodies => "HTTP bodies",
            Self::Values => "arguments and results of calls",
            Self::Directories => "directory listings",
            Self::Datagrams => "datagrams",
        })
    }
}

#[cfg(test)]
mod tests;
