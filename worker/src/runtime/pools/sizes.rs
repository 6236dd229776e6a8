//! Determines how large the pools are from what the kernel allows the process.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::{Amounts, Pool};

/// The mappings of one linear memory: its stack, the component's initial image, its heap, and the
/// inaccessible rest. A slot of a pool keeps them for the next memory.
pub(super) const MEMORY_MAPPINGS: u32 = 4;
/// The mappings of one fiber's stack: the stack, and the inaccessible page beneath it. A pool has
/// them from the start.
pub(super) const FIBER_MAPPINGS: u32 = 2;
/// The mappings of a component's code.
pub(super) const CODE_MAPPINGS: u32 = 4;

/// Linux's default of `vm.max_map_count`.
const MAP_COUNT: u64 = 65_530;
/// The mappings that are left to the worker itself: two for the stack of each thread and two for
/// that of its signal handlers, and those of the allocator.
const OWN_MAPPINGS: u64 = 4_096;
/// The address space of one linear memory with its guard.
const MEMORY_BYTES: u64 = (4 << 30) + (32 << 20);
/// The most fibers of one pool, because address space does not suffice for more. Unit tests open
/// several runtimes in one process.
const MOST_FIBERS: [u64; 2] = if cfg!(test) {
    [400, 400]
} else {
    [10_000, 6_000]
};
const MOST_SERVICE_MEMORIES: u64 = if cfg!(test) { 400 } else { 8_000 };
/// The tables for each fiber. A component that tools have made from one module has two or three.
const TABLES: u64 = 8;
/// The fewest instances with which a worker is useful.
const FEWEST: u64 = 16;

const LEAST_MAPPINGS: u64 = OWN_MAPPINGS + FEWEST * 20;
const LEAST_ADDRESS_SPACE: u64 = ((FEWEST * 4 * MEMORY_BYTES) >> 30) + 1;

/// The limits that the kernel sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    /// `vm.max_map_count`.
    pub mappings: u64,
    /// `RLIMIT_AS` in bytes. `None` means unlimited.
    pub address_space: Option<u64>,
}

/// The kernel allows the process too little to run guests at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the kernel allows this process too little for the pools of instances: vm.max_map_count is {mappings}, and must be at \
     least {LEAST_MAPPINGS}; the limit of address space (`ulimit -v`) is {address_space}, and must be at least \
     {LEAST_ADDRESS_SPACE} GiB. Raise the one that is too low, and start the worker again"
)]
pub struct TooSmall {
    mappings: u64,
    address_space: String,
}

impl Allowed {
    pub fn of_this_process() -> Self {
        let mappings = fs::read_to_string("/proc/sys/vm/max_map_count");
        Self {
            mappings: mappings
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(MAP_COUNT),
            address_space: getrlimit(Resource::As).current,
        }
    }
}

/// Returns the sizes of all pools.
///
/// A sixth of the mappings is for services. The stacks of the pools' fibers have their mappings
/// from the start, and the slots of memories keep theirs from their first use. In 0.2 each fiber
/// comes with 5/4 of a memory: its 2 mappings and 4 for each memory make 7, and take 7/12 of all
/// mappings. In 0.3 it comes with 3/4 of a memory, which makes 5, and takes a quarter.
pub(super) fn sizes(allowed: Allowed) -> Result<Amounts, TooSmall> {
    let too_small = || TooSmall {
        mappings: allowed.mappings,
        address_space: match allowed.address_space {
            Some(bytes) => format!("{} GiB", bytes >> 30),
            None => "unlimited".to_owned(),
        },
    };
    let mappings = allowed.mappings.saturating_sub(OWN_MAPPINGS);
    let services = mappings / 6;
    // If address space is limited, half of it is for the pools and a quarter for services.
    let memories = allowed
        .address_space
        .map_or(u64::MAX, |bytes| bytes / MEMORY_BYTES);
    let fibers = [
        (mappings / 12).min(memories / 4).min(MOST_FIBERS[0]),
        (mappings / 20).min(memories / 4).min(MOST_FIBERS[1]),
    ];
    let service_memories = (memories / 4).min(MOST_SERVICE_MEMORIES);
    if fibers.iter().any(|fibers| *fibers < FEWEST) || service_memories < FEWEST {
        return Err(too_small());
    }
    let mut sizes = Amounts::default();
    let mut set = |pool, size| sizes[pool] = u32::try_from(size).unwrap_or(u32::MAX);
    set(Pool::P2Fibers, fibers[0]);
    set(Pool::P2Memories, fibers[0] * 5 / 4);
    set(Pool::P2Tables, fibers[0] * TABLES);
    set(Pool::P3Fibers, fibers[1]);
    set(Pool::P3Memories, fibers[1] * 3 / 4);
    set(Pool::P3Tables, fibers[1] * TABLES / 2);
    set(Pool::ServiceMappings, services);
    set(Pool::ServiceMemories, service_memories);
    Ok(sizes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(mappings: u64, address_space: Option<u64>) -> Result<Amounts, TooSmall> {
        sizes(Allowed {
            mappings,
            address_space,
        })
    }

    /// Returns the mappings if everything is in use at once.
    fn total(sizes: &Amounts) -> u64 {
        let fibers = sizes[Pool::P2Fibers] + sizes[Pool::P3Fibers];
        let memories = sizes[Pool::P2Memories] + sizes[Pool::P3Memories];
        let pools = fibers * FIBER_MAPPINGS + memories * MEMORY_MAPPINGS;
        u64::from(pools) + u64::from(sizes[Pool::ServiceMappings])
    }

    #[test]
    fn all_pools_together_fit_the_mappings_that_the_kernel_allows() {
        for allowed in [
            LEAST_MAPPINGS,
            8_192,
            65_530,
            262_144,
            1_048_576,
            u64::from(u32::MAX),
        ] {
            let sizes = of(allowed, None).unwrap();
            assert!(
                total(&sizes) <= allowed - OWN_MAPPINGS,
                "{allowed}: {sizes:?}"
            );
        }
    }

    #[test]
    fn a_thousand_idle_services_fit_the_default() {
        let sizes = of(MAP_COUNT, None).unwrap();
        let service = FIBER_MAPPINGS + MEMORY_MAPPINGS + CODE_MAPPINGS;
        assert!(sizes[Pool::ServiceMappings] >= 1_000 * service, "{sizes:?}");
        assert!(sizes[Pool::ServiceMemories] >= 400, "{sizes:?}");
    }

    #[test]
    fn address_space_bounds_all_memories() {
        for allowed in [1_u64 << 40, 16 << 40] {
            let sizes = of(1 << 20, Some(allowed)).unwrap();
            let pools = [Pool::P2Memories, Pool::P3Memories, Pool::ServiceMemories];
            let memories: u64 = pools.iter().map(|pool| u64::from(sizes[*pool])).sum();
            assert!(memories * MEMORY_BYTES < allowed * 4 / 5, "{sizes:?}");
        }
    }

    #[test]
    fn too_little_is_refused_in_words_that_name_the_limits() {
        assert!(of(LEAST_MAPPINGS, Some(LEAST_ADDRESS_SPACE << 30)).is_ok());
        for (mappings, address_space) in [(LEAST_MAPPINGS - 1, None), (65_530, Some(8 << 30))] {
            let error = of(mappings, address_space).unwrap_err().to_string();
            assert!(error.contains("vm.max_map_count"), "{error}");
            assert!(error.contains("ulimit -v"), "{error}");
        }
    }
}
