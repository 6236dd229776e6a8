//! The wasmtime engine and its settings.

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
};

use super::limits::TABLE_ELEMENTS;

/// Instances at once over all workloads. Slots are address space until they are used: 4 GiB each.
const INSTANCES: u32 = 8_000;

/// Memory of an ended instance that stays mapped for the next one. With `PAGEMAP_SCAN` only the pages
/// that were written are cleared; without it all of it is, on each request.
const KEEP_RESIDENT: usize = 1 << 20;
const KEEP_RESIDENT_MEMSET: usize = 64 << 10;

/// Which engine a component needs, by what it imports and exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// WASI 0.2.
    P2,
    /// WASI 0.3, with 0.2 beside it. Tasks and streams of 0.3 cost each 0.2 call about half of its time,
    /// so it is an engine of its own.
    P3,
}

/// An engine with Warren's settings. Fails when the machine has no address space left for its pool.
pub fn engine(generation: Generation) -> wasmtime::Result<Engine> {
    Engine::new(&config(generation))
}

fn config(generation: Generation) -> Config {
    let concurrency = generation == Generation::P3;
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_component_model_async(concurrency)
        .concurrency_support(concurrency)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(INSTANCES)
        .total_core_instances(INSTANCES * 4)
        .total_memories(INSTANCES)
        .total_tables(INSTANCES * 2)
        .total_stacks(INSTANCES)
        .total_gc_heaps(100)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(4 << 30)
        .max_unused_warm_slots(256)
        .table_keep_resident(KEEP_RESIDENT_MEMSET);
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(KEEP_RESIDENT);
    } else {
        pool.linear_memory_keep_resident(KEEP_RESIDENT_MEMSET);
    }
    pool
}
