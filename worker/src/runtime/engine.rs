//! The wasmtime engine and its settings.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
};

use super::limits::TABLE_ELEMENTS;

/// Instances at once over all workloads. Slots are address space until they are used: 4 GiB each.
/// A process has room for one full runtime, and unit tests open several in theirs.
const INSTANCES: u32 = if cfg!(test) { 400 } else { 8_000 };

/// Memory of an ended instance that stays mapped for the next one. With `PAGEMAP_SCAN` only the pages
/// that were written are cleared; without it all of it is, on each request.
const KEEP_RESIDENT: usize = 1 << 20;
const KEEP_RESIDENT_MEMSET: usize = 64 << 10;
/// What stays mapped is the worker's own memory, beside that of its guests. It is meant to be at most this part of theirs,
/// for this many slots that have ended.
const KEPT_PART: u64 = 8;
const KEPT_SLOTS: u64 = 1_000;
/// Ended slots that are kept for their own component before one of them is given to another.
const WARM_SLOTS: u64 = 256;

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
///
/// `memory` is what all guests have together, in bytes.
pub fn engine(generation: Generation, memory: u64) -> wasmtime::Result<Engine> {
    Engine::new(&config(generation, memory))
}

/// An engine that makes the same code and has no room to run it.
pub fn compiler(generation: Generation) -> wasmtime::Result<Engine> {
    Engine::new(&code(generation))
}

/// What code depends on: an engine runs what another with the same number has compiled.
pub fn compatibility(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

fn config(generation: Generation, memory: u64) -> Config {
    let mut config = code(generation);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(memory)));
    config
}

/// The settings that the code depends on.
fn code(generation: Generation) -> Config {
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

/// How many bytes a slot keeps mapped, and how many slots stay warm, where guests have this much memory.
fn kept(memory: u64) -> (usize, u32) {
    let part = memory / KEPT_PART;
    let most = (part / KEPT_SLOTS).clamp(KEEP_RESIDENT_MEMSET as u64, KEEP_RESIDENT as u64);
    let slots = (part / KEEP_RESIDENT as u64).clamp(1, WARM_SLOTS);
    let keep = usize::try_from(most).unwrap_or(KEEP_RESIDENT);
    // Whole pages.
    let keep = keep & !(KEEP_RESIDENT_MEMSET - 1);
    (keep, u32::try_from(slots).unwrap_or(1))
}

fn pool(memory: u64) -> PoolingAllocationConfig {
    let (keep, warm_slots) = kept(memory);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(INSTANCES)
        .total_core_instances(INSTANCES * 4)
        .total_memories(INSTANCES)
        .total_tables(INSTANCES * 2)
        .total_stacks(INSTANCES)
        .total_gc_heaps(100)
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
mod tests {
    use super::*;

    #[test]
    fn what_a_compiler_makes_runs_on_the_engine_of_its_generation_alone() {
        let number = |engine: wasmtime::Result<Engine>| compatibility(&engine.expect("an engine"));
        let (p2, p3) = (Generation::P2, Generation::P3);
        assert_eq!(number(compiler(p2)), number(engine(p2, 1 << 30)));
        assert_eq!(number(compiler(p3)), number(engine(p3, 1 << 30)));
        assert_ne!(number(compiler(p2)), number(compiler(p3)));
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
