//! Records how much each account holds of the pools, and which accounts wait.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;

use super::{
    cost::{Amounts, POOLS},
    rules::{self, Ask},
    shortfall::Shortfall,
};

/// Identifies an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AccountId(u64);

pub(super) struct Ledger {
    sizes: Amounts,
    /// The sum of what all accounts hold.
    used: Amounts,
    /// The sum over all accounts of what each holds or has reserved, whichever is more.
    committed: Amounts,
    /// The amount that is reserved for each account.
    reserve: Amounts,
    accounts: BTreeMap<AccountId, Holdings>,
    /// The accounts with waiters in their queues, in the order in which they are served.
    turns: VecDeque<AccountId>,
    next: u64,
}

#[derive(Default)]
struct Holdings {
    has: Amounts,
    /// One queue for each cost, so that an instance that takes little of one pool does not wait for
    /// one that takes much of another.
    queues: Vec<Queue>,
}

struct Queue {
    cost: Amounts,
    waiting: VecDeque<oneshot::Sender<()>>,
}

// === impl Ledger ===

impl Ledger {
    pub fn new(sizes: Amounts) -> Self {
        Self {
            sizes,
            used: Amounts::default(),
            committed: Amounts::default(),
            reserve: Amounts::default(),
            accounts: BTreeMap::new(),
            turns: VecDeque::new(),
            next: 0,
        }
    }

    pub fn open(&mut self) -> AccountId {
        let id = AccountId(self.next);
        self.next += 1;
        self.accounts.insert(id, Holdings::default());
        self.share();
        id
    }

    /// Closes an account that holds nothing any more.
    pub fn close(&mut self, id: AccountId) {
        self.accounts.remove(&id);
        self.turns.retain(|turn| *turn != id);
        self.share();
        self.settle();
    }

    /// Counts what an instance takes, or returns why it may not.
    pub fn take(&mut self, id: AccountId, cost: &Amounts) -> Result<(), Shortfall> {
        let queued = self.accounts.get(&id).is_some_and(|holdings| {
            let mut queues = holdings.queues.iter();
            queues.any(|queue| queue.cost == *cost)
        });
        if queued || !self.has_room(id, cost) {
            return Err(self.shortfall(id, cost));
        }
        self.change(id, |has, pool| has + cost[pool]);
        Ok(())
    }

    pub fn give_back(&mut self, id: AccountId, cost: &Amounts) {
        self.change(id, |has, pool| has - cost[pool]);
        self.settle();
    }

    /// Adds a waiter at the end of the queue. Receiving a message means that the cost has been
    /// counted.
    pub fn enqueue(&mut self, id: AccountId, cost: &Amounts) -> oneshot::Receiver<()> {
        let (tell, granted) = oneshot::channel();
        if !self.turns.contains(&id) {
            self.turns.push_back(id);
        }
        let queues = &mut self.accounts.entry(id).or_default().queues;
        match queues.iter_mut().find(|queue| queue.cost == *cost) {
            Some(queue) => queue.waiting.push_back(tell),
            None => queues.push(Queue {
                cost: *cost,
                waiting: VecDeque::from([tell]),
            }),
        }
        granted
    }

    /// Removes waiters that gave up from the queues of an account.
    pub fn forget_closed(&mut self, id: AccountId) {
        if let Some(holdings) = self.accounts.get_mut(&id) {
            for queue in &mut holdings.queues {
                queue.waiting.retain(|tell| !tell.is_closed());
            }
            holdings.queues.retain(|queue| !queue.waiting.is_empty());
        }
        // Others may have waited behind them.
        self.settle();
    }

    /// Grants what can be granted, to one waiter of each account in turn.
    fn settle(&mut self) {
        let mut refused = 0;
        while refused < self.turns.len() {
            let Some(id) = self.turns.pop_front() else {
                return;
            };
            let granted = self.grant_one(id);
            let waits = self
                .accounts
                .get(&id)
                .is_some_and(|holdings| !holdings.queues.is_empty());
            if waits {
                self.turns.push_back(id);
            }
            match granted {
                true => refused = 0,
                false if waits => refused += 1,
                false => {}
            }
        }
    }

    /// Grants the first waiter of one of the account's queues. Returns whether any could be
    /// granted.
    fn grant_one(&mut self, id: AccountId) -> bool {
        let mut index = 0;
        while let Some(cost) = self.cost_of_queue(id, index) {
            if !self.has_room(id, &cost) {
                index += 1;
            } else if self.tell_first(id, index) {
                self.change(id, |has, pool| has + cost[pool]);
                return true;
            }
            // If it returned false, no waiter was left and the queue is gone.
        }
        false
    }

    fn cost_of_queue(&self, id: AccountId, index: usize) -> Option<Amounts> {
        let queues = &self.accounts.get(&id)?.queues;
        queues.get(index).map(|queue| queue.cost)
    }

    /// Returns whether the queue still had a waiter. An empty queue is removed.
    fn tell_first(&mut self, id: AccountId, index: usize) -> bool {
        let Some(holdings) = self.accounts.get_mut(&id) else {
            return false;
        };
        let queue = &mut holdings.queues[index].waiting;
        let told = std::iter::from_fn(|| queue.pop_front()).any(|tell| tell.send(()).is_ok());
        if queue.is_empty() {
            holdings.queues.remove(index);
        }
        told
    }

    #[cfg(test)]
    pub fn used(&self, pool: super::Pool) -> u32 {
        self.used[pool]
    }

    fn has_room(&self, id: AccountId, cost: &Amounts) -> bool {
        POOLS
            .iter()
            .all(|pool| rules::grants(self.ask(id, cost, *pool)))
    }

    fn shortfall(&self, id: AccountId, cost: &Amounts) -> Shortfall {
        let short = |pool: &super::Pool| !rules::grants(self.ask(id, cost, *pool));
        // If the workload only waits behind its own queue, this is any pool that the instance takes
        // from.
        let taken = |pool: &super::Pool| cost[*pool] > 0;
        let mut pools = POOLS.iter();
        let pool = pools.clone().copied().find(short);
        let pool = pool.or_else(|| pools.find(|pool| taken(pool)).copied());
        let pool = pool.unwrap_or(POOLS[0]);
        let ask = self.ask(id, cost, pool);
        Shortfall {
            pool,
            capacity: ask.capacity,
            used: ask.used,
            has: ask.has,
            wants: ask.wants,
            reserve: ask.reserve,
            waited: None,
        }
    }

    fn ask(&self, id: AccountId, cost: &Amounts, pool: super::Pool) -> Ask {
        let has = self.accounts.get(&id).map_or(0, |one| one.has[pool]);
        Ask {
            capacity: self.sizes[pool],
            used: self.used[pool],
            committed: self.committed[pool],
            reserve: self.reserve[pool],
            next_reserve: rules::reserve(self.sizes[pool], self.accounts.len() + 1),
            has,
            wants: cost[pool],
        }
    }

    fn change(&mut self, id: AccountId, change: impl Fn(u32, super::Pool) -> u32) {
        let Some(holdings) = self.accounts.get_mut(&id) else {
            return;
        };
        for pool in POOLS {
            let (before, reserve) = (holdings.has[pool], self.reserve[pool]);
            let after = change(before, pool);
            holdings.has[pool] = after;
            self.used[pool] = self.used[pool] - before + after;
            self.committed[pool] = self.committed[pool] - before.max(reserve) + after.max(reserve);
        }
    }

    /// Recomputes the reserve of each account after the number of accounts has changed.
    fn share(&mut self) {
        for pool in POOLS {
            let reserve = rules::reserve(self.sizes[pool], self.accounts.len());
            let each = self.accounts.values().map(|one| one.has[pool].max(reserve));
            self.committed[pool] = each.sum();
            self.reserve[pool] = reserve;
        }
    }
}
