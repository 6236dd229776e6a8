//! A control plane and a worker as processes of their own, of this same program.

use std::{env, ffi::OsStr, fs, os::unix::fs::symlink, path::Path, time::Duration};

use anyhow::Context as _;
use warren_tests::{Cluster, Lab};

/// The name under which this program is `warren`.
const NAME: &str = "warren";

/// Whether this process was started under that name.
pub fn is_warren() -> bool {
    let name = env::args_os().next();
    let name = name.as_deref().map(Path::new).and_then(Path::file_name);
    name == Some(OsStr::new(NAME))
}

/// A control plane and so many workers, whose files lie in `scratch`.
pub async fn start(scratch: &Path, workers: usize) -> anyhow::Result<Cluster> {
    let program = scratch.join(NAME);
    symlink(env::current_exe()?, &program).context("linking this program to its other name")?;
    let utf8 = "a temporary directory's name is UTF-8";
    let program = program.to_str().context(utf8)?;
    let lab = Lab::new(program, scratch.to_str().context(utf8)?);
    Ok(Cluster::start(lab, workers).await)
}

/// Time on a CPU that a process has had, on all its threads, in user mode and in the kernel.
pub fn cpu_time(process: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // The second field is a name in parentheses, which may hold anything: 14 and 15 are counted from behind it.
    let (_, rest) = stat.rsplit_once(')').context("a process has a name")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok());
    let (Some(user), Some(system)) = (ticks(), ticks()) else {
        anyhow::bail!("{path} is not as proc(5) says");
    };
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(
        (user + system) as f64 / per_second as f64,
    ))
}
