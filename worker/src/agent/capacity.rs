//! Determines how much a worker offers if it is not configured.

use super::cgroup;
use crate::runtime::compile;

/// The default number of replicas that a worker accepts. It bounds the worker's tasks and tables,
/// and is far above what memory allows for most workers.
pub const MAX_REPLICAS: u32 = 1_000;

/// The least memory that is left to the worker itself, in bytes: for its code and heap, compiled
/// code, and memory that is kept mapped.
const OWN: u64 = 96 << 20;

/// Returns four fifths of the memory of the machine, or of the worker's control group if that has
/// less. It is less than four fifths if the rest would be below 96 MiB, which the worker itself and
/// what guests make it hold need.
pub fn default_memory() -> u64 {
    for_guests(machine_memory())
}

/// Returns the default limit of memory for compiling one component: a quarter of the memory of the
/// machine or the control group, but at least 512 MiB and at most 2 GiB.
pub fn default_compile_memory() -> u64 {
    compile::default_memory(machine_memory())
}

/// Returns the memory of the machine, or of the worker's control group if that has less.
fn machine_memory() -> u64 {
    let info = rustix::system::sysinfo();
    #[allow(
        clippy::useless_conversion,
        reason = "`totalram` is 32 bits wide on 32-bit machines"
    )]
    let machine = u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit.max(1)));
    cgroup::memory_limit().map_or(machine, |limit| limit.min(machine))
}

fn for_guests(bound: u64) -> u64 {
    let part = bound / 5 * 4;
    part.min(bound.saturating_sub(OWN).max(bound / 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_is_left_to_the_worker() {
        const MIB: u64 = 1 << 20;
        for (bound, guests) in [
            (10 << 30, 8 << 30),
            (480 * MIB, 384 * MIB),
            (256 * MIB, 160 * MIB),
            (96 * MIB, 24 * MIB),
        ] {
            assert_eq!(for_guests(bound), guests, "{bound}");
        }
    }

    #[test]
    fn compiling_takes_a_part_of_the_machine_within_bounds() {
        const MIB: u64 = 1 << 20;
        for (machine, expected) in [
            (256 * MIB, 512 * MIB),
            (4096 * MIB, 1024 * MIB),
            (64 << 30, 2048 * MIB),
        ] {
            assert_eq!(compile::default_memory(machine), expected, "{machine}");
        }
        assert!(default_compile_memory() >= 512 * MIB);
    }

    #[test]
    fn a_machine_has_memory() {
        assert!(default_memory() > 16 << 20);
    }
}
