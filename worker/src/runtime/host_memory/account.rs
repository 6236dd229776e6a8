//! The memory that the tables of one store hold.

use std::{collections::HashMap, sync::Arc};

use wasmtime::{
    AsContextMut as _, CallHook, StoreContextMut,
    component::{ResourceTable, ResourceTableError},
};

use super::{Charge, Exceeded, HANDLES, HOST_HANDLES, Held, HostBudget, measure};
use crate::runtime::Guest;

/// The bytes that may be charged by upper bounds before the tables are measured, or a quarter of
/// the last measurement if that is more. Measuring therefore costs no more than adding the entries
/// did.
const UNMEASURED: usize = 32 << 10;

/// The number of calls into the host after which a guest's tables are measured, plus one for every
/// `ENTRIES_PER_CALL` entries that they have. A call adds a few entries at most.
const CALLS: usize = 128;
const ENTRIES_PER_CALL: usize = 4;

/// The smallest amount that one call may pass to the host while the budget is exhausted, in bytes.
/// It is enough for calls that release something, and for those that can report themselves that
/// there is too much.
const LEAST_VALUES: usize = 256 << 10;

/// The part of its guest's budget that one store holds. Dropping it returns the part.
#[derive(Debug)]
pub struct Account {
    budget: Arc<HostBudget>,
    measured: usize,
    /// The bytes charged by upper bounds since the last measurement.
    expected: usize,
    /// The bytes held for as long as the store lives.
    fixed: usize,
    /// The number of calls until the next measurement.
    calls_left: usize,
    /// The number of entries in the table of 0.3 when it was last measured.
    tasks: usize,
    /// The charges for directory listings of 0.2, by their handles.
    pub(super) listings: HashMap<u32, Charge>,
}

// === impl Account ===

impl Account {
    /// Returns the account of a store that holds `fixed` bytes from start to end.
    pub fn new(budget: &Arc<HostBudget>, fixed: usize) -> Self {
        // A store for which this is too much fails at its first measurement.
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

    /// Charges for at most `bytes` that a call is about to add to the table.
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

    /// Charges for memory that the store holds until its end.
    pub fn keep(&mut self, held: Held, bytes: usize) -> Result<(), Exceeded> {
        if !self.budget.add(bytes) {
            return Err(self.budget.exceeded(held));
        }
        self.fixed += bytes;
        Ok(())
    }

    /// Replaces the expected charge by one for what the table actually holds. Returns whether the
    /// budget allows it.
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

/// Checks what a guest holds on every transition into and out of the host: host calls, and those
/// intrinsics of the component model that create handles, tasks, streams and futures.
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

/// Measures all tables of the store. Fails, which ends the guest, if it holds too much.
fn audit(mut store: StoreContextMut<'_, Guest>) -> wasmtime::Result<()> {
    let mut context = store.as_context_mut();
    let tasks = context.concurrent_resource_table();
    let tasks = tasks.map_or(0, |table| table.iter_mut().count());
    let (account, table) = store.data_mut().account_and_table();
    account.tasks = tasks;
    // Memory that other instances of the guest hold does not end an instance that holds little.
    let is_allowed = account.measure(table);
    let mine = account.measured + account.fixed;
    if !is_allowed && mine > UNMEASURED {
        return Err(account.budget.exceeded(Held::Handles).into());
    }
    Ok(())
}

/// Returns which limit of the host ended a guest, if one did. wasmtime has no types for two of
/// these errors, so they are recognized by their text.
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
