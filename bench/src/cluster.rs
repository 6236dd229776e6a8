//! A control plane and a worker as separate processes of this same program.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use warren_tests::{Cluster, Lab};

/// The name under which this program acts as `warren`.
const NAME: &str = "warren";

/// Returns whether this process was started under that name.
pub fn is_warren() -> bool {
    let name = env::args_os().next();
    let name = name.as_deref().map(Path::new).and_then(Path::file_name);
    name == Some(OsStr::new(NAME))
}

/// Starts a control plane and this many workers, whose files are in `scratch`.
pub async fn start(scratch: &Path, workers: usize) -> anyhow::Result<Cluster> {
    let program = program(scratch)?;
    let utf8 = "a temporary directory's name is UTF-8";
    let program = program.to_str().context(utf8)?;
    let lab = Lab::new(program, scratch.to_str().context(utf8)?);
    Ok(Cluster::start(lab, workers).await)
}

/// Links this program to the name under which it acts as `warren`.
pub fn program(scratch: &Path) -> anyhow::Result<PathBuf> {
    let program = scratch.join(NAME);
    symlink(env::current_exe()?, &program).context("cannot link this program to its other name")?;
    Ok(program)
}

/// Returns the CPU time of a process, over all its threads, in user mode and in the kernel.
pub fn cpu_time(process: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The second field is a name in parentheses, which may contain anything. Fields 14 and 15 are
    // counted from its end.
    let (_, rest) = stat.rsplit_once(')').context("the process has no name")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok());
    let (Some(user), Some(system)) = (ticks(), ticks()) else {
        anyhow::bail!("{path} is not in the format of proc(5)");
    };
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(
        (user + system) as f64 / per_second as f64,
    ))
}
