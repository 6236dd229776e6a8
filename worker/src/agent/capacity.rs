//! How much a worker offers when it is not told.

use super::cgroup;
use crate::runtime::compile;

/// Replicas that a worker takes: a bound for its tasks and tables, far above what memory allows for
/// most.
pub const MAX_REPLICAS: u32 = 1_000;

/// Left to the worker itself at the least, in bytes: its code and heap, compiled code, and memory
/// that is kept mapped.
const OWN: u64 = 96 << 20;

/// Four fifths of the memory of the machine, or of the control group that the worker runs in where
/// that has less; less than that where the rest would be below 96 MiB, which the worker itself
/// needs, and what guests make it hold.
pub fn default_memory() -> u64 {
    for_guests(machine_memory())
}

/// What compiling one component may take where nothing else is asked for: a quarter of the memory
/// of the machine or the control group, but at least 512 MiB and at most 2 GiB.
pub fn default_compile_memory() -> u64 {
    compile::default_memory(machine_memory())
}

/// Of the machine, or of the control group that the worker runs in where that has less.
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
