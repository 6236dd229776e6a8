//! How much a worker offers when it is not told.

use std::fs;

/// Replicas that a worker takes: a bound for its tasks and tables, far above what memory allows for most.
pub const MAX_REPLICAS: u32 = 1_000;

/// Four fifths of the memory of the machine, or of the control group that the worker runs in where that has less.
/// The rest is for the worker itself and for what guests make it hold.
pub fn default_memory() -> u64 {
    let info = rustix::system::sysinfo();
    #[allow(
        clippy::useless_conversion,
        reason = "`totalram` is 32 bits wide on 32-bit machines"
    )]
    let machine = u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit.max(1)));
    let limits = CGROUP_LIMITS
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok());
    let bound = limits
        .filter_map(|text| parse_limit(&text))
        .fold(machine, u64::min);
    bound / 5 * 4
}

/// As seen in a container, version 2 and 1.
const CGROUP_LIMITS: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

/// `max` is no limit.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbers_or_max() {
        assert_eq!(parse_limit("1073741824\n"), Some(1 << 30));
        assert_eq!(parse_limit("max\n"), None);
    }

    #[test]
    fn a_machine_has_memory() {
        assert!(default_memory() > 16 << 20);
    }
}
