//! The wasmtime engine and its settings.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
};

use super::{
    limits::{MEMORIES, TABLE_ELEMENTS},
    pools::Slots,
};

/// The memory of an ended instance that stays mapped for the next one. With `PAGEMAP_SCAN`, only
/// the pages that were written are cleared on each request; without it, all of them are.
const KEEP_RESIDENT: usize = 1 << 20;
const KEEP_RESIDENT_MEMSET: usize = 64 << 10;
/// Memory that stays mapped is the worker's own, in addition to that of its guests. It should be at
/// most 1/`KEPT_PART` of the guests' memory, for `KEPT_SLOTS` ended slots.
const KEPT_PART: u64 = 8;
const KEPT_SLOTS: u64 = 1_000;
/// The number of ended slots that are kept for their own component before one of them is reused for
/// another.
const WARM_SLOTS: u64 = 256;

/// The engine that a component needs, according to its imports and exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// WASI 0.2.
    P2,
    /// WASI 0.3, together with 0.2. Support for tasks and streams of 0.3 takes about half
    /// of the time of each 0.2 call, so 0.2 alone has an engine of its own.
    P3,
}

/// Returns an engine for components. Their instances live for one request each and take slots of a
/// pool, which are then prepared for the next instance. Fails if the machine has no address space
/// left for the pool.
///
/// `memory` is the memory of all guests together, in bytes.
pub fn pooled(generation: Generation, slots: Slots, memory: u64) -> wasmtime::Result<Engine> {
    let mut config = config(generation);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots, memory)));
    Engine::new(&config)
}

/// Returns an engine for services, whose instances live long. Each is allocated when it starts, so
/// nothing is kept for services that do not exist, and no request takes what a service needs. It
/// runs the same compiled code as [`pooled`].
pub fn on_demand(generation: Generation) -> wasmtime::Result<Engine> {
    let mut config = config(generation);
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config)
}

/// Returns a number for everything that code depends on. An engine runs what another engine with
/// the same number has compiled.
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

/// Returns how many bytes a slot keeps mapped and how many slots stay warm if guests have this much
/// memory.
fn kept(memory: u64) -> (usize, u32) {
    let part = memory / KEPT_PART;
    let most = (part / KEPT_SLOTS).clamp(KEEP_RESIDENT_MEMSET as u64, KEEP_RESIDENT as u64);
    let slots = (part / KEEP_RESIDENT as u64).clamp(1, WARM_SLOTS);
    let keep = usize::try_from(most).unwrap_or(KEEP_RESIDENT);
    // Rounded down to whole pages.
    let keep = keep & !(KEEP_RESIDENT_MEMSET - 1);
    (keep, u32::try_from(slots).unwrap_or(1))
}

/// A slot is only address space until it is used: 4 GiB for a memory. Core instances are a mere
/// count to the engine, and the limits of a single component are checked earlier; see
/// [`super::pools::Cost`].
fn pool(slots: Slots, memory: u64) -> PoolingAllocationConfig {
    let (keep, warm_slots) = kept(memory);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(u32::MAX)
        .total_core_instances(u32::MAX)
        .total_memories(slots.memories)
        // The pool looks for each of them when a module is dropped.
        .max_memories_per_module(MEMORIES)
        .total_tables(slots.tables)
        .max_tables_per_module(u32::MAX)
        .total_stacks(slots.fibers)
        // Each heap occupies a slot for a memory.
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
    fn slots_keep_a_small_part_of_the_memory_of_guests() {
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
