//! The cost of one instance of a component: what it takes of the pools.

use std::ops::{Index, IndexMut};

use warren_model::component::Needs;
use wasmtime::{ResourcesRequired, component::Component};

use super::sizes::{CODE_MAPPINGS, FIBER_MAPPINGS, MEMORY_MAPPINGS};
use crate::{
    policy::Role,
    runtime::{
        engine::Generation,
        limits::{CORE_INSTANCES, MEMORIES, TABLE_ELEMENTS, TABLES},
    },
};

/// The resources that the process has only a limited number of. Instances of components come from
/// pools, those of services are allocated on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    P2Fibers,
    P2Memories,
    P2Tables,
    P3Fibers,
    P3Memories,
    P3Tables,
    /// The kernel's mappings. Those of the other pools are accounted for when they are sized.
    ServiceMappings,
    ServiceMemories,
}

pub(super) const POOLS: [Pool; 8] = [
    Pool::P2Fibers,
    Pool::P2Memories,
    Pool::P2Tables,
    Pool::P3Fibers,
    Pool::P3Memories,
    Pool::P3Tables,
    Pool::ServiceMappings,
    Pool::ServiceMemories,
];

/// A number for each pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amounts([u32; POOLS.len()]);

/// The amounts that one instance takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost(pub(super) Amounts);

/// One instance of the component takes more than any instance may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "one instance of it takes {wanted} {what}, and may take {most}: build it from fewer or smaller parts"
)]
pub struct TooCostly {
    pub(super) what: &'static str,
    pub(super) wanted: u32,
    pub(super) most: u32,
}

// === impl Pool ===

impl Pool {
    /// Returns the pools of an engine: fibers, memories and tables.
    pub fn of(generation: Generation) -> [Self; 3] {
        match generation {
            Generation::P2 => [Self::P2Fibers, Self::P2Memories, Self::P2Tables],
            Generation::P3 => [Self::P3Fibers, Self::P3Memories, Self::P3Tables],
        }
    }

    /// Returns the name of its contents, in the plural.
    pub fn name(self) -> &'static str {
        match self {
            Self::P2Fibers => "instances of WASI 0.2",
            Self::P3Fibers => "fibers of WASI 0.3",
            Self::P2Memories | Self::P3Memories | Self::ServiceMemories => "linear memories",
            Self::P2Tables | Self::P3Tables => "tables",
            Self::ServiceMappings => "memory mappings",
        }
    }
}

// === impl Amounts ===

impl Index<Pool> for Amounts {
    type Output = u32;

    fn index(&self, pool: Pool) -> &u32 {
        &self.0[pool as usize]
    }
}

impl IndexMut<Pool> for Amounts {
    fn index_mut(&mut self, pool: Pool) -> &mut u32 {
        &mut self.0[pool as usize]
    }
}

// === impl Cost ===

impl Cost {
    /// Returns the cost of an instance of `component`. If it may have a heap for garbage
    /// collection, that counts as a memory.
    ///
    /// With WASI 0.3 a task that blocks keeps its fiber, and the tasks of each inner component run
    /// one at a time; in addition, the engine needs one fiber for itself. With 0.2 there is one
    /// fiber.
    pub fn of(
        component: &Component,
        needs: Needs,
        generation: Generation,
        role: Role,
    ) -> Result<Self, TooCostly> {
        // This is `None` only for components that import core modules, which cannot be linked.
        let required = component.resources_required().unwrap_or(ResourcesRequired {
            num_memories: u32::MAX,
            max_initial_memory_size: None,
            num_tables: u32::MAX,
            max_initial_table_size: None,
        });
        let (memories, tables) = (required.num_memories, required.num_tables);
        let elements = required.max_initial_table_size.unwrap_or(0);
        at_most(
            "core instances",
            needs.core_instances.unwrap_or(0),
            CORE_INSTANCES,
        )?;
        at_most("linear memories", memories, MEMORIES)?;
        at_most("tables", tables, TABLES)?;
        at_most(
            "elements of one table",
            saturated(elements),
            saturated(TABLE_ELEMENTS as u64),
        )?;
        let memories = memories + u32::from(needs.gc);
        let fibers = match generation {
            Generation::P2 => 1,
            Generation::P3 => 1 + needs.running.unwrap_or(CORE_INSTANCES).max(1),
        };
        Ok(Self::new(generation, role, [fibers, memories, tables]))
    }

    pub(super) fn new(
        generation: Generation,
        role: Role,
        [fibers, memories, tables]: [u32; 3],
    ) -> Self {
        let mut cost = Amounts::default();
        if role == Role::Service {
            cost[Pool::ServiceMemories] = memories;
            cost[Pool::ServiceMappings] =
                memories * MEMORY_MAPPINGS + fibers * FIBER_MAPPINGS + CODE_MAPPINGS;
            return Self(cost);
        }
        let pools = Pool::of(generation);
        cost[pools[0]] = fibers;
        cost[pools[1]] = memories;
        cost[pools[2]] = tables;
        Self(cost)
    }
}

fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn at_most(what: &'static str, wanted: u32, most: u32) -> Result<(), TooCostly> {
    match wanted <= most {
        true => Ok(()),
        false => Err(TooCostly { what, wanted, most }),
    }
}
