//! The machine that figures depend on, and the resources that the process uses.

use std::{fs, thread, time::Duration};

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// The machine and time of a measurement.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub time: String,
    pub cores: usize,
    pub processor: String,
    pub kernel: String,
}

impl Machine {
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or_else(String::new, |(_, name)| name.to_owned());
        Self {
            time: jiff::Timestamp::now().strftime("%FT%TZ").to_string(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            processor,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// Returns the CPU time of this process, over all its threads, in user mode and in the kernel.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // Neither is ever negative, and the nanoseconds are below a second.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// Returns the resident memory of this process, in bytes.
pub fn resident() -> anyhow::Result<u64> {
    let status =
        fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
        .context("there is no VmRSS in /proc/self/status")?;
    Ok(kib.trim().parse::<u64>()? << 10)
}
