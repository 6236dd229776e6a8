//! The wasmtime engine and its settings.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
};

use super::{
    limits::{MEMORIES, TABLE_ELEMENTS},
    pools::Slots,
};

/// Memory of an ended instance that stays mapped for the next one. With `PAGEMAP_SCAN` only the
/// pages that were written are cleared; without it all of it is, on each request.
const KEEP_RESIDENT: usize = 1 << 20;
const KEEP_RESIDENT_MEMSET: usize = 64 << 10;
/// What stays mapped is the worker's own memory, beside that of its guests. It is meant to be at
/// most this part of theirs, for this many slots that have ended.
const KEPT_PART: u64 = 8;
const KEPT_SLOTS: u64 = 1_000;
/// Ended slots that are kept for their own component before one of them is given to another.
const WARM_SLOTS: u64 = 256;

/// Which engine a component needs, by what it imports and exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// WASI 0.2.
    P2,
    /// WASI 0.3, with 0.2 beside it. Tasks and streams of 0.3 cost each 0.2 call about half of its
    /// time, so it is an engine of its own.
    P3,
}

/// An engine for components, whose instances live for a request each: they take slots of a pool,
/// which are prepared for the next one. Fails when the machine has no address space left for the
/// pool.
///
/// `memory` is what all guests have together, in bytes.
pub fn pooled(generation: Generation, slots: Slots, memory: u64) -> wasmtime::Result<Engine> {
    let mut config = config(generation);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots, memory)));
    Engine::new(&config)
}

/// An engine for services, whose instances live long: each is made when it starts, so that nothing
/// is kept for those that there are not, and no request takes what a service needs. It runs the
/// same compiled code as [`pooled`].
pub fn on_demand(generation: Generation) -> wasmtime::Result<Engine> {
    let mut config = config(generation);
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config)
}

/// What code depends on: an engine runs what another with the same number has compiled.
pub fn compatibility(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

fn config(generation: Generation) -> Config {
    let concurrency = generation == Generation::P3;
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_component_model_async(concurrency)
        .concurrency_support(concurrency)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed);
    config
}

/// How many bytes a slot keeps mapped, and how many slots stay warm, where guests have this much
/// memory.
fn kept(memory: u64) -> (usize, u32) {
    let part = memory / KEPT_PART;
    let most = (part / KEPT_SLOTS).clamp(KEEP_RESIDENT_MEMSET as u64, KEEP_RESIDENT as u64);
    let slots = (part / KEEP_RESIDENT as u64).clamp(1, WARM_SLOTS);
    let keep = usize::try_from(most).unwrap_or(KEEP_RESIDENT);
    // Whole pages.
    let keep = keep & !(KEEP_RESIDENT_MEMSET - 1);
    (keep, u32::try_from(slots).unwrap_or(1))
}

/// Slots are address space until they are used: 4 GiB for a memory. Core instances are a mere count
/// to the engine, and how many of anything one component may have is decided before: see
/// [`super::pools::Cost`].
fn pool(slots: Slots, memory: u64) -> PoolingAllocationConfig {
    let (keep, warm_slots) = kept(memory);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(u32::MAX)
        .total_core_instances(u32::MAX)
        .total_memories(slots.memories)
        // Each is looked for when a module is dropped.
        .max_memories_per_module(MEMORIES)
        .total_tables(slots.tables)
        .max_tables_per_module(u32::MAX)
        .total_stacks(slots.fibers)
        // Each lies in a slot for a memory.
        .total_gc_heaps(slots.memories)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(4 << 30)
        .max_unused_warm_slots(warm_slots)
        .table_keep_resident(KEEP_RESIDENT_MEMSET);
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(keep);
    } else {
        pool.linear_memory_keep_resident(KEEP_RESIDENT_MEMSET);
    }
    pool
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_engine_run_the_same_code_and_each_generation_its_own() {
        let slots = Slots {
            fibers: 10,
            memories: 10,
            tables: 10,
        };
        let [p2, p3] = [Generation::P2, Generation::P3].map(|generation| {
            let pooled = compatibility(&pooled(generation, slots, 1 << 30).unwrap());
            let on_demand = compatibility(&on_demand(generation).unwrap());
            assert_eq!(pooled, on_demand, "{generation:?}");
            pooled
        });
        assert_ne!(p2, p3);
    }

    #[test]
    fn what_slots_keep_is_a_small_part_of_what_guests_have() {
        for (memory, expected) in [
            (64 << 20, (64 << 10, 8)),
            (1 << 30, (128 << 10, 128)),
            (8 << 30, (1 << 20, 256)),
            (u64::MAX, (1 << 20, 256)),
            (0, (64 << 10, 1)),
        ] {
            assert_eq!(kept(memory), expected, "{memory}");
        }
    }
}
