//! Limits the scarce resources that instances share: the slots of the engines' pools and the
//! kernel's mappings.
//!
//! An instance is created only with a [`Place`], which counts what it will take, so the engines'
//! own pools are never found exhausted. A workload has a part of each pool to itself and may borrow
//! from the rest; see [`rules`]. Waiters are served in order within a workload, and workloads take
//! turns.
//!
//! There is one lock for everything. It is taken twice for each instance, for a few additions.

mod cost;
mod ledger;
mod rules;
mod shortfall;
mod sizes;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use warren_model::name::WorkloadId;

pub use cost::{Cost, TooCostly};
pub use shortfall::Shortfall;
pub use sizes::TooSmall;

use super::engine::Generation;
use cost::{Amounts, POOLS, Pool};
use ledger::{AccountId, Ledger};

/// The pools of a worker.
pub struct Pools {
    sizes: Amounts,
    ledger: Mutex<Ledger>,
    accounts: Mutex<HashMap<WorkloadId, Weak<Account>>>,
}

/// The account of one workload. Its part of the pools is reserved for as long as this lives.
pub struct Account {
    pools: Arc<Pools>,
    id: AccountId,
}

/// The cost of each instance of one guest, and the account that it is charged to.
#[derive(Clone)]
pub struct Claim {
    account: Arc<Account>,
    cost: Cost,
}

/// The resources of one instance. It must be dropped after the instance's store, whose slots are
/// free then, and returns them.
pub struct Place {
    account: Arc<Account>,
    cost: Cost,
}

/// The number of slots that the engine of a generation has for components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    pub fibers: u32,
    pub memories: u32,
    pub tables: u32,
}

// === impl Pools ===

impl Pools {
    /// Returns pools as large as the kernel allows this process.
    pub fn of_this_process() -> Result<Arc<Self>, TooSmall> {
        let allowed = sizes::Allowed::of_this_process();
        let sizes = sizes::sizes(allowed)?;
        tracing::info!(
            max_map_count = allowed.mappings,
            address_space = allowed.address_space,
            instances_p2 = sizes[Pool::P2Fibers],
            fibers_p3 = sizes[Pool::P3Fibers],
            service_mappings = sizes[Pool::ServiceMappings],
            "sized the pools of instances"
        );
        Ok(Self::new(sizes))
    }

    fn new(sizes: Amounts) -> Arc<Self> {
        Arc::new(Self {
            sizes,
            ledger: Mutex::new(Ledger::new(sizes)),
            accounts: Mutex::default(),
        })
    }

    pub fn slots_of(&self, generation: Generation) -> Slots {
        let [fibers, memories, tables] = Pool::of(generation);
        Slots {
            fibers: self.sizes[fibers],
            memories: self.sizes[memories],
            tables: self.sizes[tables],
        }
    }

    /// Returns the account of a workload, which all its replicas on this worker share.
    pub fn account(self: &Arc<Self>, workload: &WorkloadId) -> Arc<Account> {
        let mut accounts = self.accounts.lock();
        if let Some(account) = accounts.get(workload).and_then(Weak::upgrade) {
            return account;
        }
        accounts.retain(|_, account| account.strong_count() > 0);
        let account = Arc::new(Account {
            pools: Arc::clone(self),
            id: self.ledger.lock().open(),
        });
        accounts.insert(workload.clone(), Arc::downgrade(&account));
        account
    }
}

// === impl Account ===

impl Account {
    /// Returns a claim for instances of this cost. Fails if the pools are too small for even one of
    /// them beside others.
    pub fn claim(self: &Arc<Self>, cost: Cost) -> Result<Claim, TooCostly> {
        for pool in POOLS {
            let (wanted, most) = (cost.0[pool], rules::largest(self.pools.sizes[pool]));
            if wanted > most {
                let what = pool.name();
                return Err(TooCostly { what, wanted, most });
            }
        }
        Ok(Claim {
            account: Arc::clone(self),
            cost,
        })
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.pools.ledger.lock().close(self.id);
    }
}

// === impl Claim ===

impl Claim {
    /// Returns a place at once, or the reason why there is none.
    pub fn now(&self) -> Result<Place, Shortfall> {
        let account = &self.account;
        account.pools.ledger.lock().take(account.id, &self.cost.0)?;
        Ok(self.place())
    }

    /// Waits for a place until `until` at the longest. Dropping the future gives up.
    pub async fn wait(&self, until: Instant) -> Result<Place, Shortfall> {
        let Account { pools, id } = &*self.account;
        let granted = {
            let mut ledger = pools.ledger.lock();
            match ledger.take(*id, &self.cost.0) {
                Ok(()) => return Ok(self.place()),
                Err(_) => ledger.enqueue(*id, &self.cost.0),
            }
        };
        let began = Instant::now();
        let mut waiting = Waiting {
            claim: self,
            granted: Some(granted),
        };
        if timeout_at(until, waiting.granted()).await.is_ok() {
            return Ok(self.place());
        }
        drop(waiting);
        let mut ledger = pools.ledger.lock();
        // It may have become free just now.
        match ledger.take(*id, &self.cost.0) {
            Ok(()) => Ok(self.place()),
            Err(shortfall) => Err(Shortfall {
                waited: Some(began.elapsed()),
                ..shortfall
            }),
        }
    }

    /// Returns the place for a cost that was already counted.
    fn place(&self) -> Place {
        Place {
            account: Arc::clone(&self.account),
            cost: self.cost,
        }
    }
}

/// A waiter in the queue. Dropping it leaves the queue, or returns a place that was granted but not
/// taken.
struct Waiting<'a> {
    claim: &'a Claim,
    /// `None` once the place was taken.
    granted: Option<oneshot::Receiver<()>>,
}

impl Waiting<'_> {
    /// Waits until a place is granted. From then on it belongs to the caller.
    async fn granted(&mut self) {
        if let Some(granted) = &mut self.granted
            && granted.await.is_err()
        {
            // This cannot happen while the account exists, and the claim holds it.
            std::future::pending::<()>().await;
        }
        self.granted = None;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(mut granted) = self.granted.take() else {
            return;
        };
        let Claim { account, cost } = self.claim;
        let mut ledger = account.pools.ledger.lock();
        granted.close();
        match granted.try_recv() {
            Ok(()) => ledger.give_back(account.id, &cost.0),
            Err(_) => ledger.forget_closed(account.id),
        }
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let Account { pools, id } = &*self.account;
        pools.ledger.lock().give_back(*id, &self.cost.0);
    }
}

/// The longest time that a service's start waits for a place.
pub const SERVICE_WAIT: Duration = Duration::from_secs(30);
