//! What the tables of one store hold.

use std::{collections::HashMap, sync::Arc};

use wasmtime::{
    AsContextMut as _, CallHook, StoreContextMut,
    component::{ResourceTable, ResourceTableError},
};

use super::{Charge, Exceeded, HANDLES, HOST_HANDLES, Held, HostBudget, measure};
use crate::runtime::Guest;

/// Bytes that may be charged by an upper bound before the tables are measured. A quarter of what
/// was measured, if that is more: so measuring costs no more than keeping did.
const UNMEASURED: usize = 32 << 10;

/// Calls of a guest into the host after which its tables are measured, and one more for every so
/// many entries that they have. A call makes a few entries at most.
const CALLS: usize = 128;
const ENTRIES_PER_CALL: usize = 4;

/// The smallest amount that one call may pass to the host while the budget is used up, in bytes:
/// enough for calls that give something back, and for those that can say themselves that there is
/// too much.
const LEAST_VALUES: usize = 256 << 10;

/// What one store holds of its guest's budget, given back when this is dropped.
#[derive(Debug)]
pub struct Account {
    budget: Arc<HostBudget>,
    measured: usize,
    /// Charged since, by upper bounds.
    expected: usize,
    /// Held for as long as the store lives.
    fixed: usize,
    /// Until the tables are measured next.
    calls_left: usize,
    /// Entries of 0.3's own table, when it was last measured.
    tasks: usize,
    /// Of 0.2, by their handles.
    pub(super) listings: HashMap<u32, Charge>,
}

// === impl Account ===

impl Account {
    /// Of a store that holds `fixed` bytes from its start to its end.
    pub fn new(budget: &Arc<HostBudget>, fixed: usize) -> Self {
        // The store that it is too much for is told at its first measurement.
        budget.force(fixed);
        Self {
            budget: Arc::clone(budget),
            measured: 0,
            expected: 0,
            fixed,
            calls_left: CALLS,
            tasks: 0,
            listings: HashMap::new(),
        }
    }

    pub fn budget(&self) -> &Arc<HostBudget> {
        &self.budget
    }

    /// Charges what a call is about to add to the table: so many bytes at most.
    pub fn expect(
        &mut self,
        table: &mut ResourceTable,
        held: Held,
        bytes: usize,
    ) -> Result<(), Exceeded> {
        let expected = self.expected.saturating_add(bytes);
        let is_due = expected > UNMEASURED.max(self.measured / 4);
        if is_due || !self.budget.add(bytes) {
            self.measure(table);
            if !self.budget.add(bytes) {
                return Err(self.budget.exceeded(held));
            }
        }
        self.expected += bytes;
        Ok(())
    }

    /// Charges what the store holds to its end.
    pub fn keep(&mut self, held: Held, bytes: usize) -> Result<(), Exceeded> {
        if !self.budget.add(bytes) {
            return Err(self.budget.exceeded(held));
        }
        self.fixed += bytes;
        Ok(())
    }

    /// Charges what the table holds in place of what was expected. Whether the budget allows it.
    fn measure(&mut self, table: &mut ResourceTable) -> bool {
        let footprint = measure::footprint(table, self.tasks);
        let before = self.measured + self.expected;
        self.calls_left = CALLS + (footprint.entries + self.tasks) / ENTRIES_PER_CALL;
        self.measured = footprint.bytes;
        self.expected = 0;
        if footprint.bytes > before {
            return self.budget.force(footprint.bytes - before);
        }
        self.budget.give(before - footprint.bytes);
        self.budget.used() <= self.budget.limit()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.give(self.measured + self.expected + self.fixed);
    }
}

/// Watches over what a guest holds, at every way into the host and out of it: host calls and those
/// intrinsics of the component model that make handles, tasks, streams and futures.
pub(in crate::runtime) fn watch(
    mut store: StoreContextMut<'_, Guest>,
    hook: CallHook,
) -> wasmtime::Result<()> {
    match hook {
        CallHook::CallingHost => {
            let account = store.data_mut().account();
            let budget = &account.budget;
            let fuel = budget.free().clamp(LEAST_VALUES, budget.limit());
            store.set_hostcall_fuel(fuel);
        }
        CallHook::ReturningFromHost => {
            let account = store.data_mut().account();
            match account.calls_left.checked_sub(1) {
                Some(left) => account.calls_left = left,
                None => audit(store)?,
            }
        }
        CallHook::CallingWasm | CallHook::ReturningFromWasm => {}
    }
    Ok(())
}

/// Measures all tables of the store. A guest that holds too much ends.
fn audit(mut store: StoreContextMut<'_, Guest>) -> wasmtime::Result<()> {
    let mut context = store.as_context_mut();
    let tasks = context.concurrent_resource_table();
    let tasks = tasks.map_or(0, |table| table.iter_mut().count());
    let (account, table) = store.data_mut().account_and_table();
    account.tasks = tasks;
    // What other instances of the guest hold does not end one that holds little.
    let is_allowed = account.measure(table);
    let mine = account.measured + account.fixed;
    if !is_allowed && mine > UNMEASURED {
        return Err(account.budget.exceeded(Held::Handles).into());
    }
    Ok(())
}

/// Which bound of the host ended a guest, if one did. wasmtime has no types for two of its own.
pub(in crate::runtime) fn exceeded_by(
    error: &wasmtime::Error,
    budget: &HostBudget,
) -> Option<Exceeded> {
    if let Some(exceeded) = error.downcast_ref::<Exceeded>() {
        return Some(*exceeded);
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return Some(Exceeded::Handles(HOST_HANDLES));
    }
    let cause = error.root_cause().to_string();
    if cause.contains("store handle limit exceeded") {
        return Some(Exceeded::Handles(HANDLES));
    }
    let is_values = cause.contains("fuel allocated for hostcalls has been exhausted");
    is_values.then(|| budget.exceeded(Held::Values))
}
